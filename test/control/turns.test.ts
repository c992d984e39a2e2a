import assert from 'node:assert/strict';
import { createTurns } from '../../src/control/turns.ts';
import { SallyportError } from '../../src/core/errors.ts';

describe('turns', () => {
  it('begin when the one before is over, also where that has failed, in the order of the calls', async () => {
    const takeTurn = createTurns('changes', 8);
    const seen: string[] = [];
    const work = (name: string, fails = false) => async (): Promise<string> => {
      seen.push(`${name} begins`);
      await new Promise((resolve) => setImmediate(resolve));
      seen.push(`${name} ends`);
      if (fails) throw new Error(name);
      return name;
    };
    const results = await Promise.allSettled([takeTurn(work('a', true)), takeTurn(work('b')), takeTurn(work('c'))]);
    assert.deepEqual(seen, ['a begins', 'a ends', 'b begins', 'b ends', 'c begins', 'c ends']);
    assert.deepEqual(results.map(({ status }) => status), ['rejected', 'fulfilled', 'fulfilled']);
  });

  it('are refused while too many wait, and no longer', async () => {
    const takeTurn = createTurns('changes', 1);
    const first = takeTurn(() => new Promise((resolve) => setImmediate(resolve)));
    await assert.rejects(takeTurn(() => Promise.resolve()), (error) => error instanceof SallyportError && error.code === 'unavailable' && error.message === '1 changes are waiting already');
    await first;
    assert.equal(await takeTurn(() => Promise.resolve('now')), 'now');
  });
});
