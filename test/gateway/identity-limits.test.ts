import assert from 'node:assert/strict';
import { Worker } from 'node:worker_threads';
import { once } from 'node:events';
import fc from 'fast-check';
import type { SpiffeId } from '../../src/core/spiffe-id.ts';
import { allocateIdentityLimits, createIdentityLimits } from '../../src/gateway/identity-limits.ts';

const idOf = (number: number): SpiffeId => `spiffe://cluster.local/ns/n/sa/a${number}` as SpiffeId;

describe('limits of connections', () => {
  it('hold for an identity over all threads together: with one allowed, two are never in', async () => {
    const memory = allocateIdentityLimits();
    const inside = new Int32Array(new SharedArrayBuffer(8)); // how many are in, and how many threads have come
    const code = `
      const { workerData: { memory, inside, module }, parentPort } = require('node:worker_threads');
      import(module).then(({ createIdentityLimits }) => {
        const limits = createIdentityLimits(memory);
        Atomics.add(inside, 1, 1);
        while (Atomics.load(inside, 1) < 2);
        let admitted = 0, together = 0;
        for (let round = 0; round < 600_000; round++) {
          if (!limits.acquire('${idOf(1)}', 1)) continue;
          admitted += 1;
          if (Atomics.add(inside, 0, 1) !== 0) together += 1;
          Atomics.sub(inside, 0, 1);
          limits.release('${idOf(1)}');
        }
        parentPort.postMessage({ admitted, together });
      });`;
    const threads = [1, 2].map(() => new Worker(code, { eval: true, workerData: { memory, inside, module: new URL('../../src/gateway/identity-limits.ts', import.meta.url).href } }));
    const counts = await Promise.all(threads.map(async (thread) => ((await once(thread, 'message')) as [{ admitted: number; together: number }])[0]));
    for (const { admitted, together } of counts) {
      assert.ok(admitted > 0);
      assert.equal(together, 0);
    }
    assert.equal(createIdentityLimits(memory).acquire(idOf(1), 1), true, 'nothing stays counted');
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
