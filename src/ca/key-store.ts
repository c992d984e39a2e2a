/**
 * Where the CA is kept: one text with all slots, replaced as a whole. In a directory it is a file of mode 0600; others may keep it elsewhere.
 * Keys are encrypted with AES-256-GCM under a key
 * derived by scrypt where a passphrase is given, and PKCS#8 else; certificates stand in the clear.
 */
import { constants } from 'node:fs';
import { mkdir, open, readFile, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { createCipheriv, createDecipheriv, createPrivateKey, randomBytes, scrypt, type KeyObject, type ScryptOptions } from 'node:crypto';
import * as z from 'zod';
import { parseCertificate, type Certificate } from '../core/x509/certificate.ts';
import { SallyportError } from '../core/errors.ts';
import { certificatesOfPem, certificatesToPem } from '../core/x509/pem.ts';
import { caChain, type CaChain, type Issuer } from './issuer.ts';
import { publicKeyDerOf } from './profiles.ts';
import { noSlots, type RotationState } from './rotation.ts';

/** Work and memory of scrypt: 128 * cost * blockSize bytes. */
export interface ScryptCost {
  readonly cost: number;
  readonly blockSize: number;
  readonly parallelization: number;
}

const defaultCost: ScryptCost = { cost: 2 ** 17, blockSize: 8, parallelization: 1 }; // 128 MiB, about 0.3 s: OWASP's first choice
const fileName = 'ca.json';
const textBytesMax = 4_194_304;

const base64 = z.base64();
const storedKey = z.union([z.strictObject({ pkcs8: base64 }), z.strictObject({ iv: base64, ciphertext: base64, tag: base64 })]);
const milliseconds = z.int().min(0);
const storedIssuer = { certificates: z.string(), key: storedKey };
const storedFile = z.strictObject({
  version: z.literal(1),
  // Bounds on what a changed file can make us spend.
  encryption: z
    .strictObject({
      kdf: z.literal('scrypt'),
      cost: z.int().min(2 ** 10).max(2 ** 20).refine((cost) => Number.isInteger(Math.log2(cost)), 'must be a power of two'),
      blockSize: z.int().min(1).max(8),
      parallelization: z.int().min(1).max(4),
      salt: base64,
    })
    .nullable(),
  requested: z.strictObject({ csr: z.string(), key: storedKey }).nullable(),
  prepared: z.strictObject({ ...storedIssuer, publishedAtMs: milliseconds.nullable(), acknowledged: z.boolean() }).nullable(),
  active: z.strictObject({ ...storedIssuer, issuedUntilMs: milliseconds }).nullable(),
  old: z.array(z.strictObject({ certificates: z.string(), retireAtMs: milliseconds })).max(64),
});
type StoredFile = z.infer<typeof storedFile>;
type StoredKey = z.infer<typeof storedKey>;

export interface CaStore {
  /** What was saved last, or empty slots. Throws `ca-key-invalid` for a wrong or missing passphrase and for a file that others may read, `ca-certificate-invalid` for damage. */
  readonly load: () => Promise<RotationState>;
  /**
   * Returns when the slots are kept. After a crash it is the old or the new ones. Calls must not overlap. Gives what another process has
   * saved since the last `load` or `save`, where one has: then these are not kept.
   */
  readonly save: (state: RotationState) => Promise<RotationState | undefined>;
}

/** Where the text is kept. */
export interface CaStorage {
  /** As messages name it. */
  readonly place: string;
  /** Undefined: nothing was written yet. */
  read(): Promise<string | undefined>;
  /** Replaces what was read or written last; where it was replaced by another since, nothing is written. */
  write(text: string): Promise<'written' | 'outdated'>;
}

export interface CaStoreOptions {
  readonly passphrase?: string;
  readonly scryptCost?: ScryptCost;
}

/** A directory for the CA's slots, mode 0700; made by the first save. It is one process's. */
export function openCaDirectory(directory: string, options: CaStoreOptions = {}): CaStore {
  const file = join(directory, fileName);
  return openCaStore(
    {
      place: file,
      read: () => readText(file),
      write: async (text) => {
        await replaceFile(directory, fileName, text);
        return 'written';
      },
    },
    options,
  );
}

export function openCaStore(storage: CaStorage, { passphrase, scryptCost = defaultCost }: CaStoreOptions = {}): CaStore {
  const { place } = storage;
  let vault: KeyVault | undefined; // the derived key is kept: scrypt is dear, and the passphrase's use is to make it

  async function load(): Promise<RotationState> {
    const text = await storage.read();
    if (text === undefined) return noSlots;
    const stored = parseStored(text, place);
    if (stored.encryption === null) return restore(stored, undefined, place);
    if (passphrase === undefined) throw new SallyportError('ca-key-invalid', `the CA keys in "${place}" are encrypted, and no passphrase was given`, { place, hint: 'give the passphrase that the CA was made with' });
    const isKnown = vault?.encryption.salt === stored.encryption.salt;
    const candidate = isKnown ? vault! : await createVault(passphrase, stored.encryption);
    const state = restore(stored, candidate, place);
    vault = candidate; // only a passphrase that opened it may encrypt its successor
    return state;
  }

  return {
    load,
    save: async (state) => {
      if (passphrase !== undefined) vault ??= await createVault(passphrase, { ...scryptCost, salt: randomBytes(16).toString('base64') });
      const outcome = await storage.write(`${JSON.stringify(store(state, vault), undefined, 2)}\n`);
      return outcome === 'written' ? undefined : await load();
    },
  };
}

/** Encrypts keys. `binding` ties a ciphertext to its place, so that two slots cannot be swapped. */
interface KeyVault {
  readonly encryption: NonNullable<StoredFile['encryption']>;
  readonly seal: (plaintext: Buffer, binding: string) => Extract<StoredKey, { iv: string }>;
  /** Undefined when the key or the text is not right. */
  readonly unseal: (sealed: Extract<StoredKey, { iv: string }>, binding: string) => Buffer | undefined;
}

async function createVault(passphrase: string, parameters: ScryptCost & { readonly salt: string }): Promise<KeyVault> {
  const { cost, blockSize, parallelization, salt } = parameters;
  const options: ScryptOptions = { cost, blockSize, parallelization, maxmem: 128 * blockSize * (cost + parallelization + 2) };
  const key = await new Promise<Buffer>((resolve, reject) => {
    scrypt(passphrase.normalize('NFC'), Buffer.from(salt, 'base64'), 32, options, (error, derived) => {
      if (error === null) resolve(derived);
      else reject(error);
    });
  });
  return {
    encryption: { kdf: 'scrypt', cost, blockSize, parallelization, salt },
    seal: (plaintext, binding) => {
      const iv = randomBytes(12);
      const cipher = createCipheriv('aes-256-gcm', key, iv).setAAD(Buffer.from(binding));
      const ciphertext = Buffer.concat([cipher.update(plaintext), cipher.final()]);
      return { iv: iv.toString('base64'), ciphertext: ciphertext.toString('base64'), tag: cipher.getAuthTag().toString('base64') };
    },
    unseal: (sealed, binding) => {
      try {
        const decipher = createDecipheriv('aes-256-gcm', key, Buffer.from(sealed.iv, 'base64'), { authTagLength: 16 }).setAAD(Buffer.from(binding));
        decipher.setAuthTag(Buffer.from(sealed.tag, 'base64'));
        return Buffer.concat([decipher.update(Buffer.from(sealed.ciphertext, 'base64')), decipher.final()]);
      } catch {
        return undefined; // the tag does not fit: what OpenSSL says more is nothing
      }
    },
  };
}

function store(state: RotationState, vault: KeyVault | undefined): StoredFile {
  const key = (privateKey: KeyObject, binding: string): StoredKey => {
    const pkcs8 = privateKey.export({ type: 'pkcs8', format: 'der' });
    return vault === undefined ? { pkcs8: pkcs8.toString('base64') } : vault.seal(pkcs8, binding);
  };
  const pem = (chain: CaChain): string => certificatesToPem(chain.certificates.map(({ der }) => der));
  const issuer = ({ chain, privateKey }: Issuer): { certificates: string; key: StoredKey } => ({ certificates: pem(chain), key: key(privateKey, chain.fingerprint) });
  const { requested, prepared, active, old } = state;
  return {
    version: 1,
    encryption: vault?.encryption ?? null,
    requested: requested && { csr: requested.csrPem, key: key(requested.privateKey, 'requested') },
    prepared: prepared && { ...issuer(prepared.issuer), publishedAtMs: prepared.publishedAtMs, acknowledged: prepared.acknowledged },
    active: active && { ...issuer(active.issuer), issuedUntilMs: active.issuedUntilMs },
    old: old.map(({ chain, retireAtMs }) => ({ certificates: pem(chain), retireAtMs })),
  };
}

function restore(stored: StoredFile, vault: KeyVault | undefined, file: string): RotationState {
  const key = (storedKey: StoredKey, binding: string): KeyObject => {
    const pkcs8 = 'pkcs8' in storedKey ? Buffer.from(storedKey.pkcs8, 'base64') : vault?.unseal(storedKey, binding);
    if (pkcs8 === undefined) throw new SallyportError('ca-key-invalid', `the CA keys in "${file}" cannot be decrypted`, { place: file, hint: 'check the passphrase; if it is right, the file was changed: restore it from a backup' });
    try {
      return createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' });
    } catch {
      throw damaged(file, 'a CA key is not readable');
    }
  };
  const chain = (pem: string): CaChain => {
    const certificates = certificatesOfPem(pem).map((der): Certificate => {
      const parsed = parseCertificate(der);
      if (!parsed.ok) throw damaged(file, parsed.detail);
      return parsed.certificate;
    });
    const [first, ...above] = certificates;
    if (first === undefined) throw damaged(file, 'a slot has no certificate');
    return caChain([first, ...above]);
  };
  const issuer = (slot: { certificates: string; key: StoredKey }): Issuer => {
    const slotChain = chain(slot.certificates);
    const privateKey = key(slot.key, slotChain.fingerprint);
    if (!publicKeyDerOf(privateKey).equals(slotChain.certificates[0].publicKey)) throw damaged(file, 'a CA key does not belong to its certificate');
    return { chain: slotChain, privateKey };
  };
  const { requested, prepared, active, old } = stored;
  return {
    requested: requested && { csrPem: requested.csr, privateKey: key(requested.key, 'requested') },
    prepared: prepared && { issuer: issuer(prepared), publishedAtMs: prepared.publishedAtMs, acknowledged: prepared.acknowledged },
    active: active && { issuer: issuer(active), issuedUntilMs: active.issuedUntilMs },
    old: old.map(({ certificates, retireAtMs }) => ({ chain: chain(certificates), retireAtMs })),
  };
}

const damaged = (file: string, what: string, cause?: unknown): SallyportError =>
  new SallyportError('ca-certificate-invalid', `the CA's file "${file}" is damaged: ${what}`, { place: file, hint: 'restore it from a backup', cause });

async function readText(file: string): Promise<string | undefined> {
  try {
    const { mode, size } = await stat(file);
    if ((mode & (constants.S_IRWXG | constants.S_IRWXO)) !== 0) throw new SallyportError('ca-key-invalid', `others may read the CA keys in "${file}" (mode ${(mode & 0o777).toString(8)})`, { place: file, hint: `chmod 600 ${file}` });
    if (size > textBytesMax) throw damaged(file, `${size} bytes are more than ${textBytesMax}`);
    return await readFile(file, 'utf8');
  } catch (error) {
    if (error instanceof SallyportError) throw error;
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new SallyportError('file-unreadable', `the CA's file "${file}" cannot be read`, { place: file, cause: error });
  }
}

function parseStored(text: string, place: string): StoredFile {
  const parsed = storedFile.safeParse(parseJson(text));
  if (!parsed.success) throw damaged(place, 'it is not what was written');
  return parsed.data;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // refused by the schema; the parser's message would quote the file
  }
}

/** Writes beside, then renames; both the file and its directory entry are on disk when it returns. */
async function replaceFile(directory: string, name: string, content: string): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const temporary = join(directory, `${name}.new`);
  await rm(temporary, { force: true }); // of a writer that was killed
  const file = await open(temporary, 'wx', 0o600);
  try {
    await file.writeFile(content);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(temporary, join(directory, name));
  const entry = await open(directory, 'r');
  try {
    await entry.sync();
  } finally {
    await entry.close();
  }
}
