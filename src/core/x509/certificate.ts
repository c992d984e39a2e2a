/**
 * X.509 certificates as bytes say them (RFC 5280): read once from DER, every field that a decision hangs on, no text in between.
 * Reading checks the form only. Whether a certificate is trusted is the business of TLS and of src/ca.
 */
import { hash } from 'node:crypto';
import { DerFault, DerReader, constructedTag, contextTag, encode, objectIdentifier, parseDer, boolean, octetString, tags } from './der.ts';

export const certificateBytesMax = 65_536; // a large real one has 4 KiB; OpenSSL's limit for a whole chain is 100 KiB

/** Object identifiers of RFC 5280 4.2.1 and of PKCS#9. */
export const extensionIds = {
  subjectKeyId: '2.5.29.14',
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  nameConstraints: '2.5.29.30',
  authorityKeyId: '2.5.29.35',
  extendedKeyUsage: '2.5.29.37',
} as const;

export const serverAuth = '1.3.6.1.5.5.7.3.1';
export const clientAuth = '1.3.6.1.5.5.7.3.2';
export const anyExtendedKeyUsage = '2.5.29.37.0';

/** Bits of keyUsage (RFC 5280 4.2.1.3), as a mask of 1 << bit. */
export const keyUsages = { digitalSignature: 1 << 0, keyEncipherment: 1 << 2, keyCertSign: 1 << 5, crlSign: 1 << 6 } as const;

/** A name of subjectAltName or nameConstraints: its context tag, and its bytes. */
export interface GeneralName {
  readonly tag: number;
  readonly content: Buffer;
}
export const generalNameTags = { dns: contextTag(2), directory: constructedTag(4), uri: contextTag(6), ip: contextTag(7) } as const;

export interface Extensions {
  /** Null for each that is absent. */
  readonly basicConstraints: { readonly ca: boolean; readonly pathLength: number | null } | null;
  readonly keyUsage: number | null;
  readonly extendedKeyUsage: readonly string[] | null;
  readonly subjectAltNames: readonly GeneralName[] | null;
  readonly nameConstraints: { readonly permitted: readonly GeneralName[]; readonly excluded: readonly GeneralName[] } | null;
  readonly subjectKeyId: Buffer | null;
  /** Marked critical and not among the above. */
  readonly otherCritical: readonly string[];
}

export interface Certificate {
  readonly der: Buffer;
  /** What the signature covers. */
  readonly tbs: Buffer;
  readonly signatureAlgorithm: Buffer;
  readonly signature: Buffer;
  /** Lower-case hexadecimal, two digits a byte, without the sign's zero byte. */
  readonly serialNumber: string;
  /** Names as DER; compared byte by byte. */
  readonly issuer: Buffer;
  readonly subject: Buffer;
  readonly notBeforeMs: number;
  /** The last second of validity is included (RFC 5280 4.1.2.5). */
  readonly notAfterMs: number;
  readonly publicKey: Buffer;
  readonly extensions: Extensions;
}

export type CertificateParse = { readonly ok: true; readonly certificate: Certificate } | { readonly ok: false; readonly detail: string };

/** Reads one certificate of version 1 or 3, with nothing after it. Answers with the reason for anything else; never throws. */
export function parseCertificate(der: Buffer): CertificateParse {
  if (der.length > certificateBytesMax) return { ok: false, detail: `a certificate of ${der.length} bytes is larger than ${certificateBytesMax}` };
  const parsed = parseDer(() => readCertificate(der));
  return parsed.ok ? { ok: true, certificate: parsed.value } : { ok: false, detail: `not a certificate: ${parsed.detail}` };
}

/** SHA-256 of the whole certificate, lower-case hexadecimal: what ledger and CLI call a CA by. */
export const fingerprintOf = (der: Buffer): string => hash('sha256', der, 'hex');

