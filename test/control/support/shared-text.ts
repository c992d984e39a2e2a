/** A text that replicas share, in memory: each compares and swaps as at an API server, whose answers take their time and may fail. */
import { setTimeout as delay } from 'node:timers/promises';
import { pino } from 'pino';
import { createReplicatedState, type ReplicatedState } from '../../../src/control/replicated-state.ts';
import type { Revocation } from '../../../src/control/shared-sections.ts';
import type { SecretText } from '../../../src/kubernetes/index.ts';

export interface SharedText {
  /** As another replica sees it. */
  open(): SecretText;
  /** A replica's, with the clock that it has. */
  state(now?: () => number, isPodGone?: (revocation: Revocation) => boolean): ReplicatedState;
  /** Nobody is answered from now on, or again. */
  setAway(isAway: boolean): void;
  readonly reads: number;
  readonly writes: number;
  text: string | undefined;
}

/** @param delayMs of an answer, each time */
export function createSharedText(delayMs: () => number = () => 0): SharedText {
  let version = 0;
  let isAway = false;
  const watchers = new Set<() => void>();
  const counted = { reads: 0, writes: 0, text: undefined as string | undefined };

  async function answer(): Promise<void> {
    await delay(delayMs());
    if (isAway) throw new Error('connect ECONNREFUSED');
  }

  function open(): SecretText {
    let seen = 0;
    let watcher: (() => void) | undefined;
    return {
      place: 'Secret a/state',
      async read() {
        await answer();
        counted.reads += 1;
        seen = version;
        const { text } = counted;
        await delay(delayMs());
        return text;
      },
      async write(text) {
        await answer();
        if (seen !== version) return 'outdated';
        counted.writes += 1;
        counted.text = text;
        seen = version += 1;
        for (const told of watchers) if (told !== watcher && !isAway) setImmediate(told);
        await delay(delayMs());
        return 'written';
      },
      watch(onChange) {
        watchers.add((watcher = onChange));
      },
      close() {
        if (watcher !== undefined) watchers.delete(watcher);
      },
    };
  }

  return {
    open,
    state: (now = Date.now, isPodGone = () => false) => createReplicatedState({ text: open(), isPodGone, now, random: () => 0, log: pino({ level: 'silent' }) }),
    setAway: (next) => {
      isAway = next;
    },
    get reads() {
      return counted.reads;
    },
    get writes() {
      return counted.writes;
    },
    get text() {
      return counted.text;
    },
    set text(text) {
      counted.text = text;
      version += 1;
      for (const told of watchers) told();
    },
  };
}
