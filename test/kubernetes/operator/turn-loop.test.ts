import assert from 'node:assert/strict';
import { setImmediate } from 'node:timers/promises';
import { createTurnLoop } from '../../../src/kubernetes/operator/turn-loop.ts';

describe('turns', () => {
  it('are one for however many wakes come together, and one more for those that come meanwhile', async () => {
    let begun = 0;
    let end = (): void => undefined;
    const loop = createTurnLoop(() => {
      begun += 1;
      return new Promise((resolve) => void (end = resolve));
    });
    for (let times = 0; times < 3; times += 1) loop.wake();
    await setImmediate();
    await setImmediate();
    assert.equal(begun, 1);
    loop.wake();
    loop.wake();
    await setImmediate();
    assert.equal(begun, 1);
    end();
    await setImmediate();
    await setImmediate();
    assert.equal(begun, 2);
    end();
    await setImmediate();
    await setImmediate();
    assert.equal(begun, 2); // nobody has woken it again
    loop.wake();
    await setImmediate();
    await setImmediate();
    const closed = loop.close();
    loop.wake();
    end();
    await closed;
    await setImmediate();
    assert.equal(begun, 3);
  });
});
