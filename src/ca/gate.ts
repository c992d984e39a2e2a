import { SallyportError } from '../core/errors.ts';

/**
 * Lets so many tasks run at once and so many more wait, first come, first served. Beyond that it throws `unavailable`, since a
 * caller that waits longer has given up. It also keeps a burst that arrives in one turn of the event loop from blocking it.
 */
export function createGate({ atOnce, queued }: { readonly atOnce: number; readonly queued: number }): <T>(task: () => Promise<T>) => Promise<T> {
  const waiting: (() => void)[] = [];
  let running = 0;
  return async (task) => {
    if (running < atOnce) running++;
    else if (waiting.length < queued) await new Promise<void>((resolve) => waiting.push(resolve)); // whoever leaves hands its place on
    else throw new SallyportError('unavailable', `${queued} requests wait for the CA already`, { hint: 'try again later' });
    try {
      return await task();
    } finally {
      const next = waiting.shift();
      if (next === undefined) running--;
      else next();
    }
  };
}
