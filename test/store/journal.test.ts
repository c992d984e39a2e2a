import assert from 'node:assert/strict';
import { readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { encodeLine, journalHeader } from '../../src/store/journal-file.ts';
import { openJournal } from '../../src/store/journal.ts';
import type { TornEnd } from '../../src/store/line-file.ts';
import { hasCode, inDirectory, unexpected } from './support/directory.ts';
import { faultyDisk, slowDisk } from './support/disk.ts';

const purpose = 'test';

interface Content {
  readonly payloads: readonly string[];
  readonly torn: TornEnd | null;
}

async function read(path: string): Promise<Content> {
  const payloads: string[] = [];
  const { journal, torn } = await openJournal({ path, purpose, onPayload: (payload) => payloads.push(payload) });
  await journal.close();
  return { payloads, torn };
}

/** A journal file whose payloads were committed in these groups. */
function fileOf(groups: readonly (readonly string[])[]): { readonly content: Buffer; readonly lineStarts: readonly number[] } {
  const lines = [encodeLine(0, 0, journalHeader(purpose))];
  for (const group of groups) {
    const commit = lines.length;
    for (const payload of group) lines.push(encodeLine(lines.length, commit, payload));
  }
  let offset = 0;
  return { content: Buffer.concat(lines), lineStarts: lines.map((line) => (offset += line.length) - line.length) };
}

describe('journal', () => {
  it('gives back what was appended, in order', () =>
    inDirectory(async (directory) => {
      const path = join(directory, 'a.journal');
      const { journal } = await openJournal({ path, purpose, onPayload: unexpected });
      const payloads = Array.from({ length: 2_000 }, (_, index) => `{"n":${index},"text":"\\n \u00e4\u2028"}`);
      const sequences = await Promise.all(payloads.map((payload) => journal.append(payload)));
      await journal.close();
      assert.deepEqual(sequences, payloads.map((_, index) => index + 1));
      assert.deepEqual(await read(path), { payloads, torn: null });
    }));

  it('makes everything that waits durable in one group', () =>
    inDirectory(async (directory) => {
      const disk = slowDisk();
      const { journal } = await openJournal({ path: join(directory, 'a.journal'), purpose, onPayload: unexpected, openFile: disk.openFile });
      const first = [journal.append('a'), journal.append('b')];
      while (disk.groups.length === 0) await new Promise(setImmediate);
      const second = ['c', 'd', 'e'].map((payload) => journal.append(payload));
      disk.release();
      await Promise.all([...first, ...second]);
      assert.deepEqual(disk.groups, [2, 3]);
      await journal.close();
    }));

  it('waits for company as long as every turn of the event loop brings some, but not for ever', () =>
    inDirectory(async (directory) => {
      const disk = slowDisk();
      disk.release();
      const { journal } = await openJournal({ path: join(directory, 'a.journal'), purpose, onPayload: unexpected, openFile: disk.openFile });
      const appended = [];
      for (let turn = 0; turn < 3; turn++) {
        appended.push(journal.append(`${turn}`));
        await new Promise(setImmediate);
      }
      await Promise.all(appended);
      assert.deepEqual(disk.groups, [3]);
      while (disk.groups.length === 1) {
        appended.push(journal.append('and again'));
        await new Promise(setImmediate);
      }
      assert.ok(disk.groups[1]! > 1 && disk.groups[1]! < 20, `a group of ${disk.groups[1]}`);
      await Promise.all(appended);
      await journal.close();
    }));

  it('drops a torn end at every length of the cut, and says so', () =>
    inDirectory(async (directory) => {
      const path = join(directory, 'a.journal');
      const payloads = ['first', 'second "\u00e4"', 'third'];
      const { content, lineStarts } = fileOf([payloads.slice(0, 1), payloads.slice(1)]);
      for (let length = lineStarts[1]!; length <= content.length; length++) {
        await writeFile(path, content.subarray(0, length));
        const whole = [...lineStarts.slice(1), content.length].filter((end) => end <= length);
        const end = whole.at(-1)!;
        const torn = end === length ? null : { path, offset: end, droppedBytes: length - end };
        assert.deepEqual(await read(path), { payloads: payloads.slice(0, whole.length - 1), torn }, `cut to ${length} bytes`);
        assert.deepEqual(await read(path), { payloads: payloads.slice(0, whole.length - 1), torn: null }, 'the torn end is gone after it was dropped');
      }
    }));

  it('refuses a file that is cut within its header, which is written as a whole', () =>
    inDirectory(async (directory) => {
      const path = join(directory, 'a.journal');
      const { content, lineStarts } = fileOf([['a']]);
      for (let length = 0; length < lineStarts[1]!; length++) {
        await writeFile(path, content.subarray(0, length));
        await assert.rejects(read(path), hasCode('journal-corrupt', `${path}:0`));
      }
    }));

  it('never gives a changed payload, whichever byte is flipped, and names the line or drops the end', () =>
    inDirectory(async (directory) => {
      const path = join(directory, 'a.journal');
      const payloads = ['{"a":1}', '{"b":"@@  "}', '{"c":3}', '{"d":4}'];
      const { content, lineStarts } = fileOf([payloads.slice(0, 2), payloads.slice(2)]);
      for (let at = 0; at < content.length; at++) {
        for (const mask of [0x01, 0x20, 0x40, 0xff]) {
          const damaged = Buffer.from(content);
          damaged[at]! ^= mask;
          await writeFile(path, damaged);
          const line = lineStarts.findLastIndex((start) => start <= at);
          const outcome = await read(path).catch((error: unknown) => error);
          if (outcome instanceof Error) {
            assert.ok(hasCode('journal-corrupt', `${path}:${lineStarts[line]!}`)(outcome), `byte ${at}: ${outcome.message}`);
          } else {
            const { payloads: found, torn } = outcome as Content;
            assert.equal(line, payloads.length, `byte ${at} is not in the last line, yet its damage was taken for a torn end`);
            assert.deepEqual(found, payloads.slice(0, -1));
            assert.ok(torn !== null);
          }
        }
      }
    }));

  it('refuses a line that is missing, doubled or out of order', () =>
    inDirectory(async (directory) => {
      const path = join(directory, 'a.journal');
      const { content, lineStarts } = fileOf([['a'], ['b'], ['c'], ['d']]);
      const line = (index: number): Buffer => content.subarray(lineStarts[index], lineStarts[index + 1]);
      for (const order of [[0, 1, 3, 4], [0, 1, 2, 2, 3, 4], [0, 1, 3, 2, 4]]) {
        await writeFile(path, Buffer.concat(order.map(line)));
        await assert.rejects(read(path), hasCode('journal-corrupt'));
      }
    }));

  describe('after the power failed, with blocks of 512 bytes that never reached the disk', () => {
    const long = (letter: string): string => letter.repeat(400);
    const groups = [[long('a'), long('b')], [long('c'), long('d'), long('e'), long('f'), long('g')]];
    const { content, lineStarts } = fileOf(groups);

    it('drops what belongs to the commit that was under way, with any set of its blocks missing', () =>
      inDirectory(async (directory) => {
        const path = join(directory, 'a.journal');
        const underWay = lineStarts[3]!;
        const blocks = Array.from({ length: Math.ceil((content.length - underWay) / 512) + 1 }, (_, index) => Math.floor(underWay / 512) * 512 + index * 512);
        await fc.assert(
          fc.asyncProperty(fc.subarray(blocks, { minLength: 1 }), async (missing) => {
            const damaged = Buffer.from(content);
            for (const block of missing) damaged.fill(0, Math.max(block, underWay), Math.min(block + 512, content.length));
            await writeFile(path, damaged);
            const { payloads } = await read(path);
            assert.deepEqual(payloads, groups.flat().slice(0, payloads.length));
            assert.ok(payloads.length >= 2, 'the commit before it was acknowledged');
          }),
          { numRuns: 100 },
        );
      }));

    it('refuses a missing block that a later commit follows', () =>
      inDirectory(async (directory) => {
        const path = join(directory, 'a.journal');
        const damaged = Buffer.from(content);
        damaged.fill(0, lineStarts[1]! + 100, 512);
        await writeFile(path, damaged);
        await assert.rejects(read(path), hasCode('journal-corrupt', `${path}:${lineStarts[1]!}`));
      }));

    it('drops a tail of zeros', () =>
      inDirectory(async (directory) => {
        const path = join(directory, 'a.journal');
        await writeFile(path, Buffer.concat([content, Buffer.alloc(4096)]));
        assert.deepEqual(await read(path), { payloads: groups.flat(), torn: { path, offset: content.length, droppedBytes: 4096 } });
      }));
  });

  it('refuses a journal of another purpose', () =>
    inDirectory(async (directory) => {
      const path = join(directory, 'a.journal');
      await read(path);
      await assert.rejects(openJournal({ path, purpose: 'other', onPayload: unexpected }), hasCode('journal-corrupt', `${path}:0`));
    }));

  for (const [code, partly] of [['ENOSPC', 10], ['EIO', 0]] as const) {
    it(`acknowledges nothing once a write has failed with ${code}, and keeps what it acknowledged before`, () =>
      inDirectory(async (directory) => {
        const path = join(directory, 'a.journal');
        const disk = faultyDisk();
        const { journal } = await openJournal({ path, purpose, onPayload: unexpected, openFile: disk.openFile });
        await journal.append('kept');
        disk.fail(code, partly);
        const lost = [journal.append('lost 1'), journal.append('lost 2')];
        for (const append of lost) await assert.rejects(append, hasCode('store-failed', path));
        await assert.rejects(journal.append('later'), hasCode('store-failed', path));
        await journal.close();
        assert.deepEqual((await read(path)).payloads, ['kept']);
      }));
  }

  it('refuses what would make its queue longer than its bound', () =>
    inDirectory(async (directory) => {
      const disk = slowDisk();
      const { journal } = await openJournal({ path: join(directory, 'a.journal'), purpose, onPayload: unexpected, openFile: disk.openFile });
      const payload = 'x'.repeat(1 << 20);
      const appends = Array.from({ length: 70 }, () => journal.append(payload));
      const outcomes = Promise.allSettled(appends);
      await assert.rejects(appends.at(-1)!, hasCode('unavailable'));
      disk.release();
      const taken = (await outcomes).filter(({ status }) => status === 'fulfilled').length;
      assert.ok(taken >= 60 && taken < 70, `${taken} taken`);
      await journal.close();
    }));

  describe('rewriting', () => {
    it('leaves the given payloads and what was appended meanwhile', () =>
      inDirectory(async (directory) => {
        const path = join(directory, 'a.journal');
        const { journal } = await openJournal({ path, purpose, onPayload: unexpected });
        await Promise.all(['a', 'b', 'c'].map((payload) => journal.append(payload)));
        const appends: Promise<number>[] = [];
        const payloads = function* (): Generator<string> {
          yield 'abc';
          appends.push(journal.append('d'));
          yield 'x'.repeat(200_000);
          appends.push(journal.append('e'));
        };
        const rewritten = journal.rewrite(payloads());
        appends.push(journal.append('f'));
        await rewritten;
        await journal.append('g');
        await Promise.all(appends);
        await journal.close();
        const { payloads: found, torn } = await read(path);
        assert.equal(torn, null);
        assert.deepEqual(found.map((payload) => payload.slice(0, 3)), ['abc', 'xxx', 'f', 'd', 'e', 'g']);
      }));

    it('has not happened if it stopped anywhere before the rename', () =>
      inDirectory(async (directory) => {
        const path = join(directory, 'a.journal');
        const { content } = fileOf([['a'], ['b']]);
        const { content: next } = fileOf([['ab']]);
        for (let length = 0; length <= next.length; length++) {
          await writeFile(path, content);
          await writeFile(`${path}.new`, next.subarray(0, length));
          assert.deepEqual((await read(path)).payloads, ['a', 'b']);
          await assert.rejects(readFile(`${path}.new`), { code: 'ENOENT' });
        }
      }));

    it('has happened after the rename', () =>
      inDirectory(async (directory) => {
        const path = join(directory, 'a.journal');
        await writeFile(path, fileOf([['a'], ['b']]).content);
        await writeFile(`${path}.new`, fileOf([['ab']]).content);
        await rename(`${path}.new`, path);
        assert.deepEqual((await read(path)).payloads, ['ab']);
      }));

    it('that fails leaves the journal as it was, and open', () =>
      inDirectory(async (directory) => {
        const path = join(directory, 'a.journal');
        const { journal } = await openJournal({ path, purpose, onPayload: unexpected });
        await journal.append('a');
        const broken = function* (): Generator<string> {
          yield 'x';
          throw Object.assign(new Error('no space'), { code: 'ENOSPC' });
        };
        await assert.rejects(journal.rewrite(broken()), { code: 'ENOSPC' });
        await journal.append('b');
        await journal.close();
        assert.deepEqual((await read(path)).payloads, ['a', 'b']);
      }));
  });
});
