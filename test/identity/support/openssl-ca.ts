/** A certificate authority made of the openssl program, so that what is accepted was not written by our own CA. */
import { execFile } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { createCsr } from '../../../src/core/x509/csr.ts';
import { certificatesOfPem, toPem } from '../../../src/core/x509/pem.ts';

const run = promisify(execFile);

export interface IssuedKeyPair {
  /** Leaf, then the intermediate. */
  readonly certificateChainPem: string;
  readonly privateKeyPem: string;
}

export interface OpensslCa {
  readonly rootPem: string;
  /** Signs a CSR (DER) for a SPIFFE ID, one day. The answer is DER: leaf, intermediate. `uris` replaces the one URI SAN. */
  sign(csr: Uint8Array, spiffeId: string, uris?: readonly string[]): Promise<readonly Buffer[]>;
  issue(spiffeId: string): Promise<IssuedKeyPair>;
  remove(): Promise<void>;
}

export async function createOpensslCa(): Promise<OpensslCa> {
  const directory = await mkdtemp(join(tmpdir(), 'sallyport-openssl-ca-'));
  const path = (name: string) => join(directory, name);
  const openssl = (...args: string[]) => run('openssl', args, { cwd: directory });
  const newKey = (name: string) => openssl('ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', name);
  const caExtensions = (length: string) => `basicConstraints=critical,CA:TRUE${length}\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n`;
  let count = 0;

  await newKey('root.key');
  await openssl('req', '-x509', '-new', '-key', 'root.key', '-subj', '/CN=root', '-days', '30', '-out', 'root.pem', '-addext', 'keyUsage=critical,keyCertSign,cRLSign');
  await newKey('intermediate.key');
  await openssl('req', '-new', '-key', 'intermediate.key', '-subj', '/CN=intermediate', '-out', 'intermediate.csr');
  await writeFile(path('intermediate.ext'), caExtensions(',pathlen:0'));
  await openssl('x509', '-req', '-in', 'intermediate.csr', '-CA', 'root.pem', '-CAkey', 'root.key', '-CAcreateserial', '-days', '20', '-extfile', 'intermediate.ext', '-out', 'intermediate.pem');
  const [rootPem, intermediatePem] = await Promise.all([readFile(path('root.pem'), 'utf8'), readFile(path('intermediate.pem'), 'utf8')]);

  async function sign(csr: Uint8Array, spiffeId: string, uris = [spiffeId]): Promise<readonly Buffer[]> {
    const name = `leaf-${(count += 1)}`;
    const extensions = `basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth,clientAuth\nsubjectAltName=critical,${uris.map((uri) => `URI:${uri}`).join(',')}\n`;
    await Promise.all([writeFile(path(`${name}.csr`), csr), writeFile(path(`${name}.ext`), extensions)]);
    await openssl('x509', '-req', '-inform', 'DER', '-in', `${name}.csr`, '-CA', 'intermediate.pem', '-CAkey', 'intermediate.key', '-set_serial', `0x${(4096 + count).toString(16)}`, '-days', '1', '-extfile', `${name}.ext`, '-out', `${name}.pem`);
    return [...certificatesOfPem(await readFile(path(`${name}.pem`), 'utf8')), ...certificatesOfPem(intermediatePem)];
  }

  return {
    rootPem,
    sign,
    async issue(spiffeId) {
      const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
      const chain = await sign(createCsr(privateKey), spiffeId);
      return { certificateChainPem: chain.map((der) => toPem('CERTIFICATE', der)).join(''), privateKeyPem: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString() };
    },
    remove: () => rm(directory, { recursive: true, force: true }),
  };
}
