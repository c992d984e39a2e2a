/**
 * Reads manifests without holding up the event loop: YAML takes about 0.6 s per MB, so what is larger than a few objects
 * is read in a worker thread. The syntax tree, about 40 times the size of the text, lives and goes with that thread.
 */
import { once } from 'node:events';
import { setImmediate } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { SallyportError, type Fault } from '../core/errors.ts';
import { parseManifests, type ManifestSource, type ParsedManifests } from '../core/manifest/manifest.ts';
import type { DesiredObject } from '../core/objects/index.ts';
import type { PlanFault } from '../core/plan-fault.ts';
import { createTurns } from './turns.ts';

/** Manifests as far as they could be read. */
export interface ReadManifests {
  readonly objects: readonly DesiredObject[];
  /** Every fault of the input, with file, line and column: as `ParsedManifests` has it. */
  readonly faults: (found: readonly PlanFault[]) => Promise<readonly Fault[]>;
  /** The warnings with file, line and column, where they are about these objects. */
  readonly locate: (warnings: readonly Fault[]) => Promise<readonly Fault[]>;
}

/**
 * Reads manifests and gives what `use` makes of them, who may ask for faults and places until then. Throws SallyportError
 * for large manifests: `request-too-large` where memory does not suffice, `timeout`, and `unavailable` where too many are
 * waiting or the thread has ended.
 */
export type ManifestReader = <Result>(sources: readonly ManifestSource[], use: (manifests: ReadManifests) => Promise<Result>) => Promise<Result>;

/** Bounds of the reader, each to be replaced by name. */
export const manifestReaderLimits = {
  /** What is no longer than this, all files together, is read in the caller's thread: within some 40 ms, less than a thread takes to start. */
  inlineCharsMax: 64 * 1024,
  /** Of the thread. A file as large and as dense as files may be takes 1.2 GiB. */
  heapMib: 1_536,
  /** For one answer of the thread. */
  answerTimeoutMs: 120_000,
  /** Large manifests, the one that is being read among them. Only one is read at a time, so that memory is bounded. */
  waitingMax: 8,
};

/** What the thread is born with. */
export interface ReadingTask {
  readonly sources: readonly ManifestSource[];
  readonly rootNamespace: string | undefined;
}

/** What the thread is asked, after its first answer, which is the number of objects. */
export type ReadingQuestion =
  | { readonly type: 'objects'; readonly from: number }
  | { readonly type: 'faults'; readonly found: readonly PlanFault[] }
  | { readonly type: 'locate'; readonly warnings: readonly Fault[] };

/** `rootNamespace` as `parseManifests` has it. */
export function createManifestReader({ rootNamespace, ...replaced }: Partial<typeof manifestReaderLimits> & { readonly rootNamespace?: string } = {}): ManifestReader {
  const limits = { ...manifestReaderLimits, ...replaced };
  const takeTurn = createTurns('large manifests', limits.waitingMax);
  return async (sources, use) => {
    const chars = sources.reduce((sum, { text }) => sum + text.length, 0);
    return chars <= limits.inlineCharsMax ? await use(readHere(parseManifests(sources, rootNamespace))) : await takeTurn(() => readInThread({ sources, rootNamespace }, limits, use));
  };
}

function readHere(parsed: ParsedManifests): ReadManifests {
  return {
    objects: parsed.objects.map(({ object }) => object),
    faults: (found) => Promise.resolve(parsed.faults(found)),
    locate: (warnings) => Promise.resolve(warnings.map(parsed.locate)),
  };
}

/** For changes that come without manifests: there is no place to name. */
export const nothingWritten = readHere(parseManifests([]));

async function readInThread<Result>(workerData: ReadingTask, { heapMib, answerTimeoutMs }: typeof manifestReaderLimits, use: (manifests: ReadManifests) => Promise<Result>): Promise<Result> {
  await setImmediate(); // the turn before has parsed the request, and starting a thread takes milliseconds too
  const worker = new Worker(new URL(import.meta.url.endsWith('.ts') ? './manifest-worker.ts' : './manifest-worker.js', import.meta.url), {
    workerData,
    resourceLimits: { maxOldGenerationSizeMb: heapMib },
  });
  const ended = new Promise<never>((_, reject) => {
    worker.once('error', (error) => reject(readingFailure(error, heapMib)));
    worker.once('exit', (code) => reject(readingFailure(new Error(`exit code ${code}`), heapMib)));
  });
  ended.catch(() => undefined); // it may end while nothing is asked of it; the next question hears of it

  async function nextAnswer(): Promise<unknown> {
    const signal = AbortSignal.timeout(answerTimeoutMs);
    const message = once(worker, 'message', { signal }).catch((cause: unknown) => {
      if (!signal.aborted) return ended;
      throw new SallyportError('timeout', `the manifests were not read within ${answerTimeoutMs / 1000} s`, { hint: 'apply them in several calls', cause });
    });
    const answers: readonly unknown[] = await Promise.race([message, ended]);
    return answers[0];
  }
  const ask = (question: ReadingQuestion): Promise<unknown> => {
    worker.postMessage(question);
    return nextAnswer();
  };

  try {
    const count = (await nextAnswer()) as number;
    const objects: DesiredObject[] = [];
    while (objects.length < count) objects.push(...((await ask({ type: 'objects', from: objects.length })) as readonly DesiredObject[]));
    const askForFaults = async (question: ReadingQuestion) => (await ask(question)) as readonly Fault[];
    return await use({ objects, faults: (found) => askForFaults({ type: 'faults', found }), locate: (warnings) => askForFaults({ type: 'locate', warnings }) });
  } finally {
    await worker.terminate();
  }
}

function readingFailure(error: unknown, heapMib: number): SallyportError {
  if (error instanceof Error && 'code' in error && error.code === 'ERR_WORKER_OUT_OF_MEMORY') {
    return new SallyportError('request-too-large', `reading the manifests takes more than ${heapMib} MiB of memory`, { hint: 'apply them in several calls' });
  }
  return new SallyportError('unavailable', 'the thread that read the manifests has ended', { hint: "try again; the control plane's log says why it ended", cause: error });
}
