/** Connections that carry echoes, one after another, while something else goes on. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Dialogue } from '../../src/demo/clients.ts';
import { waitFor } from '../../src/demo/processes.ts';

export interface EchoTraffic {
  /** Resolves with a connection that an echo has come back on, however often it has to be tried. */
  connected(port: number): Promise<Dialogue>;
  /** The longest, in milliseconds, that an echo has taken on a connection that lives while this work goes on. */
  longestEchoDuring(port: number, work: () => Promise<void>): Promise<number>;
}

/** One echo, which shows that the way is open. */
export async function echo(dialogue: Dialogue): Promise<void> {
  dialogue.write('x\n');
  await dialogue.readUntil('\n');
}

export function createEchoTraffic(open: (port: number) => Promise<Dialogue>): EchoTraffic {
  const connected = (port: number): Promise<Dialogue> =>
    waitFor('a connection', 20_000, async () => {
      const dialogue = await open(port).catch(() => undefined);
      return dialogue === undefined ? undefined : await echo(dialogue).then(() => dialogue, () => undefined);
    });

  return {
    connected,
    async longestEchoDuring(port, work) {
      const dialogue = await connected(port);
      const over = new AbortController();
      let longestMs = 0;
      const carrying = (async () => {
        while (!over.signal.aborted) {
          const before = performance.now();
          await echo(dialogue);
          longestMs = Math.max(longestMs, performance.now() - before);
          await delay(5);
        }
      })();
      try {
        await Promise.all([work().finally(() => over.abort()), carrying]);
      } finally {
        dialogue.socket.destroy();
      }
      return longestMs;
    },
  };
}
