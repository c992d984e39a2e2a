/** A root, an intermediate and whatever leaf a test asks for, the malformed ones included: made in memory, in a millisecond each. */
import { createPublicKey, generateKeyPairSync, randomBytes, sign, type KeyObject } from 'node:crypto';
import { clientAuth, extension, extensionIds, keyUsages, serverAuth } from '../../src/core/x509/certificate.ts';
import { bitString, boolean, constructed, integer, namedBits, objectIdentifier, primitive, sequence, setOf, time, utf8String } from '../../src/core/x509/der.ts';
import { toPem } from '../../src/core/x509/pem.ts';
import type { SpiffeId } from '../../src/core/spiffe-id.ts';

const commonName = (name: string): Buffer => sequence(setOf(sequence(objectIdentifier('2.5.4.3'), utf8String(name))));

/** How a name of a certificate is written: its tag (RFC 5280 section 4.2.1.6), and its bytes. */
const nameForms = {
  uri: (value: string) => primitive(6, Buffer.from(value, 'latin1')),
  dns: (value: string) => primitive(2, Buffer.from(value, 'latin1')),
  /** IPv4. */
  ip: (value: string) => primitive(7, Buffer.from(value.split('.').map(Number))),
  /** A user principal name, which is any text. */
  other: (value: string) => constructed(0, objectIdentifier('1.3.6.1.4.1.311.20.2.3'), constructed(0, utf8String(value))),
  /** The value is its common name. */
  directory: (value: string) => constructed(4, commonName(value)),
} as const;

export interface LeafOptions {
  /** Default: the SPIFFE ID as the one URI. */
  readonly names?: readonly { readonly type: keyof typeof nameForms; readonly value: string }[];
  /** Default: an hour ago, and an hour from now. */
  readonly notBeforeMs?: number;
  readonly notAfterMs?: number;
  readonly ca?: boolean;
  /** A mask of `keyUsages`. Default: digitalSignature, and keyCertSign for a CA. */
  readonly keyUsage?: number;
  readonly extendedKeyUsage?: readonly string[];
}

export interface Issued {
  readonly spiffeId: SpiffeId;
  /** The leaf and the intermediate. */
  readonly certificateChainPem: string;
  readonly certificatePem: string;
  readonly privateKeyPem: string;
  readonly trustBundlePem: string;
  readonly expiresAtMs: number;
  /** Lower-case hexadecimal. */
  readonly serialNumber: string;
}

export interface Pki {
  readonly rootPem: string;
  readonly intermediatePem: string;
  /** PKCS#8, for a control plane that is to issue by it. */
  readonly intermediateKeyPem: string;
  issue(spiffeId: string, options?: LeafOptions): Issued;
}

interface Authority {
  readonly name: Buffer;
  readonly key: KeyObject;
  readonly pem: string;
}

const hourMs = 3_600_000;
const ecdsaWithSha256 = sequence(objectIdentifier('1.2.840.10045.4.3.2'));
const keyPem = (key: KeyObject): string => String(key.export({ type: 'pkcs8', format: 'pem' }));
const newKey = (): KeyObject => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;

interface Fields {
  readonly subject: Buffer;
  readonly key: KeyObject;
  readonly serial: Buffer;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  readonly extensions: readonly Buffer[];
}

function certify(issuer: { readonly name: Buffer; readonly key: KeyObject }, { subject, key, serial, notBeforeMs, notAfterMs, extensions }: Fields): string {
  const tbs = sequence(
    constructed(0, integer(2)),
    integer(serial),
    ecdsaWithSha256,
    issuer.name,
    sequence(time(notBeforeMs), time(notAfterMs)),
    subject,
    createPublicKey(key).export({ type: 'spki', format: 'der' }),
    constructed(3, sequence(...extensions)),
  );
  return toPem('CERTIFICATE', sequence(tbs, ecdsaWithSha256, bitString(sign('sha256', tbs, issuer.key))));
}

const caExtensions = [
  extension(extensionIds.basicConstraints, sequence(boolean(true)), { critical: true }),
  extension(extensionIds.keyUsage, namedBits(keyUsages.keyCertSign | keyUsages.crlSign), { critical: true }),
];

const newSerial = (): Buffer => {
  const serial = randomBytes(20);
  serial[0] = 0x40;
  return serial;
};

function makeAuthority(name: string, issuer?: Authority): Authority {
  const key = newKey();
  const subject = commonName(name);
  const validity = { notBeforeMs: Date.now() - 24 * hourMs, notAfterMs: Date.now() + 24 * hourMs };
  return { name: subject, key, pem: certify(issuer ?? { name: subject, key }, { subject, key, serial: newSerial(), ...validity, extensions: caExtensions }) };
}

/** Two of them do not trust each other. */
export function makePki(): Pki {
  const id = randomBytes(4).toString('hex');
  const root = makeAuthority(`test root ${id}`);
  const intermediate = makeAuthority(`test intermediate ${id}`, root);

  return {
    rootPem: root.pem,
    intermediatePem: intermediate.pem,
    intermediateKeyPem: keyPem(intermediate.key),
    issue(spiffeId, options = {}) {
      const { ca = false, names = [{ type: 'uri', value: spiffeId }], notBeforeMs = Date.now() - hourMs, notAfterMs = Date.now() + hourMs } = options;
      const { keyUsage = keyUsages.digitalSignature | (ca ? keyUsages.keyCertSign : 0), extendedKeyUsage = [clientAuth, serverAuth] } = options;
      const key = newKey();
      const serial = newSerial();
      const certificatePem = certify(intermediate, {
        subject: sequence(),
        key,
        serial,
        notBeforeMs,
        notAfterMs,
        extensions: [
          extension(extensionIds.basicConstraints, ca ? sequence(boolean(true)) : sequence(), { critical: true }),
          extension(extensionIds.keyUsage, namedBits(keyUsage), { critical: true }),
          extension(extensionIds.extendedKeyUsage, sequence(...extendedKeyUsage.map(objectIdentifier))),
          extension(extensionIds.subjectAltName, sequence(...names.map(({ type, value }) => nameForms[type](value))), { critical: true }),
        ],
      });
      return {
        spiffeId: spiffeId as SpiffeId,
        certificateChainPem: certificatePem + intermediate.pem,
        certificatePem,
        privateKeyPem: keyPem(key),
        trustBundlePem: root.pem,
        expiresAtMs: notAfterMs,
        serialNumber: serial.toString('hex'),
      };
    },
  };
}
