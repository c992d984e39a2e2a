/** X509-SVIDs: what a leaf certificate must look like to name a peer ("The X.509 SPIFFE Verifiable Identity Document", sections 2 to 5). */
import { clientAuth, generalNameTags, keyUsages, parseCertificate, serverAuth } from './certificate.ts';
import type { AttestedPod } from '../ledger-record.ts';
import { podOfSubject } from './pod-subject.ts';
import { parseSpiffeId, trustDomainOf, type SpiffeId, type TrustDomain } from '../spiffe-id.ts';

export interface X509Svid {
  readonly spiffeId: SpiffeId;
  /** Lower-case hexadecimal. */
  readonly serialNumber: string;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  /** Whose token began the chain of renewals that led to it, where that was a pod's. */
  readonly pod?: AttestedPod;
}

export const svidRefusals = [
  'certificate-malformed',
  'extended-key-usage',
  'is-a-ca',
  'key-usage',
  'no-uri-san',
  'several-uri-sans',
  'spiffe-id-in-dns-san',
  'spiffe-id-invalid',
  'spiffe-id-without-path',
] as const;
export type SvidRefusal = (typeof svidRefusals)[number];

/** `detail` is one sentence, safe to print. */
interface Refused {
  readonly ok: false;
  readonly reason: SvidRefusal;
  readonly detail: string;
}

export type X509SvidParse = { readonly ok: true; readonly svid: X509Svid } | Refused;

/** Whom a leaf proves an identity to: anyone, or the control plane alone (docs/decisions/0600). */
export type LeafPurpose = 'svid' | 'proxy';
/** As a sentence names it. */
export const leafPurposes: Readonly<Record<LeafPurpose, string>> = { svid: 'an X509-SVID', proxy: 'a proxy certificate' };
export interface MeshCertificate {
  readonly svid: X509Svid;
  readonly purpose: LeafPurpose;
}
export type MeshCertificateParse = ({ readonly ok: true } & MeshCertificate) | Refused;

/**
 * The second URI of a proxy certificate. The extended key usage keeps it from those who look at that; data planes that do not, such
 * as a stock Envoy, take nobody with two URIs.
 */
export const proxyMark = (trustDomain: TrustDomain): string => `spiffe://${trustDomain}/sallyport/proxy-certificate`;

/**
 * The identity in a leaf certificate, or why it names none. Looks at the certificate alone: signature, chain, validity and trust
 * domain are the caller's (TLS's) to check. About 10 us, once a connection.
 */
export function parseX509Svid(der: Buffer): X509SvidParse {
  const parsed = parseMeshCertificate(der);
  if (!parsed.ok || parsed.purpose === 'svid') return parsed;
  return refuse('extended-key-usage', 'the certificate is for a client of the control plane alone: its extended key usage has no serverAuth'); // 4.4
}

/** The same for what the control plane is shown: an SVID, or a proxy certificate, which is like one but for having clientAuth only, and its mark. */
export function parseMeshCertificate(der: Buffer): MeshCertificateParse {
  const parsed = parseCertificate(der);
  if (!parsed.ok) return refuse('certificate-malformed', parsed.detail);
  const { certificate } = parsed;
  const { basicConstraints, keyUsage, extendedKeyUsage, subjectAltNames } = certificate.extensions;

  if (basicConstraints?.ca === true) return refuse('is-a-ca', 'the certificate is a CA certificate, which names no workload'); // 4.1, 5.2
  if (keyUsage === null) return refuse('key-usage', 'the certificate has no key usage'); // 4.3
  if ((keyUsage & (keyUsages.keyCertSign | keyUsages.crlSign)) !== 0) return refuse('key-usage', 'the key may sign certificates or revocation lists, which a leaf must not');
  if ((keyUsage & keyUsages.digitalSignature) === 0) return refuse('key-usage', 'the key may not be used for digital signatures');
  const purpose = purposeOf(extendedKeyUsage);
  if (purpose === undefined) return refuse('extended-key-usage', 'the extended key usage does not have both clientAuth and serverAuth'); // 4.4

  const names = subjectAltNames ?? [];
  if (names.some(({ tag, content }) => tag === generalNameTags.dns && /^spiffe:/i.test(content.toString('latin1')))) {
    return refuse('spiffe-id-in-dns-san', 'a SPIFFE ID stands in a DNS name; it belongs into a URI name');
  }
  const uris = names.filter(({ tag }) => tag === generalNameTags.uri).map(({ content }) => content.toString('latin1'));
  const [uri, mark] = uris;
  if (uri === undefined) return refuse('no-uri-san', 'the certificate has no URI among its subject alternative names');
  if (uris.length > (purpose === 'proxy' ? 2 : 1)) return refuse('several-uri-sans', `the certificate has ${uris.length} URIs among its subject alternative names, and an SVID has one`); // 2
  const spiffeId = parseSpiffeId(uri);
  if (!spiffeId.ok) return refuse('spiffe-id-invalid', spiffeId.reason);
  if (!spiffeId.id.includes('/', 'spiffe://'.length)) return refuse('spiffe-id-without-path', `"${spiffeId.id}" names a trust domain, not a workload`); // 3.1
  if (purpose === 'proxy' && mark !== proxyMark(trustDomainOf(spiffeId.id))) return refuse('extended-key-usage', 'the extended key usage has no serverAuth, and the certificate is not marked as a proxy certificate');

  const { serialNumber, notBeforeMs, notAfterMs } = certificate;
  const pod = podOfSubject(certificate.subject);
  return { ok: true, svid: { spiffeId: spiffeId.id, serialNumber, notBeforeMs, notAfterMs, ...(pod === undefined ? {} : { pod }) }, purpose };
}

function purposeOf(extendedKeyUsage: readonly string[] | null): LeafPurpose | undefined {
  if (extendedKeyUsage === null || (extendedKeyUsage.includes(clientAuth) && extendedKeyUsage.includes(serverAuth))) return 'svid';
  return extendedKeyUsage.length === 1 && extendedKeyUsage[0] === clientAuth ? 'proxy' : undefined;
}

const refuse = (reason: SvidRefusal, detail: string): Refused => ({ ok: false, reason, detail });
