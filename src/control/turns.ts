import { SallyportError } from '../core/errors.ts';

/** Runs work when its turn comes, and gives what it gave. Rejects with `unavailable` where too much is waiting. */
export type TakeTurn = <Result>(run: () => Promise<Result>) => Promise<Result>;

/** One piece of work at a time, in the order of the calls; `what` names them in messages. */
export function createTurns(what: string, waitingMax: number): TakeTurn {
  let waiting = 0;
  let last: Promise<unknown> = Promise.resolve();
  return async (run) => {
    if (waiting >= waitingMax) throw new SallyportError('unavailable', `${waiting} ${what} are waiting already`, { hint: 'try again' });
    waiting += 1;
    const result = last.then(run);
    last = result.catch(() => undefined);
    return await result.finally(() => (waiting -= 1));
  };
}
