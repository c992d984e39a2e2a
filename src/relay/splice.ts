/** Joins two connections into one: what both gateway and agent do with every stream. */
import type { Duplex } from 'node:stream';
import { takeInPlace } from './in-place-reads.ts';
import { reset } from './reset.ts';

/** How a splice ended by itself: both directions ended in order, nothing moved for too long, or one end broke. */
export type SpliceEnd = 'finished' | 'idle-timeout' | 'a-broken' | 'b-broken';

export interface SpliceResult<Reason extends string> {
  readonly reason: SpliceEnd | Reason;
  readonly bytesAtoB: number;
  readonly bytesBtoA: number;
}

/** Looks on at what a splice carries. */
export interface SpliceWatch {
  /** Sees a chunk before it is passed on, and says for how many milliseconds nothing more is read from there. May destroy the splice: then the chunk goes nowhere. */
  chunk(chunk: Buffer, from: 'a' | 'b'): number;
  /** No more comes from there. */
  end(from: 'a' | 'b'): void;
}

export interface SpliceOptions {
  /** Ends the splice when no byte has moved in either direction for so long, but not while its watch holds one back. */
  readonly idleTimeoutMs: number;
  readonly watch?: SpliceWatch;
}

export interface Splice<Reason extends string> {
  /** Resolves when both ends are closed. Never rejects. */
  readonly done: Promise<SpliceResult<Reason>>;
  /** Resets both ends. Without effect once the splice has ended. */
  readonly destroy: (reason: Reason) => void;
}

/**
 * Passes bytes in both directions until both have ended. A half-close is passed on as one (both ends must be `allowHalfOpen`), a
 * reset as a reset, and a slow reader slows its writer: at most a high-water mark and a chunk are held for each direction.
 */
export function splice<Reason extends string = never>(a: Duplex, b: Duplex, { idleTimeoutMs, watch }: SpliceOptions): Splice<Reason> {
  let reason: SpliceEnd | Reason | undefined;
  let bytesAtoB = 0;
  let bytesBtoA = 0;
  let open = 2;
  const { promise: done, resolve } = Promise.withResolvers<SpliceResult<Reason>>();
  const holds = new Set<NodeJS.Timeout>();
  const idle = setTimeout(() => {
    if (holds.size > 0) idle.refresh();
    else end('idle-timeout');
  }, idleTimeoutMs);

  function end(why: SpliceEnd | Reason): void {
    reason ??= why;
    reset(a);
    reset(b);
  }

  function closed(broken: SpliceEnd, inOrder: boolean): void {
    if (!inOrder) end(broken);
    open -= 1;
    if (open > 0) return;
    clearTimeout(idle);
    for (const hold of holds) clearTimeout(hold);
    resolve({ reason: reason ?? 'finished', bytesAtoB, bytesBtoA });
  }

  function attach(from: Duplex, to: Duplex, name: 'a' | 'b', broken: SpliceEnd, count: (bytes: number) => void): void {
    let hold: NodeJS.Timeout | undefined;
    function holdBack(holdMs: number, goOn: () => void): void {
      hold = setTimeout(() => {
        holds.delete(hold!);
        hold = undefined;
        idle.refresh();
        goOn();
      }, holdMs);
      holds.add(hold);
    }
    /** Counts a chunk, and says for how long nothing more is read. */
    function see(chunk: Buffer): number {
      idle.refresh();
      count(chunk.length);
      return watch?.chunk(chunk, name) ?? 0;
    }
    from.on('data', (chunk: Buffer) => {
      const holdMs = see(chunk);
      if (holdMs > 0) {
        holdBack(holdMs, () => {
          if (!to.writableNeedDrain) from.resume();
        });
      }
      if (!to.write(chunk) || hold !== undefined) from.pause();
    });
    takeInPlace(from, (chunk, goOn) => {
      const holdMs = see(chunk);
      let awaited = holdMs > 0 ? 2 : 1; // the chunk is overwritten once both its write and its pause are over
      const done = (): void => {
        awaited -= 1;
        if (awaited === 0) goOn();
      };
      if (holdMs > 0) holdBack(holdMs, done);
      to.write(chunk, done);
    });
    to.on('drain', () => {
      idle.refresh();
      if (hold === undefined) from.resume();
    });
    const ended = (): void => {
      watch?.end(name);
      to.end();
    };
    if (from.readableEnded) ended(); // a half-close without a byte before it, while the other end was being dialled
    else from.once('end', ended);
    from.on('error', () => end(broken));
    from.once('close', () => closed(broken, from.readableEnded && from.writableFinished));
  }

  if (a.destroyed || b.destroyed) {
    // A closed stream says so no more, and its reader may be long gone.
    end(a.destroyed ? 'a-broken' : 'b-broken');
    clearTimeout(idle);
    resolve({ reason: reason!, bytesAtoB, bytesBtoA });
    return { done, destroy: () => undefined };
  }
  attach(a, b, 'a', 'a-broken', (bytes) => (bytesAtoB += bytes));
  attach(b, a, 'b', 'b-broken', (bytes) => (bytesBtoA += bytes));
  return { done, destroy: end };
}
