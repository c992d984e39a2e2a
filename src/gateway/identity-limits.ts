/** How many connections each identity has, over all worker threads: counters in shared memory, exact and without a message. */
import { hash } from 'node:crypto';
import type { SpiffeId } from '../core/spiffe-id.ts';

export interface IdentityLimits {
  /** Counts one more connection, unless the identity has `max` already. */
  acquire(spiffeId: SpiffeId, max: number): boolean;
  /** Counts one less; only after an `acquire` that was true. */
  release(spiffeId: SpiffeId): void;
}

/** An identity keeps its slot while the process lives. When none is left, an identity without one is refused. */
const slots = 65_536;
/** A search this long happens in a table that is nearly full. */
const probesMax = 256;
const keyBytes = 8;
const countBytes = 4;

/** The memory that all workers share: an open-addressing table of identity keys, and behind it their counters. */
export const allocateIdentityLimits = (): SharedArrayBuffer => new SharedArrayBuffer(slots * (keyBytes + countBytes));

export function createIdentityLimits(memory: SharedArrayBuffer): IdentityLimits {
  const keys = new BigInt64Array(memory, 0, slots);
  const counts = new Int32Array(memory, slots * keyBytes, slots);
  const known = new Map<SpiffeId, number>();

  function slotOf(spiffeId: SpiffeId): number | undefined {
    const found = known.get(spiffeId) ?? claim(hash('sha256', spiffeId, 'buffer').readBigInt64LE());
    if (found !== undefined) known.set(spiffeId, found);
    return found;
  }

  function claim(key: bigint): number | undefined {
    const first = Number(BigInt.asUintN(16, key));
    for (let probe = 0; probe < probesMax; probe++) {
      const slot = (first + probe) % slots;
      const holder = Atomics.compareExchange(keys, slot, 0n, key);
      if (holder === 0n || holder === key) return slot;
    }
    return undefined;
  }

  return {
    acquire(spiffeId, max) {
      const slot = slotOf(spiffeId);
      if (slot === undefined) return false;
      if (Atomics.add(counts, slot, 1) < max) return true;
      Atomics.sub(counts, slot, 1);
      return false;
    },
    release(spiffeId) {
      const slot = slotOf(spiffeId);
      if (slot !== undefined) Atomics.sub(counts, slot, 1);
    },
  };
}
