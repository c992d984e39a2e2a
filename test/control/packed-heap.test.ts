import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';

const packedHeap = new URL('../../src/control/packed-heap.ts', import.meta.url).href;

/** Of a heap of which every other object has gone: what it holds and what it takes, in MB. */
function sizesAfterHalfIsGone(prepare: string): { readonly used: number; readonly total: number } {
  const script = `
    import v8 from 'node:v8';
    import { packHeap } from '${packedHeap}';
    ${prepare}
    let kept = Array.from({ length: 200_000 }, (_, index) => ({ index, more: [index, index + 1, index + 2] }));
    gc();
    kept = kept.filter(({ index }) => index % 2 === 0);
    for (let turn = 0; turn < 6; turn += 1) gc();
    const { used_heap_size: used, total_heap_size: total } = v8.getHeapStatistics();
    console.log(JSON.stringify({ used: used / 1e6, total: total / 1e6, kept: kept.length }));`;
  return JSON.parse(execFileSync(process.execPath, ['--expose-gc', '--max-semi-space-size=4', '--input-type=module', '--eval', script], { encoding: 'utf8' })) as { used: number; total: number };
}

describe('a packed heap', () => {
  it('is not much larger than what it holds, after half of that has gone', () => {
    const [loose, packed] = [sizesAfterHalfIsGone(''), sizesAfterHalfIsGone('packHeap();')];
    assert.ok(packed.total < loose.total * 0.85, JSON.stringify({ loose, packed }));
  });
});
