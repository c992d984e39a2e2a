import assert from 'node:assert/strict';
import type { RecordContext, TrackedConnection } from '../../src/backends/kernel/index.ts';
import type { IpAddress } from '../../src/core/ip-address.ts';
import type { ConnectionClosed, ConnectionOpened } from '../../src/core/ledger-record.ts';
import type { Revision } from '../../src/core/plan/plan.ts';
import { createConnectionBook } from '../../src/kernel/connection-book.ts';
import * as world from '../core/world.ts';

const plan = world.planOf(
  world.gateway('router', { class: 'kernel', listen: [], kernel: { interface: 'eth1' } }),
  world.externalService('shop/bank', { gateway: 'router', addresses: ['198.51.100.7'], ports: [{ name: 'api', port: 443 }, { name: 'files', port: 21, protocol: 'FTP' }] }),
);
const [mark, ftpMark] = [7, 21];
const grantOf = (port: string) => ({ servicePort: plan.servicePorts.find(({ portName }) => portName === port)!.id, identity: 'shop/till', snat: { ipv4: { address: '203.0.113.8' as IpAddress, ports: { first: 1024, last: 65_535 } } } });
const context: RecordContext = {
  origin: 'router',
  revision: 'r1' as Revision,
  trustDomain: plan.trustDomain,
  servicePorts: plan.servicePorts,
  grants: new Map([[mark, grantOf('api')], [ftpMark, grantOf('files')]]),
  addresses: new Map([['10.0.0.1' as IpAddress, { namespace: 'shop', serviceAccount: 'till' }]]),
};

interface Shape {
  readonly port?: number;
  readonly to?: number;
  readonly mark?: number;
  readonly state?: string;
  readonly startedAtMs?: number | null;
  readonly bytes?: number;
}
const connection = ({ port = 40_000, to = 443, mark: its = mark, state = 'TIME_WAIT', startedAtMs = null, bytes = 5 }: Shape = {}): TrackedConnection => {
  const [workload, service, snat] = [{ address: '10.0.0.1' as IpAddress, port }, { address: '198.51.100.7' as IpAddress, port: to }, { address: '203.0.113.8' as IpAddress, port }];
  return { key: `${port} ${to}`, mark: its, transport: 'tcp', state, original: { source: workload, destination: service, bytes }, reply: { source: service, destination: snat, bytes: 2 * bytes }, startedAtMs };
};

/** What a book has told, and what it has left for the next one. */
function bookWith({ known = [], contexts = [context] }: { known?: Iterable<readonly [string, ConnectionOpened]>; contexts?: readonly RecordContext[] } = {}) {
  let inCharge = true;
  const records: (ConnectionOpened | ConnectionClosed)[] = [];
  const saved = new Map(known);
  let nowMs = 1_000_000;
  let ids = 0;
  const book = createConnectionBook({
    known: [...saved],
    contexts: () => contexts,
    isInCharge: () => inCharge,
    newId: () => `c${(ids += 1)}`,
    now: () => nowMs,
    onRecord: (record) => records.push(record),
    onChange: (key, opened) => (opened === null ? saved.delete(key) : saved.set(key, opened)),
  });
  const at = (ms: number): void => void (nowMs = ms);
  return {
    book,
    records,
    saved,
    at,
    takesOver: (isOurs: boolean): void => void (inCharge = isOurs),
    opens: (shape: Shape = {}) => book.take({ kind: 'opened', connection: connection(shape), atMs: nowMs }),
    closes: (shape: Shape = {}) => book.take({ kind: 'closed', connection: connection(shape), atMs: nowMs }),
    compare: (...shapes: readonly Shape[]): void => {
      const take = book.compare();
      for (const shape of shapes) take(connection(shape));
      take(null);
    },
    told: () => records.map(({ type, connectionId, ...record }) => `${type.replace('connection-', '')} ${connectionId}${'reason' in record ? ` ${record.reason} ${record.bytesSent}/${record.bytesReceived}` : ''}`),
  };
}

