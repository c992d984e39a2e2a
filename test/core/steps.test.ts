import assert from 'node:assert/strict';
import fc from 'fast-check';
import { runThrough, sortInSteps } from '../../src/core/steps.ts';

describe('sorting in steps', () => {
  interface Item {
    readonly key: number;
    readonly place: number;
  }
  const byKey = (a: Item, b: Item): number => a.key - b.key;

  it('sorts as at once, and leaves equal items in their order', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(50), { maxLength: 1_000, size: 'max' }), (keys) => {
        const items = keys.map((key, place) => ({ key, place }));
        assert.deepEqual(runThrough(sortInSteps(items, byKey)), items.toSorted(byKey));
      }),
    );
  });

  it('compares no more than a few hundred items in a step', () => {
    let compared = 0;
    const steps = sortInSteps(Array.from({ length: 20_000 }, (_, place) => ({ key: (place * 7_919) % 20_011, place })), (a, b) => {
      compared += 1;
      return byKey(a, b);
    });
    for (let isDone = false; !isDone; ) {
      compared = 0;
      isDone = steps.next().done === true;
      assert.ok(compared < 1_024, String(compared));
    }
  });
});
