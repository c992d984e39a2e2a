/** Which connections are open, on disk: what a process after this one has to know to record their ends. */
import type { Logger } from 'pino';
import type { ConnectionOpened } from '../core/ledger-record.ts';
import { openStateStore } from '../store/index.ts';

interface Sections {
  /** By the kernel's key. */
  readonly open: ConnectionOpened;
}

export interface ConnectionStore {
  /** As it was when the store was opened. */
  readonly known: Iterable<readonly [key: string, opened: ConnectionOpened]>;
  /** Null where it is over. Durable soon; what is over before that is never written. */
  put(key: string, opened: ConnectionOpened | null): void;
  close(): Promise<void>;
}

export async function openConnectionStore(directory: string, now: () => number, log: Pick<Logger, 'warn'>): Promise<ConnectionStore> {
  const store = await openStateStore<Sections>({ directory, now });
  const known = [...store.entries('open')];
  let waiting = new Map<string, ConnectionOpened | null>();
  let writing: Promise<void> | undefined;

  /** One transaction at a time, of all that has come meanwhile. A disk that refuses costs the next process what it would have known, not this one. */
  async function write(): Promise<void> {
    while (waiting.size > 0) {
      const open = Object.fromEntries([...waiting].filter(([key, opened]) => opened !== null || store.get('open', key) !== undefined));
      waiting = new Map();
      await store.commit({ put: { open } }).catch((error: unknown) => log.warn({ err: error }, 'the connections that are open cannot be saved'));
    }
  }

  return {
    known,
    put(key, opened) {
      waiting.set(key, opened);
      writing ??= Promise.resolve()
        .then(write)
        .finally(() => (writing = undefined));
    },
    async close() {
      await writing;
      await store.close();
    },
  };
}
