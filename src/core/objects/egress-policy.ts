import * as z from 'zod';
import { apiVersion, dnsLabel, dnsSubdomain, namespacedMetadata, serviceTarget } from './common.ts';

/** Who: exactly one of a namespace (with an optional service account), a namespace selector, or a Kubernetes Service whose workloads are meant. */
const subject = z.union([
  z.strictObject({
    namespace: dnsLabel,
    serviceAccount: dnsSubdomain.optional().meta({ description: 'Default: every service account of the namespace' }),
  }),
  z.strictObject({
    namespaceSelector: z.strictObject({ matchLabels: z.record(z.string(), z.string()).refine((labels) => Object.keys(labels).length > 0, 'must name a label') }),
    serviceAccount: dnsSubdomain.optional(),
  }),
  z.strictObject({ service: z.strictObject({ namespace: dnsLabel.optional(), name: dnsSubdomain }) }),
]);

/** `host:port`, where the host may begin with `*.` for any subdomain, and `*` stands for any port. */
const authorityPattern = z
  .string()
  .regex(/^(\*\.)?[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?:(\*|[0-9]{1,5})$|^\[[0-9a-fA-F:.]+\]:(\*|[0-9]{1,5})$/, { error: 'must be "host:port", "*.domain:port" or "host:*"', abort: true })
  .refine((text) => text.endsWith('*') || (Number(text.slice(text.lastIndexOf(':') + 1)) >= 1 && Number(text.slice(text.lastIndexOf(':') + 1)) <= 65535), 'must have a port from 1 to 65535 or "*"')
  .toLowerCase();

/** `EgressPolicy`: who may go where. Allow only, unordered; whatever no policy names is denied. */
export const egressPolicy = z.strictObject({
  apiVersion: z.literal(apiVersion),
  kind: z.literal('EgressPolicy'),
  metadata: namespacedMetadata,
  spec: z.strictObject({
    subjects: z.array(subject).min(1).max(1024),
    to: z.array(serviceTarget).min(1).max(1024),
    constraints: z
      .strictObject({
        connectAuthorities: z
          .array(authorityPattern)
          .min(1)
          .max(1024)
          .optional()
          .meta({ description: 'HTTPConnect: the authorities that a CONNECT may name; default: whatever the forward proxy lets through' }),
      })
      .optional(),
  }),
  status: z.unknown().optional(),
});
export type EgressPolicy = z.output<typeof egressPolicy>;
export type PolicySubject = z.output<typeof subject>;
