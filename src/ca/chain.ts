/** Puts a CA's certificates into order and checks everything that a verifier will check later, naming every fault at once. */
import { X509Certificate, type KeyObject } from 'node:crypto';
import { anyExtendedKeyUsage, clientAuth, generalNameTags, keyUsages, parseCertificate, serverAuth, type Certificate } from '../core/x509/certificate.ts';
import type { Fault } from '../core/errors.ts';
import { hasStrongDigest, keyKindOf, parsePublicKey } from '../core/x509/public-key.ts';
import type { TrustDomain } from '../core/spiffe-id.ts';
import { caChain, isSelfIssued, type Issuer } from './issuer.ts';
import { nameConstraintFault } from './name-constraints.ts';
import { publicKeyDerOf } from './profiles.ts';

export type IssuerCheck = { readonly ok: true; readonly issuer: Issuer } | { readonly ok: false; readonly faults: readonly Fault[] };

const certificatesMax = 16; // a real chain has two to four

/** Extensions that may be critical without hindering a verifier (RFC 5280 4.2.1: policies, their mappings and constraints). */
const harmlessCritical = new Set(['2.5.29.18', '2.5.29.32', '2.5.29.33', '2.5.29.36', '2.5.29.54']);

/**
 * The issuer made of `privateKey` and the certificate that belongs to it, with its chain found among `certificatesDer` in any
 * order, or every reason why it cannot issue SVIDs for `trustDomain` at `nowMs`.
 */
export function checkIssuer(material: { readonly certificatesDer: readonly Buffer[]; readonly privateKey: KeyObject }, { trustDomain, nowMs }: { readonly trustDomain: TrustDomain; readonly nowMs: number }): IssuerCheck {
  const { certificatesDer, privateKey } = material;
  const faults: Fault[] = [];
  const key = keyKindOf(privateKey);
  if (!key.ok) faults.push({ code: key.reason, message: `the CA key cannot be used: ${key.detail}`, hint: 'use a key on P-256, P-384 or P-521, or RSA with 2048 to 8192 bits' });
  if (certificatesDer.length > certificatesMax) return { ok: false, faults: [...faults, { code: 'too-many-certificates', message: `${certificatesDer.length} certificates are more than ${certificatesMax}`, hint: 'give the chain only' }] };

  const certificates: Certificate[] = [];
  for (const [index, der] of certificatesDer.entries()) {
    const parsed = parseCertificate(der);
    if (!parsed.ok) faults.push({ code: 'certificate-unreadable', message: `certificate ${index + 1} of ${certificatesDer.length} is ${parsed.detail}` });
    else if (openSslView(der) === undefined) faults.push({ code: 'certificate-unreadable', message: `certificate ${index + 1} of ${certificatesDer.length} is not one that OpenSSL can use` });
    else if (!certificates.some((known) => known.der.equals(der))) certificates.push(parsed.certificate);
  }
  if (certificatesDer.length === 0) faults.push({ code: 'certificate-missing', message: 'there is no certificate', hint: 'give the CA certificate and the ones above it' });
  if (!key.ok || certificates.length === 0) return { ok: false, faults };

  const publicKeyDer = publicKeyDerOf(privateKey);
  const first = certificates
    .filter((certificate) => certificate.publicKey.equals(publicKeyDer))
    // A key with several certificates: the one that an organisation signed, and of those the one that lasts longest.
    .toSorted((a, b) => Number(isSelfIssued(a)) - Number(isSelfIssued(b)) || b.notAfterMs - a.notAfterMs)[0];
  if (first === undefined) {
    return { ok: false, faults: [...faults, { code: 'key-mismatch', message: 'the key belongs to none of the certificates', hint: 'give the certificate that was made for this key' }] };
  }

  const chain: [Certificate, ...Certificate[]] = [first];
  for (let last = first; !isSelfIssued(last); ) {
    const above = certificates.find((certificate) => certificate.subject.equals(last.issuer) && !chain.includes(certificate) && isSignedBy(last, certificate))
      ?? certificates.find((certificate) => certificate.subject.equals(last.issuer) && !chain.includes(certificate));
    if (above === undefined) break; // the root is often not given: the top-most certificate is the anchor then
    chain.push(above);
    last = above;
  }
  for (const certificate of certificates) {
    if (!chain.includes(certificate) && !certificate.publicKey.equals(publicKeyDer)) {
      faults.push({ code: 'certificate-unrelated', message: `certificate "${nameOf(certificate)}" is not part of the chain`, hint: 'leave it out, or give the certificates between' });
    }
  }
  for (const [index, certificate] of chain.entries()) {
    // A root signs itself; a top-most certificate without its issuer cannot be checked further.
    const above = chain[index + 1] ?? (isSelfIssued(certificate) ? certificate : undefined);
    faults.push(...caFaults(certificate, { index, nowMs, above, trustDomain }));
  }
  const constraint = nameConstraintFault(chain, [{ tag: generalNameTags.uri, content: Buffer.from(`spiffe://${trustDomain}/`, 'latin1') }]);
  if (constraint !== undefined) faults.push({ code: 'name-constraints', message: `the trust domain's IDs would be invalid: ${constraint}`, hint: 'ask for a CA certificate that permits the trust domain, or set the trust domain it permits' });
  return faults.length > 0 ? { ok: false, faults } : { ok: true, issuer: { chain: caChain(chain), privateKey } };
}

