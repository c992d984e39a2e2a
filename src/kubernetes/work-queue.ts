/**
 * Work by key, as controllers do it: a key that is added while its work is under way is worked on once more after that, one whose work has
 * failed after a pause that grows, and no more than so many at a time. So the last state is what is worked towards, however often it changes.
 *
 * https://pkg.go.dev/k8s.io/client-go/util/workqueue
 */
import { backOffMs } from '../core/back-off.ts';

export interface WorkQueue {
  add(key: string): void;
  /** Resolves when nothing is left to do; failures that wait for their next try are. */
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

export function createWorkQueue({ work, onFailure, random, concurrency = 8 }: WorkQueueOptions): WorkQueue {
  const waiting = new Set<string>();
  const underWay = new Map<string, Promise<void>>();
  const failures = new Map<string, number>();
  const retries = new Map<string, NodeJS.Timeout>();
  let closed = false;
  let idlers: (() => void)[] = [];

  async function workOn(key: string): Promise<void> {
    try {
      await work(key);
      failures.delete(key);
    } catch (error) {
      onFailure(key, error);
      const before = failures.get(key) ?? 0;
      failures.set(key, before + 1);
      if (!closed) retries.set(key, setTimeout(() => add(key), backOffMs(pause, before, random())));
    }
    underWay.delete(key);
    next();
  }

  function next(): void {
    for (const key of waiting) {
      if (closed || underWay.size >= concurrency) break;
      if (underWay.has(key)) continue;
      waiting.delete(key);
      underWay.set(key, workOn(key));
    }
    if (waiting.size + underWay.size + retries.size > 0) return;
    for (const resolve of idlers) resolve();
    idlers = [];
  }

  function add(key: string): void {
    if (closed) return;
    clearTimeout(retries.get(key));
    retries.delete(key);
    waiting.add(key);
    next();
  }

  return {
    add,
    idle: () =>
      new Promise((resolve) => {
        idlers.push(resolve);
        next();
      }),
    async close() {
      closed = true;
      waiting.clear();
      for (const timer of retries.values()) clearTimeout(timer);
      retries.clear();
      await Promise.all(underWay.values());
      next();
    },
  };
}
