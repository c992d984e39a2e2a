/** Opens PKCS#12 files (RFC 7292) as OpenSSL, the JVM and Windows write them: PBES2, and the older schemes with 3DES and RC2. */
import { createDecipheriv, createHmac, createPrivateKey, pbkdf2, timingSafeEqual, type KeyObject } from 'node:crypto';
import { promisify } from 'node:util';
import { DerFault, DerReader, constructedTag, contextTag, tags } from '../core/x509/der.ts';
import type { Fault } from '../core/errors.ts';
import type { ReadMaterial } from './issuer.ts';
import { derivePkcs12, pkcs12Purpose, type Pkcs12Digest } from './pkcs12-kdf.ts';
import { pkcs12Ids } from './pkcs12.ts';

const iterationsMax = 1_000_000; // the JVM writes 10,000; more is a way to keep us busy
const bagsMax = 64;

/** Why a file cannot be opened. Thrown within this file only. */
class Pkcs12Fault extends Error {
  readonly fault: Fault;
  constructor(fault: Fault) {
    super(fault.message);
    this.fault = fault;
  }
}
const fail = (code: string, message: string, hint?: string): never => {
  throw new Pkcs12Fault({ code, message, ...(hint === undefined ? {} : { hint }) });
};

/** Key and certificates of a PKCS#12 file whose integrity is by passphrase. Faults say why it does not open; never throws for its content. */
export async function openPkcs12(der: Buffer, passphrase: string): Promise<ReadMaterial> {
  const nothing = { privateKey: undefined, certificatesDer: [] };
  try {
    return { ...(await readPfx(der, passphrase)), faults: [] };
  } catch (error) {
    if (error instanceof Pkcs12Fault) return { ...nothing, faults: [error.fault] };
    if (error instanceof DerFault) return { ...nothing, faults: [{ code: 'pkcs12-malformed', message: `not a PKCS#12 file: ${error.message}`, hint: 'write it again with "openssl pkcs12 -export"' }] };
    throw error;
  }
}

async function readPfx(der: Buffer, passphrase: string): Promise<Omit<ReadMaterial, 'faults'>> {
  const outer = new DerReader(der);
  const pfx = outer.enter(tags.sequence);
  outer.finish();
  if (pfx.small() !== 3) throw new DerFault('version is not 3');
  const authenticatedSafe = readData(pfx.enter(tags.sequence));
  if (pfx.atEnd) fail('pkcs12-unprotected', 'the PKCS#12 file has no integrity check', 'write it again with a passphrase');
  await verifyMac(pfx.enter(tags.sequence), authenticatedSafe, passphrase);
  pfx.finish();

  const keys: KeyObject[] = [];
  const certificatesDer: Buffer[] = [];
  const contents = new DerReader(authenticatedSafe).enter(tags.sequence);
  for (let bags = 0; !contents.atEnd; ) {
    const safeContents = new DerReader(await readContentInfo(contents.enter(tags.sequence), passphrase)).enter(tags.sequence);
    for (; !safeContents.atEnd; bags++) {
      if (bags === bagsMax) fail('pkcs12-too-many-entries', `the PKCS#12 file has more than ${bagsMax} entries`, 'give a file with the CA only');
      const bag = safeContents.enter(tags.sequence);
      const type = bag.objectIdentifier();
      const value = bag.enter(constructedTag(0));
      if (type === pkcs12Ids.certBag) {
        const certificate = value.enter(tags.sequence);
        if (certificate.objectIdentifier() === pkcs12Ids.x509Certificate) certificatesDer.push(certificate.enter(constructedTag(0)).read(tags.octetString));
      } else if (type === pkcs12Ids.keyBag) {
        keys.push(privateKeyOf(value.readWhole(tags.sequence)));
      } else if (type === pkcs12Ids.shroudedKeyBag) {
        const shrouded = value.enter(tags.sequence);
        keys.push(privateKeyOf(await decrypt(shrouded.enter(tags.sequence), shrouded.read(tags.octetString), passphrase)));
      } // other bags hold nothing that a CA needs
    }
  }
  if (keys.length > 1) fail('several-keys', `the PKCS#12 file holds ${keys.length} private keys`, 'give a file with the CA only');
  return { privateKey: keys[0], certificatesDer };
}

