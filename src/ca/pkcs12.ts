/**
 * Writes PKCS#12 (RFC 7292): a key and its chain in one file under one passphrase, the form that BIG-IP and JVMs take.
 * AES-256-CBC under PBKDF2 with HMAC-SHA-256 (PBES2, RFC 8018 6.2), integrity by HMAC-SHA-256: the strongest that OpenSSL from 1.1
 * and JDK from 8u301 both read.
 */
import { createCipheriv, createHmac, hash, pbkdf2, randomBytes as cryptoRandomBytes, type KeyObject } from 'node:crypto';
import { promisify } from 'node:util';
import { constructed, encode, integer, nullElement, objectIdentifier, octetString, primitive, sequence, setOf, tags } from '../core/x509/der.ts';
import { derivePkcs12, pkcs12Purpose } from './pkcs12-kdf.ts';

/** Object identifiers that writer and reader share (RFC 7292 appendix D, RFC 8018 appendix C, RFC 5652). */
export const pkcs12Ids = {
  data: '1.2.840.113549.1.7.1',
  encryptedData: '1.2.840.113549.1.7.6',
  keyBag: '1.2.840.113549.1.12.10.1.1',
  shroudedKeyBag: '1.2.840.113549.1.12.10.1.2',
  certBag: '1.2.840.113549.1.12.10.1.3',
  x509Certificate: '1.2.840.113549.1.9.22.1',
  friendlyName: '1.2.840.113549.1.9.20',
  localKeyId: '1.2.840.113549.1.9.21',
  pbes2: '1.2.840.113549.1.5.13',
  pbkdf2: '1.2.840.113549.1.5.12',
  aes256Cbc: '2.16.840.1.101.3.4.1.42',
  hmacSha256: '1.2.840.113549.2.9',
  sha256: '2.16.840.1.101.3.4.2.1',
} as const;

const iterations = 10_000; // as the JVM writes; a strong passphrase is what protects the file

export interface Pkcs12Content {
  readonly privateKey: KeyObject;
  /** Leaf first. */
  readonly chainDer: readonly Buffer[];
  readonly passphrase: string;
  /** The entry's name: `keytool` calls it alias. */
  readonly friendlyName: string;
}

/** A PKCS#12 file. The passphrase may be empty, though some programs do not open such a file. */
export async function exportPkcs12({ privateKey, chainDer, passphrase, friendlyName }: Pkcs12Content, randomBytes: (size: number) => Buffer = cryptoRandomBytes): Promise<Buffer> {
  // The same local key id joins the key with its certificate.
  const attributes = setOf(
    attribute(pkcs12Ids.friendlyName, encode(tags.bmpString, Buffer.from(friendlyName, 'utf16le').swap16())),
    attribute(pkcs12Ids.localKeyId, octetString(hash('sha256', chainDer[0] ?? Buffer.alloc(0), 'buffer').subarray(0, 20))),
  );
  const certificateBags = chainDer.map((der, index) =>
    sequence(objectIdentifier(pkcs12Ids.certBag), constructed(0, sequence(objectIdentifier(pkcs12Ids.x509Certificate), constructed(0, octetString(der)))), ...(index === 0 ? [attributes] : [])));
  const certificates = await encryptPbes2(sequence(...certificateBags), passphrase, randomBytes);
  const key = await encryptPbes2(privateKey.export({ type: 'pkcs8', format: 'der' }), passphrase, randomBytes);
  const keyBag = sequence(objectIdentifier(pkcs12Ids.shroudedKeyBag), constructed(0, sequence(key.algorithm, octetString(key.ciphertext))), attributes);

  const encryptedData = sequence(integer(0), sequence(objectIdentifier(pkcs12Ids.data), certificates.algorithm, primitive(0, certificates.ciphertext)));
  const authenticatedSafe = sequence(
    sequence(objectIdentifier(pkcs12Ids.encryptedData), constructed(0, encryptedData)),
    sequence(objectIdentifier(pkcs12Ids.data), constructed(0, octetString(sequence(keyBag)))),
  );
  const salt = randomBytes(16);
  const macKey = await derivePkcs12('sha256', passphrase, { salt, iterations, purpose: pkcs12Purpose.mac, bytes: 32 });
  const mac = createHmac('sha256', macKey).update(authenticatedSafe).digest();
  return sequence(
    integer(3),
    sequence(objectIdentifier(pkcs12Ids.data), constructed(0, octetString(authenticatedSafe))),
    sequence(sequence(sequence(objectIdentifier(pkcs12Ids.sha256), nullElement), octetString(mac)), octetString(salt), integer(iterations)),
  );
}

const attribute = (type: string, value: Buffer): Buffer => sequence(objectIdentifier(type), setOf(value));

async function encryptPbes2(plaintext: Buffer, passphrase: string, randomBytes: (size: number) => Buffer): Promise<{ readonly algorithm: Buffer; readonly ciphertext: Buffer }> {
  const salt = randomBytes(16);
  const iv = randomBytes(16);
  const key = await promisify(pbkdf2)(passphrase, salt, iterations, 32, 'sha256');
  const cipher = createCipheriv('aes-256-cbc', key, iv);
  const derivation = sequence(objectIdentifier(pkcs12Ids.pbkdf2), sequence(octetString(salt), integer(iterations), sequence(objectIdentifier(pkcs12Ids.hmacSha256), nullElement)));
  const encryption = sequence(objectIdentifier(pkcs12Ids.aes256Cbc), octetString(iv));
  return {
    algorithm: sequence(objectIdentifier(pkcs12Ids.pbes2), sequence(derivation, encryption)),
    ciphertext: Buffer.concat([cipher.update(plaintext), cipher.final()]),
  };
}
