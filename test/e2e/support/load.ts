/** A bounded load of connections by several identities at the same time, each held to its source address and to every byte. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import type { Dialogue } from '../../../src/demo/clients.ts';
import { waitFor } from '../../../src/demo/processes.ts';

/** One identity on its own way to the witness (witness.ts). */
export interface Visitor {
  readonly name: string;
  readonly open: () => Promise<Dialogue>;
  /** The address that the witness must see it come from. */
  readonly snatAddress: string;
}

export interface Load {
  /** Resolves when every visitor has come anew, and has exchanged something over each connection that stays, `times` times from now. */
  readonly goesOn: (times?: number) => Promise<void>;
  /** The first words of the connections that were opened, by which the witness knows them again. */
  readonly opened: readonly string[];
  /** Ends it, and throws what has gone wrong since it began. */
  readonly stop: () => Promise<void>;
}

const stayingEach = 3;
/** Bounds the load: on any machine, each connection of a visitor does something this often and no more. */
const pauseMs = 10;
const blockBytes = 8_192;

/**
 * Each visitor keeps connections that stay, over which blocks go back and forth, and comes and goes by a new one after the
 * other. Resolves when the first ones have been there. Whatever fails is remembered and the rest goes on: see `stop`.
 */
export async function startLoad(visitors: readonly Visitor[]): Promise<Load> {
  const failures: Error[] = [];
  const opened: string[] = [];
  const laps: { count: number }[] = [];
  let running = true;

  async function arrive({ name, open, snatAddress }: Visitor): Promise<Dialogue> {
    const dialogue = await open();
    const line = `${name} ${opened.length}`;
    opened.push(line);
    dialogue.write(`${line}\n`);
    const from = await dialogue.readUntil('\n');
    assert.equal(from.split(':')[0], snatAddress, `${line} left from ${from}`);
    return dialogue;
  }

  async function comeAndGo(visitor: Visitor): Promise<void> {
    const dialogue = await arrive(visitor);
    await exchange(dialogue);
    dialogue.socket.end();
    assert.equal((await dialogue.readAll()).length, 0, 'nothing comes that was not asked for');
  }

  /** Runs `lap` again and again until the load is stopped, or once it has failed where it cannot go on. */
  async function run(what: string, lap: () => Promise<void>, canGoOn: boolean): Promise<void> {
    const own = { count: 0 };
    laps.push(own);
    while (running) {
      try {
        await lap();
        own.count += 1;
      } catch (cause) {
        failures.push(new Error(`${what}, after ${own.count} times: ${String(cause)}`, { cause }));
        if (!canGoOn) return;
      }
      await pause(pauseMs);
    }
  }

  async function stay(visitor: Visitor, number: number): Promise<void> {
    const dialogue = await arrive(visitor);
    finished.push(run(`the connection ${number} of ${visitor.name} that stays`, () => exchange(dialogue), false).finally(() => dialogue.socket.destroy()));
  }

  const throwFailures = () => {
    if (failures.length > 0) throw new AggregateError(failures, `${failures.length} failures, the first: ${failures[0]!.message}`);
  };
  const finished: Promise<void>[] = [];
  await Promise.all(visitors.flatMap((visitor) => Array.from({ length: stayingEach }, (_, number) => stay(visitor, number))));
  for (const visitor of visitors) finished.push(run(`a new connection of ${visitor.name}`, () => comeAndGo(visitor), true));

  return {
    opened,
    async goesOn(times = 10) {
      const goals = laps.map((lap) => ({ lap, goal: lap.count + times }));
      await waitFor('the load to go on', 10_000, () => {
        throwFailures();
        return goals.every(({ lap, goal }) => lap.count >= goal) || undefined;
      });
    },
    async stop() {
      running = false;
      await Promise.all(finished);
      throwFailures();
    },
  };
}

async function exchange(dialogue: Dialogue): Promise<void> {
  const block = `${randomBytes(blockBytes / 2).toString('hex')}\n`;
  dialogue.write(block);
  assert.ok((await dialogue.readUntil('\n')) === block, 'what comes back is what was sent');
}
