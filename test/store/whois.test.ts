import assert from 'node:assert/strict';
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import type { ConnectionClosed, ConnectionOpened } from '../../src/core/ledger-record.ts';
import { openLedger, type Ledger, type WhoisQuery } from '../../src/store/index.ts';
import { inDirectory } from './support/directory.ts';
import { numberedRecord } from './support/numbers.ts';

interface Connection {
  readonly id: string;
  readonly openedMs: number;
  /** Null: the ledger knows of no end. */
  readonly closedMs: number | null;
  readonly target?: string;
  readonly address?: string;
  readonly port?: number;
}

function opened({ id, openedMs, target = '10.4.0.201:21', address = '127.0.1.11', port = 40_000 }: Connection): ConnectionOpened {
  return {
    type: 'connection-opened',
    time: new Date(openedMs).toISOString(),
    origin: 'gw',
    connectionId: id,
    revision: null,
    client: '127.0.0.1:1',
    spiffeId: `spiffe://cluster.local/ns/n/sa/${id}`,
    service: 'n/ftp:ftp',
    policies: ['n/p'],
    snatAddress: address,
    snatPort: port,
    target,
    channel: 'stream',
  };
}

function closed(connection: Connection, closedMs: number): ConnectionClosed {
  const { channel: _channel, type: _type, ...fields } = opened(connection);
  return { ...fields, type: 'connection-closed', time: new Date(closedMs).toISOString(), reason: 'finished', bytesSent: 1, bytesReceived: 2, durationMs: closedMs - connection.openedMs };
}

/** The records of the connections in the order of their times. */
function recordsOf(connections: readonly Connection[]): (ConnectionOpened | ConnectionClosed)[] {
  const records = connections.flatMap((connection) => [opened(connection), ...(connection.closedMs === null ? [] : [closed(connection, connection.closedMs)])]);
  return records.sort((a, b) => Date.parse(a.time) - Date.parse(b.time));
}

/** A ledger in which every record has a segment of its own, so that an opening and its closing are in different ones. */
async function withLedger(directory: string, records: readonly (ConnectionOpened | ConnectionClosed)[], test: (ledger: Ledger) => Promise<void>, segmentBytesMax = 1): Promise<void> {
  const ledger = await openLedger({ directory, now: () => 0, segmentBytesMax });
  try {
    for (const record of records) await ledger.append(record);
    await test(ledger);
  } finally {
    await ledger.close();
  }
}

async function ask(ledger: Ledger, query: Partial<WhoisQuery> & { readonly timeMs: number }): Promise<{ readonly open: string[]; readonly nearest: string | undefined }> {
  const { connections, nearest } = await ledger.whois({ address: '127.0.1.11', port: 40_000, ...query });
  return { open: connections.map(({ opened: { connectionId } }) => connectionId), nearest: nearest?.opened.connectionId };
}

