/** Judges what a control plane answers, and what was left on disk, before anything is done with it. */
import { createPrivateKey, X509Certificate, type KeyObject } from 'node:crypto';
import { SallyportError } from '../core/errors.ts';
import { certificatesOfPem, certificatesToPem } from '../core/x509/pem.ts';
import { trustDomainOf, type SpiffeId, type TrustDomain } from '../core/spiffe-id.ts';
import { leafPurposes, parseMeshCertificate, type LeafPurpose } from '../core/x509/x509-svid.ts';
import type { WorkloadIdentity } from './identity-source.ts';

const chainLengthMax = 8;
const bundleLengthMax = 64;

/** Certificates (DER) with the key they are for, not believed yet. */
export interface SvidMaterial {
  /** Leaf first. */
  readonly chain: readonly Uint8Array[];
  readonly bundle: readonly Uint8Array[];
  readonly privateKey: KeyObject;
}

export interface SvidExpectation {
  readonly trustDomain: TrustDomain;
  /** Set where the identity is known: a renewal must not change it. */
  readonly spiffeId?: SpiffeId;
  readonly nowMs: number;
  /** Default `svid`. */
  readonly purpose?: LeafPurpose;
}

export interface AcceptedSvid {
  readonly identity: WorkloadIdentity;
  readonly notBeforeMs: number;
}

/**
 * The identity, if the leaf is an X509-SVID (or a proxy certificate, where that is expected) of the trust domain, not expired, for this very key, and the chain leads to an
 * anchor of the bundle. Throws SallyportError `certificate-invalid` with the reason otherwise. Whether the leaf is valid
 * already is not asked: a clock that is behind the control plane's must not stop an enrolment.
 */
export function acceptSvid(material: SvidMaterial, { purpose = 'svid', ...expected }: SvidExpectation): AcceptedSvid {
  const chain = readCertificates(material.chain, 'certificate chain', chainLengthMax);
  const bundle = readCertificates(material.bundle, 'trust bundle', bundleLengthMax);
  const leaf = chain[0]!;

  const parsed = parseMeshCertificate(leaf.raw);
  if (!parsed.ok) throw refusal(parsed.detail);
  if (parsed.purpose !== purpose) throw refusal(`it is ${leafPurposes[parsed.purpose]}, not ${leafPurposes[purpose]}`);
  const { spiffeId, notBeforeMs } = parsed.svid;
  if (trustDomainOf(spiffeId) !== expected.trustDomain) throw refusal(`"${spiffeId}" is not in the trust domain "${expected.trustDomain}"`);
  if (expected.spiffeId !== undefined && spiffeId !== expected.spiffeId) throw refusal(`"${spiffeId}" is not the identity expected, "${expected.spiffeId}"`);
  if (!leaf.checkPrivateKey(material.privateKey)) throw refusal('its public key is not that of the key made for it');

  const path = pathToAnchor(chain, bundle, expected.nowMs);
  if (path === undefined) throw refusal('its chain does not lead to the trust bundle');
  const expiresAtMs = Math.min(...path.map((certificate) => certificate.validToDate.getTime()));
  if (expiresAtMs <= expected.nowMs) throw refusal(`it expired at ${new Date(expiresAtMs).toISOString()}, and here it is ${new Date(expected.nowMs).toISOString()}`);

  const identity: WorkloadIdentity = {
    spiffeId,
    certificateChainPem: certificatesToPem(material.chain),
    privateKeyPem: privateKeyToPem(material.privateKey),
    trustBundlePem: certificatesToPem(material.bundle),
    expiresAtMs,
  };
  return { identity, notBeforeMs };
}

/** The certificates of a trust bundle in PEM, in one spelling. Throws SallyportError `certificate-invalid` where there is none, or one that cannot be read. */
export function acceptTrustBundle(pem: string): string {
  const bundle = certificatesOfPem(pem);
  readCertificates(bundle, 'trust bundle', bundleLengthMax);
  return certificatesToPem(bundle);
}

/** PKCS#8. */
export function privateKeyToPem(key: KeyObject): string {
  return key.export({ type: 'pkcs8', format: 'pem' }).toString();
}

/** Reads a PKCS#8 key. Throws SallyportError `certificate-invalid`; nothing of what was read is in the error. */
export function readPrivateKey(pem: string): KeyObject {
  try {
    return createPrivateKey(pem);
  } catch {
    throw refusal('its private key cannot be read'); // without the cause, which may quote the key
  }
}

/** Leaf to anchor, each certificate issued by the next; the chain must be in order, as the SPIFFE Workload API wants it. */
function pathToAnchor(chain: readonly X509Certificate[], bundle: readonly X509Certificate[], nowMs: number): readonly X509Certificate[] | undefined {
  for (const [index, certificate] of chain.entries()) {
    const anchor = bundle.find((candidate) => issued(candidate, certificate) && candidate.validToDate.getTime() > nowMs);
    if (anchor !== undefined) return [...chain.slice(0, index + 1), anchor];
    const issuer = chain[index + 1];
    if (issuer === undefined || !issued(issuer, certificate)) return undefined;
  }
  return undefined;
}

/** By name, key identifier and key usage (`checkIssued`), by CA flag, and by signature. */
function issued(issuer: X509Certificate, subject: X509Certificate): boolean {
  return issuer.ca && subject.checkIssued(issuer) && subject.verify(issuer.publicKey);
}

function readCertificates(certificates: readonly Uint8Array[], what: string, countMax: number): readonly X509Certificate[] {
  const refuse = (reason: string, cause?: unknown) => new SallyportError('certificate-invalid', `${what} ${reason}`, { cause });
  if (certificates.length === 0) throw refuse('is empty');
  if (certificates.length > countMax) throw refuse(`has ${certificates.length} certificates, more than ${countMax}`);
  return certificates.map((der, index) => {
    try {
      return new X509Certificate(der);
    } catch (error) {
      throw refuse(`cannot be read at its certificate ${index + 1}`, error);
    }
  });
}

function refusal(reason: string): SallyportError {
  return new SallyportError('certificate-invalid', `svid is refused: ${reason}`);
}
