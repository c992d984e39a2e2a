import assert from 'node:assert/strict';
import { SallyportError } from '../../src/core/errors.ts';
import { openDataOffer, refusalsMax } from '../../src/relay/ftp-data-offer.ts';
import type { DataClaims } from '../../src/relay/ftp-data-offer.ts';

/** An offer whose listener is the test. */
async function open({ timeoutMs = 60_000 }: { timeoutMs?: number } = {}) {
  let claims: DataClaims | undefined;
  const seen = { listening: true, timedOut: 0, done: false };
  const offer = await openDataOffer({
    timeoutMs,
    onTimeout: () => (seen.timedOut += 1),
    listen: (given) => {
      claims = given;
      return Promise.resolve({ port: 2121, close: () => (seen.listening = false) });
    },
  });
  void offer.done.then(() => (seen.done = true));
  assert.ok(claims !== undefined);
  return { offer, claims, seen };
}

describe('ftp data offer', () => {
  it('is used up by the first claim, and done when that is carried to its end', async () => {
    const { offer, claims, seen } = await open();
    const carried = Promise.withResolvers<undefined>();
    assert.ok(claims.claim(() => carried.promise));
    assert.ok(!claims.claim(() => assert.fail('carried twice')));
    assert.ok(!seen.listening);
    await new Promise((resolve) => setImmediate(resolve));
    assert.ok(!seen.done);
    offer.close(); // a transfer that has begun goes on
    await new Promise((resolve) => setImmediate(resolve));
    assert.ok(!seen.done);
    carried.resolve(undefined);
    await offer.done;
    assert.equal(seen.timedOut, 0);
  });

  it('is not used up by strangers, unless there are too many', async () => {
    const { offer, claims, seen } = await open();
    for (let index = 1; index < refusalsMax; index++) claims.refuse();
    assert.ok(seen.listening);
    claims.refuse();
    assert.ok(!seen.listening);
    await offer.done;
    assert.ok(!claims.claim(() => assert.fail('carried')));
  });

  it('ends when nobody comes in time', async () => {
    const { offer, claims, seen } = await open({ timeoutMs: 10 });
    await offer.done;
    assert.deepEqual(seen, { listening: false, timedOut: 1, done: true });
    assert.ok(!claims.claim(() => assert.fail('carried')));
  });

  it('ends when it is closed', async () => {
    const { offer, seen } = await open();
    offer.close();
    await offer.done;
    assert.ok(!seen.listening);
  });

  it('may be claimed before its listener has returned', async () => {
    let closed = 0;
    const offer = await openDataOffer({
      timeoutMs: 60_000,
      onTimeout: () => assert.fail('timed out'),
      listen: (claims) => {
        assert.ok(claims.claim(() => Promise.resolve()));
        return Promise.resolve({ port: 2121, close: () => (closed += 1) });
      },
    });
    await offer.done;
    assert.equal(closed, 1);
  });

  it('fails where no port is free', async () => {
    const failure = openDataOffer({ timeoutMs: 60_000, onTimeout: () => assert.fail('timed out'), listen: () => Promise.resolve(undefined) });
    await assert.rejects(failure, (error) => error instanceof SallyportError && error.code === 'unavailable');
  });
});
