import assert from 'node:assert/strict';
import { carriedBy, closedRecordOf, deniedRecordOf, endReasonOf, openedRecordOf, renderKernelGateway, type Denial, type RecordContext, type TrackedConnection } from '../../../src/backends/kernel/index.ts';
import { parseAddress } from '../../../src/core/ip-address.ts';
import type { ConnectionOpened } from '../../../src/core/ledger-record.ts';
import type { Endpoint } from '../../../src/core/plan/plan.ts';
import { exampleWorld, gatewayOf } from './example-world.ts';

const { plan, workloads } = exampleWorld();
const { grants } = renderKernelGateway(plan, gatewayOf(plan), workloads);
const context: RecordContext = { origin: 'router', revision: plan.revision, trustDomain: plan.trustDomain, servicePorts: plan.servicePorts, grants, addresses: workloads };

const markOf = (service: string, who: string): number => [...grants].find(([, { servicePort, identity }]) => servicePort === service && identity === who)![0];
const endpoint = (text: string): Endpoint => {
  const colon = text.lastIndexOf(':');
  return { address: parseAddress(text.slice(0, colon).replace(/[[\]]/g, ''))!, port: Number(text.slice(colon + 1)) };
};
const connection = (original: readonly [string, string], reply: readonly [string, string], about: Partial<TrackedConnection> = {}): TrackedConnection => ({
  key: 'k',
  mark: markOf('data/warehouse:sql', 'data/reader'),
  transport: 'tcp',
  state: 'ESTABLISHED',
  original: { source: endpoint(original[0]), destination: endpoint(original[1]), bytes: 100 },
  reply: { source: endpoint(reply[0]), destination: endpoint(reply[1]), bytes: 2_000 },
  startedAtMs: null,
  ...about,
});
const outward = connection(['10.1.0.3:40000', '198.51.100.7:5432'], ['198.51.100.7:5432', '203.0.113.8:40001']);
const opened = (tracked: TrackedConnection): ConnectionOpened => openedRecordOf(tracked, context, { connectionId: 'c1', atMs: Date.parse('2026-11-22T06:00:00.120Z') })!;

describe('a connection through the kernel as records of the ledger', () => {
  it('is whose its mark says, with the address and port that the service sees', () => {
    assert.deepEqual(opened(outward), {
      type: 'connection-opened',
      time: '2026-11-22T06:00:00.120Z',
      origin: 'router',
      connectionId: 'c1',
      revision: plan.revision,
      client: '10.1.0.3:40000',
      spiffeId: 'spiffe://cluster.local/ns/data/sa/reader',
      service: 'data/warehouse:sql',
      policies: ['data/all'],
      snatAddress: '203.0.113.8',
      snatPort: 40_001,
      target: '198.51.100.7:5432',
      channel: 'stream',
    });
  });

  for (const [what, service, tracked, expected] of [
    ['datagrams', 'data/datagrams', connection(['10.1.0.3:40000', '198.51.100.14:514'], ['198.51.100.14:514', '203.0.113.12:40000'], { transport: 'udp' }), ['udp', '10.1.0.3:40000', '203.0.113.12:40000', '198.51.100.14:514', 100, 2_000]],
    ['the control connection of FTP', 'data/files', connection(['10.1.0.3:40000', '198.51.100.21:2121'], ['198.51.100.21:2121', '203.0.113.8:40000']), ['ftp-control', '10.1.0.3:40000', '203.0.113.8:40000', '198.51.100.21:2121', 100, 2_000]],
    ['a data connection that the workload opens', 'data/files', connection(['10.1.0.3:40002', '198.51.100.21:50000'], ['198.51.100.21:50000', '203.0.113.8:40002']), ['ftp-data', '10.1.0.3:40002', '203.0.113.8:40002', '198.51.100.21:50000', 100, 2_000]],
    ['a data connection that the server opens', 'data/files', connection(['198.51.100.21:20', '203.0.113.8:40003'], ['10.1.0.3:40003', '198.51.100.21:20']), ['ftp-data', '10.1.0.3:40003', '203.0.113.8:40003', '198.51.100.21:20', 2_000, 100]],
    ['the way back', 'data/warehouse:push', connection(['198.51.100.7:33333', '203.0.113.8:9000'], ['10.1.0.3:8080', '198.51.100.7:33333']), ['reverse', '10.1.0.3:8080', '203.0.113.8:9000', '198.51.100.7:33333', 2_000, 100]],
    ['IPv6', 'data/warehouse:sql', connection(['[2001:db8:2::2]:40000', '[2001:db8::7]:5432'], ['[2001:db8::7]:5432', '[2001:db8:1::8]:40000']), ['stream', '[2001:db8:2::2]:40000', '2001:db8:1::8:40000', '[2001:db8::7]:5432', 100, 2_000]],
  ] as const) {
    it(`is seen from the workload, whoever has opened it: ${what}`, () => {
      const id = [...grants.values()].map(({ servicePort }) => servicePort as string).find((each) => each === service || each.startsWith(`${service}:`))!;
      const record = opened({ ...tracked, mark: markOf(id, 'data/reader') });
      const { bytesSent, bytesReceived } = carriedBy(tracked, record);
      assert.deepEqual([record.channel, record.client, `${record.snatAddress}:${record.snatPort}`, record.target, bytesSent, bytesReceived], expected);
      assert.equal(record.service, id);
    });
  }

  it('is none where its mark is that of no grant', () => {
    assert.equal(openedRecordOf({ ...outward, mark: 1 }, context, { connectionId: 'c1', atMs: 0 }), undefined);
  });

  it('ends as what it was, never before it began', () => {
    const { channel: _, ...rest } = opened(outward);
    const end = { reason: 'finished', bytesSent: 100, bytesReceived: 2_000 } as const;
    assert.deepEqual(closedRecordOf(opened(outward), { ...end, atMs: Date.parse('2026-11-22T06:00:02.999Z') }), { ...rest, ...end, type: 'connection-closed', time: '2026-11-22T06:00:02.999Z', durationMs: 2_879 });
    assert.equal(closedRecordOf(opened(outward), { ...end, atMs: 0 }).durationMs, 0);
  });

  const revoked: RecordContext = { ...context, addresses: new Map([...workloads].filter(([address]) => address !== '10.1.0.3')) };
  for (const [state, transport, where, reason] of [
    ['TIME_WAIT', 'tcp', context, 'finished'],
    ['CLOSE', 'tcp', context, 'finished'],
    ['ESTABLISHED', 'tcp', context, 'idle-timeout'],
    ['SYN_SENT', 'tcp', context, 'connect-timeout'],
    ['', 'udp', context, 'idle-timeout'],
    ['ESTABLISHED', 'tcp', revoked, 'policy-revoked'],
    ['', 'udp', revoked, 'policy-revoked'],
    ['CLOSE', 'tcp', revoked, 'policy-revoked'],
    ['TIME_WAIT', 'tcp', revoked, 'finished'],
    ['ESTABLISHED', 'tcp', { ...context, grants: new Map<number, never>() }, 'policy-revoked'],
  ] as const) {
    it(`ends as ${reason} in state ${state === '' ? 'of none' : state} (${transport})${where === context ? '' : ', taken away'}`, () => {
      assert.equal(endReasonOf({ ...outward, state, transport }, where), reason);
    });
  }
});

