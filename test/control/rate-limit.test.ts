import assert from 'node:assert/strict';
import { createRateLimit } from '../../src/control/rate-limit.ts';

describe('rate limit', () => {
  it('lets a burst through and then the rate', () => {
    const limit = createRateLimit({ burst: 3, perSecond: 1 });
    assert.deepEqual([0, 0, 0, 0].map((now) => limit.take('a', now)), [true, true, true, false]);
    assert.equal(limit.take('a', 999), false);
    assert.equal(limit.take('a', 1_500), true);
    assert.equal(limit.take('a', 1_500), false);
  });

  it('has room again for what is given back, and for no more than the burst', () => {
    const limit = createRateLimit({ burst: 2, perSecond: 0.001 });
    assert.deepEqual([0, 0, 0].map((now) => limit.take('a', now)), [true, true, false]);
    limit.giveBack('a', 0);
    assert.deepEqual([0, 0].map((now) => limit.take('a', now)), [true, false]);
    for (let times = 0; times < 5; times += 1) limit.giveBack('a', 0);
    assert.deepEqual([0, 0, 0].map((now) => limit.take('a', now)), [true, true, false]);
  });

  it('counts each key for itself', () => {
    const limit = createRateLimit({ burst: 1, perSecond: 1 });
    assert.equal(limit.take('a', 0), true);
    assert.equal(limit.take('b', 0), true);
    assert.equal(limit.take('a', 0), false);
  });

  it('is not refilled by a clock that goes backwards', () => {
    const limit = createRateLimit({ burst: 1, perSecond: 1 });
    assert.equal(limit.take('a', 10_000), true);
    assert.equal(limit.take('a', 0), false);
  });

  it('makes a flood of new keys share one bucket, and remembers those that it knows', () => {
    const limit = createRateLimit({ burst: 1, perSecond: 0.001 });
    for (let key = 0; key < 10_000; key += 1) assert.equal(limit.take(`key-${key}`, 0), true);
    assert.equal(limit.take('late-1', 0), true);
    assert.equal(limit.take('late-2', 0), false);
    assert.equal(limit.take('key-1', 0), false);
  });
});
