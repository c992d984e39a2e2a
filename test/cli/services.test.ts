import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse, parseAllDocuments } from 'yaml';
import type { ApplyResult } from '../../src/api/admin.ts';
import { startTestControl, type TestControl } from '../support/control.ts';
import { commandLine, type CommandLine } from './support/command-line.ts';

const example = 'manifests/examples/bookinfo-forward-proxy.yaml';
const proxy = ['-n', 'bookinfo', 'bigip-proxy-svc', '10.4.0.201', '3128', '--labels', 'apps=bigip-proxy'];

describe('sallyport: services and policy', () => {
  let server: TestControl;
  let sallyport: CommandLine;
  beforeEach(async () => {
    server = await startTestControl();
    sallyport = commandLine(join(server.directory, 'admin.sock'));
  });
  afterEach(() => server.close());

  const manifestOf = async (name: string): Promise<unknown> => parse((await sallyport(['get', 'es', name, '-n', 'bookinfo', '-o', 'yaml'])).out);

  describe('register', () => {
    it('takes the call of istioctl register', async () => {
      const { status, out, err } = await sallyport(['register', ...proxy, '--serviceaccount', 'bigip', '--protocol', 'HTTPConnect']);
      assert.equal(status, 0);
      assert.match(out, /^ExternalService bookinfo\/bigip-proxy-svc created$/m);
      assert.match(err, /not registered yet.*created/);
      assert.match(err, /sallyport explain NAMESPACE\/SERVICEACCOUNT --to bookinfo\/bigip-proxy-svc:3128/);
      assert.deepEqual(await manifestOf('bigip-proxy-svc'), {
        apiVersion: 'sallyport.dev/v1alpha1',
        kind: 'ExternalService',
        metadata: { name: 'bigip-proxy-svc', namespace: 'bookinfo', labels: { apps: 'bigip-proxy' }, annotations: { 'alpha.istio.io/kubernetes-serviceaccounts': 'bigip' } },
        spec: { addresses: ['10.4.0.201'], ports: [{ name: 'httpconnect-3128', port: 3128, protocol: 'HTTPConnect' }], subjectAltNames: ['spiffe://cluster.local/ns/bookinfo/sa/bigip'] },
      });
    });

    it('prints a manifest that can be applied here and by kubectl, without a control plane', async () => {
      const { status, out } = await commandLine('/nonexistent/socket')(['register', '-n', 'bank', 'partner', 'ftp.partner.example', 'control:21', '2121', '--protocol', 'FTP', '-a', 'a=1,b=x=y,c=on', '--dry-run', '-o', 'yaml']);
      assert.equal(status, 0);
      assert.deepEqual(parse(out, { version: '1.1' }), {
        apiVersion: 'sallyport.dev/v1alpha1',
        kind: 'ExternalService',
        metadata: { name: 'partner', namespace: 'bank', annotations: { a: '1', b: 'x=y', c: 'on' } },
        spec: { hosts: ['ftp.partner.example'], ports: [{ name: 'control', port: 21, protocol: 'FTP' }, { port: 2121, protocol: 'FTP' }] },
      });
      assert.equal((await sallyport(['apply', '-f', '-'], { stdin: out })).status, 0);
    });

    it('adds address and ports to what is registered already, and keeps the rest', async () => {
      await sallyport(['register', ...proxy]);
      const { status, out, err } = await sallyport(['register', '-n', 'bookinfo', 'bigip-proxy-svc', '10.4.0.202', '3128', 'tls:3129', '--labels', 'tier=edge']);
      assert.equal(status, 0);
      assert.match(out, /configured/);
      assert.doesNotMatch(err, /not registered yet/);
      const { metadata, spec } = (await manifestOf('bigip-proxy-svc')) as { metadata: { labels: unknown }; spec: { addresses: unknown; ports: { port: number }[] } };
      assert.deepEqual(metadata.labels, { apps: 'bigip-proxy', tier: 'edge' });
      assert.deepEqual(spec.addresses, ['10.4.0.201', '10.4.0.202']);
      assert.deepEqual(spec.ports.map(({ port }) => port), [3128, 3129]);
      assert.match((await sallyport(['register', ...proxy])).out, /unchanged/);
    });

    it('adds the UDP port of a number whose TCP port is registered already', async () => {
      await sallyport(['register', '-n', 'bookinfo', 'resolver', '10.4.0.53', '53']);
      await sallyport(['register', '-n', 'bookinfo', 'resolver', '10.4.0.53', '53', '--protocol', 'UDP']);
      assert.match((await sallyport(['register', '-n', 'bookinfo', 'resolver', '10.4.0.53', '53', '--protocol', 'UDP'])).out, /unchanged/);
      const { spec } = (await manifestOf('resolver')) as { spec: { ports: { port: number; protocol: string }[] } };
      assert.deepEqual(spec.ports.map(({ port, protocol }) => `${protocol} ${port}`), ['TCP 53', 'UDP 53']);
    });

    it('changes nothing in a dry run', async () => {
      assert.match((await sallyport(['register', ...proxy, '--dry-run'])).out, /created \(dry run\)/);
      assert.equal((await sallyport(['get', 'es', 'bigip-proxy-svc', '-n', 'bookinfo'])).status, 3);
    });

    for (const [what, args, said] of [
      ['port 0', ['a', '10.0.0.1', '0'], /"0" is not a port/],
      ['port 70000', ['a', '10.0.0.1', '70000'], /"70000" is not a port/],
      ['an address of five numbers', ['a', '10.0.0.1.2', '80'], /must be a host name/],
      ['a name in capitals', ['Proxy', '10.0.0.1', '80'], /metadata\.name.*"Proxy"/],
      ['a label without "="', ['a', '10.0.0.1', '80', '--labels', 'apps'], /"apps" is not a pair/],
      ['an unknown protocol', ['a', '10.0.0.1', '80', '--protocol', 'SCTP'], /'SCTP' is invalid/],
      ['no port', ['a', '10.0.0.1'], /missing required argument 'ports'/],
      ['-o yaml for a change that would be made', ['a', '10.0.0.1', '80', '-o', 'yaml'], /with --dry-run only/],
    ] as const) {
      it(`refuses ${what}`, async () => {
        const { status, out, err } = await sallyport(['register', ...args]);
        assert.deepEqual([status, out], [2, '']);
        assert.match(err, said);
        assert.match((await sallyport(['get', 'es', '-A'])).err, /there is no ExternalService/);
      });
    }

    it('refuses a host name for what is registered by address', async () => {
      await sallyport(['register', ...proxy]);
      const { status, err } = await sallyport(['register', '-n', 'bookinfo', 'bigip-proxy-svc', 'proxy.example', '3128']);
      assert.equal(status, 2);
      assert.match(err, /hint: deregister it first/);
    });
  });

  describe('deregister', () => {
    beforeEach(() => sallyport(['register', ...proxy]));

    it('takes one address back, and the service with its last one', async () => {
      await sallyport(['register', '-n', 'bookinfo', 'bigip-proxy-svc', '10.4.0.202', '3128']);
      assert.equal((await sallyport(['deregister', '-n', 'bookinfo', 'bigip-proxy-svc', '10.4.0.201'])).status, 0);
      assert.deepEqual(((await manifestOf('bigip-proxy-svc')) as { spec: { addresses: unknown } }).spec.addresses, ['10.4.0.202']);
      assert.match((await sallyport(['deregister', '-n', 'bookinfo', 'bigip-proxy-svc', '10.4.0.202'])).out, /ExternalService bookinfo\/bigip-proxy-svc deleted/);
    });

    it('takes the whole service back', async () => {
      assert.match((await sallyport(['deregister', '-n', 'bookinfo', 'bigip-proxy-svc'])).out, /deleted/);
      assert.equal((await sallyport(['get', 'es', 'bigip-proxy-svc', '-n', 'bookinfo'])).status, 3);
    });

    it('is refused while a policy names the service, and says which', async () => {
      await sallyport(['apply', '-f', example]);
      const { status, err } = await sallyport(['deregister', '-n', 'bookinfo', 'bigip-proxy-svc']);
      assert.equal(status, 2);
      assert.match(err, /EgressPolicy bookinfo\/bookinfo-to-proxy spec\.to\[0\]\.service/);
      assert.match(err, /hint: take it out of them/);
      assert.equal((await sallyport(['get', 'es', 'bigip-proxy-svc', '-n', 'bookinfo'])).status, 0);
    });

    it('says that a service or address is not registered', async () => {
      for (const args of [['nothing'], ['bigip-proxy-svc'], ['-n', 'bookinfo', 'bigip-proxy-svc', '10.9.9.9']]) {
        const { status, err } = await sallyport(['deregister', ...args]);
        assert.equal(status, 3);
        assert.match(err, /is not registered/);
      }
    });
  });

  describe('apply, diff, get, describe and delete', () => {
    it('apply, and apply again, which changes nothing', async () => {
      const first = await sallyport(['apply', '-f', example]);
      assert.equal(first.status, 0);
      assert.match(first.out, /\+ ns\/bookinfo may use bookinfo\/bigip-proxy-svc:httpconnect-3128, leaving from 10\.4\.0\.65/);
      const second = await sallyport(['apply', '-f', example, '-o', 'json']);
      assert.deepEqual((JSON.parse(second.out) as ApplyResult).changes.map(({ action }) => action), Array(5).fill('unchanged'));
    });

    it('read a folder with its subfolders, and standard input', async () => {
      const folder = join(server.directory, 'manifests');
      mkdirSync(join(folder, 'sub.yaml'), { recursive: true }); // a folder, though named like a file
      writeFileSync(join(folder, 'a.yaml'), 'apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n');
      writeFileSync(join(folder, 'sub.yaml', 'b.json'), '{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "b"}}');
      writeFileSync(join(folder, 'notes.txt'), 'not: [a manifest');
      const { status, out } = await sallyport(['apply', '-f', folder, '-'], { stdin: 'apiVersion: v1\nkind: Namespace\nmetadata: {name: c}\n' });
      assert.deepEqual([status, out], [0, 'Namespace a created\nNamespace b created\nNamespace c created\n']);
    });

    it('diff: 0 without differences, 1 with, and the control plane stays as it is', async () => {
      const before = await sallyport(['diff', '-f', example]);
      assert.equal(before.status, 1);
      assert.match(before.out, /EgressPolicy bookinfo\/bookinfo-to-proxy created \(dry run\)/);
      assert.match((await sallyport(['get', 'gw'])).err, /there is no EgressGateway/);
      await sallyport(['apply', '-f', example]);
      const after = await sallyport(['diff', '-f', example]);
      assert.deepEqual(after, { status: 0, out: '', err: 'no differences\n' });
    });

    it('get lists as a table, as names, and as YAML and JSON that can be applied again', async () => {
      await sallyport(['apply', '-f', example]);
      assert.equal(
        (await sallyport(['get', 'externalservices', '-A'])).out,
        ['NAMESPACE  NAME             SUMMARY', 'bookinfo   bigip-proxy-svc  addresses=10.4.0.201 ports={name:httpconnect-3128 port:3128 protocol:HTTPConnect}', ''].join('\n'),
      );
      assert.equal((await sallyport(['get', 'POOLS', '-o', 'name'])).out, 'SnatPool/datacenter\n');
      assert.equal((await sallyport(['get', 'assignments'])).out, 'ADDRESS    PORTS       HOLDER       POOL        RELEASED\n10.4.0.65  1024-65535  ns/bookinfo  datacenter  -\n');
      for (const kind of ['gw', 'ep', 'es', 'sb', 'pool']) {
        for (const format of ['yaml', 'json']) {
          const { out } = await sallyport(['get', kind, '-A', '-o', format]);
          assert.equal(parseAllDocuments(out).length, 1);
          assert.match((await sallyport(['apply', '-f', '-'], { stdin: out })).out, /unchanged/, out);
        }
      }
    });

    it('get -o json keeps its shape', async () => {
      await sallyport(['apply', '-f', example]);
      assert.deepEqual(JSON.parse((await sallyport(['get', 'snatpool', 'datacenter', '-o', 'json'])).out), {
        apiVersion: 'v1',
        kind: 'List',
        items: [
          {
            apiVersion: 'sallyport.dev/v1alpha1',
            kind: 'SnatPool',
            metadata: { name: 'datacenter' },
            spec: { addresses: ['10.4.0.64/27'], exclude: ['10.4.0.64', '10.4.0.95'], quarantine: '1d', sharing: { mode: 'Exclusive' } },
          },
        ],
      });
      assert.deepEqual(JSON.parse((await sallyport(['get', 'assignments', '-o', 'json'])).out), {
        items: [{ pool: 'datacenter', holder: 'ns/bookinfo', family: 'ipv4', address: '10.4.0.65', ports: { first: 1024, last: 65535 }, releasedAt: null }],
      });
    });

    it('render firewall lists what is in force', async () => {
      await sallyport(['apply', '-f', example]);
      const { status, out } = await sallyport(['render', 'firewall', '-o', 'csv']);
      assert.equal(status, 0);
      assert.match(out, /^out,tcp,10\.4\.0\.65,1024-65535,10\.4\.0\.201,3128,bookinfo\/bigip-proxy-svc:httpconnect-3128,service,bookinfo,bookinfo\/bookinfo-to-proxy,bookinfo\/bookinfo$/m);
    });

    it('get says that there is nothing, and where to look', async () => {
      assert.deepEqual(await sallyport(['get', 'es']), { status: 0, out: '', err: 'there is no ExternalService in namespace "default"; for every namespace: -A\n' });
      const { status, err } = await sallyport(['get', 'es', 'nothing']);
      assert.equal(status, 3);
      assert.match(err, /there is no ExternalService "nothing" in namespace "default"\nhint: /);
      const unknown = await sallyport(['get', 'widgets']);
      assert.equal(unknown.status, 2);
      assert.match(unknown.err, /hint: kinds: .*snatpools/);
    });

    it('describe shows what refers to an object, and its addresses', async () => {
      await sallyport(['apply', '-f', example]);
      assert.match((await sallyport(['describe', 'es', 'bigip-proxy-svc', '-n', 'bookinfo'])).out, /Referred to by:\n {2}EgressPolicy bookinfo\/bookinfo-to-proxy\n/);
      assert.match((await sallyport(['describe', 'pool', 'datacenter'])).out, /Addresses:\n {2}10\.4\.0\.65 ports 1024-65535 held by ns\/bookinfo\n/);
      assert.equal((await sallyport(['describe', 'pool', 'nothing'])).status, 3);
    });

    it('shows and deletes a grant by its short name', async () => {
      await sallyport(['apply', '-f', example, 'manifests/examples/tenants.yaml']);
      const { out } = await sallyport(['get', 'refg', '-n', 'integration', '-o', 'yaml']);
      assert.equal((await sallyport(['apply', '-f', '-'], { stdin: out })).out, 'ReferenceGrant integration/orders-to-partner-api unchanged\n');
      assert.match((await sallyport(['describe', 'refg', 'orders-to-partner-api', '-n', 'integration'])).out, /kind: ReferenceGrant\n[^]*namespace: orders\n/);
      assert.match((await sallyport(['delete', 'refg', 'orders-to-partner-api', '-n', 'integration'])).out, /^ReferenceGrant integration\/orders-to-partner-api deleted$/m);
    });

    it('delete takes kind and names, or manifests; all or nothing', async () => {
      await sallyport(['apply', '-f', example]);
      assert.equal((await sallyport(['delete', 'ep', 'bookinfo-to-proxy', 'nothing', '-n', 'bookinfo'])).status, 3);
      assert.equal((await sallyport(['delete', 'pool', 'datacenter'])).status, 2);
      assert.match((await sallyport(['delete', 'ep', 'bookinfo-to-proxy', '-n', 'bookinfo', '--dry-run'])).out, /deleted \(dry run\)/);
      assert.equal((await sallyport(['get', 'ep', 'bookinfo-to-proxy', '-n', 'bookinfo'])).status, 0);
      const deleted = await sallyport(['delete', '-f', example]);
      assert.equal(deleted.status, 0);
      assert.match(deleted.out, /EgressPolicy bookinfo\/bookinfo-to-proxy deleted/);
      assert.match((await sallyport(['get', 'es', '-A'])).err, /there is no/);
      assert.equal((await sallyport(['delete'])).status, 2);
    });

    it('leave the running plan as it is when the input has a fault', async () => {
      await sallyport(['apply', '-f', example]);
      const revision = async () => (JSON.parse((await sallyport(['status', '-o', 'json'])).out) as { revision: string }).revision;
      const before = await revision();
      const { status, out, err } = await sallyport(['apply', '-f', '-'], { stdin: 'apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n---\napiVersion: sallyport.dev/v1alpha1\nkind: EgressPolicy\nmetadata: {name: p}\nspec: {subjects: [{namespace: a}], to: [{service: nothing}]}\n' });
      assert.deepEqual([status, out], [2, '']);
      assert.match(err, /\(standard input\):8:\d+ EgressPolicy default\/p spec\.to\[0\]\.service: .*"default\/nothing".*\[policy-service-unknown\]/);
      assert.equal(await revision(), before);
      assert.match((await sallyport(['get', 'ns'])).err, /there is no Namespace/);
    });
  });
});
