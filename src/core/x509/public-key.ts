/**
 * Public keys and signature algorithms: which ones Sallyport speaks, and how DER spells them. What is not in these tables is
 * refused, so an exotic key can neither enter by a CSR nor by an imported CA.
 */
import { createPublicKey, verify, type KeyObject } from 'node:crypto';
import { DerFault, DerReader, nullElement, objectIdentifier, parseDer, sequence, tags } from './der.ts';

export type KeyKind =
  | { readonly type: 'ec'; readonly curve: 'P-256' | 'P-384' | 'P-521' }
  | { readonly type: 'rsa'; readonly bits: number; readonly exponent: number };

export type Digest = 'sha256' | 'sha384' | 'sha512';

const rsaEncryption = '1.2.840.113549.1.1.1';
const rsassaPss = '1.2.840.113549.1.1.10';
const ecPublicKey = '1.2.840.10045.2.1';
/** RFC 5480 2.1.1.1; coordinates of so many bytes. */
const curves = new Map<string, { readonly curve: 'P-256' | 'P-384' | 'P-521'; readonly coordinateBytes: number }>([
  ['1.2.840.10045.3.1.7', { curve: 'P-256', coordinateBytes: 32 }],
  ['1.3.132.0.34', { curve: 'P-384', coordinateBytes: 48 }],
  ['1.3.132.0.35', { curve: 'P-521', coordinateBytes: 66 }],
]);

export const rsaBitsMin = 2048; // NIST SP 800-57: less is below 112 bits of strength
export const rsaBitsMax = 8192; // verifying grows with the square of it
const rsaExponentMin = 65_537; // FIPS 186-5 A.1.1; small ones have a history of broken paddings
const rsaExponentMax = 2 ** 32; // OpenSSL lets it grow to the modulus, which makes one verification cost a thousand

const signatureAlgorithms = new Map<string, { readonly type: KeyKind['type']; readonly digest: Digest }>([
  ['1.2.840.113549.1.1.11', { type: 'rsa', digest: 'sha256' }],
  ['1.2.840.113549.1.1.12', { type: 'rsa', digest: 'sha384' }],
  ['1.2.840.113549.1.1.13', { type: 'rsa', digest: 'sha512' }],
  ['1.2.840.10045.4.3.2', { type: 'ec', digest: 'sha256' }],
  ['1.2.840.10045.4.3.3', { type: 'ec', digest: 'sha384' }],
  ['1.2.840.10045.4.3.4', { type: 'ec', digest: 'sha512' }],
]);
const sha2 = new Set(['2.16.840.1.101.3.4.2.1', '2.16.840.1.101.3.4.2.2', '2.16.840.1.101.3.4.2.3']);

export type KeyParse =
  | { readonly ok: true; readonly kind: KeyKind }
  | { readonly ok: false; readonly reason: 'key-malformed' | 'key-unsupported' | 'key-weak'; readonly detail: string };

/**
 * Reads a SubjectPublicKeyInfo (RFC 5280 4.1.2.7). Accepts P-256, P-384, P-521 with uncompressed points, and RSA from 2048 to 8192
 * bits. What bytes do not show, that a point lies on its curve, OpenSSL checks when the key is used.
 */
export function parsePublicKey(spkiDer: Buffer): KeyParse {
  const parsed = parseDer(() => readKeyKind(spkiDer));
  if (!parsed.ok) return { ok: false, reason: 'key-malformed', detail: `the public key is not readable: ${parsed.detail}` };
  const kind = parsed.value;
  if (typeof kind === 'string') return { ok: false, reason: 'key-unsupported', detail: kind };
  const weakness = keyWeakness(kind);
  return weakness === undefined ? { ok: true, kind } : { ok: false, reason: 'key-weak', detail: weakness };
}

/**
 * Whether the key of a SubjectPublicKeyInfo made a signature, or `key-malformed` where OpenSSL cannot use that key. The key is
 * given as PEM because that is what costs least: a KeyObject takes 20 us more for P-256 and has to be freed by the garbage
 * collector, and DER takes as long, since Node finds out by exceptions that an object is not a key.
 */
export function verifySignature(digest: Digest, signed: Buffer, spkiDer: Buffer, signature: Buffer): boolean | 'key-malformed' {
  try {
    return verify(digest, signed, `-----BEGIN PUBLIC KEY-----\n${spkiDer.toString('base64')}\n-----END PUBLIC KEY-----\n`, signature);
  } catch {
    return 'key-malformed';
  }
}

