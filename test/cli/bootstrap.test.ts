import assert from 'node:assert/strict';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, realpathSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { adminPaths } from '../../src/api/admin.ts';
import { parseMeshCertificate } from '../../src/core/x509/x509-svid.ts';
import { startTestControl, type TestControl } from '../support/control.ts';
import { commandLine, type CommandLine } from './support/command-line.ts';

const egress1 = 'spiffe://cluster.local/ns/sallyport-system/sa/egress-1';
const productpage = 'spiffe://cluster.local/ns/bookinfo/sa/productpage';
const files = ['svid.pem', 'key.pem', 'bundle.pem', 'sds/svid.yaml', 'sds/bundle.yaml'] as const;

interface Bootstrap {
  readonly node: { readonly id: string };
  readonly admin: { readonly address: unknown };
}

describe('sallyport bootstrap envoy', () => {
  let server: TestControl;
  /** Where the admin API can be reached. */
  let administrator: CommandLine;
  /** Where it cannot. */
  let elsewhere: CommandLine;
  let at: readonly string[];

  beforeEach(async () => {
    server = await startTestControl();
    administrator = commandLine(join(server.directory, 'admin.sock'));
    elsewhere = commandLine(path('nowhere.sock'));
    await server.admin.post(adminPaths.caInit, {});
    at = ['--control', `127.0.0.1:${server.control.meshPort!}`];
    await server.apply(['egress-1', 'egress-2'].map((name, index) => `apiVersion: sallyport.dev/v1alpha1\nkind: EgressGateway\nmetadata: {name: ${name}}\nspec: {class: ${name === 'egress-1' ? 'envoy' : 'sallyport'}, listen: [{address: 127.0.0.1, port: ${15443 + index}}]}`).join('\n---\n'));
  });
  afterEach(() => server.close());

  const path = (name: string) => join(server.directory, name);
  const directory = () => path('id');
  const bootstrap = (sallyport: CommandLine, ...args: readonly string[]) => sallyport(['bootstrap', 'envoy', ...at, '--identity-dir', directory(), ...args]);
  const inDirectory = (name: string) => readFileSync(join(directory(), name), 'utf8');

  /** Options for who has a token and no way to the admin API. */
  async function withToken(spiffeId: string, purpose: 'svid' | 'proxy' = 'proxy'): Promise<readonly string[]> {
    writeFileSync(path('token'), (await administrator(['token', 'create', '--for', purpose, spiffeId])).out);
    writeFileSync(path('bundle'), (await administrator(['ca', 'export'])).out);
    return ['--join-token-file', path('token'), '--trust-bundle', path('bundle')];
  }

  function certificate() {
    const leaf = new X509Certificate(inDirectory('svid.pem'));
    const parsed = parseMeshCertificate(leaf.raw);
    assert.ok(parsed.ok);
    assert.ok(leaf.checkPrivateKey(createPrivateKey(inDirectory('key.pem'))));
    return { purpose: parsed.purpose, ...parsed.svid };
  }

  it('needs nothing but the name of a gateway where the admin API is, and keeps what is secret in files for their owner', async () => {
    const { status, out, err } = await bootstrap(administrator, '--gateway', 'egress-1');
    assert.equal(status, 0, err);
    assert.equal((parse(out) as Bootstrap).node.id, egress1);
    const { purpose, spiffeId, notAfterMs } = certificate();
    assert.deepEqual({ purpose, spiffeId }, { purpose: 'proxy', spiffeId: egress1 });
    assert.match(err, new RegExp(`^enrolled ${egress1} in .*, until ${new Date(notAfterMs).toISOString()}\nrun this command again before then`));
    for (const name of files) assert.equal(statSync(join(directory(), name)).mode & 0o777, 0o600, name);
    assert.equal(statSync(directory()).mode & 0o777, 0o700);
    assert.doesNotMatch(out + err, /PRIVATE|sallyport-join-/);
  });

  it('tells Envoy files that stay where they are while the identity in them is renewed', async () => {
    const first = await bootstrap(administrator, '--gateway', 'egress-1');
    for (const [text, names] of [[first.out, ['sds/svid.yaml', 'sds/bundle.yaml']], [inDirectory('sds/svid.yaml'), ['svid.pem', 'key.pem']], [inDirectory('sds/bundle.yaml'), ['bundle.pem']]] as const) {
      for (const name of names) assert.ok(text.includes(`: ${join(directory(), name)}\n`), name);
    }
    const { serialNumber } = certificate();
    const secrets = inDirectory('sds/svid.yaml');
    const second = await bootstrap(administrator, '--gateway', 'egress-1');
    assert.equal(second.out, first.out);
    assert.match(second.err, /^renewed /);
    assert.notEqual(certificate().serialNumber, serialNumber);
    assert.equal(inDirectory('sds/svid.yaml'), secrets);
  });

  it('takes a token and a trust bundle where the admin API is not, and no second token to renew', async () => {
    const options = ['--gateway', 'egress-1', ...(await withToken(egress1))];
    const first = await bootstrap(elsewhere, ...options);
    assert.equal(first.status, 0, first.err);
    assert.equal((parse(first.out) as Bootstrap).node.id, egress1);
    const again = await bootstrap(elsewhere, ...options);
    assert.match(again.err, /^renewed /);
    const spent = await bootstrap(elsewhere, ...options, '--identity-dir', path('other'));
    assert.equal(spent.status, 4);
    assert.match(spent.err, /^error: the join token is unknown, spent or expired\nhint: /);
    assert.equal(spent.out, '');
    for (const name of files) assert.equal(existsSync(join(path('other'), name)), false, name);
  });

  it('makes sidecars for workloads, named and kept after them', async () => {
    const before = process.cwd();
    mkdirSync(path('cwd'));
    process.chdir(path('cwd'));
    try {
      for (const [args, kept, node] of [
        [['--sidecar', '--spiffe-id', productpage], 'bookinfo.productpage.identity', productpage],
        [['--gateway', 'egress-1', '--instance', 'b'], 'egress-1~b.identity', `${egress1}~b`],
      ] as const) {
        const { status, out, err } = await administrator(['bootstrap', 'envoy', ...at, '-o', 'json', ...args]);
        assert.equal(status, 0, err);
        const { node: { id }, admin } = JSON.parse(out) as Bootstrap;
        assert.equal(id, node);
        assert.deepEqual(admin, { address: { pipe: { path: join(realpathSync('.'), kept, 'admin.sock'), mode: 0o600 } } });
        assert.ok(existsSync(join(kept, 'svid.pem')));
      }
    } finally {
      process.chdir(before);
    }
  });

  it('opens the administration of Envoy to whom --admin-address says', async () => {
    const { out } = await bootstrap(administrator, '--gateway', 'egress-1', '--admin-address', '127.0.0.1:9901');
    assert.deepEqual((parse(out) as Bootstrap).admin, { address: { socket_address: { address: '127.0.0.1', port_value: 9901 } } });
    const long = await administrator(['bootstrap', 'envoy', ...at, '--gateway', 'egress-1', '--identity-dir', path('x'.repeat(100))]);
    assert.equal(long.status, 2);
    assert.match(long.err, /is longer than the path of a socket may be.*\nhint: .*--admin-address/);
    assert.equal(existsSync(path('x'.repeat(100))), false);
  });

  it('spends no token that is for an SVID', async () => {
    const options = ['--gateway', 'egress-1', ...(await withToken(egress1, 'svid'))];
    const { status, err } = await bootstrap(elsewhere, ...options);
    assert.equal(status, 4);
    assert.match(err, new RegExp(`^error: the join token is for an X509-SVID, not for a proxy certificate\nhint: .*--for proxy ${egress1}\n$`));
  });

  it('lets a revoked identity in again with a new token only', async () => {
    const options = ['--gateway', 'egress-1', ...(await withToken(egress1))];
    await bootstrap(elsewhere, ...options);
    const { serialNumber } = certificate();
    await administrator(['cert', 'revoke', serialNumber]);
    assert.equal((await bootstrap(elsewhere, ...options)).status, 4);
    assert.equal(certificate().serialNumber, serialNumber, 'what was there is there');
    const { status, err } = await bootstrap(administrator, '--gateway', 'egress-1');
    assert.equal(status, 0, err);
    assert.match(err, /^enrolled /);
  });

  it('changes nothing where the control plane is away', async () => {
    await bootstrap(administrator, '--gateway', 'egress-1');
    const { serialNumber } = certificate();
    writeFileSync(path('bundle'), inDirectory('bundle.pem'));
    at = ['--control', '127.0.0.1:1'];
    for (const result of [await bootstrap(administrator, '--gateway', 'egress-1'), await bootstrap(elsewhere, '--gateway', 'egress-1', '--join-token-file', path('none'), '--trust-bundle', path('bundle'))]) {
      assert.equal(result.status, 6, result.err);
      assert.equal(result.out, '');
    }
    assert.equal(certificate().serialNumber, serialNumber);
    const { status, err } = await bootstrap(elsewhere, '--gateway', 'egress-1');
    assert.equal(status, 6);
    assert.match(err, /nowhere\.sock.*\nhint: .*--join-token-file and --trust-bundle/);
  });

  it('writes over nobody else\'s identity', async () => {
    await bootstrap(administrator, '--gateway', 'egress-1');
    const { serialNumber } = certificate();
    const { status, err } = await bootstrap(administrator, '--sidecar', '--spiffe-id', productpage);
    assert.equal(status, 2);
    assert.match(err, new RegExp(`holds a proxy certificate of "${egress1}", not a proxy certificate of "${productpage}"`));
    assert.equal(certificate().serialNumber, serialNumber);
  });

  describe('refuses', () => {
    const sidecarOf = (id: string) => ['--sidecar', '--spiffe-id', id];
    for (const [what, args, expected, said] of [
      ['neither a gateway nor a sidecar', [], 2, /give either --gateway or --sidecar/],
      ['both', ['--gateway', 'egress-1', ...sidecarOf(productpage)], 2, /give either --gateway or --sidecar/],
      ['a gateway that is not there', ['--gateway', 'egress-9'], 3, /no EgressGateway "egress-9" \(at --gateway\)\nhint: list them/],
      ['a gateway of another class', ['--gateway', 'egress-2'], 2, /"egress-2" is of class "sallyport", not "envoy" \(at --gateway\)\nhint: run it with "sallyport gateway --name egress-2"/],
      ['a gateway with an identity', ['--gateway', 'egress-1', '--spiffe-id', productpage], 2, /--spiffe-id is for sidecars/],
      ['a name that is a path', ['--gateway', '../egress-1'], 2, /"..\/egress-1" is not a name \(at --gateway\)/],
      ['an instance with a name that is none', ['--gateway', 'egress-1', '--instance', 'a~b'], 2, /"a~b" is not a name \(at --instance\)/],
      ['a sidecar of nobody', ['--sidecar'], 2, /--sidecar needs --spiffe-id/],
      ['what is no SPIFFE ID', sidecarOf('productpage'), 2, /does not begin with "spiffe:\/\/" \(at --spiffe-id\)/],
      ['another trust domain', sidecarOf('spiffe://other.example/ns/a/sa/b'), 2, /is not of trust domain "cluster.local" \(at --spiffe-id\)\nhint: /],
      ['what is no workload', sidecarOf('spiffe://cluster.local/admin/alice'), 2, /"spiffe:\/\/cluster.local\/admin\/alice" names no workload \(at --spiffe-id\)\nhint: /],
      ['a control plane without a port', ['--gateway', 'egress-1', '--control', '10.0.0.5'], 2, /"10.0.0.5" is not an address and port \(at --control\)/],
      ['a token without a trust bundle', ['--gateway', 'egress-1', '--join-token-file', 'token'], 2, /known by --trust-bundle\nhint: /],
    ] as const) {
      it(`${what}, and makes no directory`, async () => {
        const { status, out, err } = await bootstrap(administrator, ...args);
        assert.equal(status, expected, err);
        assert.match(err, said);
        assert.equal(out, '');
        assert.equal(existsSync(directory()), false);
      });
    }

    it('a directory that cannot be written', async () => {
      writeFileSync(directory(), 'a file');
      const { status, err } = await bootstrap(administrator, '--gateway', 'egress-1');
      assert.equal(status, 2);
      assert.match(err, /id" cannot be used \(at .*\)\nhint: /);
    });

    it('a control plane without a CA', async () => {
      const empty = await startTestControl();
      try {
        const { status, err } = await commandLine(join(empty.directory, 'admin.sock'))(['bootstrap', 'envoy', '--gateway', 'egress-1', '--identity-dir', directory()]);
        assert.equal(status, 6);
        assert.match(err, /no CA to certify a proxy with\nhint: sallyport ca init/);
      } finally {
        await empty.close();
      }
    });
  });
});
