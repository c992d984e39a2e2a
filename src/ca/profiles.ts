/** What our certificates say, as DER (RFC 5280, SPIFFE X509-SVID section 4). certs/README.md shows the same as a table. */
import { createPublicKey, hash, sign, type KeyObject } from 'node:crypto';
import { promisify } from 'node:util';
import { clientAuth, extension, extensionIds, generalNameTags, keyUsages, serverAuth, type GeneralName } from '../core/x509/certificate.ts';
import { DerReader, bitString, boolean, constructed, encode, integer, namedBits, objectIdentifier, octetString, primitive, sequence, tags, time } from '../core/x509/der.ts';
import { invariant } from '../core/errors.ts';
import { addressToNumber, familyOf, type IpAddress } from '../core/ip-address.ts';
import { keyKindOf, signatureAlgorithmOf, type Digest, type KeyKind } from '../core/x509/public-key.ts';
import type { CertificateIssued } from '../core/ledger-record.ts';
import { trustDomainOf, type SpiffeId, type TrustDomain } from '../core/spiffe-id.ts';
import { proxyMark } from '../core/x509/x509-svid.ts';
import { emptyName } from './distinguished-name.ts';

/** A private key that signs without holding up the event loop. */
export interface Signer {
  /** AlgorithmIdentifier. */
  readonly algorithm: Buffer;
  readonly sign: (bytes: Buffer) => Promise<Buffer>;
}

export function createSigner(privateKey: KeyObject): Signer {
  const key = keyKindOf(privateKey);
  invariant(key.ok, 'a signer has a key of a supported kind');
  const { digest, identifier } = signatureAlgorithmOf(key.kind);
  // An EC signature takes 25 us, less than handing it to another thread; an RSA signature takes 0.3 to 2 ms.
  if (key.kind.type === 'ec') return { algorithm: identifier, sign: (bytes) => Promise.resolve(sign(digest, bytes, privateKey)) };
  return { algorithm: identifier, sign: (bytes) => signOnPool(digest, bytes, privateKey) };
}

const signOnPool = promisify(sign as (digest: Digest, bytes: Buffer, key: KeyObject, done: (error: Error | null, signature: Buffer) => void) => void);

/** 20 random bytes as a positive serial number of constant length (RFC 5280 4.1.2.2 allows 20 octets). */
export function serialNumber(randomBytes: (size: number) => Buffer): Buffer {
  const serial = randomBytes(20);
  serial[0] = (serial[0]! & 0x3f) | 0x40;
  return serial;
}

/** SHA-256 of the key's bits cut to 160 (RFC 7093 2, method 1). Takes a SubjectPublicKeyInfo that was read before. */
export function keyIdOf(publicKeyDer: Buffer): Buffer {
  const spki = new DerReader(publicKeyDer).enter(tags.sequence);
  spki.read(tags.sequence);
  return hash('sha256', spki.wholeBytes(), 'buffer').subarray(0, 20);
}

export const publicKeyDerOf = (privateKey: KeyObject): Buffer => createPublicKey(privateKey).export({ type: 'spki', format: 'der' });

export interface CertificateFields {
  readonly serial: Buffer;
  /** Names as DER. */
  readonly issuer: Buffer;
  readonly subject: Buffer;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  readonly publicKeyDer: Buffer;
  readonly extensions: readonly Buffer[];
}

/** Writes and signs one certificate of version 3. DER. */
export async function writeCertificate(signer: Signer, fields: CertificateFields): Promise<Buffer> {
  const tbs = sequence(
    version3,
    integer(fields.serial),
    signer.algorithm,
    fields.issuer,
    sequence(time(fields.notBeforeMs), time(fields.notAfterMs)),
    fields.subject,
    fields.publicKeyDer,
    constructed(3, sequence(...fields.extensions)),
  );
  return sequence(tbs, signer.algorithm, bitString(await signer.sign(tbs)));
}

