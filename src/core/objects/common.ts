/**
 * Pieces that the object schemas share. Each is the one definition of its shape: type, validation, JSON schema and
 * reference text come from it. What a user writes and what the program holds differ in places (`24h`, a range of
 * addresses): there the piece is a codec, so that an object can be printed as a user would write it.
 */
import * as z from 'zod';
import { formatDuration, parseDuration } from '../duration.ts';
import { parseAddress, type IpAddress } from '../ip-address.ts';
import { parseSpiffeId, type SpiffeId } from '../spiffe-id.ts';

export const apiGroup = 'sallyport.dev';
export const apiVersion = `${apiGroup}/v1alpha1` as const;

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
  .regex(/^[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?(\.[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?)*$/, 'must be a DNS name')
  .refine((host) => !/^[0-9.]+$/.test(host), 'must be a host name, not an address')
  .toLowerCase()
  .meta({ description: 'Host name' });

export const portNumber = z.int('must be a whole number from 1 to 65535').min(1, 'must be from 1 to 65535').max(65535, 'must be from 1 to 65535');

/** What a Kubernetes API server can hold a value to by itself: CEL, with `self` as the value, and what is said where it does not hold. */
export function clusterRules(...rules: readonly (readonly [rule: string, message: string])[]) {
  return { 'x-kubernetes-validations': rules.map(([rule, message]) => ({ rule, message })) };
}

/**
 * A piece written as text and held as something else. `decode` gives the value or the reason of its refusal, `encode`
 * the text back; `fault` is the code that a refusal is reported with.
 */
export function textCodec<T>(
  fault: string,
  shape: { readonly description: string; readonly pattern?: string; readonly maxLength?: number },
  decode: (text: string) => { readonly ok: true; readonly value: T } | { readonly ok: false; readonly reason: string },
  encode: (value: T) => string,
) {
  return z
    .codec(z.string(), z.custom<T>(), {
      decode: (text, payload) => {
        const decoded = decode(text);
        if (decoded.ok) return decoded.value;
        payload.issues.push({ code: 'custom', input: text, message: decoded.reason, params: { fault } });
        return z.NEVER;
      },
      encode,
    })
    .meta(shape);
}

/** An IPv4 or IPv6 address in any spelling, kept in its canonical one (RFC 5952). */
export const ipAddress = textCodec<IpAddress>(
  'address-invalid',
  { description: 'IPv4 or IPv6 address', maxLength: 45, ...clusterRules(['isIP(self)', 'must be an IPv4 or IPv6 address']) },
  (text) => {
    const value = parseAddress(text);
    return value === undefined ? { ok: false, reason: `${quoteText(text)} is not an IPv4 or IPv6 address` } : { ok: true, value };
  },
  (address) => address,
);

/** A time span such as `30s`, `5m`, `24h` or `7d`, kept in milliseconds. */
export const duration = textCodec<number>(
  'duration-invalid',
  { description: 'Time span such as 30s, 5m, 24h or 7d', pattern: '^([0-9]{1,9}(ms|[smhd]))+$' },
  (text) => {
    const value = parseDuration(text);
    return value === undefined ? { ok: false, reason: `${quoteText(text)} is not a time span such as "30s", "5m", "24h" or "7d", of at most ten years` } : { ok: true, value };
  },
  formatDuration,
);

export const spiffeId = textCodec<SpiffeId>(
  'spiffe-id-invalid',
  { description: 'SPIFFE ID', pattern: '^spiffe://[a-z0-9._-]{1,255}(/[A-Za-z0-9._-]+)*$' },
  (text) => {
    const parsed = parseSpiffeId(text);
    return parsed.ok ? { ok: true, value: parsed.id } : parsed;
  },
  (id) => id,
);

/** A user's text as messages show it: quoted, and cut where it is long. */
export function quoteText(text: string): string {
  return text.length <= 64 ? JSON.stringify(text) : `${JSON.stringify(text.slice(0, 64))}...`;
}

/** Adds to a mapping that exactly one of two of its optional fields must be there. */
export function exactlyOneOf<T extends z.ZodObject>(shape: T, first: string & keyof z.output<T>, second: string & keyof z.output<T>): T {
  const has = (value: z.output<T>, field: keyof z.output<T>) => value[field] !== undefined;
  const when = ({ value }: { readonly value: unknown }) => typeof value === 'object' && value !== null; // also beside other faults, so that all are named at once
  return shape
    .refine((value) => has(value, first) || has(value, second), { message: `needs either "${first}" or "${second}"`, params: { fault: 'field-missing', lacks: [first, second] }, when })
    .refine((value) => !has(value, first) || !has(value, second), { message: `takes "${first}" or "${second}", not both`, params: { fault: 'fields-exclusive' }, when })
    .meta({ oneOf: [{ required: [first] }, { required: [second] }] });
}

const labelMap = z.record(z.string().max(317), z.string().max(63));
const annotationBytesMax = 262_144; // Kubernetes' own limit on all annotations of an object

/** Metadata that a Kubernetes API server adds. Accepted, so that its own output can be applied, and ignored. */
export const serverMetadata = [
  'creationTimestamp',
  'deletionGracePeriodSeconds',
  'deletionTimestamp',
  'finalizers',
  'generateName',
  'generation',
  'managedFields',
  'ownerReferences',
  'resourceVersion',
  'selfLink',
  'uid',
] as const;

const ignored = z.unknown().optional().meta({ description: 'Set by the Kubernetes API server; ignored' });
const metadataFields = {
  labels: labelMap.optional(),
  annotations: z.record(z.string().max(317), z.string().max(annotationBytesMax)).optional(),
  ...(Object.fromEntries(serverMetadata.map((field) => [field, ignored])) as Record<(typeof serverMetadata)[number], typeof ignored>),
};

/** Of objects that name none, as Kubernetes has it. */
export const defaultNamespace = 'default';
export const namespacedMetadata = z.strictObject({ name: dnsSubdomain, namespace: dnsLabel.default(defaultNamespace), ...metadataFields });
export const clusterMetadata = z.strictObject({ name: dnsSubdomain, ...metadataFields });

/** Namespaces by what they are labelled with. */
export const labelSelector = z.strictObject({ matchLabels: z.record(z.string(), z.string()).refine((labels) => Object.keys(labels).length > 0, 'must name a label').meta(clusterRules(['self.size() > 0', 'must name a label'])) });

/**
 * Whose objects may use one that belongs to the platform, as Gateway API's `allowedRoutes.namespaces` says it; those of the root namespace
 * always may. Without a root namespace there are no tenants, and it says nothing.
 */
export const allowedNamespaces = z.discriminatedUnion('from', [
  z.strictObject({ from: z.literal('All') }),
  z.strictObject({ from: z.literal('None') }),
  z.strictObject({ from: z.literal('Names'), names: z.array(dnsLabel).min(1).max(1024) }),
  z.strictObject({ from: z.literal('Selector'), selector: labelSelector }),
]);
export type AllowedNamespaces = z.output<typeof allowedNamespaces>;

/** A service of an `ExternalService`, by name; the namespace defaults to that of the object that refers to it. */
export const serviceTarget = z.strictObject({
  service: dnsSubdomain.meta({ description: 'Name of the ExternalService' }),
  namespace: dnsLabel.optional().meta({ description: "Namespace of the ExternalService; by default this object's own" }),
  ports: z
    .array(z.union([dnsLabel, portNumber]))
    .min(1)
    .max(64)
    .optional()
    .meta({ description: 'Ports, by name or number (which means both the TCP and the UDP port of it); by default every port of the service' }),
});
