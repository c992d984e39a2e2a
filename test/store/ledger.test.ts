import assert from 'node:assert/strict';
import { readFile, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import fc from 'fast-check';
import { openLedger, verifyLedger, type Ledger, type LedgerEntry, type LedgerOptions, type LedgerReader } from '../../src/store/index.ts';
import { hasCode, inDirectory } from './support/directory.ts';
import { faultyDisk, slowDisk } from './support/disk.ts';
import { numberOf, numberedRecord } from './support/numbers.ts';

function open(directory: string, more: Partial<LedgerOptions> = {}): Promise<Ledger> {
  return openLedger({ directory, now: () => 0, ...more });
}

/** A closed ledger with records 1 to `count`, committed three at a time, in segments of a few records. */
async function writeLedger(directory: string, count: number, segmentBytesMax = 1_000): Promise<void> {
  const ledger = await open(directory, { segmentBytesMax });
  for (let number = 1; number <= count; number += 3) await Promise.all([number, number + 1, number + 2].filter((each) => each <= count).map((each) => ledger.append(numberedRecord(each))));
  await ledger.close();
}

async function segmentsOf(directory: string): Promise<string[]> {
  return (await readdir(directory)).filter((name) => name.endsWith('.jsonl')).sort().map((name) => join(directory, name));
}

async function collect(entries: AsyncIterable<LedgerEntry>): Promise<number[]> {
  const numbers: number[] = [];
  for await (const { record } of entries) numbers.push(numberOf(record));
  return numbers;
}

const upTo = (count: number, from = 1): number[] => Array.from({ length: count - from + 1 }, (_, index) => from + index);

describe('ledger', () => {
  it('gives back its records in order, over several segments and openings', () =>
    inDirectory(async (directory) => {
      await writeLedger(directory, 20);
      const ledger = await open(directory);
      assert.equal(await ledger.append(numberedRecord(21)), 21);
      assert.deepEqual(await collect(ledger.tail()), upTo(21));
      assert.deepEqual(await collect(ledger.tail({ from: 8 })), upTo(21, 8));
      assert.deepEqual(await collect(ledger.tail({ filter: ({ sequence }) => sequence % 5 === 0 })), [5, 10, 15, 20]);
      assert.deepEqual(await collect(ledger.tail({ from: 22 })), []);
      assert.ok((await segmentsOf(directory)).length > 3);
      await ledger.close();
    }));

  it('is JSON lines whose hashes anybody can check', () =>
    inDirectory(async (directory) => {
      await writeLedger(directory, 2, 1 << 20);
      const [header, first, second] = (await readFile((await segmentsOf(directory))[0]!, 'utf8')).split('\n').map((line) => (line === '' ? {} : JSON.parse(line)) as Record<string, unknown>);
      assert.deepEqual(Object.keys(header!), ['ledger', 'first', 'created', 'previous', 'spools', 'hash']);
      assert.deepEqual({ ...first, hash: '' }, { seq: 1, commit: 1, record: numberedRecord(1), hash: '' });
      const { createHash } = await import('node:crypto');
      const { hash, ...content } = second!;
      assert.equal(hash, createHash('sha256').update(String(first!['hash'])).update(JSON.stringify(content).slice(0, -1)).digest('hex'));
    }));

  it('follows new records until it is told to stop, across a change of segment', () =>
    inDirectory(async (directory) => {
      const ledger = await open(directory, { segmentBytesMax: 1_000 });
      const stop = new AbortController();
      const numbers: number[] = [];
      const reader = (async () => {
        for await (const { record } of ledger.tail({ follow: true, signal: stop.signal })) {
          numbers.push(numberOf(record));
          if (numbers.length === 30) stop.abort();
        }
      })();
      for (const number of upTo(30)) await ledger.append(numberedRecord(number));
      await reader;
      assert.deepEqual(numbers, upTo(30));
      const untilClosed = collect(ledger.tail({ from: 30, follow: true }));
      await ledger.close();
      assert.deepEqual(await untilClosed, [30]);
    }));

  it('gives its lines as they are, from any record on, and says at once where more have come', () =>
    inDirectory(async (directory) => {
      await writeLedger(directory, 20);
      const ledger = await open(directory);
      const written = (await Promise.all((await segmentsOf(directory)).map((path) => readFile(path, 'utf8')))).join('').split('\n').slice(0, -1);
      const textsOf = async (reader: LedgerReader): Promise<string[]> => {
        const texts: string[] = [];
        for (let lines = await reader.next(); lines.length > 0; lines = await reader.next()) texts.push(...lines.map(({ bytes }) => bytes.toString()));
        return texts;
      };
      const reader = ledger.read(1);
      assert.deepEqual(await textsOf(reader), written);
      for (const from of [2, 8, 20]) assert.deepEqual(await textsOf(ledger.read(from)), written.slice(written.findIndex((line) => line.startsWith(`{"seq":${from},`) || line.includes(`"first":${from},`))));
      await ledger.append(numberedRecord(21));
      await reader.grown();
      assert.match((await textsOf(reader)).join(), /^\{"seq":21,/);
      await ledger.close();
      await reader.grown();
      assert.deepEqual(await textsOf(reader), []);
    }));

  it('refuses a record without a time, and one that is too large, and goes on', () =>
    inDirectory(async (directory) => {
      const ledger = await open(directory);
      await assert.rejects(ledger.append({ ...numberedRecord(1), time: 'yesterday' }), hasCode('request-invalid'));
      await assert.rejects(ledger.append({ ...numberedRecord(1), origin: 'x'.repeat(2 << 20) }), hasCode('request-too-large'));
      assert.equal(await ledger.append(numberedRecord(1)), 1);
      await ledger.close();
    }));

  it('acknowledges nothing once the disk has refused a write', () =>
    inDirectory(async (directory) => {
      const disk = faultyDisk();
      const ledger = await open(directory, { openFile: disk.openFile });
      await ledger.append(numberedRecord(1));
      disk.fail('ENOSPC', 30);
      await assert.rejects(ledger.append(numberedRecord(2)), hasCode('store-failed'));
      await assert.rejects(ledger.append(numberedRecord(3)), hasCode('store-failed'));
      assert.equal(ledger.head.sequence, 1);
      assert.deepEqual(await collect(ledger.tail()), [1], 'a tail shows only what is durable');
      assert.deepEqual(await ledger.verify(), { ok: true, firstSequence: 1, head: ledger.head, segments: 1, tornBytes: 0 });
      await ledger.close();
      const again = await open(directory);
      assert.equal(again.torn?.droppedBytes, 30);
      assert.deepEqual(await collect(again.tail()), [1]);
      await again.close();
    }));

  describe('from spools', () => {
    const from = (spool: string, first: number, last: number): [string, number, ReturnType<typeof numberedRecord>[]] => [spool, first, upTo(last, first).map(numberedRecord)];

    it('takes each record once, however batches overlap', () =>
      inDirectory(async (directory) => {
        const ledger = await open(directory);
        const acknowledged = await Promise.all([ledger.appendFrom(...from('a', 1, 5)), ledger.appendFrom(...from('a', 1, 5)), ledger.appendFrom(...from('a', 4, 9)), ledger.appendFrom(...from('b', 1, 2))]);
        assert.deepEqual(acknowledged, [5, 5, 9, 2]);
        assert.deepEqual(await collect(ledger.tail()), [...upTo(9), 1, 2]);
        await ledger.close();
      }));

    it('acknowledges a batch that comes again only when the first is durable', () =>
      inDirectory(async (directory) => {
        const disk = slowDisk();
        const ledger = await open(directory, { openFile: disk.openFile });
        const acknowledged: string[] = [];
        const batches = ['first', 'again'].map((name) => ledger.appendFrom(...from('a', 1, 5)).then(() => acknowledged.push(name)));
        while (disk.groups.length === 0) await new Promise(setImmediate);
        for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate);
        assert.deepEqual(acknowledged, []);
        disk.release();
        await Promise.all(batches);
        assert.deepEqual(disk.groups, [5]);
        await ledger.close();
      }));

    it('remembers what it has of each, also of those silent for many segments', () =>
      inDirectory(async (directory) => {
        let ledger = await open(directory, { segmentBytesMax: 1_000 });
        await ledger.appendFrom(...from('a', 1, 5));
        for (const number of upTo(20)) await ledger.appendFrom(...from('b', number, number));
        for (const path of (await segmentsOf(directory)).slice(0, 2)) await rm(path);
        await ledger.close();
        ledger = await open(directory);
        assert.equal(await ledger.appendFrom(...from('a', 3, 6)), 6);
        assert.equal(await ledger.appendFrom(...from('b', 1, 20)), 20);
        assert.equal(ledger.head.sequence, 26);
        await ledger.close();
      }));

    it('is the sequence of each spool without gaps or doubles, whatever batches come and however often it is opened again', () =>
      fc.assert(
        fc.asyncProperty(fc.array(fc.tuple(fc.constantFrom('a', 'b'), fc.nat(6), fc.integer({ min: 1, max: 5 }), fc.boolean()), { maxLength: 15 }), (batches) =>
          inDirectory(async (directory) => {
            let ledger = await open(directory, { segmentBytesMax: 1_500 });
            const sent = { a: 0, b: 0 };
            for (const [spool, again, more, reopen] of batches) {
              const first = Math.max(1, sent[spool] + 1 - again); // at least once: what was sent is sent again
              sent[spool] = Math.max(sent[spool], first + more - 1);
              assert.equal(await ledger.appendFrom(...from(spool, first, first + more - 1)), sent[spool]);
              if (!reopen) continue;
              await ledger.close();
              ledger = await open(directory, { segmentBytesMax: 1_500 });
            }
            const found: Record<string, number[]> = { a: [], b: [] };
            for await (const entry of ledger.tail()) found[entry.from!.spool]!.push(entry.from!.sequence);
            assert.deepEqual(found, { a: upTo(sent.a), b: upTo(sent.b) });
            await ledger.close();
          }),
        ),
        { numRuns: 40 },
      ));
  });

  describe('verification', () => {
    it('passes a whole ledger, open or not, and gives its head', () =>
      inDirectory(async (directory) => {
        assert.deepEqual(await verifyLedger(directory), { ok: true, firstSequence: 1, head: null, segments: 0, tornBytes: 0 });
        await writeLedger(directory, 20);
        const ledger = await open(directory);
        const segments = (await segmentsOf(directory)).length;
        assert.deepEqual(await ledger.verify(), { ok: true, firstSequence: 1, head: ledger.head, segments, tornBytes: 0 });
        assert.deepEqual(await verifyLedger(directory), await ledger.verify());
        assert.equal(ledger.head.sequence, 20);
        await ledger.close();
      }));

    it('starts from the first segment that is there, and says so', () =>
      inDirectory(async (directory) => {
        await writeLedger(directory, 20);
        const [oldest, next] = await segmentsOf(directory);
        await rm(oldest!);
        const verification = await verifyLedger(directory);
        assert.ok(verification.ok);
        assert.equal(verification.firstSequence, Number(/[0-9]{16}/.exec(next!)![0]));
        assert.ok(verification.firstSequence > 1);
      }));

    it('names the place of any record that was changed, dropped, doubled, inserted or exchanged', () =>
      inDirectory(async (directory) => {
        const count = 17;
        await writeLedger(directory, count);
        const originals = await Promise.all((await segmentsOf(directory)).map(async (path) => ({ path, lines: (await readFile(path, 'utf8')).split('\n').slice(0, -1) })));
        const places = originals.flatMap(({ lines }, segment) => lines.map((_, line) => ({ segment, line })));
        await fc.assert(
          fc.asyncProperty(fc.constantFrom(...places), fc.constantFrom(...places), fc.constantFrom('change', 'drop', 'double', 'insert', 'exchange'), fc.nat(), fc.integer({ min: 33, max: 125 }), async (place, other, damage, position, code) => {
            const segments = originals.map(({ lines }) => [...lines]);
            const at = segments[place.segment]!;
            const line = at[place.line]!;
            if (damage === 'change') {
              const index = position % line.length;
              fc.pre(line.charCodeAt(index) !== code);
              at[place.line] = line.slice(0, index) + String.fromCharCode(code) + line.slice(index + 1);
            } else if (damage === 'drop') at.splice(place.line, 1);
            else if (damage === 'double') at.splice(place.line, 0, line);
            else if (damage === 'insert') at.splice(place.line, 0, originals[other.segment]!.lines[other.line]!);
            else {
              fc.pre(place.segment !== other.segment || place.line !== other.line);
              at[place.line] = segments[other.segment]![other.line]!;
              segments[other.segment]![other.line] = line;
            }
            await Promise.all(originals.map(({ path }, index) => writeFile(path, segments[index]!.map((each) => `${each}\n`).join(''))));
            const verification = await verifyLedger(directory);
            assert.ok(!verification.ok, `${damage} was not found`);
            // The first line that differs, or the one after it where a doubled line looks like the one before.
            const { file, lineNumber } = firstDifference(originals, segments);
            const found = originals.findIndex(({ path }) => path === verification.file);
            const foundLine = segments[found]!.map((each) => `${each}\n`).join('').slice(0, verification.offset).split('\n').length - 1;
            assert.ok(found > file || (found === file && foundLine >= lineNumber), `${damage} at ${file}:${lineNumber} found at ${found}:${foundLine}`);
            assert.ok(found - file <= 1 && (found > file || foundLine - lineNumber <= 1), `${damage} at ${file}:${lineNumber} found only at ${found}:${foundLine}`);
            assert.match(verification.message, /\S/);
          }),
          { numRuns: 200 },
        );
      }));

    it('finds any byte that was flipped', () =>
      inDirectory(async (directory) => {
        await writeLedger(directory, 2, 1 << 20);
        const path = (await segmentsOf(directory))[0]!;
        const content = await readFile(path);
        for (let at = 0; at < content.length; at++) {
          const damaged = Buffer.from(content);
          damaged[at]! ^= 0x01;
          await writeFile(path, damaged);
          assert.equal((await verifyLedger(directory)).ok, false, `byte ${at}`);
        }
      }));

    const damages: readonly (readonly [string, readonly number[], string])[] = [
      ['dropped', [1, 3, 4], 'misplaced'],
      ['doubled', [1, 2, 2, 3, 4], 'misplaced'],
      ['out of order', [1, 3, 2, 4], 'misplaced'],
    ];
    for (const [what, order, problem] of damages) {
      it(`says that a record is ${what}, and not that it was changed`, () =>
        inDirectory(async (directory) => {
          await writeLedger(directory, 4, 1 << 20);
          const path = (await segmentsOf(directory))[0]!;
          const lines = (await readFile(path, 'utf8')).split('\n');
          await writeFile(path, [0, ...order].map((index) => `${lines[index]!}\n`).join(''));
          const verification = await verifyLedger(directory);
          assert.ok(!verification.ok);
          assert.equal(verification.problem, problem);
        }));
    }

    it('finds a segment that was exchanged for one of another ledger', () =>
      inDirectory(async (directory) => {
        const [ours, other] = [join(directory, 'ours'), join(directory, 'other')];
        for (const [each, revoked] of [[ours, 1], [other, 2]] as const) {
          const ledger = await open(each, { segmentBytesMax: 1 });
          for (const number of [revoked, 3, 4]) await ledger.append(numberedRecord(number));
          await ledger.close();
        }
        const [[first, second], [foreign]] = [await segmentsOf(ours), await segmentsOf(other)];
        await writeFile(first!, await readFile(foreign!));
        const verification = await verifyLedger(ours);
        assert.ok(!verification.ok);
        assert.deepEqual([verification.problem, verification.sequence, verification.file, verification.offset], ['changed', 2, second, 0]);
      }));

    it('finds a segment that is missing in the middle, cut at a line, renamed or emptied', () =>
      inDirectory(async (directory) => {
        await writeLedger(directory, 20);
        const paths = await segmentsOf(directory);
        const [path, next] = [paths[1]!, paths[2]!];
        const content = await readFile(path);
        const firstOf = (name: string): number => Number(/[0-9]{16}/.exec(basename(name))![0]);

        await rm(path);
        const missing = await verifyLedger(directory);
        assert.ok(!missing.ok);
        assert.deepEqual([missing.problem, missing.sequence, missing.file, missing.offset], ['misplaced', firstOf(path), next, 0]);

        await writeFile(path, content.subarray(0, content.lastIndexOf('\n', content.length - 2) + 1));
        const cut = await verifyLedger(directory);
        assert.ok(!cut.ok);
        assert.deepEqual([cut.problem, cut.sequence, cut.file], ['misplaced', firstOf(next) - 1, next]);

        await writeFile(path, '');
        assert.equal((await verifyLedger(directory)).ok, false);

        await writeFile(path, content);
        await rename(path, path.replace(/1?[0-9]\.jsonl/, '2.jsonl'));
        assert.equal((await verifyLedger(directory)).ok, false);
      }));

    it('finds that the end is missing, and such a ledger is not opened', () =>
      inDirectory(async (directory) => {
        await writeLedger(directory, 20);
        const last = (await segmentsOf(directory)).at(-1)!;
        const content = await readFile(last);
        await writeFile(last, content.subarray(0, content.lastIndexOf('\n', content.length - 2) + 1));
        const verification = await verifyLedger(directory);
        assert.ok(!verification.ok);
        assert.deepEqual([verification.problem, verification.sequence], ['cut-off', 20]);
        await assert.rejects(open(directory), hasCode('ledger-chain-broken', directory));
        await rm(last);
        await assert.rejects(open(directory), hasCode('ledger-chain-broken', directory));
        await rm(join(directory, 'ledger.head'));
        await (await open(directory)).close();
      }));
  });

  describe('after a crash', () => {
    it('drops a torn end at every length of the cut, and says so', function () {
      this.timeout(30_000); // some three hundred openings, each with several syncs
      return inDirectory(async (directory) => {
        await writeLedger(directory, 2, 1 << 20);
        await rm(join(directory, 'ledger.head')); // which only an orderly end writes
        const path = (await segmentsOf(directory))[0]!;
        const content = await readFile(path);
        const ends = [...content.entries()].filter(([, byte]) => byte === 0x0a).map(([at]) => at + 1);
        for (let length = ends[1]!; length <= content.length; length++) {
          await writeFile(path, content.subarray(0, length));
          const end = ends.findLast((each) => each <= length)!;
          const ledger = await open(directory);
          assert.deepEqual(ledger.torn, end === length ? null : { path, offset: end, droppedBytes: length - end });
          assert.deepEqual(await collect(ledger.tail()), upTo(ends.indexOf(end)));
          await ledger.close();
          await rm(join(directory, 'ledger.head'));
        }
      });
    });

    it('drops what power left of the last commit, and refuses damage before it', () =>
      inDirectory(async (directory) => {
        const ledger = await open(directory);
        for (const commit of [[1], [2, 3, 4, 5, 6, 7, 8]]) await Promise.all(commit.map((number) => ledger.append(numberedRecord(number))));
        await ledger.close();
        await rm(join(directory, 'ledger.head'));
        const path = (await segmentsOf(directory))[0]!;
        const content = await readFile(path);
        const hole = Buffer.from(content).fill(0, 1024, 1536);
        await writeFile(path, hole);
        const recovered = await open(directory);
        assert.ok(recovered.torn !== null && recovered.head.sequence >= 1 && recovered.head.sequence < 8);
        await recovered.close();
        await rm(join(directory, 'ledger.head'));
        const early = Buffer.from(content).fill(0, content.indexOf('{"seq":1') + 20, 512);
        await writeFile(path, early);
        await assert.rejects(open(directory), hasCode('journal-corrupt', `${path}:${content.indexOf('{"seq":1')}`));
      }));

    it('refuses a changed record of the last segment when it is opened, with its offset', () =>
      inDirectory(async (directory) => {
        await writeLedger(directory, 4, 1 << 20);
        const path = (await segmentsOf(directory))[0]!;
        const content = await readFile(path, 'latin1');
        await writeFile(path, content.replace('"serialNumber":"4"', '"serialNumber":"5"'));
        await assert.rejects(open(directory), hasCode('journal-corrupt', `${path}:${content.indexOf('{"seq":4')}`));
      }));

    it('begins a segment again that it was making', () =>
      inDirectory(async (directory) => {
        await writeLedger(directory, 20);
        await writeFile(join(directory, 'ledger-0000000000000021.jsonl.new'), '{"ledger":1,"fir');
        await writeFile(join(directory, 'ledger-0000000000000001.index.new'), 'half');
        const ledger = await open(directory, { segmentBytesMax: 1_000 });
        for (const number of upTo(30, 21)) await ledger.append(numberedRecord(number));
        assert.ok((await ledger.verify()).ok);
        assert.deepEqual((await readdir(directory)).filter((name) => name.endsWith('.new')), []);
        await ledger.close();
      }));
  });
});

function firstDifference(originals: readonly { readonly lines: readonly string[] }[], damaged: readonly (readonly string[])[]): { readonly file: number; readonly lineNumber: number } {
  for (const [file, { lines }] of originals.entries()) {
    const found = damaged[file]!;
    for (let lineNumber = 0; lineNumber < Math.max(lines.length, found.length); lineNumber++) {
      if (lines[lineNumber] !== found[lineNumber]) return { file, lineNumber };
    }
  }
  throw new Error('nothing was damaged');
}