describe('a refusal by the kernel as a record of the ledger', () => {
  const denial = (reason: Denial['reason'], source: string, destination: string, transport: Denial['transport'] = 'tcp'): Denial => ({ reason, transport, source: endpoint(source), destination: endpoint(destination), atMs: Date.parse('2026-11-22T06:00:00Z'), element: '' });

  for (const [each, spiffeId, service, policies, detail] of [
    [denial('not-a-workload', '10.1.0.99:40000', '198.51.100.7:5432'), null, 'data/warehouse:sql', [], /no workload is known at 10\.1\.0\.99, which asked for data\/warehouse:sql/],
    [denial('no-such-service', '10.1.0.3:40000', '198.51.100.7:22'), 'data/sa/reader', null, [], /no ExternalService answers to "198\.51\.100\.7:22 \(tcp\)"/],
    [denial('no-policy', '10.1.0.6:40000', '198.51.100.7:5432'), 'shop/sa/window', 'data/warehouse:sql', [], /no EgressPolicy lets service account "shop\/window" use "data\/warehouse:sql"/],
    [denial('no-snat-binding', '10.1.0.7:40000', '198.51.100.14:514', 'udp'), 'unbound/sa/any', 'data/datagrams:', ['data/all'], /no SnatBinding gives it an address/],
    [denial('limit-exceeded', '10.1.0.3:40000', '198.51.100.14:514', 'udp'), 'data/sa/reader', 'data/datagrams:', ['data/all'], /has as many flows as it may have/],
    [denial('reverse-source-refused', '198.51.100.99:40000', '203.0.113.8:9000'), null, null, [], /198\.51\.100\.99:40000 is of no service that may connect to 203\.0\.113\.8:9000 \(tcp\)/],
  ] as const) {
    it(`says who asked for what, and why not: ${each.reason}`, () => {
      const record = deniedRecordOf(each, context, 'd1');
      assert.deepEqual([record.type, record.time, record.origin, record.connectionId, record.reason, record.policies], ['connection-denied', '2026-11-22T06:00:00.000Z', 'router', 'd1', each.reason, policies]);
      assert.equal(record.spiffeId, spiffeId === null ? null : `spiffe://cluster.local/ns/${spiffeId}`);
      assert.ok(service === null ? record.service === null : record.service?.startsWith(service), String(record.service));
      assert.match(record.detail, detail);
    });
  }

  it('is of the first of two services at one address and port', () => {
    assert.equal(deniedRecordOf(denial('no-policy', '10.1.0.6:40000', '198.51.100.30:443'), context, 'd1').service, plan.servicePorts.find(({ id }) => id.startsWith('data/old'))!.id);
  });
});
