import assert from 'node:assert/strict';
import fc from 'fast-check';
import { backOffMs } from '../../src/core/back-off.ts';

const backOff = { baseMs: 250, maxMs: 10_000 };

describe('the pause after failures', () => {
  it('doubles up to its bound', () => {
    assert.deepEqual(Array.from({ length: 8 }, (_, failures) => backOffMs(backOff, failures, 0)), [125, 250, 500, 1_000, 2_000, 4_000, 5_000, 5_000]);
  });

  it('is between half and the whole of that, however many they are', () => {
    fc.assert(
      fc.property(fc.nat(), fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), (failures, random) => {
        const pauseMs = backOffMs(backOff, failures, random);
        assert.ok(pauseMs >= backOffMs(backOff, failures, 0) && pauseMs <= 2 * backOffMs(backOff, failures, 0) && pauseMs <= backOff.maxMs, String(pauseMs));
      }),
    );
  });
});
