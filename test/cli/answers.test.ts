import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ExplainResult, StatusResult, WhoisResult } from '../../src/api/admin.ts';
import { openLedger } from '../../src/store/index.ts';
import { startTestControl, type TestControl } from '../support/control.ts';
import { commandLine, type CommandLine } from './support/command-line.ts';

const example = 'manifests/examples/bookinfo-forward-proxy.yaml';

describe('sallyport: answers', () => {
  let server: TestControl;
  let sallyport: CommandLine;
  beforeEach(async () => {
    server = await startTestControl();
    sallyport = commandLine(join(server.directory, 'admin.sock'));
  });
  afterEach(() => server.close());

  describe('explain', () => {
    const explain = (subject: string, ...more: readonly string[]) => sallyport(['explain', subject, ...more]);

    it('says by which policy and from which address, with status 0', async () => {
      await sallyport(['apply', '-f', example]);
      const { status, out } = await explain('bookinfo/productpage', '--to', 'bookinfo/bigip-proxy-svc:3128');
      assert.equal(status, 0);
      assert.match(out, /^allowed: .*\npolicy: EgressPolicy bookinfo\/bookinfo-to-proxy\naddress: 10\.4\.0\.65, source ports 1024-65535 \(SnatBinding bookinfo\/bookinfo\)\n$/);
    });

    it('takes short names with -n, SPIFFE IDs and host names', async () => {
      await sallyport(['apply', '-f', example]);
      for (const args of [
        ['productpage', '-n', 'bookinfo', '--to', 'bigip-proxy-svc:3128'],
        ['spiffe://cluster.local/ns/bookinfo/sa/productpage', '--to', 'bigip-proxy-svc.bookinfo.svc.cluster.local'],
        ['bookinfo/x', '--to', 'outbound_.3128_._.bigip-proxy-svc.bookinfo.svc.cluster.local'],
      ]) {
        assert.equal((await sallyport(['explain', ...args])).status, 0, args.join(' '));
      }
    });

    it('denies with status 1 and prints what, when applied, leads to "allowed"', async () => {
      await sallyport(['apply', '-f', example]);
      const question = ['reports/batch', '--to', 'bookinfo/bigip-proxy-svc:3128'] as const;
      const denied = await explain(...question);
      assert.equal(denied.status, 1);
      assert.match(denied.out, /^denied \(no-policy\): /);
      const manifest = denied.out.slice(denied.out.indexOf('\n---\n'));
      assert.equal((await sallyport(['apply', '-f', '-'], { stdin: manifest })).status, 0);
      assert.equal((await explain(...question)).status, 0);
      assert.equal((await explain('reports/other', '--to', question[2])).status, 1, 'it allows this service account alone');
    });

    it('says that a binding is missing, and prints it', async () => {
      await sallyport(['apply', '-f', example]);
      await sallyport(['delete', 'sb', 'bookinfo', '-n', 'bookinfo']);
      const question = ['bookinfo/productpage', '--to', 'bookinfo/bigip-proxy-svc:3128', '-o', 'json'] as const;
      const denied = await explain(...question);
      assert.equal(denied.status, 1);
      const { reason, suggestion } = JSON.parse(denied.out) as ExplainResult;
      assert.equal(reason, 'no-snat-binding');
      assert.equal((await sallyport(['apply', '-f', '-'], { stdin: suggestion! })).status, 0);
      assert.equal((await explain(...question)).status, 0);
    });

    it('tells apart what CONNECT may name', async () => {
      await sallyport(['apply', '-f', example]);
      const { out } = await sallyport(['get', 'ep', 'bookinfo-to-proxy', '-n', 'bookinfo', '-o', 'yaml']);
      await sallyport(['apply', '-f', '-'], { stdin: `${out}  constraints: {connectAuthorities: ["*.example.com:443"]}\n` });
      const question = ['bookinfo/productpage', '--to', 'bookinfo/bigip-proxy-svc:3128', '--authority'] as const;
      assert.equal((await explain(...question, 'www.example.com:443')).status, 0);
      const denied = await explain(...question, 'www.example.org:443');
      assert.equal(denied.status, 1);
      assert.match(denied.out, /authority-not-allowed/);
    });

    it('refuses a subject that is none, with status 2', async () => {
      assert.equal((await explain('http://x/y', '--to', 'a:1')).status, 2);
      assert.equal((await explain('a/b')).status, 2);
    });
  });

  describe('whois', () => {
    beforeEach(async () => {
      await server.control.close();
      const ledger = await openLedger({ directory: join(server.directory, 'ledger'), now: Date.now });
      const fields = {
        origin: 'egress-1',
        connectionId: 'c-1',
        revision: null,
        client: '10.1.0.1:40000',
        spiffeId: 'spiffe://cluster.local/ns/bookinfo/sa/productpage',
        service: 'bookinfo/proxy:tcp-3128',
        policies: ['bookinfo/to-proxy'],
        snatAddress: '10.4.0.65',
        snatPort: 40132,
        target: '10.4.0.201:3128',
      };
      await ledger.append({ ...fields, type: 'connection-opened', time: '2026-11-21T07:30:00.000Z', channel: 'stream' });
      await ledger.append({ ...fields, type: 'connection-closed', time: '2026-11-21T07:31:00.000Z', reason: 'finished', bytesSent: 10, bytesReceived: 20, durationMs: 60_000 });
      await ledger.close();
      server = await startTestControl({ directory: server.directory });
    });

    it('names identity, service and policy of who held address and port then', async () => {
      const { status, out } = await sallyport(['whois', '10.4.0.65:40132', '2026-11-21T07:30:30Z']);
      assert.equal(status, 0);
      assert.match(out, /^identity: +spiffe:\/\/cluster\.local\/ns\/bookinfo\/sa\/productpage\nservice: +bookinfo\/proxy:tcp-3128\npolicies: +bookinfo\/to-proxy\n/);
      assert.match(out, /closed: +2026-11-21T07:31:00\.000Z \(finished, 10 bytes sent, 20 received\)/);
      const json = JSON.parse((await sallyport(['whois', '10.4.0.65:40132', '2026-11-21T07:30:30Z', '-o', 'json'])).out) as WhoisResult;
      assert.equal(json.connections[0]?.opened.connectionId, 'c-1');
    });

    it('says that nobody held it, and who did before, with status 1', async () => {
      const { status, out } = await sallyport(['whois', '10.4.0.65:40132', '2026-11-21T09:00:00Z']);
      assert.equal(status, 1);
      assert.match(out, /^nobody held 10\.4\.0\.65:40132 at 2026-11-21T09:00:00\.000Z\nthe last that had held it before:\nidentity: /);
      assert.equal((await sallyport(['whois', '10.4.0.66:40132', '2026-11-21T07:30:30Z'])).status, 1);
    });

    it('finds it within the tolerance of a log that counts in seconds', async () => {
      const at = ['whois', '10.4.0.65:40132', '2026-11-21T07:31:02Z'];
      assert.equal((await sallyport(at)).status, 1);
      assert.equal((await sallyport([...at, '--tolerance', '5s'])).status, 0);
    });

    it('refuses what is no address, port, time or span', async () => {
      for (const args of [['10.4.0.65'], ['10.4.0.999:1'], ['[::1]:70000'], ['10.4.0.65:0'], ['10.4.0.65:1', 'yesterday'], ['10.4.0.65:1', '--tolerance', 'much']]) assert.equal((await sallyport(['whois', ...args])).status, 2, args.join(' '));
    });
  });

  describe('ledger', () => {
    it('tail prints records as JSON lines, by type and number, and follows until it is interrupted', async () => {
      await sallyport(['ca', 'init']);
      await sallyport(['apply', '-f', example]);
      const lines = (text: string) => text.trimEnd().split('\n').map((line) => (JSON.parse(line) as { type: string }).type);
      assert.deepEqual(lines((await sallyport(['ledger', 'tail'])).out), ['ca-rotated', 'certificate-issued', 'address-assigned', 'plan-published']);
      assert.deepEqual(lines((await sallyport(['ledger', 'tail', '--last', '1'])).out), ['plan-published']);
      assert.deepEqual(lines((await sallyport(['ledger', 'tail', '--type', 'address-assigned'])).out), ['address-assigned']);
      assert.equal((await sallyport(['ledger', 'tail', '--last', 'all'])).status, 2);

      const interrupted = new AbortController();
      let isSeen = (): void => undefined;
      const seen = new Promise<void>((resolve) => (isSeen = resolve));
      const followed = sallyport(['ledger', 'tail', '-f', '--last', '1', '--type', 'plan-published'], { signal: interrupted.signal, onOut: (line) => line.includes('Namespace later') && isSeen() });
      await sallyport(['apply', '-f', '-'], { stdin: 'apiVersion: v1\nkind: Namespace\nmetadata: {name: later}\n' });
      await seen;
      interrupted.abort();
      assert.equal((await followed).status, 0);
    });

    it('verify: 0 for a whole ledger, 1 once a byte in it has changed, and says where', async () => {
      await sallyport(['apply', '-f', example]);
      const whole = await sallyport(['ledger', 'verify']);
      assert.deepEqual([whole.status, whole.out], [0, 'ledger is whole: 2 records, 1 to 2\n']);
      const directory = join(server.directory, 'ledger');
      const file = readdirSync(directory).map((name) => join(directory, name)).find((path) => readFileSync(path, 'latin1').includes('address-assigned'))!;
      writeFileSync(file, readFileSync(file, 'latin1').replace('10.4.0.65', '10.4.0.66'), 'latin1');
      const broken = await sallyport(['ledger', 'verify']);
      assert.equal(broken.status, 1);
      assert.match(broken.out, /^ledger is broken: .*record 1.*offset \d+/);
    });
  });

  describe('status', () => {
    it('is 1 without a CA, and says what to do; 0 with one', async () => {
      const before = await sallyport(['status']);
      assert.equal(before.status, 1);
      assert.match(before.out, /condition +there is no CA yet: sallyport ca init/);
      await sallyport(['ca', 'init']);
      const after = await sallyport(['status']);
      assert.equal(after.status, 0);
      assert.match(after.out, /^control plane +ready, version test/);
    });

    it('-o json keeps its shape', async () => {
      await sallyport(['ca', 'init']);
      const { ca, startedAt, revision, ...rest } = JSON.parse((await sallyport(['status', '-o', 'json'])).out) as StatusResult;
      assert.match(startedAt, /^20\d\d-/);
      assert.match(revision ?? '', /^[0-9a-f]{64}$/);
      assert.deepEqual(Object.keys(ca.slots[0]!), ['slot', 'subject', 'fingerprint', 'notAfter', 'rootFingerprint', 'keyStorage']);
      assert.deepEqual(rest, {
        version: 'test',
        trustDomain: 'cluster.local',
        ready: true,
        conditions: [],
        objects: { EgressGateway: 0, EgressPolicy: 0, ExternalService: 0, Namespace: 0, ReferenceGrant: 0, Service: 0, SnatBinding: 0, SnatPool: 0, WorkloadEntry: 0 },
        proxies: [],
        ledger: { records: 2, lastSequence: 2 },
      });
    });
  });
});
