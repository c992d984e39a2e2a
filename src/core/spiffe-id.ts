/**
 * SPIFFE IDs by "The SPIFFE Identity and Verifiable Identity Document", section 2
 * (https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md). Parsed once, then true.
 */

/** A valid SPIFFE ID in its one canonical spelling; compare with `===`. */
export type SpiffeId = string & { readonly __brand: 'SpiffeId' };
/** A valid trust domain name, lower case. */
export type TrustDomain = string & { readonly __brand: 'TrustDomain' };

export type SpiffeIdParse = { readonly ok: true; readonly id: SpiffeId } | { readonly ok: false; readonly reason: string };

const spiffeIdBytesMax = 2048; // section 2.3: implementations must support up to 2048 bytes and must not generate longer
const trustDomainBytesMax = 255; // section 2.1

/** Parses a SPIFFE ID. Every rejection gives its own reason; nothing is folded or repaired. */
export function parseSpiffeId(text: string): SpiffeIdParse {
  const refuse = (reason: string): SpiffeIdParse => ({ ok: false, reason: `${JSON.stringify(text.slice(0, 256))} ${reason}` });
  if (text === '') return refuse('is empty; a SPIFFE ID looks like "spiffe://cluster.local/ns/NAMESPACE/sa/ACCOUNT"');
  if (Buffer.byteLength(text) > spiffeIdBytesMax) return refuse(`is longer than ${spiffeIdBytesMax} bytes`);
  if (!/^spiffe:\/\//i.test(text)) return refuse('does not begin with "spiffe://"');
  if (!text.startsWith('spiffe://')) return refuse('must spell its scheme in lower case'); // one spelling per identity
  if (text.includes('?')) return refuse('has a query, which a SPIFFE ID must not have');
  if (text.includes('#')) return refuse('has a fragment, which a SPIFFE ID must not have');
  const rest = text.slice('spiffe://'.length);
  const slash = rest.indexOf('/');
  const authority = slash === -1 ? rest : rest.slice(0, slash);
  if (authority.includes('@')) return refuse('has user information before its trust domain');
  if (/:[0-9]*$/.test(authority)) return refuse('has a port after its trust domain');
  const domainFault = trustDomainFault(authority);
  if (domainFault !== undefined) return refuse(domainFault);
  if (slash !== -1) {
    const pathFault = pathSegmentsFault(rest.slice(slash + 1));
    if (pathFault !== undefined) return refuse(pathFault);
  }
  return { ok: true, id: text as SpiffeId };
}

/** Parses a trust domain name on its own. */
export function parseTrustDomain(text: string): { readonly ok: true; readonly trustDomain: TrustDomain } | { readonly ok: false; readonly reason: string } {
  const fault = trustDomainFault(text);
  return fault === undefined ? { ok: true, trustDomain: text as TrustDomain } : { ok: false, reason: `${JSON.stringify(text.slice(0, 256))} ${fault}` };
}

function trustDomainFault(name: string): string | undefined {
  if (name === '') return 'has no trust domain';
  if (Buffer.byteLength(name) > trustDomainBytesMax) return `has a trust domain longer than ${trustDomainBytesMax} bytes`;
  if (/[A-Z]/.test(name)) return 'has upper-case letters in its trust domain';
  if (name.includes('%')) return 'has a percent-encoded character in its trust domain';
  if (!/^[a-z0-9._-]+$/.test(name)) return 'has a character in its trust domain other than a-z, 0-9, ".", "-" and "_"';
  return undefined;
}

function pathSegmentsFault(path: string): string | undefined {
  if (path === '') return 'ends in "/"';
  for (const segment of path.split('/')) {
    if (segment === '') return path.endsWith('/') ? 'ends in "/"' : 'has an empty path segment';
    if (segment === '.' || segment === '..') return 'has a relative path segment ("." or "..")';
    if (segment.includes('%')) return 'has a percent-encoded character in its path';
    if (!/^[A-Za-z0-9._-]+$/.test(segment)) return 'has a character in its path other than letters, digits, ".", "-" and "_"';
  }
  return undefined;
}

/** The trust domain of an ID. */
export function trustDomainOf(id: SpiffeId): TrustDomain {
  const end = id.indexOf('/', 'spiffe://'.length);
  return id.slice('spiffe://'.length, end === -1 ? undefined : end) as TrustDomain;
}

/** A Kubernetes workload's identity: what policies and bindings speak of. */
export interface WorkloadName {
  readonly namespace: string;
  readonly serviceAccount: string;
}

/** The Istio form, `spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICEACCOUNT`. The names must already be DNS-1123 names. */
export function workloadSpiffeId(trustDomain: TrustDomain, { namespace, serviceAccount }: WorkloadName): SpiffeId {
  return `spiffe://${trustDomain}/ns/${namespace}/sa/${serviceAccount}` as SpiffeId;
}

/** Namespace and service account of an ID in the Istio form, or undefined for any other form. */
export function workloadOf(id: SpiffeId): WorkloadName | undefined {
  const match = /^spiffe:\/\/[^/]+\/ns\/([^/]+)\/sa\/([^/]+)$/.exec(id);
  return match === null ? undefined : { namespace: match[1]!, serviceAccount: match[2]! };
}
