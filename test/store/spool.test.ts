import assert from 'node:assert/strict';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import type { LedgerRecord } from '../../src/core/ledger-record.ts';
import { openDurableFile, type DurableFile } from '../../src/store/durable-file.ts';
import { openLedger, openSpool, type PendingRecords, type Spool, type SpoolOptions } from '../../src/store/index.ts';
import { hasCode, inDirectory, unexpected } from './support/directory.ts';
import { faultyDisk } from './support/disk.ts';
import { numberOf, numberedRecord } from './support/numbers.ts';

function open(directory: string, more: Partial<SpoolOptions> = {}): Promise<Spool> {
  return openSpool({ directory, newId: () => 'abcdefgh', ...more });
}

async function fill(spool: Spool, count: number): Promise<void> {
  for (let number = 1; number <= count; number++) await spool.append(numberedRecord(spool.lastSequence + 1));
}

function numbersOf({ records }: PendingRecords): number[] {
  return records.map((record) => numberOf(JSON.parse(Buffer.from(record).toString()) as LedgerRecord));
}

async function filesOf(directory: string): Promise<string[]> {
  return (await readdir(directory)).filter((name) => name.startsWith('spool-')).sort();
}

describe('spool', () => {
  it('keeps its records, its numbers and its name until they are acknowledged', () =>
    inDirectory(async (directory) => {
      let spool = await open(directory);
      await fill(spool, 5);
      await spool.close();
      spool = await open(directory, { newId: unexpected as never });
      assert.equal(spool.id, 'abcdefgh');
      assert.equal(spool.lastSequence, 5);
      assert.equal(await spool.append(numberedRecord(6)), 6);
      assert.deepEqual(numbersOf(await spool.pending(1, 100)), [1, 2, 3, 4, 5, 6]);
      assert.deepEqual(numbersOf(await spool.pending(3, 2)), [3, 4]);
      assert.deepEqual(numbersOf(await spool.pending(5, 2)), [5, 6]);
      assert.deepEqual(numbersOf(await spool.pending(7, 2)), []);
      assert.deepEqual(numbersOf(await spool.pending(2, 1)), [2], 'also backwards');
      await spool.acknowledge(4);
      const { firstSequence, records } = await spool.pending(1, 100);
      assert.deepEqual([firstSequence, records.length], [5, 2]);
      await spool.close();
    }));

  it('deletes a file once all of it is acknowledged, and never the number it has reached', () =>
    inDirectory(async (directory) => {
      let spool = await open(directory, { fileBytesMax: 1_000 });
      await fill(spool, 30);
      const before = await filesOf(directory);
      assert.ok(before.length > 4);
      await spool.acknowledge(1);
      assert.deepEqual(await filesOf(directory), before);
      await spool.acknowledge(15);
      const half = await filesOf(directory);
      assert.ok(half.length < before.length && half.length > 2);
      await spool.acknowledge(1_000);
      assert.equal((await filesOf(directory)).length, 1);
      await spool.close();
      spool = await open(directory, { fileBytesMax: 1_000, newId: unexpected as never });
      assert.equal(spool.lastSequence, 30);
      await fill(spool, 10);
      assert.deepEqual(numbersOf(await spool.pending(31, 100)).slice(0, 1), [31]);
      await spool.close();
    }));

  it('keeps what is not acknowledged when an acknowledgement comes while it begins a new file', () =>
    inDirectory(async (directory) => {
      const spool: Spool = await open(directory, {
        fileBytesMax: 1_000,
        openFile: async (path, bytes) => {
          const file = await openDurableFile(path, bytes);
          const close = async (): Promise<void> => {
            await spool.acknowledge(1);
            await file.close();
          };
          return Object.assign(Object.create(file) as DurableFile, { close });
        },
      });
      while ((await filesOf(directory)).length < 2) await fill(spool, 1);
      assert.deepEqual(numbersOf(await spool.pending(2, 2)), [2, 3]);
      await spool.close();
    }));

  it('is full while too much is not acknowledged, still takes what ends connections, and refuses at a quarter more', () =>
    inDirectory(async (directory) => {
      const spool = await open(directory, { fileBytesMax: 1_000, unacknowledgedBytesMax: 10_000 });
      while (spool.state === 'ready') await fill(spool, 1);
      const atFull = spool.lastSequence;
      await fill(spool, 3);
      await assert.rejects(fill(spool, 100), hasCode('unavailable', directory));
      assert.equal(spool.state, 'full');
      await spool.acknowledge(atFull);
      assert.equal(spool.state, 'ready');
      await fill(spool, 1);
      await spool.close();
    }));

  it('says that it has failed, also when nobody awaits its promises', () =>
    inDirectory(async (directory) => {
      const disk = faultyDisk();
      const spool = await open(directory, { openFile: disk.openFile });
      await fill(spool, 2);
      disk.fail('EIO');
      const unhandled: unknown[] = [];
      const note = (reason: unknown): number => unhandled.push(reason);
      process.on('unhandledRejection', note); // mocha by itself passes over them
      try {
        void spool.append(numberedRecord(3));
        await assert.rejects(spool.append(numberedRecord(4)), hasCode('store-failed'));
        await new Promise(setImmediate);
      } finally {
        process.off('unhandledRejection', note);
      }
      assert.deepEqual(unhandled, []);
      assert.equal(spool.state, 'failed');
      assert.equal(spool.lastSequence, 2);
      assert.deepEqual(numbersOf(await spool.pending(1, 10)), [1, 2], 'what is not durable is never sent');
      await spool.close();
    }));

  it('tells a sender when there is something to send, and lets it go at the end', () =>
    inDirectory(async (directory) => {
      const spool = await open(directory);
      const never = new AbortController();
      const third = spool.reached(3, never.signal).then(() => spool.lastSequence);
      await fill(spool, 3);
      assert.equal(await third, 3);
      await spool.reached(1, never.signal);
      const stopped = spool.reached(9, never.signal);
      never.abort();
      await stopped;
      const closed = spool.reached(9, new AbortController().signal);
      await spool.close();
      await closed;
    }));

  it('drops a torn end at every length of the cut, and refuses a corrupt middle', () =>
    inDirectory(async (directory) => {
      let spool = await open(directory);
      await fill(spool, 3);
      await spool.close();
      const path = join(directory, (await filesOf(directory))[0]!);
      const content = await readFile(path);
      const start = content.lastIndexOf('\n', content.length - 2) + 1;
      for (let length = start; length < content.length; length++) {
        await writeFile(path, content.subarray(0, length));
        spool = await open(directory);
        assert.equal(spool.lastSequence, 2);
        assert.equal(spool.torn?.droppedBytes ?? 0, length - start);
        await spool.close();
      }
      const damaged = Buffer.from(content);
      damaged[start - 10]! ^= 1;
      await writeFile(path, damaged);
      await assert.rejects(open(directory), hasCode('journal-corrupt'));
    }));

  it('brings every record into the ledger once, whatever is lost on the way', () =>
    fc.assert(
      fc.asyncProperty(fc.array(fc.record({ add: fc.nat(5), take: fc.integer({ min: 1, max: 4 }), lost: fc.constantFrom('nothing', 'acknowledgement', 'batch', 'gateway', 'ledger') }), { maxLength: 12 }), (steps) =>
        inDirectory(async (directory) => {
          const openBoth = async () => ({ spool: await open(join(directory, 'spool'), { fileBytesMax: 1_000 }), ledger: await openLedger({ directory: join(directory, 'ledger'), now: () => 0, segmentBytesMax: 2_000 }) });
          let { spool, ledger } = await openBoth();
          let next = 1;
          for (const { add, take, lost } of steps) {
            await fill(spool, add);
            const { firstSequence, records } = await spool.pending(next, take);
            const batch = records.map((record) => JSON.parse(Buffer.from(record).toString()) as LedgerRecord);
            const acknowledged = lost === 'batch' || batch.length === 0 ? undefined : await ledger.appendFrom(spool.id, firstSequence, batch);
            if (lost === 'nothing' && acknowledged !== undefined) {
              await spool.acknowledge(acknowledged);
              next = acknowledged + 1;
            } else if (lost === 'gateway' || lost === 'ledger') {
              await Promise.all([spool.close(), ledger.close()]);
              ({ spool, ledger } = await openBoth());
              next = 1;
            }
          }
          for (let rest = await spool.pending(1, 1_000); rest.records.length > 0; rest = await spool.pending(rest.firstSequence + rest.records.length, 1_000)) {
            await ledger.appendFrom(spool.id, rest.firstSequence, rest.records.map((record) => JSON.parse(Buffer.from(record).toString()) as LedgerRecord));
          }
          const numbers: number[] = [];
          for await (const { record } of ledger.tail()) numbers.push(numberOf(record));
          assert.deepEqual(numbers, Array.from({ length: spool.lastSequence }, (_, index) => index + 1));
          await Promise.all([spool.close(), ledger.close()]);
        }),
      ),
      { numRuns: 30 },
    ));
});
