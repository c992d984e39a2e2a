/** Shared state in one text that is compared and swapped. Changes that come while it is being written go together, with the next write. */
import type { Logger } from 'pino';
import { backOffMs } from '../core/back-off.ts';
import { SallyportError } from '../core/errors.ts';
import type { SecretText } from '../kubernetes/index.ts';
import { decodeShared, differenceOf, encodeShared, noEntries, refusalForSize, withoutExpired, withPut, type Revocation, type SharedEntries, type SharedPut } from './shared-sections.ts';
import type { SharedChange, SharedState, SharedView } from './shared-state.ts';

export interface ReplicatedState extends SharedState {
  /** Resolves when it was read for the first time. */
  readonly ready: Promise<void>;
  close(): void;
}

export interface ReplicatedStateOptions {
  readonly text: SecretText;
  /** Whether the pod of a revocation is known not to be there any more, so that its token is good for nothing. */
  readonly isPodGone: (revocation: Revocation) => boolean;
  readonly now: () => number;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  readonly log: Logger;
}

interface Waiting {
  readonly decide: (view: SharedView) => SharedChange<unknown>;
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: unknown) => void;
}

const waitingMax = 10_000;
/** Each is lost to another replica's write. */
const writesMax = 16;
const rereadBackOff = { baseMs: 100, maxMs: 5_000 } as const;

export function createReplicatedState({ text, isPodGone, now, random, log }: ReplicatedStateOptions): ReplicatedState {
  const listeners: ((put: SharedPut) => void)[] = [];
  const { promise: ready, resolve: setReady } = Promise.withResolvers<undefined>();
  let known: SharedEntries = noEntries;
  /** Whether that is what was read last: what cannot be read is not written over. */
  let isKnown = false;
  let waiting: Waiting[] = [];
  let isBusy = false;
  let isClosed = false;
  let rereading: NodeJS.Timeout | undefined;

  function take(entries: SharedEntries): void {
    const put = differenceOf(known, entries);
    known = entries;
    setReady(undefined);
    if (isClosed) return;
    for (const listener of listeners) listener(put);
  }

  async function atApiServer<Answer>(run: () => Promise<Answer>): Promise<Answer> {
    try {
      return await run();
    } catch (cause) {
      throw new SallyportError('unavailable', `${text.place} can be neither read nor changed: the Kubernetes API server gives no answer, or refuses`, { hint: 'see "kubectl get --raw /readyz", and whether the service account of Sallyport may get and update it', cause });
    }
  }

  async function read(): Promise<void> {
    isKnown = false;
    take(decodeShared(await atApiServer(() => text.read()), text.place));
    isKnown = true;
  }

  /** Gives how each is to be answered, once all that they have decided is kept. */
  async function perform(batch: readonly Waiting[]): Promise<readonly (() => void)[]> {
    let isNewest = !isKnown;
    if (isNewest) await read();
    for (let writes = 0; writes < writesMax; ) {
      const { entries, answers } = decideAll(batch, known, text.place);
      if (entries === known) {
        if (isNewest) return answers;
        await read();
      } else {
        writes += 1;
        const kept = withoutExpired(entries, now(), isPodGone);
        if ((await atApiServer(() => text.write(encodeShared(kept)))) === 'written') {
          take(kept);
          return answers;
        }
        await read();
      }
      isNewest = true;
    }
    throw new SallyportError('unavailable', `${text.place} was changed by others ${writesMax} times in between`, { hint: 'try again' });
  }

  async function run(): Promise<void> {
    isBusy = true;
    while (waiting.length > 0) {
      const batch = waiting;
      waiting = [];
      try {
        for (const answer of await perform(batch)) answer();
      } catch (error) {
        for (const { reject } of batch) reject(error);
      }
    }
    isBusy = false;
  }

  async function change<Result>(decide: (view: SharedView) => SharedChange<Result>): Promise<Result> {
    if (waiting.length >= waitingMax) throw new SallyportError('unavailable', `${waiting.length} changes of ${text.place} are waiting already`, { hint: 'try again' });
    return await new Promise<Result>((resolve, reject) => {
      waiting.push({ decide, resolve: resolve as Waiting['resolve'], reject });
      if (!isBusy) void run();
    });
  }

  /** What others have written is read as a change that changes nothing, so that it does not come between the reading and the writing of one that does. */
  function reread(failures: number): void {
    clearTimeout(rereading);
    change(() => ({ result: undefined })).catch((error: unknown) => {
      if (isClosed) return;
      log.warn({ err: error }, 'what other replicas have revoked is not known');
      rereading = setTimeout(() => reread(failures + 1), backOffMs(rereadBackOff, failures, random()));
    });
  }

  text.watch(() => reread(0));
  reread(0);

  return {
    ready,
    isReplicated: true,
    get: (section, key) => known[section].get(key),
    entries: (section) => known[section],
    change,
    onPut: (listener) => void listeners.push(listener),
    close() {
      isClosed = true;
      clearTimeout(rereading);
      text.close();
    },
  };
}

/** Asks all in turn, each by what those before it have decided. */
function decideAll(batch: readonly Waiting[], known: SharedEntries, place: string): { readonly entries: SharedEntries; readonly answers: readonly (() => void)[] } {
  let entries = known;
  const answers = batch.map(({ decide, resolve, reject }) => {
    try {
      const { put = {}, result } = decide(viewOf(entries));
      const after = withPut(entries, put);
      const refusal = refusalForSize(entries, after, place);
      if (refusal !== undefined) throw refusal;
      entries = after;
      return () => resolve(result);
    } catch (error) {
      return () => reject(error);
    }
  });
  return { entries, answers };
}

const viewOf = (entries: SharedEntries): SharedView => ({ get: (section, key) => entries[section].get(key), entries: (section) => entries[section] });
