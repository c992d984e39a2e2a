import { setImmediate } from 'node:timers/promises';

export interface TurnLoop {
  /** Has a turn run soon. However often it is woken until then, that is one turn; while one runs, it is one more. */
  wake(): void;
  /** Begins no more, and resolves when the turn that runs has ended. */
  close(): Promise<void>;
}

/** Turns one at a time, each for everything that has come until it begins. */
export function createTurnLoop(turn: () => Promise<void>): TurnLoop {
  let isWoken = false;
  let isClosed = false;
  let running: Promise<void> | undefined;

  async function run(): Promise<void> {
    while (isWoken && !isClosed) {
      isWoken = false;
      await setImmediate(); // what has come with what has woken it is of the same turn
      await turn();
    }
    running = undefined;
  }

  return {
    wake() {
      isWoken = true;
      if (isClosed) return;
      running ??= run().catch((bug: unknown) => {
        // Going on would mean to serve what nobody has looked at.
        queueMicrotask(() => {
          throw bug as Error;
        });
      });
    },
    async close() {
      isClosed = true;
      await running;
    },
  };
}
