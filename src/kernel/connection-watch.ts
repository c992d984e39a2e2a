/** The kernel's connections as they begin and end, and now and then all of them, since what it tells can be lost: conntrack(8). */
import type { Logger } from 'pino';
import { readConnection, readEvent, type ConnectionEvent, type TrackedConnection } from '../backends/kernel/index.ts';
import { backOffMs } from '../core/back-off.ts';
import type { LineProgram, StartLineProgram } from './lines.ts';

export interface ConnectionWatchOptions {
  readonly start: StartLineProgram;
  readonly onEvent: (event: ConnectionEvent) => void;
  /** Called before a dump, with each connection of it by what this returns, and then with null. A dump that fails ends without. */
  readonly onDump: () => (connection: TrackedConnection | null) => void;
  /** The kernel has told more than could be read. What is open is found by the dump that follows. */
  readonly onLoss: () => void;
  readonly random: () => number;
  readonly log: Pick<Logger, 'warn'>;
}

export interface ConnectionWatch {
  /** Looks at all connections now, and once more a moment later. */
  look(): void;
  stop(): Promise<void>;
}

/** Also how late it is known at most that an idle connection has ended: the kernel takes its time, unless it is asked. */
const lookMs = 60_000;
/** An end is believed where two looks do not find the connection: its event may be on its way at the first. */
const lookAgainMs = 1_000;
/** Some 20,000 events. */
const bufferBytes = 8 << 20;
const restart = { baseMs: 250, maxMs: 30_000 };
const steadyMs = 60_000;

const output = 'id,timestamp,extended,ktimestamp';

export function watchConnections({ start, onEvent, onDump, onLoss, random, log }: ConnectionWatchOptions): ConnectionWatch {
  let stopped = false;
  const isStopped = (): boolean => stopped;
  let failures = 0;
  let events: LineProgram | undefined;
  let dump: LineProgram | undefined;
  let again: NodeJS.Timeout | undefined;
  let restarting: NodeJS.Timeout | undefined;
  const looks = setInterval(() => void dumpOnce(), lookMs);

  function follow(): void {
    const startedMs = performance.now();
    let complaint = '';
    const running = start(
      'conntrack',
      ['--event', '--event-mask', 'NEW,DESTROY', '--buffer-size', String(bufferBytes), '--output', output],
      (line) => {
        const event = readEvent(line);
        if (event !== undefined) onEvent(event);
      },
      (line) => {
        complaint = line;
        if (!line.includes('ENOBUFS')) return;
        onLoss();
        look();
      },
    );
    events = running;
    void running.ended.then((status) => {
      if (stopped) return;
      if (performance.now() - startedMs > steadyMs) failures = 0;
      const delayMs = backOffMs(restart, failures, random());
      failures += 1;
      log.warn({ status, complaint, retryInMs: Math.round(delayMs) }, 'the kernel does not tell of connections: conntrack has ended');
      restarting = setTimeout(follow, delayMs);
    });
    look();
  }

  function look(): void {
    if (stopped) return;
    clearTimeout(again);
    again = setTimeout(() => void dumpOnce(), lookAgainMs);
    void dumpOnce();
  }

  /** One at a time. */
  async function dumpOnce(): Promise<void> {
    if (stopped || dump !== undefined) return;
    let complaint = '';
    const take = onDump();
    const running = start(
      'conntrack',
      ['--dump', '--output', output],
      (line) => {
        const connection = readConnection(line);
        if (connection !== undefined) take(connection);
      },
      (line) => (complaint = line),
    );
    dump = running;
    const status = await running.ended;
    dump = undefined;
    if (isStopped()) return;
    if (status === 0) take(null);
    else log.warn({ status, complaint }, 'the connections that are open cannot be listed');
  }

  follow();
  return {
    look,
    async stop() {
      stopped = true;
      clearInterval(looks);
      clearTimeout(again);
      clearTimeout(restarting);
      for (const program of [events, dump]) program?.stop();
      await Promise.all([events?.ended, dump?.ended]);
    },
  };
}
