/**
 * Certificate signing requests (PKCS#10, RFC 2986). A CSR proves possession of a key and nothing else: who the key belongs to is
 * what the caller proved by other means. So names in it give nothing, and a CSR that asks for more than its caller has is refused.
 */
import { createPublicKey, sign, type KeyObject } from 'node:crypto';
import { generalNameTags, keyUsages, noExtensions, readExtensions, type Extensions } from './certificate.ts';
import { DerFault, DerReader, bitString, constructed, constructedTag, integer, parseDer, sequence, tags } from './der.ts';
import { invariant, type ErrorCode } from '../errors.ts';
import { keyKindOf, parsePublicKey, signatureAlgorithmOf, signatureDigest, verifySignature, type KeyKind } from './public-key.ts';
import type { SpiffeId } from '../spiffe-id.ts';

export const csrBytesMax = 16_384; // an RSA-8192 request with some names has 3 KiB

export interface CertificateRequest {
  readonly keyKind: KeyKind;
  /** SubjectPublicKeyInfo as it stood in the request. */
  readonly publicKeyDer: Buffer;
  /** For logs and for `requestsOtherThan`; unproven. Without control characters. */
  readonly requestedUris: readonly string[];
  readonly requestedDnsNames: readonly string[];
}

export type CsrRefusal =
  | 'asks-for-another-name'
  | 'asks-for-ca-rights'
  | 'key-malformed'
  | 'key-unsupported'
  | 'key-weak'
  | 'malformed'
  | 'signature-algorithm'
  | 'signature-invalid'
  | 'too-large';

export interface CsrRefused {
  readonly ok: false;
  readonly reason: CsrRefusal;
  /** One sentence, safe to print. */
  readonly detail: string;
}
export type CsrParse = { readonly ok: true; readonly request: CertificateRequest } | CsrRefused;

/** The error code by which a refused CSR leaves the process. */
export const csrErrorCode = (reason: CsrRefusal): ErrorCode => (reason === 'key-weak' || reason === 'key-unsupported' ? 'csr-weak-key' : 'csr-invalid');

/** A CSR for `privateKey` (EC on P-256, P-384 or P-521, or RSA), as DER, without subject or names. */
export function createCsr(privateKey: KeyObject): Buffer {
  return signCsr(privateKey, { subject: sequence(), attributes: [] });
}

/** A CSR with a subject (a Name) and attributes, as DER. */
export function signCsr(privateKey: KeyObject, { subject, attributes }: { readonly subject: Buffer; readonly attributes: readonly Buffer[] }): Buffer {
  const key = keyKindOf(privateKey);
  invariant(key.ok, 'a CSR is made for a key that can be certified');
  const { digest, identifier } = signatureAlgorithmOf(key.kind);
  const publicKeyDer = createPublicKey(privateKey).export({ type: 'spki', format: 'der' });
  const requested = sequence(integer(0), subject, publicKeyDer, constructed(0, ...attributes));
  return sequence(requested, identifier, bitString(sign(digest, requested, privateKey)));
}

/**
 * Reads a CSR and verifies its signature. Accepts keys on P-256 and P-384 and RSA from 2048 to 8192 bits; not Ed25519 or P-521,
 * which Envoy and BIG-IP do not take as a peer's key. About 0.12 ms for P-256. Never throws.
 */
export function parseCsr(der: Buffer): CsrParse {
  if (der.length > csrBytesMax) return refuse('too-large', `a CSR of ${der.length} bytes is larger than ${csrBytesMax}`);
  const parsed = parseDer(() => readCsr(der));
  if (!parsed.ok) return refuse('malformed', `not a CSR: ${parsed.detail}`);
  const { signed, publicKeyDer, extensions, algorithm, signature } = parsed.value;

  const key = parsePublicKey(publicKeyDer);
  if (!key.ok) return refuse(key.reason, key.detail);
  if (key.kind.type === 'ec' && key.kind.curve === 'P-521') return refuse('key-unsupported', 'a key on P-521 is not on P-256 or P-384');
  const digest = signatureDigest(algorithm, key.kind.type);
  if (digest === undefined) return refuse('signature-algorithm', 'the CSR is not signed with SHA-2 by RSA (PKCS#1 v1.5) or ECDSA');
  const verified = verifySignature(digest, signed, publicKeyDer, signature);
  if (verified === 'key-malformed') return refuse('key-malformed', 'the public key is not valid, such as a point that is not on its curve');
  if (!verified) return refuse('signature-invalid', 'the CSR is not signed by the key that it holds');
  if (extensions.basicConstraints?.ca === true || ((extensions.keyUsage ?? 0) & (keyUsages.keyCertSign | keyUsages.crlSign)) !== 0) {
    return refuse('asks-for-ca-rights', 'the CSR asks for the rights of a CA');
  }
  const named = (tag: number): readonly string[] =>
    (extensions.subjectAltNames ?? []).filter((name) => name.tag === tag).map(({ content }) => content.toString('latin1').replaceAll(/[^\x20-\x7e]/g, '?'));
  return {
    ok: true,
    request: { keyKind: key.kind, publicKeyDer, requestedUris: named(generalNameTags.uri), requestedDnsNames: named(generalNameTags.dns) },
  };
}

/**
 * Refuses a request that names an identity other than the one its caller proved. Naming the caller's own is fine: Istio's
 * pilot-agent does. DNS names give nothing and are ignored.
 */
export function requestsOtherThan(request: CertificateRequest, spiffeId: SpiffeId): CsrRefused | undefined {
  const other = request.requestedUris.find((uri) => uri !== spiffeId);
  return other === undefined ? undefined : refuse('asks-for-another-name', `the CSR asks for ${JSON.stringify(other.slice(0, 256))}, and its caller is "${spiffeId}"`);
}

interface CsrFields {
  readonly signed: Buffer;
  readonly publicKeyDer: Buffer;
  readonly extensions: Extensions;
  readonly algorithm: Buffer;
  readonly signature: Buffer;
}

const extensionRequest = '1.2.840.113549.1.9.14'; // RFC 2985 5.4.2

function readCsr(der: Buffer): CsrFields {
  const outer = new DerReader(der);
  const whole = outer.enter(tags.sequence);
  outer.finish();
  const signed = whole.readWhole(tags.sequence);
  const algorithm = whole.readWhole(tags.sequence);
  const signature = whole.wholeBytes();
  whole.finish();

  const fields = new DerReader(signed).enter(tags.sequence);
  if (fields.small() !== 0) throw new DerFault('version is not 1');
  fields.read(tags.sequence); // the subject gives nothing
  const publicKeyDer = fields.readWhole(tags.sequence);
  let extensions: Extensions | undefined;
  // Attributes are not optional in RFC 2986; some old clients leave them out all the same.
  const attributes = fields.sees(constructedTag(0)) ? fields.enter(constructedTag(0)) : undefined;
  while (attributes?.atEnd === false) {
    const attribute = attributes.enter(tags.sequence);
    const isExtensionRequest = attribute.objectIdentifier() === extensionRequest;
    const values = attribute.enter(tags.set);
    attribute.finish();
    if (!isExtensionRequest) continue;
    if (extensions !== undefined) throw new DerFault('extensions are requested twice');
    extensions = readExtensions(values.enter(tags.sequence));
    values.finish();
  }
  fields.finish();
  return { signed, publicKeyDer, extensions: extensions ?? noExtensions, algorithm, signature };
}

const refuse = (reason: CsrRefusal, detail: string): CsrRefused => ({ ok: false, reason, detail });