describe('the connections that are open by the ledger', () => {
  it('are recorded as they begin and end, and are kept in between for the next process', () => {
    const { opens, closes, told, saved, book } = bookWith();
    opens();
    assert.deepEqual([told(), [...saved.keys()], book.size], [['opened c1'], ['40000 443'], 1]);
    closes();
    assert.deepEqual([told(), [...saved.keys()], book.size], [['opened c1', 'closed c1 finished 5/10'], [], 0]);
  });

  it('are those of grants only', () => {
    const { opens, closes, compare, told } = bookWith();
    opens({ mark: 0 });
    compare({ mark: 0, startedAtMs: 990_000 });
    closes({ mark: 0, startedAtMs: 990_000 });
    assert.deepEqual(told(), []);
  });

  it('are known by a grant that has just been changed, too', () => {
    const { opens, told } = bookWith({ contexts: [{ ...context, grants: new Map() }, context] });
    opens();
    assert.deepEqual(told(), ['opened c1']);
  });

  it('are those that go through this router of a pair, and end where they began to be recorded', () => {
    const { opens, closes, compare, takesOver, told } = bookWith();
    takesOver(false);
    opens();
    opens({ port: 40_001 });
    closes({ startedAtMs: 990_000 });
    takesOver(true);
    compare({ port: 40_001, startedAtMs: 990_000 });
    takesOver(false);
    opens({ port: 40_002 });
    closes({ port: 40_001 });
    assert.deepEqual(told(), ['opened c1', 'closed c1 finished 5/10']);
  });

  it('are found by a look where their beginning went unseen, with the time at which it was', () => {
    const { compare, opens, records, told } = bookWith();
    compare({ startedAtMs: 900_000 });
    assert.equal(records[0]?.time, new Date(900_000).toISOString());
    compare({ startedAtMs: 900_000 });
    opens({ port: 40_001 });
    opens({ port: 40_001 }); // told, and found
    assert.deepEqual(told(), ['opened c1', 'opened c2']);
  });

  it('are recorded as a whole where only the end was seen', () => {
    const { closes, told } = bookWith();
    closes({ startedAtMs: 900_000 });
    assert.deepEqual(told(), ['opened c1', 'closed c1 finished 5/10']);
  });

  it('have ended unseen where two looks in turn do not find them, with what they had carried', () => {
    const { opens, compare, told } = bookWith();
    opens();
    compare({ bytes: 50 });
    compare();
    compare({ bytes: 60 }); // it had begun while the kernel listed them
    compare();
    assert.deepEqual(told(), ['opened c1']);
    compare();
    assert.deepEqual(told(), ['opened c1', 'closed c1 end-unseen 60/120']);
  });

  it('do not begin again where one ends while a look still names it', () => {
    const { book, opens, closes, told } = bookWith();
    opens();
    const take = book.compare();
    closes();
    take(connection({ startedAtMs: 1_000_000 }));
    take(null);
    assert.deepEqual(told(), ['opened c1', 'closed c1 finished 5/10']);
  });

  it('are another where the kernel gives the same number to one that has begun since', () => {
    const { at, opens, compare, told } = bookWith();
    opens();
    at(1_060_000);
    compare({ startedAtMs: 1_050_000 });
    assert.deepEqual(told(), ['opened c1', 'closed c1 end-unseen 0/0', 'opened c2']);
  });

  it('end where the process before this one has seen them begin', () => {
    const before = bookWith();
    before.opens();
    before.opens({ port: 40_001 });
    const { closes, compare, told, saved } = bookWith({ known: before.saved });
    compare({ port: 40_001, startedAtMs: 1_000_000 });
    compare({ port: 40_001, startedAtMs: 1_000_000 });
    closes({ port: 40_001 });
    assert.deepEqual([told(), saved.size], [['closed c1 end-unseen 0/0', 'closed c2 finished 5/10'], 0]);
  });

  it('have the control connection of FTP as the parent of its data, unless it could be another', () => {
    const { opens, closes, records } = bookWith();
    const ftp = { mark: ftpMark };
    opens({ ...ftp, to: 21 });
    opens({ ...ftp, port: 40_001, to: 50_000 });
    opens({ ...ftp, port: 40_002, to: 21 });
    opens({ ...ftp, port: 40_003, to: 50_001 });
    closes({ ...ftp, to: 21 });
    opens({ ...ftp, port: 40_004, to: 50_002 });
    assert.deepEqual(records.flatMap((record) => (record.type === 'connection-opened' ? [[record.channel, record.parentId]] : [])), [['ftp-control', undefined], ['ftp-data', 'c1'], ['ftp-control', undefined], ['ftp-data', undefined], ['ftp-data', 'c3']]);
  });
});
