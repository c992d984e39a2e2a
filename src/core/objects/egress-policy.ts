import * as z from 'zod';
import { parsePolicyPath } from '../ftp/path.ts';
import { unknownCommandRules } from '../ftp/rules.ts';
import { apiVersion, dnsLabel, dnsSubdomain, labelSelector, namespacedMetadata, quoteText, serviceTarget } from './common.ts';

/** Who: exactly one of a namespace (with an optional service account), a namespace selector, or a Kubernetes Service whose workloads are meant. */
const subject = z.union([
  z.strictObject({
    namespace: dnsLabel,
    serviceAccount: dnsSubdomain.optional().meta({ description: 'Default: every service account of the namespace' }),
  }),
  z.strictObject({
    namespaceSelector: labelSelector,
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

const ftpPath = z
  .string()
  .max(1024)
  .superRefine((text, context) => {
    const parsed = parsePolicyPath(text);
    if (!parsed.ok) context.addIssue({ code: 'custom', message: `${quoteText(text)} ${parsed.fault}`, params: { fault: 'path-invalid', hint: 'write the absolute path as the server names it, without a slash at its end, as in "/outgoing"' } });
  });

/** One that a session can name: without what a command line cannot hold. */
const ftpUser = z.string().min(1).max(256).regex(/^[^\x00-\x1f\x7f]*$/, 'must be without control characters');

const ftpConstraints = z.strictObject({
  readOnly: z.boolean().optional().meta({ description: 'Nothing is stored, changed, renamed or deleted' }),
  noDelete: z.boolean().optional().meta({ description: 'No file or directory is deleted. Storing under a name that is taken is for the server to refuse' }),
  paths: z.array(ftpPath).min(1).max(1024).optional().meta({ description: 'Files and directories are named at or below these paths only, such as /outgoing; default: anywhere' }),
  users: z.array(ftpUser).min(1).max(1024).optional().meta({ description: 'The user names that may log in; default: any' }),
  maxTransferBytes: z.int().min(1).optional().meta({ description: 'Largest file or listing, either way; a larger one is broken off' }),
  maxBytesPerSecond: z.int().min(1).optional().meta({ description: 'How fast one transfer may be' }),
  unknownCommands: z.enum(unknownCommandRules).optional().meta({ description: 'Commands of which the gateway does not know what they do; default Refuse. Pass lets them through whatever else is said here' }),
});

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
        ftp: ftpConstraints.optional().meta({ description: 'FTP and FTPS: what a session may do; default: anything' }),
      })
      .optional(),
  }),
  status: z.unknown().optional(),
});
export type EgressPolicy = z.output<typeof egressPolicy>;
export type FtpConstraintsSpec = z.output<typeof ftpConstraints>;
export type PolicySubject = z.output<typeof subject>;
