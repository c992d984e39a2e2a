import { setImmediate } from 'node:timers/promises';
import type { Steps } from '../core/steps.ts';

/** Of each turn of the event loop: beside it, the turn has to hold certificates that are issued and a collection of garbage, in 5 ms. */
const sliceMs = 1;

/** Runs steps a slice at a time, each in a turn of its own, so that whatever else the process does goes on meanwhile. */
export async function runInSlices<Result>(steps: Steps<Result>): Promise<Result> {
  for (;;) {
    await setImmediate();
    const endMs = performance.now() + sliceMs;
    do {
      const step = steps.next();
      if (step.done === true) return step.value;
    } while (performance.now() < endMs);
  }
}
