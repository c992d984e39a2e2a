import assert from 'node:assert/strict';
import { Worker } from 'node:worker_threads';
import { once } from 'node:events';
import fc from 'fast-check';
import type { SpiffeId } from '../../src/core/spiffe-id.ts';
import { allocateIdentityLimits, createIdentityLimits } from '../../src/gateway/identity-limits.ts';

const idOf = (number: number): SpiffeId => `spiffe://cluster.local/ns/n/sa/a${number}` as SpiffeId;

describe('limits of connections', () => {
  it('hold for an identity over all threads together', async () => {
    const memory = allocateIdentityLimits();
    const threads = Array.from({ length: 3 }, () => {
      const code = `
        const { workerData, parentPort } = require('node:worker_threads');
        import(workerData.module).then(({ createIdentityLimits }) => {
          const limits = createIdentityLimits(workerData.memory);
          let given = 0;
          for (let round = 0; round < 1000; round++) {
            if (limits.acquire('${idOf(1)}', 50)) given += 1;
            if (limits.acquire('${idOf(2)}', 1)) limits.release('${idOf(2)}');
          }
          parentPort.postMessage(given);
        });`;
      return new Worker(code, { eval: true, workerData: { memory, module: new URL('../../src/gateway/identity-limits.ts', import.meta.url).href } });
    });
    const given = await Promise.all(threads.map(async (thread) => ((await once(thread, 'message')) as [number])[0]));
    assert.equal(given.reduce((sum, each) => sum + each), 50);
    assert.equal(createIdentityLimits(memory).acquire(idOf(2), 1), true);
  });

  it('count each identity by itself, against a model', () => {
    const step = fc.record({ identity: fc.nat(5), take: fc.boolean() });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 100 }), fc.integer({ min: 1, max: 4 }), (steps, max) => {
        const limits = createIdentityLimits(memory());
        const model = new Map<number, number>();
        for (const { identity, take } of steps) {
          const held = model.get(identity) ?? 0;
          if (take) {
            assert.equal(limits.acquire(idOf(identity), max), held < max);
            model.set(identity, Math.min(max, held + 1));
          } else if (held > 0) {
            limits.release(idOf(identity));
            model.set(identity, held - 1);
          }
        }
      }),
      { numRuns: 100 },
    );
  });

  it('refuse, rather than mix, when there are more identities than places', () => {
    const limits = createIdentityLimits(allocateIdentityLimits());
    const taken = Array.from({ length: 66_000 }, (_, index) => limits.acquire(idOf(index), 1)).filter(Boolean).length;
    assert.ok(taken <= 65_536 && taken > 64_000, String(taken));
    assert.equal(limits.acquire(idOf(0), 1), false);
  });
});

/** Cleared instead of made anew: a property run asks for hundreds. */
const shared = allocateIdentityLimits();
function memory(): SharedArrayBuffer {
  new Uint8Array(shared).fill(0);
  return shared;
}
