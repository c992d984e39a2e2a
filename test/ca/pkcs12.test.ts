import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { X509Certificate, createPrivateKey, randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { createDemoPki, exportPkcs12, importIssuer, type DemoPki } from '../../src/ca/index.ts';
import { derivePkcs12, pkcs12Purpose } from '../../src/ca/pkcs12-kdf.ts';
import { openPkcs12 } from '../../src/ca/pkcs12-reader.ts';
import { certificatesOfPem, certificatesToPem } from '../../src/core/x509/pem.ts';
import { requirePeer } from '../support/peers.ts';
import { demoAuthority, pkcs8Pem, productpage, trustDomain, workspace, type Workspace } from './openssl.ts';

const passphrase = 'Schlüssel 7';

describe('PKCS#12', () => {
  let files: Workspace;
  before(() => { files = workspace(); });
  after(() => files.dispose());

  for (const keyKind of ['ec-p256', 'rsa-2048'] as const) {
    it(`of a server with a key of ${keyKind} is opened by openssl, with AES-256 and SHA-256, to the same key and chain`, async () => {
      const { authority } = await demoAuthority();
      const { privateKey, chainDer } = await authority.issueServerCertificate({ spiffeId: productpage, dnsNames: ['ftp.example.com'], keyKind });
      const p12 = await exportPkcs12({ privateKey: privateKey!, chainDer, passphrase, friendlyName: 'ftp partner' });
      files.write('server.p12', p12);
      const text = files.openssl('pkcs12', '-in', 'server.p12', '-passin', `pass:${passphrase}`, '-info', '-nodes', '-out', 'opened.pem');
      assert.match(text, /MAC: sha256/);
      assert.equal(text.match(/PBES2, PBKDF2, AES-256-CBC, Iteration 10000, PRF hmacWithSHA256/g)?.length, 2, 'key and certificates');
      const opened = files.read('opened.pem');
      assert.match(opened, /friendlyName: ftp partner/);
      assert.deepEqual(certificatesOfPem(opened), chainDer);
      assert.ok(createPrivateKey(opened).equals(privateKey!));
      assert.equal(p12.includes('ftp.example.com'), false, 'certificates are encrypted too');
    });

    it(`of a server with a key of ${keyKind} is opened by a JVM's keytool`, async function () {
      const keytool = requirePeer(this, 'keytool');
      this.timeout(30_000);
      const { authority } = await demoAuthority();
      const { privateKey, chainDer } = await authority.issueServerCertificate({ spiffeId: productpage, dnsNames: ['ftp.example.com'], keyKind });
      files.write('java.p12', await exportPkcs12({ privateKey: privateKey!, chainDer, passphrase: 'changeit', friendlyName: 'bigip' }));
      const list = (password: string) => spawnSync(keytool, ['-J-Duser.language=en', '-J-XX:TieredStopAtLevel=1', '-list', '-v', '-keystore', files.path('java.p12'), '-storepass', password], { encoding: 'utf8', timeout: 25_000 });
      const { status, stdout } = list('changeit');
      assert.equal(status, 0, stdout);
      assert.match(stdout, /Alias name: bigip/);
      assert.match(stdout, /Entry type: PrivateKeyEntry/);
      assert.match(stdout, /Certificate chain length: 2/);
      assert.ok(stdout.includes(new X509Certificate(chainDer[0]!).fingerprint256));
      assert.notEqual(list('wrong-one').status, 0);
    });
  }

  it('that we write we also read, under any passphrase and no other', async () => {
    const { authority } = await demoAuthority();
    const { privateKey, chainDer } = await authority.issueServerCertificate({ spiffeId: productpage });
    await fc.assert(fc.asyncProperty(fc.string({ unit: 'binary', maxLength: 40 }).filter((text) => text.isWellFormed()), async (secret) => {
      const p12 = await exportPkcs12({ privateKey: privateKey!, chainDer, passphrase: secret, friendlyName: 'x' });
      const opened = await openPkcs12(p12, secret);
      assert.deepEqual(opened.faults, []);
      assert.ok(opened.privateKey?.equals(privateKey!));
      assert.deepEqual([...opened.certificatesDer], [...chainDer]);
      assert.deepEqual((await openPkcs12(p12, `${secret}x`)).faults.map(({ code }) => code), ['key-passphrase-wrong']);
    }), { numRuns: 5 });
  });

  describe('made by openssl', () => {
    const pkis = new Map<string, DemoPki>();
    before(async () => {
      for (const keyKind of ['ec-p256', 'rsa-2048'] as const) {
        const pki = await createDemoPki({ trustDomain, nowMs: Date.now(), randomBytes, keyKind });
        pkis.set(keyKind, pki);
        files.write(`${keyKind}.pem`, pkcs8Pem(pki.intermediate.privateKey) + certificatesToPem(pki.intermediate.chain.certificates.map(({ der }) => der)));
      }
    });
    const make = (keyKind: string, options: readonly string[], secret = passphrase): Promise<Awaited<ReturnType<typeof importIssuer>>> => {
      files.openssl('pkcs12', '-export', '-in', `${keyKind}.pem`, '-passout', `pass:${secret}`, '-out', 'made.p12', ...options);
      files.openssl('base64', '-A', '-in', 'made.p12', '-out', 'made.b64');
      return importIssuer({ pkcs12: Buffer.from(files.read('made.b64'), 'base64'), passphrase: secret }, { trustDomain, nowMs: Date.now() });
    };

    const forms: readonly [what: string, options: readonly string[]][] = [
      ['as it does now', []],
      ['with AES-128 and SHA-512', ['-keypbe', 'AES-128-CBC', '-certpbe', 'AES-192-CBC', '-macalg', 'sha512']],
      ['as the JVM has it, with 10,000 iterations', ['-iter', '10000']],
      ['with 3DES and SHA-1', ['-keypbe', 'PBE-SHA1-3DES', '-certpbe', 'PBE-SHA1-3DES', '-macalg', 'sha1']],
      ['as it did before version 3, certificates with RC2', ['-legacy']],
      ['with certificates in the clear', ['-certpbe', 'NONE']],
      ['with the key in the clear', ['-keypbe', 'NONE']],
    ];
    for (const keyKind of ['ec-p256', 'rsa-2048'] as const) {
      for (const [what, options] of forms) {
        it(`${what} is imported, ${keyKind}`, async () => {
          const check = await make(keyKind, options);
          assert.ok(check.ok, check.ok ? '' : JSON.stringify(check.faults));
          assert.ok(check.issuer.privateKey.equals(pkis.get(keyKind)!.intermediate.privateKey));
          assert.equal(check.issuer.chain.certificates.length, 2);
        });
      }
    }

    const codes = async (pkcs12: Buffer, secret = passphrase): Promise<readonly string[]> => {
      const check = await importIssuer({ pkcs12, passphrase: secret }, { trustDomain, nowMs: Date.now() });
      return check.ok ? [] : check.faults.map(({ code }) => code);
    };
    const madeBytes = (): Buffer => Buffer.from(files.read('made.b64'), 'base64');

    it('is refused with a wrong passphrase, with that reason', async () => {
      await make('ec-p256', []);
      assert.deepEqual(await codes(madeBytes(), 'wrong'), ['key-passphrase-wrong']);
    });

    it('is refused without an integrity check', async () => {
      assert.deepEqual((await make('ec-p256', ['-nomac']).then((check) => (check.ok ? [] : check.faults))).map(({ code }) => code), ['pkcs12-unprotected']);
    });

    it('is refused when it wants more iterations than anyone needs', async () => {
      await make('ec-p256', ['-keypbe', 'NONE', '-certpbe', 'NONE', '-iter', '70000']);
      const bytes = madeBytes();
      bytes.writeUIntBE(0x7fffff, bytes.lastIndexOf(Buffer.from('0203011170', 'hex')) + 2, 3);
      assert.deepEqual(await codes(bytes), ['pkcs12-unsupported']);
    });

    it('is refused when cut, changed or nothing of the kind, and never throws', async () => {
      await make('ec-p256', ['-iter', '1']);
      const bytes = madeBytes();
      await fc.assert(fc.asyncProperty(fc.nat(bytes.length - 1), fc.nat(7), async (index, bit) => {
        const changed = Buffer.from(bytes);
        changed[index]! ^= 1 << bit;
        const opened = await openPkcs12(changed, passphrase);
        assert.ok(opened.faults.length > 0 || opened.privateKey !== undefined);
        assert.ok((await openPkcs12(bytes.subarray(0, index), passphrase)).faults.length > 0);
      }), { numRuns: 150 });
    });
  });

  it('derives keys as node-forge does', async () => {
    const { default: forge } = await import('node-forge');
    const salt = Buffer.from('0102030405060708', 'hex');
    for (const bytes of [5, 20, 24, 60]) {
      const ours = await derivePkcs12('sha1', 'geheim', { salt, iterations: 3, purpose: pkcs12Purpose.key, bytes });
      const theirs = forge.pkcs12.generateKey('geheim', forge.util.createBuffer(salt.toString('latin1')), 1, 3, bytes);
      assert.equal(ours.toString('hex'), theirs.toHex());
    }
  });
});
