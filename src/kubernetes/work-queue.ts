/**
 * Work by key, as controllers do it: a key that is added while its work is under way is worked on once more after that, one whose work has
 * failed after a pause that grows, and no more than so many at a time. So the last state is what is worked towards, however often it changes.
 * Where somebody else works towards another, neither is to outdo the other: a key that was written rests.
 *
 * https://pkg.go.dev/k8s.io/client-go/util/workqueue
 */
import { backOffMs } from '../core/back-off.ts';
import { retryAfterMsOf } from './client.ts';

export interface WorkQueue {
  /** Is worked on when its turn comes; one that rests, when it has rested. */
  add(key: string): void;
  /** The same, without rest: for what is wanted otherwise from now on. */
  renew(key: string): void;
  /**
   * For a key whose work has just written: it is worked on once more after a pause, which grows with each such work in a row. What was added
   * meanwhile, as by hearing of the first of its writes, waits until then.
   */
  rest(key: string): void;
  /** Resolves when nothing is left to do; failures that wait for their next try are, keys that rest are not. */
  idle(): Promise<void>;
  /** Takes no more, and resolves when what is under way has ended. */
  close(): Promise<void>;
}

export interface WorkQueueOptions {
  readonly work: (key: string) => Promise<void>;
  readonly onFailure: (key: string, error: unknown) => void;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  readonly concurrency?: number;
}

const pause = { baseMs: 200, maxMs: 30_000 } as const;
const restPause = { baseMs: 500, maxMs: 60_000 } as const;

export function createWorkQueue({ work, onFailure, random, concurrency = 8 }: WorkQueueOptions): WorkQueue {
  const waiting = new Set<string>();
  /** Those that are not to rest before they are worked on. */
  const renewed = new Set<string>();
  const underWay = new Map<string, Promise<void>>();
  const failures = new Map<string, number>();
  const retries = new Map<string, NodeJS.Timeout>();
  const resting = new Map<string, NodeJS.Timeout>();
  const restsInARow = new Map<string, number>();
  let closed = false;
  let idlers: (() => void)[] = [];

  async function workOn(key: string): Promise<void> {
    const restsBefore = restsInARow.get(key);
    try {
      await work(key);
      failures.delete(key);
      if (restsInARow.get(key) === restsBefore) restsInARow.delete(key);
    } catch (error) {
      onFailure(key, error);
      const before = failures.get(key) ?? 0;
      failures.set(key, before + 1);
      if (!closed) retries.set(key, setTimeout(() => add(key), Math.max(retryAfterMsOf(error), backOffMs(pause, before, random()))));
    }
    underWay.delete(key);
    next();
  }

  function next(): void {
    for (const key of waiting) {
      if (closed || underWay.size >= concurrency) break;
      if (underWay.has(key)) continue;
      waiting.delete(key);
      renewed.delete(key);
      underWay.set(key, workOn(key));
    }
    if (waiting.size + underWay.size + retries.size > 0) return;
    for (const resolve of idlers) resolve();
    idlers = [];
  }

  function add(key: string): void {
    if (closed || resting.has(key)) return;
    clearTimeout(retries.get(key));
    retries.delete(key);
    waiting.add(key);
    next();
  }

  function endRest(key: string): void {
    clearTimeout(resting.get(key));
    resting.delete(key);
  }

  return {
    add,
    renew(key) {
      endRest(key);
      restsInARow.delete(key);
      if (!closed) renewed.add(key);
      add(key);
    },
    rest(key) {
      if (closed || renewed.has(key)) return;
      waiting.delete(key);
      const before = restsInARow.get(key) ?? 0;
      restsInARow.set(key, before + 1);
      endRest(key);
      const wake = (): void => {
        endRest(key);
        add(key);
      };
      resting.set(key, setTimeout(wake, backOffMs(restPause, before, random())));
    },
    idle: () =>
      new Promise((resolve) => {
        idlers.push(resolve);
        next();
      }),
    async close() {
      closed = true;
      waiting.clear();
      for (const timer of [...retries.values(), ...resting.values()]) clearTimeout(timer);
      retries.clear();
      await Promise.all(underWay.values());
      next();
    },
  };
}
