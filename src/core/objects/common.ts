/** Pieces that the object schemas share. Each is the one definition of its shape: type, validation, JSON schema and reference text come from it. */
import * as z from 'zod';
import { parseAddress } from '../ip-address.ts';
import { parseDuration } from '../duration.ts';
import { parseSpiffeId } from '../spiffe-id.ts';

export const apiVersion = 'sallyport.dev/v1alpha1';

/** DNS-1123 label, as Kubernetes names namespaces and services (RFC 1123 section 2.1, at most 63 characters). */
export const dnsLabel = z
  .string()
  .regex(/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/, 'must be lower-case letters, digits and "-", at most 63, starting and ending with a letter or digit')
  .meta({ description: 'DNS-1123 label' });

/** DNS-1123 subdomain, as Kubernetes names most objects (at most 253 characters). */
export const dnsSubdomain = z
  .string()
  .max(253)
  .regex(/^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/, 'must be a lower-case DNS name')
  .meta({ description: 'DNS-1123 subdomain' });

/** A host name to resolve; also accepts upper case, which is folded. */
export const hostName = z
  .string()
  .max(253)
  .transform((host) => host.toLowerCase())
  .pipe(dnsSubdomain.refine((host) => !/^[0-9.]+$/.test(host), 'must be a host name, not an address'));

export const portNumber = z.int('must be a whole number from 1 to 65535').min(1, 'must be from 1 to 65535').max(65535, 'must be from 1 to 65535');

/** An IPv4 or IPv6 address in any spelling, kept in its canonical one (RFC 5952). */
export const ipAddress = z.string().transform((text, context) => {
  const address = parseAddress(text);
  if (address === undefined) {
    context.addIssue({ code: 'custom', message: `${JSON.stringify(text)} is not an IPv4 or IPv6 address` });
    return z.NEVER;
  }
  return address;
});

/** A time span such as `30s`, `5m`, `24h` or `7d`, kept in milliseconds. */
export const duration = z.string().transform((text, context) => {
  const milliseconds = parseDuration(text);
  if (milliseconds === undefined) {
    context.addIssue({ code: 'custom', message: `${JSON.stringify(text)} is not a time span such as "30s", "5m", "24h" or "7d"` });
    return z.NEVER;
  }
  return milliseconds;
});

export const spiffeId = z.string().transform((text, context) => {
  const parsed = parseSpiffeId(text);
  if (!parsed.ok) {
    context.addIssue({ code: 'custom', message: parsed.reason });
    return z.NEVER;
  }
  return parsed.id;
});

const labelMap = z.record(z.string().max(317), z.string().max(63));

/** Metadata as Kubernetes has it. What the API server adds (uid, resourceVersion and so on) is accepted and ignored. */
const metadataFields = {
  labels: labelMap.optional(),
  annotations: z.record(z.string(), z.string()).optional(),
  uid: z.unknown().optional(),
  resourceVersion: z.unknown().optional(),
  generation: z.unknown().optional(),
  creationTimestamp: z.unknown().optional(),
  managedFields: z.unknown().optional(),
  finalizers: z.unknown().optional(),
  ownerReferences: z.unknown().optional(),
};

export const namespacedMetadata = z.strictObject({ name: dnsSubdomain, namespace: dnsLabel.default('default'), ...metadataFields });
export const clusterMetadata = z.strictObject({ name: dnsSubdomain, ...metadataFields });

/** A service of an `ExternalService`, by name; the namespace defaults to that of the object that refers to it. */
export const serviceTarget = z.strictObject({
  service: dnsSubdomain.meta({ description: 'Name of the ExternalService' }),
  namespace: dnsLabel.optional().meta({ description: "Namespace of the ExternalService; by default this object's own" }),
  ports: z
    .array(z.union([dnsLabel, portNumber]))
    .min(1)
    .optional()
    .meta({ description: 'Ports, by name or number; by default every port of the service' }),
});