interface Place {
  /** 0 is the issuing certificate; so many CA certificates are below this one. */
  readonly index: number;
  readonly above: Certificate | undefined;
  readonly nowMs: number;
  readonly trustDomain: TrustDomain;
}

function caFaults(certificate: Certificate, { index, above, nowMs, trustDomain }: Place): readonly Fault[] {
  const faults: Fault[] = [];
  const name = nameOf(certificate);
  const fault = (code: string, what: string, hint?: string): unknown => faults.push({ code, message: `CA certificate "${name}" ${what}`, ...(hint === undefined ? {} : { hint }) });
  const { basicConstraints, keyUsage, extendedKeyUsage, subjectAltNames, otherCritical } = certificate.extensions;

  if (basicConstraints?.ca !== true) fault('not-a-ca', 'is not a CA certificate (basicConstraints without CA:TRUE)', 'ask for a certificate with basicConstraints CA:TRUE');
  else if (basicConstraints.pathLength !== null && basicConstraints.pathLength < index) fault('path-length', `allows ${basicConstraints.pathLength} CA certificates below it, and there are ${index}`);
  if (keyUsage === null ? above !== certificate : (keyUsage & keyUsages.keyCertSign) === 0) fault('key-usage', 'may not sign certificates (keyUsage without keyCertSign)', 'ask for a certificate with keyUsage keyCertSign');
  if (extendedKeyUsage !== null && !extendedKeyUsage.includes(anyExtendedKeyUsage) && !(extendedKeyUsage.includes(clientAuth) && extendedKeyUsage.includes(serverAuth))) {
    fault('extended-key-usage', 'is limited to purposes other than TLS client and server authentication');
  }
  if (nowMs < certificate.notBeforeMs) fault('not-yet-valid', `is not valid before ${new Date(certificate.notBeforeMs).toISOString()}`, 'check the clock');
  if (nowMs > certificate.notAfterMs) fault('expired', `ended at ${new Date(certificate.notAfterMs).toISOString()}`, 'ask for a new one');
  const key = parsePublicKey(certificate.publicKey);
  if (!key.ok) fault(key.reason, `has a key that cannot be used: ${key.detail}`);
  if (above !== certificate && !hasStrongDigest(certificate.signatureAlgorithm)) fault('signature-weak', 'is not signed with SHA-2');
  if (above !== undefined && !isSignedBy(certificate, above)) fault('signature-invalid', `is not signed by "${nameOf(above)}"`);
  for (const id of otherCritical) if (!harmlessCritical.has(id)) fault('critical-extension', `has the critical extension ${id}, which verifiers refuse`);
  for (const { tag, content } of subjectAltNames ?? []) {
    const uri = content.toString('latin1');
    // SPIFFE X509-SVID 3.2: a signing certificate's ID has no path, and should be in the trust domain it issues for.
    if (tag === generalNameTags.uri && uri.startsWith('spiffe://') && uri !== `spiffe://${trustDomain}`) fault('spiffe-id', `names ${JSON.stringify(uri.slice(0, 256))}, and the trust domain is "spiffe://${trustDomain}"`);
  }
  return faults;
}

function isSignedBy(certificate: Certificate, above: Certificate): boolean {
  const key = openSslView(above.der)?.publicKey;
  return key !== undefined && openSslView(certificate.der)?.verify(key) === true;
}

/** The subject on one line, as OpenSSL prints it. */
function nameOf(certificate: Certificate): string {
  return openSslView(certificate.der)?.subject?.replaceAll(/\s*\n\s*/g, ', ').replaceAll(/[^\x20-\x7e]/g, '?') ?? `serial ${certificate.serialNumber}`;
}

/** OpenSSL's reading of a certificate, or undefined where it cannot use the certificate or its key. */
function openSslView(der: Buffer): { readonly subject: string | undefined; readonly publicKey: KeyObject; readonly verify: (key: KeyObject) => boolean } | undefined {
  try {
    const view = new X509Certificate(der);
    return { subject: view.subject, publicKey: view.publicKey, verify: (key) => view.verify(key) };
  } catch {
    return undefined;
  }
}
