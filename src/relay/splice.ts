/** Joins two connections into one: what both gateway and agent do with every stream. */
import type { Duplex } from 'node:stream';
import { reset } from './reset.ts';

/** How a splice ended by itself: both directions ended in order, nothing moved for too long, or one end broke. */
export type SpliceEnd = 'finished' | 'idle-timeout' | 'a-broken' | 'b-broken';

export interface SpliceResult<Reason extends string> {
  readonly reason: SpliceEnd | Reason;
  readonly bytesAtoB: number;
  readonly bytesBtoA: number;
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
 *
 * @param idleTimeoutMs ends the splice when no byte moves in either direction for so long
 */
export function splice<Reason extends string = never>(a: Duplex, b: Duplex, { idleTimeoutMs }: { readonly idleTimeoutMs: number }): Splice<Reason> {
  let reason: SpliceEnd | Reason | undefined;
  let bytesAtoB = 0;
  let bytesBtoA = 0;
  let open = 2;
  const { promise: done, resolve } = Promise.withResolvers<SpliceResult<Reason>>();
  const idle = setTimeout(() => end('idle-timeout'), idleTimeoutMs);

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
    resolve({ reason: reason ?? 'finished', bytesAtoB, bytesBtoA });
  }

  function attach(from: Duplex, to: Duplex, broken: SpliceEnd, count: (bytes: number) => void): void {
    from.on('data', (chunk: Buffer) => {
      idle.refresh();
      count(chunk.length);
      if (!to.write(chunk)) from.pause();
    });
    to.on('drain', () => {
      idle.refresh();
      from.resume();
    });
    if (from.readableEnded) to.end(); // a half-close without a byte before it, while the other end was being dialled
    else from.once('end', () => to.end());
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
  attach(a, b, 'a-broken', (bytes) => (bytesAtoB += bytes));
  attach(b, a, 'b-broken', (bytes) => (bytesBtoA += bytes));
  return { done, destroy: end };
}