function privateKeyOf(pkcs8: Buffer): KeyObject {
  try {
    return createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' });
  } catch {
    return fail('key-unreadable', 'the private key in the PKCS#12 file is not readable');
  }
}

function readData(contentInfo: DerReader): Buffer {
  if (contentInfo.objectIdentifier() !== pkcs12Ids.data) fail('pkcs12-unsupported', 'the PKCS#12 file is protected by a public key', 'write it again with a passphrase');
  return contentInfo.enter(constructedTag(0)).read(tags.octetString);
}

async function readContentInfo(contentInfo: DerReader, passphrase: string): Promise<Buffer> {
  const type = contentInfo.objectIdentifier();
  const content = contentInfo.enter(constructedTag(0));
  if (type === pkcs12Ids.data) return content.read(tags.octetString);
  if (type !== pkcs12Ids.encryptedData) return fail('pkcs12-unsupported', `the PKCS#12 file has content of type ${type}`, 'write it again with a passphrase');
  const encryptedData = content.enter(tags.sequence);
  encryptedData.small();
  const encrypted = encryptedData.enter(tags.sequence);
  encrypted.objectIdentifier();
  const algorithm = encrypted.enter(tags.sequence);
  return decrypt(algorithm, encrypted.read(contextTag(0)), passphrase);
}

const macDigests = new Map<string, { readonly digest: Pkcs12Digest; readonly bytes: number }>([
  ['1.3.14.3.2.26', { digest: 'sha1', bytes: 20 }],
  [pkcs12Ids.sha256, { digest: 'sha256', bytes: 32 }],
  ['2.16.840.1.101.3.4.2.2', { digest: 'sha384', bytes: 48 }],
  ['2.16.840.1.101.3.4.2.3', { digest: 'sha512', bytes: 64 }],
]);

async function verifyMac(macData: DerReader, authenticatedSafe: Buffer, passphrase: string): Promise<void> {
  const digestInfo = macData.enter(tags.sequence);
  const algorithm = digestInfo.enter(tags.sequence).objectIdentifier();
  const expected = digestInfo.read(tags.octetString);
  const salt = macData.read(tags.octetString);
  const iterations = macData.atEnd ? 1 : boundedIterations(macData.small());
  const { digest, bytes } = macDigests.get(algorithm) ?? fail('pkcs12-unsupported', `the PKCS#12 file has an integrity check of algorithm ${algorithm}`, 'write it again with "openssl pkcs12 -export -macalg sha256"');
  const key = await derivePkcs12(digest, passphrase, { salt, iterations, purpose: pkcs12Purpose.mac, bytes });
  const mac = createHmac(digest, key).update(authenticatedSafe).digest();
  if (mac.length !== expected.length || !timingSafeEqual(mac, expected)) fail('key-passphrase-wrong', 'the PKCS#12 file does not open: its integrity check fails', 'check the passphrase');
}

function boundedIterations(iterations: number): number {
  return iterations >= 1 && iterations <= iterationsMax ? iterations : fail('pkcs12-unsupported', `the PKCS#12 file wants ${iterations} iterations, which is not from 1 to ${iterationsMax}`);
}

/** PKCS#12's own schemes (RFC 7292 appendix C). OpenSSL 3 has no RC2 any more, which Windows and older programs wrote certificates with. */
const olderSchemes = new Map<string, { readonly cipher: 'des-ede3-cbc' | 'rc2'; readonly keyBytes: number }>([
  ['1.2.840.113549.1.12.1.3', { cipher: 'des-ede3-cbc', keyBytes: 24 }],
  ['1.2.840.113549.1.12.1.5', { cipher: 'rc2', keyBytes: 16 }],
  ['1.2.840.113549.1.12.1.6', { cipher: 'rc2', keyBytes: 5 }],
]);
const pbes2Ciphers = new Map([
  ['2.16.840.1.101.3.4.1.2', { cipher: 'aes-128-cbc', keyBytes: 16 }],
  ['2.16.840.1.101.3.4.1.22', { cipher: 'aes-192-cbc', keyBytes: 24 }],
  [pkcs12Ids.aes256Cbc, { cipher: 'aes-256-cbc', keyBytes: 32 }],
  ['1.2.840.113549.3.7', { cipher: 'des-ede3-cbc', keyBytes: 24 }],
]);
const hmacs = new Map([
  ['1.2.840.113549.2.7', 'sha1'],
  [pkcs12Ids.hmacSha256, 'sha256'],
  ['1.2.840.113549.2.10', 'sha384'],
  ['1.2.840.113549.2.11', 'sha512'],
]);

