/**
 * The control plane's durable state: desired state, address assignments, and keyed sections of small JSON values (join
 * tokens, issued certificates, the CA's slots), whose names and types the caller gives. All of it lives in memory; the
 * journal holds the transactions that led to it, and is rewritten as a shorter one that leads there when it has grown.
 */
import { join } from 'node:path';
import type { Assignments } from '../core/snat/assignments.ts';
import { applyChange, type DesiredChange, type DesiredState } from '../core/desired-state.ts';
import { SallyportError } from '../core/errors.ts';
import type { Steps } from '../core/steps.ts';
import { lockDirectory } from './directory-lock.ts';
import { makeDirectory, type OpenDurableFile } from './durable-file.ts';
import { openJournal } from './journal.ts';
import type { TornEnd } from './line-file.ts';
import { encodeAhead, encodeTransaction, payloadsOf, putEntries, startReplay, type StoredState, type Transaction } from './transaction.ts';

/** What one commit made; immutable. */
export interface Committed {
  readonly desired: DesiredState;
  readonly assignments: Assignments;
}

/**
 * Reads show a transaction as soon as `commit` was called, so that check and commit in one turn of the event loop are
 * atomic: a token is spent once. Whoever lets a change out of the process waits for the promise first, and uses what it gives.
 */
export interface StateStore<Sections> {
  readonly desired: DesiredState;
  readonly assignments: Assignments;
  get<Name extends keyof Sections & string>(section: Name, key: string): Sections[Name] | undefined;
  /** In the order in which they were first put. Do not hold it over a commit. */
  entries<Name extends keyof Sections & string>(section: Name): Iterable<readonly [string, Sections[Name]]>;
  /**
   * Makes a transaction durable, and resolves with the state that it made. Transactions become durable in the order of the
   * calls. Rejects, and changes nothing, with `unavailable` where too much is waiting or the store is closed, with
   * `request-too-large` for what would not fit a line of the journal, and with `store-failed` once the disk has refused a
   * write: after that, what is in memory may be ahead of the disk, nothing more is taken, and the process should start again.
   */
  commit(transaction: Transaction<Sections>): Promise<Committed>;
  /** Writes a change down that a transaction is going to hold, in steps, where it is so large that `commit` would hold up the event loop with it. */
  readonly encodeAhead: (change: DesiredChange) => Steps<void>;
  /** What opening dropped: the unacknowledged rest of a commit that a crash cut short. */
  readonly torn: TornEnd | null;
  close(): Promise<void>;
}

export interface StateStoreOptions<Sections> {
  /** Made if missing; this process's alone until `close`. */
  readonly directory: string;
  readonly now: () => number;
  /** Sections whose entries may be forgotten, and from when on: milliseconds since the epoch. Forgetting happens at open and when the journal is rewritten. */
  readonly expiresAt?: { readonly [Name in keyof Sections]?: (value: Sections[Name]) => number };
  /** Called when the journal could not be rewritten. It is then used as it is, and tried again when it has grown further. */
  readonly onRewriteFailure?: (error: unknown) => void;
  /** The journal is rewritten when it has grown by this, and by its own length at the last rewriting. */
  readonly growthBytesMin?: number;
  readonly openFile?: OpenDurableFile;
}

const transactionCharsMax = 128 << 20;

/** Opens a store, or makes an empty one. Throws `journal-locked` where another process has it, and `journal-corrupt` for damage that no crash explains. */
export async function openStateStore<Sections>(options: StateStoreOptions<Sections>): Promise<StateStore<Sections>> {
  const { directory, growthBytesMin = 16 << 20, openFile, onRewriteFailure } = options;
  await makeDirectory(directory);
  const lock = await lockDirectory(directory);
  try {
    const replay = startReplay();
    const { journal, torn } = await openJournal({ path: join(directory, 'state.journal'), purpose: 'state', onPayload: replay.apply, ...(openFile === undefined ? {} : { openFile }) });
    let state: StoredState = replay.state();
    forgetExpired(state.sections, options);
    let rewriteAtBytes = Math.max(growthBytesMin, journal.bytes);
    let rewriting: Promise<void> | undefined;
    let closing = false;

    async function rewrite(): Promise<void> {
      forgetExpired(state.sections, options);
      await journal.rewrite(payloadsOf(state)).catch((error: unknown) => onRewriteFailure?.(error));
      rewriteAtBytes = 2 * journal.bytes + growthBytesMin;
      rewriting = undefined;
    }

    return {
      torn,
      get desired() {
        return state.desired;
      },
      get assignments() {
        return state.assignments;
      },
      get: (section, key) => state.sections.get(section)?.get(key) as Sections[typeof section] | undefined,
      entries: (section) => (state.sections.get(section) ?? new Map()) as Map<string, Sections[typeof section]>,
      commit: async (transaction) => {
        const payload = encodeTransaction(transaction, state.assignments);
        const refused = payload.length > transactionCharsMax ? tooLarge(payload.length) : journal.refusal(payload);
        if (refused !== undefined) throw refused;
        const durable = journal.append(payload);
        state = apply(state, transaction);
        const { desired, assignments } = state;
        await durable;
        if (journal.bytes > rewriteAtBytes && !closing) rewriting ??= rewrite();
        return { desired, assignments };
      },
      encodeAhead,
      close: async () => {
        closing = true;
        await rewriting;
        await journal.close();
        lock.release();
      },
    };
  } catch (error) {
    lock.release();
    throw error;
  }
}

function apply<Sections>(state: StoredState, { desired, assignments, put }: Transaction<Sections>): StoredState {
  for (const [section, entries] of Object.entries(put ?? {})) putEntries(state.sections, section, entries as Readonly<Record<string, unknown>>);
  return { ...state, ...(desired === undefined ? {} : { desired: applyChange(state.desired, desired) }), ...(assignments === undefined ? {} : { assignments }) };
}

function forgetExpired<Sections>(sections: StoredState['sections'], { expiresAt, now }: StateStoreOptions<Sections>): void {
  const time = now();
  for (const [section, expiryOf] of Object.entries(expiresAt ?? {}) as [string, (value: unknown) => number][]) {
    for (const [key, value] of sections.get(section) ?? []) {
      if (expiryOf(value) <= time) sections.get(section)?.delete(key);
    }
  }
}

function tooLarge(length: number): SallyportError {
  return new SallyportError('request-too-large', `a transaction of ${length} characters exceeds ${transactionCharsMax}`, { hint: 'apply the input in parts' });
}
