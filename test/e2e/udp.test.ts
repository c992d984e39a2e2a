/** DNS, syslog and SNMP by their own programs, through agents and the gateway. */
import assert from 'node:assert/strict';
import { findFreePorts, waitFor } from '../../src/demo/processes.ts';
import { snatAddresses, startTestDeployment, workloadIdentities, type TestDeployment, type Workload } from '../support/deployment.ts';
import { requirePeer } from '../support/peers.ts';
import { startDnsmasq, startSnmpd, startSyslogCollector, type SyslogCollector, type UdpServer } from '../support/udp-servers.ts';
import { runProgram, type ProgramResult } from './support/programs.ts';

const allowed = ['productpage', 'batch'] as const satisfies readonly Workload[];

describe('udp through agent and gateway, end to end', function () {
  this.timeout(40_000);
  const closing: (() => unknown)[] = [];
  let sallyport: TestDeployment;
  let dnsmasq: UdpServer;
  let snmpd: UdpServer;
  let collector: SyslogCollector;
  let ports: { readonly dns: number; readonly syslog: number; readonly snmp: number };

  before(async function () {
    dnsmasq = await startDnsmasq(requirePeer(this, 'dnsmasq'));
    closing.push(dnsmasq.stop);
    snmpd = await startSnmpd(requirePeer(this, 'snmpd'), snatAddresses.productpage);
    closing.push(snmpd.stop);
    collector = await startSyslogCollector();
    closing.push(collector.stop);
    const [dns, syslog, snmp] = (await findFreePorts(3)) as [number, number, number];
    ports = { dns, syslog, snmp };
    sallyport = await startTestDeployment({ manifests: manifests() });
    closing.push(sallyport.close);
  });
  after(async () => {
    for (const close of closing.reverse()) await close();
  });

  const service = (name: string, portsText: string) => `
apiVersion: sallyport.dev/v1alpha1
kind: ExternalService
metadata: {name: ${name}, namespace: bookinfo}
spec: {addresses: [127.0.0.1], ports: [${portsText}]}`;
  const policy = (name: string, namespace: string) => `
apiVersion: sallyport.dev/v1alpha1
kind: EgressPolicy
metadata: {name: ${name}, namespace: bookinfo}
spec: {subjects: [{namespace: ${namespace}}], to: [{service: resolver, ports: [${ports.dns}]}, {service: collector}, {service: router}]}`;
  const manifests = () =>
    [
      service('resolver', `{name: dns, port: ${ports.dns}, targetPort: ${dnsmasq.port}, protocol: UDP}, {name: dns-tcp, port: ${ports.dns}, targetPort: ${dnsmasq.port}}`),
      service('collector', `{name: syslog, port: ${ports.syslog}, targetPort: ${collector.port}, protocol: UDP}`),
      service('router', `{name: snmp, port: ${ports.snmp}, targetPort: ${snmpd.port}, protocol: UDP}`),
      policy('udp-bookinfo', 'bookinfo'),
      policy('udp-reports', 'reports'),
    ].join('\n---');

  const dig = (test: Mocha.Context, workload: Workload, ...query: readonly string[]): Promise<ProgramResult> =>
    runProgram(requirePeer(test, 'dig'), [`@${sallyport.agentAddress(workload)}`, '-p', String(ports.dns), '+tries=1', '+time=3', ...query]);

  /** Address and port of whoever asked for a name, as the name server saw it. */
  const askedFrom = (name: string): string[] => [...dnsmasq.log().matchAll(/(\S+)\/([0-9]+) query\[\S+\] (\S+) from/g)].filter(([, , , asked]) => asked === name).map(([, address, port]) => `${address}:${port}`);

  it('dig of two identities at the same moment is answered, and the name server sees the address of each', async function () {
    const asked = allowed.flatMap((workload) => Array.from({ length: 10 }, (_, index) => ({ workload, name: `${workload}-${index}.partner.example` })));
    const results = await Promise.all(asked.map(({ workload, name }) => dig(this, workload, '+short', name)));
    for (const [index, { workload, name }] of asked.entries()) {
      assert.equal(results[index]!.stdout.trim(), '192.0.2.80', results[index]!.stderr);
      assert.deepEqual(askedFrom(name).map((from) => from.split(':')[0]), [snatAddresses[workload]]);
    }
    assert.equal(new Set(asked.flatMap(({ name }) => askedFrom(name))).size, asked.length, 'each query has a port of its own');
  });

  it('dig asks again by TCP, at the same port, for what is too long for a datagram', async function () {
    const { stdout } = await dig(this, 'productpage', '+bufsize=1232', 'TXT', 'long.partner.example');
    assert.match(stdout, /Truncated, retrying in TCP mode/);
    assert.match(stdout, /ANSWER: 12/);
    assert.deepEqual(askedFrom('long.partner.example').map((from) => from.split(':')[0]), [snatAddresses.productpage, snatAddresses.productpage]);
  });

  it('dig of an identity that no policy names gets no answer, and the name server hears nothing', async function () {
    const { status, stdout } = await dig(this, 'nettools', 'nettools.partner.example');
    assert.notEqual(status, 0, stdout);
    assert.deepEqual(askedFrom('nettools.partner.example'), []);
    await assert.rejects(async () => (await sallyport.openAsSidecar('nettools', `outbound_.${ports.dns}_.udp_.resolver.bookinfo.svc.cluster.local`)).readUntil('.'));
    const denied = await waitFor('the record of the refusal', 5_000, async () => {
      const { stdout: text } = await sallyport.cli(['ledger', 'tail', '--last', '500']);
      return text.split('\n').filter(Boolean).map((line) => JSON.parse(line) as { type: string; spiffeId?: string; reason?: string; service?: string }).find((record) => record.type === 'connection-denied' && record.spiffeId === workloadIdentities.nettools);
    });
    assert.deepEqual([denied.reason, denied.service], ['no-policy', 'bookinfo/resolver:dns']);
  });

  it('logger reaches the collector from the address of its identity, line by line', async function () {
    const logger = requirePeer(this, 'logger');
    const lines = [1, 2, 3, 4, 5];
    const log = async (workload: Workload): Promise<void> => {
      for (const line of lines) {
        const { status, stderr } = await runProgram(logger, ['--rfc5424', '-d', '-n', sallyport.agentAddress(workload), '-P', String(ports.syslog), '-t', workload, `line ${line}`]);
        assert.equal(status, 0, stderr);
      }
    };
    await Promise.all(allowed.map(log));
    await waitFor('every line', 5_000, () => collector.heard.length >= allowed.length * lines.length || undefined);
    for (const workload of allowed) {
      const heard = collector.heard.filter(({ text }) => text.includes(` ${workload} `));
      assert.deepEqual(heard.map(({ text }) => /line [0-9]$/.exec(text.trim())?.[0]).sort(), lines.map((line) => `line ${line}`));
      assert.deepEqual([...new Set(heard.map(({ address }) => address))], [snatAddresses[workload]]);
    }
  });

  it('snmpget is answered by a device that knows one of the two addresses only', async function () {
    const get = (workload: Workload) => runProgram(requirePeer(this, 'snmpget'), ['-v2c', '-c', 'public', '-t', '1', '-r', '1', '-Oqv', `udp:${sallyport.agentAddress(workload)}:${ports.snmp}`, '1.3.6.1.2.1.1.5.0']);
    const [mine, other] = await Promise.all([get('productpage'), get('batch')]);
    assert.equal(mine.stdout.trim(), '"gate-of-the-partner"', mine.stderr);
    assert.notEqual(other.status, 0, other.stdout);
    assert.ok(snmpd.log().includes(`[${snatAddresses.batch}]`), 'it came from the other address, and was not answered');
  });

  it('whois knows who was behind the address and port of a query', async function () {
    await dig(this, 'batch', 'whois.partner.example');
    const [from] = askedFrom('whois.partner.example');
    const { connections } = await waitFor('the record', 5_000, async () => {
      const { status, stdout } = await sallyport.run(['whois', from!, '-o', 'json']);
      return status === 0 ? (JSON.parse(stdout) as { connections: { opened: { spiffeId: string; channel: string; service: string } }[] }) : undefined;
    });
    assert.deepEqual(connections.map(({ opened: { spiffeId, channel, service: port } }) => [spiffeId, channel, port]), [[workloadIdentities.batch, 'udp', 'bookinfo/resolver:dns']]);
  });

  it('a policy that is taken back ends it within a second, and nobody else\'s', async function () {
    const before = await dig(this, 'batch', '+short', 'before.partner.example');
    assert.equal(before.stdout.trim(), '192.0.2.80');
    await sallyport.cli(['delete', 'egresspolicy', 'udp-reports', '-n', 'bookinfo']);
    const revokedAt = Date.now();
    const closed = await waitFor('the end of its flows', 5_000, async () => {
      const { stdout } = await sallyport.cli(['ledger', 'tail', '--last', '500']);
      const records = stdout.split('\n').filter(Boolean).map((line) => JSON.parse(line) as { type: string; time: string; spiffeId?: string; reason?: string });
      return records.find(({ type, spiffeId, reason }) => type === 'connection-closed' && spiffeId === workloadIdentities.batch && reason === 'policy-revoked');
    });
    assert.ok(Date.parse(closed.time) - revokedAt < 1_000, `ended ${Date.parse(closed.time) - revokedAt} ms after`);
    const after = await dig(this, 'batch', '+time=1', 'after.partner.example');
    assert.notEqual(after.status, 0, after.stdout);
    assert.deepEqual(askedFrom('after.partner.example'), []);
    assert.equal((await dig(this, 'productpage', '+short', 'still.partner.example')).stdout.trim(), '192.0.2.80');
  });
});
