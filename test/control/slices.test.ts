import assert from 'node:assert/strict';
import { runInSlices } from '../../src/control/slices.ts';
import type { Steps } from '../../src/core/steps.ts';
import { turnsDuring } from '../support/event-loop.ts';

/** Steps that each take longer than a slice may. */
function* long(count: number): Steps<string> {
  for (let done = 0; done < count; done += 1) {
    const endMs = performance.now() + 2;
    while (performance.now() < endMs);
    yield;
  }
  return 'done';
}

describe('steps in slices', () => {
  it('give what they give, and let everything else have its turn in between', async () => {
    let result = '';
    const turns = await turnsDuring(async () => (result = await runInSlices(long(20))));
    assert.equal(result, 'done');
    assert.ok(turns >= 20, `${turns} turns`);
  });

  it('share a slice where they are short', async () => {
    function* short(): Steps<void> {
      for (let done = 0; done < 1_000; done += 1) yield;
    }
    const turns = await turnsDuring(() => runInSlices(short()));
    assert.ok(turns < 100, `${turns} turns`);
  });

  it('fail as they fail', async () => {
    const failing = function* (): Steps<void> {
      yield;
      throw new Error('no further');
    };
    await assert.rejects(runInSlices(failing()), /no further/);
  });
});
