import { SallyportError } from '../core/errors.ts';

/**
 * Paces tasks: at most `perTurn` start in one turn of the event loop, first come, first served, so that a burst, however large,
 * holds up timers and sockets only for as long as so many tasks take. At most `inProgress` have started or wait; beyond that it
 * throws `unavailable`, since a caller that waits longer has given up.
 */
export function createGate({ perTurn, inProgress }: { readonly perTurn: number; readonly inProgress: number }): <T>(task: () => Promise<T>) => Promise<T> {
  const waiting: (() => void)[] = [];
  let held = 0;
  let leftThisTurn = perTurn;
  let turnIsDue = false;

  const start = (): void => {
    leftThisTurn--;
    if (turnIsDue) return;
    turnIsDue = true;
    setImmediate(() => {
      turnIsDue = false;
      leftThisTurn = perTurn;
      for (const resume of waiting.splice(0, perTurn)) resume();
    });
  };

  return async (task) => {
    if (held === inProgress) throw new SallyportError('unavailable', `${inProgress} requests wait for the CA already`, { hint: 'try again later' });
    held++;
    try {
      if (leftThisTurn === 0) await new Promise<void>((resolve) => waiting.push(resolve));
      start();
      return await task();
    } finally {
      held--;
    }
  };
}
