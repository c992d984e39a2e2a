import assert from 'node:assert/strict';
import { deniedMax } from '../../src/backends/kernel/index.ts';
import type { RunProgram } from '../../src/kernel/index.ts';
import { takeDenials } from '../../src/kernel/denial-reader.ts';

const nowMs = Date.parse('2026-11-22T06:00:00Z');
const elements = (count: number, expires = 3_600) => Array.from({ length: count }, (_, index) => ({ elem: { val: { concat: [0x101, '192.0.2.9', index + 1, '203.0.113.10', 7_000] }, expires } }));

/** A kernel with these elements in its sets; undefined where there is no such set. */
function kernelWith(sets: Readonly<Record<string, readonly object[]>>, { forgets = true } = {}) {
  const loaded: string[] = [];
  const run: RunProgram = (_program, args, input) => {
    if (input !== undefined) {
      loaded.push(input);
      return Promise.resolve({ status: forgets ? 0 : 1, stdout: '', stderr: '' });
    }
    const elem = sets[args.at(-1)!];
    return Promise.resolve({ status: elem === undefined ? 1 : 0, stdout: JSON.stringify({ nftables: [{ set: { elem } }] }), stderr: '' });
  };
  return { run, loaded, take: () => takeDenials(run, () => nowMs) };
}

describe('what is refused, taken out of the kernel', () => {
  it('is what was there, oldest first, and is forgotten there', async () => {
    const { take, loaded } = kernelWith({ denied4: [...elements(2), ...elements(1, 3_500)], denied6: [] });
    const { denials, unrecorded } = await take();
    assert.deepEqual([denials.map(({ atMs }) => nowMs - atMs), unrecorded], [[100_000, 0, 0], undefined]);
    assert.deepEqual(loaded.map((text) => text.match(/192\.0\.2\.9/g)?.length), [3]);
  });

  it('is nothing where it cannot be forgotten, since it would be taken again', async () => {
    assert.deepEqual((await kernelWith({ denied4: elements(2), denied6: [] }, { forgets: false }).take()).denials, []);
  });

  it('is nothing where there is no table yet', async () => {
    assert.deepEqual(await kernelWith({}).take(), { denials: [], unrecorded: undefined });
  });

  it('is told with how many found no room where there was none left', async () => {
    const { denials, unrecorded } = await kernelWith({ denied4: elements(deniedMax), denied6: [], unrecorded: [{ elem: { val: 0x101, counter: { packets: 5 } } }] }).take();
    assert.deepEqual([denials.length, unrecorded], [deniedMax, 5]);
  });
});