async function decrypt(algorithm: DerReader, ciphertext: Buffer, passphrase: string): Promise<Buffer> {
  const scheme = algorithm.objectIdentifier();
  const parameters = algorithm.enter(tags.sequence);
  if (scheme === pkcs12Ids.pbes2) return decryptPbes2(parameters, ciphertext, passphrase);
  const older = olderSchemes.get(scheme) ?? unsupportedCipher(scheme);
  const salt = parameters.read(tags.octetString);
  const iterations = boundedIterations(parameters.small());
  const key = await derivePkcs12('sha1', passphrase, { salt, iterations, purpose: pkcs12Purpose.key, bytes: older.keyBytes });
  const iv = await derivePkcs12('sha1', passphrase, { salt, iterations, purpose: pkcs12Purpose.iv, bytes: 8 });
  return older.cipher === 'rc2' ? await decryptRc2(ciphertext, key, iv) : decipher(older.cipher, key, iv, ciphertext);
}

async function decryptPbes2(parameters: DerReader, ciphertext: Buffer, passphrase: string): Promise<Buffer> {
  const derivation = parameters.enter(tags.sequence);
  const derivationId = derivation.objectIdentifier();
  if (derivationId !== pkcs12Ids.pbkdf2) return unsupportedCipher(derivationId);
  const kdf = derivation.enter(tags.sequence);
  const salt = kdf.read(tags.octetString);
  const iterations = boundedIterations(kdf.small());
  if (kdf.sees(tags.integer)) kdf.small(); // the key's length, which the cipher says too
  const hmacId = kdf.atEnd ? '1.2.840.113549.2.7' : kdf.enter(tags.sequence).objectIdentifier();
  const encryption = parameters.enter(tags.sequence);
  const cipherId = encryption.objectIdentifier();
  const { cipher, keyBytes } = pbes2Ciphers.get(cipherId) ?? unsupportedCipher(cipherId);
  const key = await promisify(pbkdf2)(passphrase, salt, iterations, keyBytes, hmacs.get(hmacId) ?? unsupportedCipher(hmacId));
  return decipher(cipher, key, encryption.read(tags.octetString), ciphertext);
}

const unsupportedCipher = (id: string): never => fail('pkcs12-unsupported', `the PKCS#12 file is encrypted with algorithm ${id}`, 'write it again with "openssl pkcs12 -export -keypbe AES-256-CBC -certpbe AES-256-CBC"');
const doesNotDecrypt = (): never => fail('pkcs12-malformed', 'the PKCS#12 file does not decrypt, though its passphrase is right');

function decipher(cipher: string, key: Buffer, iv: Buffer, ciphertext: Buffer): Buffer {
  try {
    const decryption = createDecipheriv(cipher, key, iv);
    return Buffer.concat([decryption.update(ciphertext), decryption.final()]);
  } catch {
    return doesNotDecrypt();
  }
}

async function decryptRc2(ciphertext: Buffer, key: Buffer, iv: Buffer): Promise<Buffer> {
  const { default: forge } = await import('node-forge'); // megabytes, for what hardly any file needs
  const decryption = forge.rc2.createDecryptionCipher(key.toString('latin1'), key.length * 8);
  decryption.start(iv.toString('latin1'));
  decryption.update(forge.util.createBuffer(ciphertext.toString('latin1')));
  return decryption.finish() ? Buffer.from(decryption.output.getBytes(), 'latin1') : doesNotDecrypt();
}
