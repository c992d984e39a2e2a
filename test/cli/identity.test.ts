import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { CaStatus, StatusResult, TokenResult } from '../../src/api/admin.ts';
import { requirePeer } from '../support/peers.ts';
import { startTestControl, type TestControl } from '../support/control.ts';
import { commandLine, type CommandLine } from './support/command-line.ts';

const bigip = 'spiffe://cluster.local/ns/bookinfo/sa/bigip';
const alice = 'spiffe://cluster.local/admin/alice';

describe('sallyport: identity', () => {
  let server: TestControl;
  let sallyport: CommandLine;
  before(function () {
    requirePeer(this, 'openssl');
  });
  beforeEach(async () => {
    server = await startTestControl({ admin: { host: '127.0.0.1', port: 0 }, administrators: new Set([alice]) });
    sallyport = commandLine(join(server.directory, 'admin.sock'));
  });
  afterEach(() => server.close());

  const path = (name: string) => join(server.directory, name);
  const slots = async () => (JSON.parse((await sallyport(['ca', 'show', '-o', 'json'])).out) as CaStatus).slots;

  function openssl(...args: readonly string[]): string {
    const { status, stdout, stderr } = spawnSync('openssl', args, { cwd: server.directory, encoding: 'utf8', timeout: 20_000 });
    assert.equal(status, 0, `openssl ${args.join(' ')}: ${stderr}`);
    return stdout + stderr;
  }

  function makeRoot(): void {
    openssl('req', '-x509', '-new', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', 'root.key', '-out', 'root.pem', '-subj', '/O=Bank/CN=Root', '-days', '30', '-addext', 'keyUsage=critical,keyCertSign,cRLSign');
    writeFileSync(path('ca.cnf'), '[e]\nbasicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n');
  }

  /** What the organisation's root does with a request. */
  function signByRoot(request: string, certificate: string): void {
    openssl('x509', '-req', '-in', request, '-CA', 'root.pem', '-CAkey', 'root.key', '-CAcreateserial', '-days', '20', '-extfile', 'ca.cnf', '-extensions', 'e', '-out', certificate);
  }

  describe('ca', () => {
    it('init makes a demo CA once', async () => {
      const { status, out } = await sallyport(['ca', 'init']);
      assert.equal(status, 0);
      assert.match(out, /^SLOT +SUBJECT +UNTIL +KEY +FINGERPRINT\nactive +O=Sallyport demo, /);
      const again = await sallyport(['ca', 'init']);
      assert.equal(again.status, 5);
      assert.match(again.err, /error: the CA is initialized already\nhint: /);
    });

    it('csr, signed by the organisation\'s root, becomes the CA by import', async () => {
      makeRoot();
      assert.deepEqual(await sallyport(['ca', 'csr', '--subject', 'Sallyport CA 1', '--out', path('ca.csr')]), { status: 0, out: '', err: '' });
      signByRoot('ca.csr', 'ca.pem');
      writeFileSync(path('chain.pem'), readFileSync(path('ca.pem'), 'utf8') + readFileSync(path('root.pem'), 'utf8'));
      const imported = await sallyport(['ca', 'import', '--chain', path('chain.pem')]);
      assert.equal(imported.status, 0, imported.err);
      assert.deepEqual((await slots()).map(({ slot, subject }) => [slot, subject.includes('CN=Sallyport CA 1')]), [['active', true]]);
      writeFileSync(path('bundle.pem'), (await sallyport(['ca', 'export'])).out);
      await sallyport(['cert', 'issue', bigip, '--out', path('leaf')]);
      openssl('verify', '-x509_strict', '-CAfile', 'bundle.pem', '-untrusted', 'leaf.pem', 'leaf.pem');
    });

    it('csr prints the request where no file is named', async () => {
      const { status, out } = await sallyport(['ca', 'csr']);
      assert.equal(status, 0);
      writeFileSync(path('ca.csr'), out);
      assert.match(openssl('req', '-in', 'ca.csr', '-noout', '-subject', '-verify'), /Sallyport intermediate CA/);
    });

    it('import takes PKCS#12, and prepares a second CA until rotate', async () => {
      await sallyport(['ca', 'init']);
      makeRoot();
      openssl('req', '-new', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', 'next.key', '-out', 'next.csr', '-subj', '/CN=Next');
      signByRoot('next.csr', 'next.pem');
      openssl('pkcs12', '-export', '-inkey', 'next.key', '-in', 'next.pem', '-certfile', 'root.pem', '-out', 'next.p12', '-passout', 'pass:geheim');
      writeFileSync(path('pass'), 'geheim\n');
      writeFileSync(path('wrong'), 'falsch\n');
      assert.equal((await sallyport(['ca', 'import', '--pkcs12', path('next.p12'), '--passphrase-file', path('wrong')])).status, 2);
      const imported = await sallyport(['ca', 'import', '--pkcs12', path('next.p12'), '--passphrase-file', path('pass')]);
      assert.equal(imported.status, 0, imported.err);
      assert.deepEqual((await slots()).map(({ slot }) => slot), ['prepared', 'active']);
      assert.match((await sallyport(['ca', 'rotate'])).out, /^active +CN=Next .*\nold /m);
    });

    it('import names every fault of a chain', async () => {
      makeRoot();
      openssl('req', '-new', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', 'leaf.key', '-out', 'leaf.csr', '-subj', '/CN=Leaf');
      openssl('x509', '-req', '-in', 'leaf.csr', '-CA', 'root.pem', '-CAkey', 'root.key', '-CAcreateserial', '-days', '20', '-out', 'leaf.pem');
      writeFileSync(path('leaf-chain.pem'), readFileSync(path('leaf.pem'), 'utf8') + readFileSync(path('root.pem'), 'utf8'));
      const { status, err } = await sallyport(['ca', 'import', '--chain', path('leaf-chain.pem'), '--private-key', path('leaf.key')]);
      assert.equal(status, 2);
      assert.ok([...err.matchAll(/\[[a-z0-9-]+\]$/gm)].length >= 2, err);
      assert.deepEqual(await slots(), []);
    });

    it('import refuses what it was not given, or cannot read', async () => {
      assert.equal((await sallyport(['ca', 'import'])).status, 2);
      assert.equal((await sallyport(['ca', 'import', '--chain', 'a', '--pkcs12', 'b'])).status, 2);
      const { status, err } = await sallyport(['ca', 'import', '--pkcs12', path('missing.p12')]);
      assert.equal(status, 2);
      assert.match(err, /missing\.p12" cannot be read \(ENOENT\)/);
    });
  });

  describe('cert', () => {
    beforeEach(() => sallyport(['ca', 'init']));

    it('issue writes key, chain and bundle that only the owner may read, also over files that others could', async () => {
      writeFileSync(path('gw.key.pem'), 'old');
      chmodSync(path('gw.key.pem'), 0o644);
      const { status, out, err } = await sallyport(['cert', 'issue', bigip, '--dns', 'bigip.example', 'gate.example', '--ip', '10.4.0.201', '--lifetime', '30d', '--out', path('gw')]);
      assert.equal(status, 0, err);
      assert.equal(out, ['gw.bundle.pem', 'gw.key.pem', 'gw.pem'].map((name) => `${path(name)}\n`).join(''));
      assert.match(err, new RegExp(`^${bigip}, serial [0-9a-f]+, until 20`));
      for (const name of ['gw.bundle.pem', 'gw.key.pem', 'gw.pem']) assert.equal(statSync(path(name)).mode & 0o777, 0o600, name);
      openssl('verify', '-x509_strict', '-CAfile', 'gw.bundle.pem', '-untrusted', 'gw.pem', 'gw.pem');
      const names = openssl('x509', '-in', 'gw.pem', '-noout', '-ext', 'subjectAltName');
      assert.match(names, /URI:spiffe:\/\/cluster\.local\/ns\/bookinfo\/sa\/bigip/);
      assert.match(names, /DNS:bigip\.example, DNS:gate\.example, IP Address:10\.4\.0\.201/);
      assert.equal(openssl('x509', '-in', 'gw.pem', '-noout', '-pubkey'), openssl('pkey', '-in', 'gw.key.pem', '-pubout'));
    });

    it('issue --pkcs12 writes what openssl opens with the passphrase', async () => {
      writeFileSync(path('pass'), 'geheim\n');
      const { status, out } = await sallyport(['cert', 'issue', bigip, '--pkcs12', '--passphrase-file', path('pass'), '--out', path('gw')]);
      assert.equal(status, 0);
      assert.equal(out, `${path('gw.bundle.pem')}\n${path('gw.p12')}\n`);
      assert.equal(statSync(path('gw.p12')).mode & 0o777, 0o600);
      const opened = openssl('pkcs12', '-in', 'gw.p12', '-passin', 'pass:geheim', '-nodes');
      assert.equal(opened.match(/BEGIN CERTIFICATE/g)?.length, 2);
      assert.match(opened, /BEGIN PRIVATE KEY/);
      assert.equal((await sallyport(['cert', 'issue', bigip, '--pkcs12'])).status, 2);
    });

    it('issue --purpose admin makes the certificate with which the CLI speaks mTLS', async () => {
      const issued = await sallyport(['cert', 'issue', alice, '--purpose', 'admin', '--out', path('alice')]);
      assert.equal(issued.status, 0, issued.err);
      const mtls = ['--server', `127.0.0.1:${server.control.adminPort!}`, '--cert', path('alice.pem'), '--key', path('alice.key.pem'), '--trust-bundle', path('alice.bundle.pem')];
      const { status, out, err } = await sallyport(['status', ...mtls, '-o', 'json']);
      assert.equal(status, 0, err);
      assert.equal((JSON.parse(out) as StatusResult).ready, true);
      const other = await sallyport(['status', ...mtls, '--server-identity', 'spiffe://cluster.local/ns/evil/sa/control']);
      assert.equal(other.status, 6);
      const without = await sallyport(['status', ...mtls.slice(0, 2)]);
      assert.equal(without.status, 2);
      assert.match(without.err, /needs --cert, --key and --trust-bundle\nhint: /);
      await sallyport(['cert', 'revoke', alice]);
      assert.equal((await sallyport(['status', ...mtls])).status, 4);
    });

    it('issue refuses another trust domain, a span that is none, and a place that cannot be written', async () => {
      for (const [args, said] of [
        [['spiffe://other.example/ns/a/sa/b'], /is not of trust domain "cluster\.local"/],
        [['bigip'], /does not begin with "spiffe:\/\/"/],
        [[bigip, '--lifetime', 'long'], /"long" is not a time span/],
        [[bigip, '--ip', '10.0.0'], /"10\.0\.0" is not an address/],
        [[bigip, '--out', path('missing/gw')], /cannot be written \(ENOENT\)/],
      ] as const) {
        const { status, err } = await sallyport(['cert', 'issue', '--out', path('x'), ...args]);
        assert.equal(status, 2, err);
        assert.match(err, said);
      }
    });

    it('inspect says what a certificate proves, in PEM and DER, with status 1 for what is no SVID', async () => {
      await sallyport(['cert', 'issue', bigip, '--out', path('gw')]);
      const { status, out } = await sallyport(['cert', 'inspect', path('gw.pem')]);
      assert.equal(status, 0);
      assert.match(out, new RegExp(`^certificate 1 of 2\\n {2}X509-SVID of ${bigip}\\n`));
      assert.match(out, /certificate 2 of 2\n {2}CA certificate\n/);
      openssl('x509', '-in', 'gw.pem', '-outform', 'DER', '-out', 'gw.der');
      assert.match((await sallyport(['cert', 'inspect', path('gw.der')])).out, /^certificate 1 of 1\n {2}X509-SVID of /);
      openssl('req', '-x509', '-new', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', 'web.key', '-out', 'web.pem', '-subj', '/CN=web', '-addext', 'basicConstraints=critical,CA:FALSE', '-addext', 'subjectAltName=DNS:web.example');
      const web = await sallyport(['cert', 'inspect', path('web.pem')]);
      assert.equal(web.status, 1);
      assert.match(web.out, /not an X509-SVID: /);
      writeFileSync(path('cut.pem'), '-----BEGIN CERTIFICATE-----\nMIIB');
      for (const file of ['gw.key.pem', 'cut.pem', 'missing.pem']) assert.equal((await sallyport(['cert', 'inspect', path(file)])).status, 2, file);
    });

    it('revoke takes a serial number or an identity, once', async () => {
      await sallyport(['cert', 'issue', bigip, '--out', path('gw')]);
      const serial = /serial +([0-9a-f]+)/.exec((await sallyport(['cert', 'inspect', path('gw.pem')])).out)![1]!;
      assert.deepEqual(await sallyport(['cert', 'revoke', serial.toUpperCase()]), { status: 0, out: `${serial}\n`, err: '' });
      assert.equal((await sallyport(['cert', 'revoke', serial])).status, 3);
      await sallyport(['cert', 'issue', bigip, '--out', path('gw')]);
      assert.match((await sallyport(['cert', 'revoke', bigip])).out, /^[0-9a-f]+\n$/);
      assert.equal((await sallyport(['cert', 'revoke', bigip])).status, 3);
      assert.equal((await sallyport(['cert', 'revoke', 'xyz'])).status, 2);
    });
  });

  describe('token create', () => {
    it('prints the token alone on stdout, and what it is good for on stderr', async () => {
      const { status, out, err } = await sallyport(['token', 'create', bigip, '--ttl', '1m']);
      assert.equal(status, 0);
      assert.match(out, /^sallyport-join-[A-Za-z0-9_-]{43}\n$/);
      assert.match(err, new RegExp(`^for ${bigip}, once, until 20[0-9TZ:.-]+\\n$`));
      const json = JSON.parse((await sallyport(['token', 'create', bigip, '-o', 'json'])).out) as TokenResult;
      assert.deepEqual(Object.keys(json), ['token', 'spiffeId', 'purpose', 'expiresAt']);
    });

    it('--for proxy makes one that buys what an Envoy needs, for as long as --lifetime says', async () => {
      const json = JSON.parse((await sallyport(['token', 'create', bigip, '--for', 'proxy', '--lifetime', '90d', '-o', 'json'])).out) as TokenResult;
      assert.equal(json.purpose, 'proxy');
      for (const args of [['--for', 'server'], ['--for', 'proxy', '--lifetime', '400d'], ['--for', 'proxy', '--lifetime', 'long'], ['--lifetime', '1h']]) {
        assert.equal((await sallyport(['token', 'create', bigip, ...args])).status, 2, args.join(' '));
      }
    });

    it('refuses what is no identity, no span or too long', async () => {
      for (const args of [['http://x'], [bigip, '--ttl', 'soon'], [bigip, '--ttl', '400d'], ['spiffe://other.example/a']]) assert.equal((await sallyport(['token', 'create', ...args])).status, 2, args.join(' '));
    });
  });
});