const version3 = constructed(0, integer(2));
const notACa = extension(extensionIds.basicConstraints, sequence(), { critical: true });
const bothDirections = extension(extensionIds.extendedKeyUsage, sequence(objectIdentifier(serverAuth), objectIdentifier(clientAuth)));
const clientOnly = extension(extensionIds.extendedKeyUsage, sequence(objectIdentifier(clientAuth)));
const ecLeafUsage = extension(extensionIds.keyUsage, namedBits(keyUsages.digitalSignature), { critical: true });
// TLS 1.2 with RSA key transport only; harmless, and what BIG-IP and older JVMs expect of an RSA server.
const rsaLeafUsage = extension(extensionIds.keyUsage, namedBits(keyUsages.digitalSignature | keyUsages.keyEncipherment), { critical: true });
const caUsage = extension(extensionIds.keyUsage, namedBits(keyUsages.keyCertSign | keyUsages.crlSign), { critical: true });

export interface LeafNames {
  readonly spiffeId: SpiffeId;
  readonly dnsNames?: readonly string[];
  readonly ipAddresses?: readonly IpAddress[];
}

/** The names of a leaf as they stand in its subjectAltName: exactly one URI, and beside it the mark of a proxy certificate. */
export const leafGeneralNames = ({ spiffeId, dnsNames = [], ipAddresses = [] }: LeafNames, purpose: CertificateIssued['purpose']): readonly GeneralName[] => [
  ...[spiffeId, ...(purpose === 'proxy' ? [proxyMark(trustDomainOf(spiffeId))] : [])].map((uri) => ({ tag: generalNameTags.uri, content: Buffer.from(uri, 'latin1') })),
  ...dnsNames.map((name) => ({ tag: generalNameTags.dns, content: Buffer.from(name, 'latin1') })),
  ...ipAddresses.map((address) => ({ tag: generalNameTags.ip, content: addressBytes(address) })),
];

const addressBytes = (address: IpAddress): Buffer => Buffer.from(addressToNumber(address).toString(16).padStart(familyOf(address) === 'ipv4' ? 8 : 32, '0'), 'hex');

/** The issuer's key as a leaf names it. Built once an issuer. */
export const authorityKeyId = (keyId: Buffer): Buffer => extension(extensionIds.authorityKeyId, sequence(primitive(0, keyId)));

/** Extensions of a leaf. A proxy's has one direction only, and is by that no X509-SVID (docs/decisions/0600). An empty subject makes subjectAltName critical (RFC 5280 4.2.1.6). */
export function leafExtensions(leaf: { readonly purpose: CertificateIssued['purpose']; readonly names: readonly GeneralName[]; readonly subject: Buffer; readonly publicKeyDer: Buffer; readonly keyType: KeyKind['type']; readonly authorityKeyId: Buffer }): readonly Buffer[] {
  return [
    leaf.keyType === 'rsa' ? rsaLeafUsage : ecLeafUsage,
    leaf.purpose === 'proxy' ? clientOnly : bothDirections,
    notACa,
    extension(extensionIds.subjectKeyId, octetString(keyIdOf(leaf.publicKeyDer))),
    leaf.authorityKeyId,
    extension(extensionIds.subjectAltName, sequence(...leaf.names.map(({ tag, content }) => encode(tag, content))), { critical: leaf.subject.equals(emptyName) }),
  ];
}

/** What makes a CA: asked for in its CSR and written into its certificate. A path length of 0 lets it sign leaves only. */
export const caRights = (pathLength: number | null): readonly Buffer[] => [
  caUsage,
  extension(extensionIds.basicConstraints, sequence(boolean(true), ...(pathLength === null ? [] : [integer(pathLength)])), { critical: true }),
];

/** The trust domain that a signing certificate is for (SPIFFE X509-SVID 3.2: an ID without path). */
export const trustDomainName = (trustDomain: TrustDomain): Buffer =>
  extension(extensionIds.subjectAltName, sequence(primitive(6, Buffer.from(`spiffe://${trustDomain}`, 'latin1'))));

export const subjectKeyId = (keyId: Buffer): Buffer => extension(extensionIds.subjectKeyId, octetString(keyId));