describe('whois', () => {
  const connections: readonly Connection[] = [
    { id: 'first', openedMs: 1_000, closedMs: 2_000 },
    { id: 'second', openedMs: 3_000, closedMs: 4_000 },
    { id: 'other-port', openedMs: 1_000, closedMs: 9_000, port: 40_001 },
    { id: 'other-address', openedMs: 1_000, closedMs: 9_000, address: '127.0.1.12' },
    { id: 'other-target', openedMs: 3_500, closedMs: 6_000, target: '10.4.0.202:21' },
    { id: 'six', openedMs: 3_000, closedMs: 4_000, address: '2001:db8::1' },
    { id: 'never-closed', openedMs: 7_000, closedMs: null },
    { id: 'reuses-it', openedMs: 8_000, closedMs: 8_500 },
  ];
  const table: readonly (readonly [string, Partial<WhoisQuery> & { readonly timeMs: number }, { readonly open: string[]; readonly nearest: string | undefined }])[] = [
    ['nobody before the first', { timeMs: 999 }, { open: [], nearest: undefined }],
    ['the instant of the opening', { timeMs: 1_000 }, { open: ['first'], nearest: undefined }],
    ['in between', { timeMs: 1_500 }, { open: ['first'], nearest: undefined }],
    ['the instant of the closing', { timeMs: 2_000 }, { open: ['first'], nearest: undefined }],
    ['after it: nobody, and who was nearest', { timeMs: 2_001 }, { open: [], nearest: 'first' }],
    ['a port used again is the second one', { timeMs: 3_000 }, { open: ['second'], nearest: undefined }],
    ['two towards different targets at once, the latest first', { timeMs: 3_700 }, { open: ['other-target', 'second'], nearest: undefined }],
    ['one of them after the other has ended', { timeMs: 5_000 }, { open: ['other-target'], nearest: undefined }],
    ['without a closing: open', { timeMs: 7_999 }, { open: ['never-closed'], nearest: undefined }],
    ['without a closing, when the same four-tuple was opened again: over', { timeMs: 8_100 }, { open: ['reuses-it'], nearest: undefined }],
    ['and over for good', { timeMs: 99_000 }, { open: [], nearest: 'reuses-it' }],
    ['another port', { timeMs: 3_000, port: 40_001 }, { open: ['other-port'], nearest: undefined }],
    ['another address', { timeMs: 3_000, address: '127.0.1.12' }, { open: ['other-address'], nearest: undefined }],
    ['IPv6', { timeMs: 3_000, address: '2001:db8::1' }, { open: ['six'], nearest: undefined }],
    ['a port never used', { timeMs: 3_000, port: 1 }, { open: [], nearest: undefined }],
    ['a clock that counts in seconds', { timeMs: 2_500, toleranceMs: 1_000 }, { open: ['other-target', 'second', 'first'], nearest: undefined }],
  ];

  for (const segmentBytesMax of [1, 64 << 20]) {
    it(`names who had the address and port at that time, ${segmentBytesMax === 1 ? 'every record in a segment of its own' : 'all in the segment that grows'}`, () =>
      inDirectory((directory) =>
        withLedger(
          directory,
          recordsOf(connections),
          async (ledger) => {
            for (const [what, query, answer] of table) assert.deepEqual(await ask(ledger, query), answer, what);
          },
          segmentBytesMax,
        ),
      ));
  }

  it('gives the records themselves, the closing where it is known', () =>
    inDirectory((directory) =>
      withLedger(directory, recordsOf(connections), async (ledger) => {
        const [connection] = (await ledger.whois({ address: '127.0.1.11', port: 40_000, timeMs: 1_500 })).connections;
        assert.deepEqual(connection, { sequence: 1, opened: opened(connections[0]!), closed: closed(connections[0]!, 2_000) });
        const [unclosed] = (await ledger.whois({ address: '127.0.1.11', port: 40_000, timeMs: 7_500 })).connections;
        assert.equal(unclosed!.closed, null);
      }),
    ));

  it('finds records that came late, in any order', () =>
    inDirectory((directory) =>
      withLedger(directory, recordsOf(connections).reverse(), async (ledger) => {
        for (const [what, query, answer] of table) assert.deepEqual(await ask(ledger, query), answer, what);
      }),
    ));

  it('answers as a look through all records does', () => {
    const time = fc.integer({ min: 0, max: 40 });
    const connection = fc.record({ openedMs: time, lastsMs: fc.option(fc.nat(10)), target: fc.constantFrom('10.0.0.1:1', '10.0.0.2:1'), port: fc.constantFrom(1, 2) });
    return fc.assert(
      fc.asyncProperty(fc.array(connection, { maxLength: 12 }), fc.array(fc.tuple(time, fc.constantFrom(1, 2), fc.nat(2)), { minLength: 1, maxLength: 8 }), (drafts, queries) =>
        inDirectory((directory) => {
          const all = drafts.map(({ openedMs, lastsMs, ...rest }, index): Connection => ({ ...rest, id: `c${index}`, openedMs, closedMs: lastsMs === null ? null : openedMs + lastsMs }));
          return withLedger(
            directory,
            recordsOf(all),
            async (ledger) => {
              for (const [timeMs, port, toleranceMs] of queries) {
                const before = all.filter((each) => each.port === port && each.openedMs <= timeMs + toleranceMs);
                // Four-tuples that are opened twice in one instant cannot be told apart; real ones are not.
                fc.pre(new Set(before.map(({ target, openedMs }) => `${target} ${openedMs}`)).size === before.length);
                const reused = (one: Connection): boolean => before.some((each) => each.target === one.target && each.openedMs > one.openedMs);
                const open = before.filter((each) => (each.closedMs === null ? !reused(each) : each.closedMs >= timeMs - toleranceMs));
                const found = await ask(ledger, { timeMs, port, toleranceMs });
                assert.deepEqual(found.open.sort(), open.map(({ id }) => id).sort());
                const latestMs = Math.max(...before.map(({ openedMs }) => openedMs));
                assert.equal(open.length > 0 || before.length === 0 ? undefined : latestMs, all.find(({ id }) => id === found.nearest)?.openedMs);
              }
            },
            2_000,
          );
        }),
      ),
      { numRuns: 60 },
    );
  });

  it('makes an index again that is missing or damaged', () =>
    inDirectory(async (directory) => {
      await withLedger(directory, recordsOf(connections), () => Promise.resolve(), 2_000);
      const indexes = (await readdir(directory)).filter((name) => name.endsWith('.index')).map((name) => join(directory, name));
      assert.ok(indexes.length >= 2);
      for (const damage of ['missing', 'cut', 'zeros', 'flipped']) {
        const whole = await Promise.all(indexes.map((path) => readFile(path)));
        const ledger = await openLedger({ directory, now: () => 0 });
        for (const [index, path] of indexes.entries()) {
          if (damage === 'missing') await rm(path);
          if (damage === 'cut') await writeFile(path, whole[index]!.subarray(0, 9_000));
          if (damage === 'zeros') await writeFile(path, Buffer.alloc(whole[index]!.length));
          if (damage === 'flipped') await writeFile(path, whole[index]!.map((byte) => byte ^ 0x10));
        }
        const answers = await Promise.all([...table, ...table].map(([, query]) => ask(ledger, query)));
        assert.deepEqual(answers, [...table, ...table].map(([, , answer]) => answer), damage);
        assert.deepEqual(await Promise.all(indexes.map((path) => readFile(path))), whole, damage);
        await ledger.close();
      }
    }));

  it('does without segments that the operator deleted', () =>
    inDirectory((directory) =>
      withLedger(directory, recordsOf(connections), async (ledger) => {
        await ledger.append(numberedRecord(1));
        for (const name of (await readdir(directory)).sort().slice(0, 2)) await rm(join(directory, name));
        assert.deepEqual(await ask(ledger, { timeMs: 1_500 }), { open: [], nearest: undefined });
        assert.deepEqual((await ask(ledger, { timeMs: 3_200 })).open, ['second']);
      }),
    ));
});