function readCertificate(der: Buffer): Certificate {
  const outer = new DerReader(der);
  const whole = outer.enter(tags.sequence);
  outer.finish();
  const tbs = whole.readWhole(tags.sequence);
  const signatureAlgorithm = whole.readWhole(tags.sequence);
  const signature = whole.wholeBytes();
  whole.finish();

  const fields = new DerReader(tbs).enter(tags.sequence);
  const version = fields.sees(constructedTag(0)) ? fields.enter(constructedTag(0)).small() : 0;
  if (version !== 0 && version !== 2) throw new DerFault('version is neither 1 nor 3');
  const serialNumber = fields.unsigned().toString('hex');
  if (!fields.readWhole(tags.sequence).equals(signatureAlgorithm)) throw new DerFault('signature algorithms inside and outside differ'); // RFC 5280 4.1.1.2
  const issuer = fields.readWhole(tags.sequence);
  const validity = fields.enter(tags.sequence);
  const notBeforeMs = validity.time();
  const notAfterMs = validity.time();
  validity.finish();
  const subject = fields.readWhole(tags.sequence);
  const publicKey = fields.readWhole(tags.sequence);
  for (const uniqueId of [contextTag(1), contextTag(2)]) if (fields.sees(uniqueId)) fields.read(uniqueId);
  let extensions = noExtensions;
  if (fields.sees(constructedTag(3))) {
    if (version !== 2) throw new DerFault('extensions in a certificate of version 1');
    const holder = fields.enter(constructedTag(3));
    extensions = readExtensions(holder.enter(tags.sequence));
    holder.finish();
  }
  fields.finish();
  return { der, tbs, signatureAlgorithm, signature, serialNumber, issuer, subject, notBeforeMs, notAfterMs, publicKey, extensions };
}

export const noExtensions: Extensions = {
  basicConstraints: null,
  keyUsage: null,
  extendedKeyUsage: null,
  subjectAltNames: null,
  nameConstraints: null,
  subjectKeyId: null,
  otherCritical: [],
};

/** Reads the content of an Extensions sequence, of a certificate or of a CSR's request. Throws DerFault. */
export function readExtensions(reader: DerReader): Extensions {
  const found: { -readonly [name in keyof Extensions]: Extensions[name] } = { ...noExtensions };
  const otherCritical: string[] = [];
  const seen = new Set<string>();
  while (!reader.atEnd) {
    const extension = reader.enter(tags.sequence);
    const id = extension.objectIdentifier();
    if (seen.has(id)) throw new DerFault(`extension ${id} is there twice`); // RFC 5280 4.2; which one counts would depend on the reader
    seen.add(id);
    // DER leaves a FALSE out, some issuers write it: one meaning, so it is accepted.
    const critical = extension.sees(tags.boolean) && extension.boolean();
    const value = extension.enter(tags.octetString);
    extension.finish();
    switch (id) {
      case extensionIds.basicConstraints:
        found.basicConstraints = readBasicConstraints(value);
        break;
      case extensionIds.keyUsage:
        found.keyUsage = readKeyUsage(value);
        break;
      case extensionIds.extendedKeyUsage:
        found.extendedKeyUsage = readEach(value.enter(tags.sequence), (list) => list.objectIdentifier());
        break;
      case extensionIds.subjectAltName:
        found.subjectAltNames = readEach(value.enter(tags.sequence), (list) => list.any());
        break;
      case extensionIds.nameConstraints:
        found.nameConstraints = readNameConstraints(value.enter(tags.sequence));
        break;
      case extensionIds.subjectKeyId:
        found.subjectKeyId = value.read(tags.octetString);
        break;
      default:
        if (critical) otherCritical.push(id);
        continue; // not ours to read
    }
    value.finish();
  }
  return { ...found, otherCritical };
}

function readBasicConstraints(value: DerReader): NonNullable<Extensions['basicConstraints']> {
  const constraints = value.enter(tags.sequence);
  const ca = constraints.sees(tags.boolean) && constraints.boolean();
  const pathLength = constraints.sees(tags.integer) ? constraints.small() : null;
  constraints.finish();
  return { ca, pathLength };
}

function readKeyUsage(value: DerReader): number {
  const bytes = value.bits();
  let mask = 0;
  for (let bit = 0; bit < Math.min(bytes.length * 8, 16); bit++) if ((bytes[bit >> 3]! & (0x80 >> (bit & 7))) !== 0) mask |= 1 << bit;
  return mask;
}

function readNameConstraints(constraints: DerReader): NonNullable<Extensions['nameConstraints']> {
  const subtrees = (number: number): readonly GeneralName[] =>
    constraints.sees(constructedTag(number))
      ? readEach(constraints.enter(constructedTag(number)), (list) => {
          const subtree = list.enter(tags.sequence);
          const base = subtree.any();
          subtree.finish(); // RFC 5280 4.2.1.10: minimum and maximum are not used
          return base;
        })
      : [];
  const permitted = subtrees(0);
  const excluded = subtrees(1);
  constraints.finish();
  return { permitted, excluded };
}

function readEach<T>(list: DerReader, read: (list: DerReader) => T): readonly T[] {
  const values: T[] = [];
  while (!list.atEnd) values.push(read(list));
  return values;
}

/** One extension as DER. */
export const extension = (id: string, value: Uint8Array, { critical = false } = {}): Buffer =>
  encode(tags.sequence, objectIdentifier(id), ...(critical ? [boolean(true)] : []), octetString(value));