/** The kind of a key already in memory, or the reason why it is not used. */
export const keyKindOf = (key: KeyObject): KeyParse => parsePublicKey((key.type === 'private' ? createPublicKey(key) : key).export({ type: 'spki', format: 'der' }));

function keyWeakness(kind: KeyKind): string | undefined {
  if (kind.type === 'ec') return undefined;
  if (kind.bits < rsaBitsMin) return `an RSA key of ${kind.bits} bits is weaker than ${rsaBitsMin}`;
  if (kind.bits > rsaBitsMax) return `an RSA key of ${kind.bits} bits is larger than ${rsaBitsMax}`;
  if (kind.exponent < rsaExponentMin || kind.exponent > rsaExponentMax || kind.exponent % 2 === 0) return `the RSA exponent is not an odd number from ${rsaExponentMin} to 2^32`;
  return undefined;
}

function readKeyKind(spkiDer: Buffer): KeyKind | string {
  const outer = new DerReader(spkiDer);
  const spki = outer.enter(tags.sequence);
  outer.finish();
  const algorithm = spki.enter(tags.sequence);
  const name = algorithm.objectIdentifier();
  const key = spki.wholeBytes();
  spki.finish();
  if (name === rsaEncryption) {
    algorithm.read(tags.null);
    algorithm.finish();
    const whole = new DerReader(key);
    const numbers = whole.enter(tags.sequence);
    whole.finish();
    const modulus = numbers.unsigned();
    const exponent = numbers.unsigned();
    numbers.finish();
    return { type: 'rsa', bits: modulus.length * 8 - Math.clz32(modulus[0]!) + 24, exponent: exponent.length > 6 ? Infinity : exponent.readUIntBE(0, exponent.length) };
  }
  if (name !== ecPublicKey) return `a key of algorithm ${name} is neither EC nor RSA`;
  // Only a named curve: explicit parameters let the sender choose the mathematics (CVE-2020-0601).
  if (!algorithm.sees(tags.objectIdentifier)) return 'an EC key with explicit parameters is not a key on a named curve';
  const curveName = algorithm.objectIdentifier();
  algorithm.finish();
  const curve = curves.get(curveName);
  if (curve === undefined) return `curve ${curveName} is none of P-256, P-384 and P-521`;
  if (key[0] !== 0x04 || key.length !== 1 + 2 * curve.coordinateBytes) throw new DerFault('the point is not uncompressed, or of the wrong size');
  return { type: 'ec', curve: curve.curve };
}

/** The digest of a signature by a key of `type`, or undefined where the AlgorithmIdentifier names anything but SHA-2 with RSA (PKCS#1 v1.5) or ECDSA. */
export function signatureDigest(algorithmIdentifierDer: Buffer, type: KeyKind['type']): Digest | undefined {
  const parsed = parseDer(() => new DerReader(algorithmIdentifierDer).enter(tags.sequence).objectIdentifier());
  const algorithm = parsed.ok ? signatureAlgorithms.get(parsed.value) : undefined;
  return algorithm?.type === type ? algorithm.digest : undefined;
}

/** Whether a certificate's signature is by SHA-2: RSA in both paddings, ECDSA. Organisations' roots may use RSASSA-PSS (RFC 4055 3.1), whose default is SHA-1. */
export function hasStrongDigest(algorithmIdentifierDer: Buffer): boolean {
  const parsed = parseDer(() => {
    const algorithm = new DerReader(algorithmIdentifierDer).enter(tags.sequence);
    const name = algorithm.objectIdentifier();
    if (name !== rsassaPss) return signatureAlgorithms.has(name);
    const parameters = algorithm.enter(tags.sequence);
    return parameters.sees(0xa0) && sha2.has(parameters.enter(0xa0).enter(tags.sequence).objectIdentifier());
  });
  return parsed.ok && parsed.value;
}

/** How a key signs: with the digest of its strength. */
export function signatureAlgorithmOf(kind: KeyKind): { readonly digest: Digest; readonly identifier: Buffer } {
  if (kind.type === 'rsa') return { digest: 'sha256', identifier: sequence(objectIdentifier('1.2.840.113549.1.1.11'), nullElement) };
  const digest = ({ 'P-256': 'sha256', 'P-384': 'sha384', 'P-521': 'sha512' } as const)[kind.curve];
  return { digest, identifier: sequence(objectIdentifier({ sha256: '1.2.840.10045.4.3.2', sha384: '1.2.840.10045.4.3.3', sha512: '1.2.840.10045.4.3.4' }[digest])) };
}
