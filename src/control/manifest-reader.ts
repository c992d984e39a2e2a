/**
 * Reads manifests without holding up the event loop: YAML takes about 0.6 s per MB, so what is larger than a few objects
 * is read in a worker thread. The syntax tree, about 40 times the size of the text, lives and goes with that thread.
 */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { SallyportError, type Fault } from '../core/errors.ts';
import { locateFault } from '../core/manifest/fault-location.ts';
import { parseManifests, type ManifestFault, type ManifestSource } from '../core/manifest/manifest.ts';
import type { DesiredObject } from '../core/objects/index.ts';
import { createTurns } from './turns.ts';

/** Manifests that were read and have no fault of their own. */
export interface ReadManifests {
  readonly objects: readonly DesiredObject[];
  /** The faults with file, line and column, where they are about these objects. */
  readonly locate: (faults: readonly Fault[]) => Promise<readonly Fault[]>;
}

/**
 * Reads manifests and gives what `use` makes of them, who may ask for places until then. Throws SallyportError
 * `manifest-invalid` with every fault; for large manifests also `request-too-large` where memory does not suffice,
 * `timeout`, and `unavailable` where too many are waiting or the thread has ended.
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

/** What the thread is asked, after its first answer, which is a `ReadingResult`. */
export type ReadingQuestion = { readonly type: 'objects'; readonly from: number } | { readonly type: 'locate'; readonly faults: readonly Fault[] };
export type ReadingResult = { readonly ok: true; readonly count: number } | { readonly ok: false; readonly faults: readonly ManifestFault[] };

export function createManifestReader(replaced: Partial<typeof manifestReaderLimits> = {}): ManifestReader {
  const limits = { ...manifestReaderLimits, ...replaced };
  const takeTurn = createTurns('large manifests', limits.waitingMax);
  return async (sources, use) => {
    const chars = sources.reduce((sum, { text }) => sum + text.length, 0);
    return chars <= limits.inlineCharsMax ? await use(readHere(sources)) : await takeTurn(() => readInThread(sources, limits, use));
  };
}

/** The error for manifests that have faults. */
export function invalidManifests(faults: readonly Fault[]): SallyportError {
  return new SallyportError('manifest-invalid', `${faults.length === 1 ? 'a fault' : `${faults.length} faults`}, nothing was changed`, { faults });
}

function readHere(sources: readonly ManifestSource[]): ReadManifests {
  const parsed = parseManifests(sources);
  if (!parsed.ok) throw invalidManifests(parsed.faults);
  return {
    objects: parsed.objects.map(({ object }) => object),
    locate: (faults) => Promise.resolve(faults.map((fault) => locateFault(fault, parsed.objects))),
  };
}

async function readInThread<Result>(sources: readonly ManifestSource[], { heapMib, answerTimeoutMs }: typeof manifestReaderLimits, use: (manifests: ReadManifests) => Promise<Result>): Promise<Result> {
  const worker = new Worker(new URL(import.meta.url.endsWith('.ts') ? './manifest-worker.ts' : './manifest-worker.js', import.meta.url), {
    workerData: sources,
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
    const result = (await nextAnswer()) as ReadingResult;
    if (!result.ok) throw invalidManifests(result.faults);
    const objects: DesiredObject[] = [];
    while (objects.length < result.count) objects.push(...((await ask({ type: 'objects', from: objects.length })) as readonly DesiredObject[]));
    return await use({ objects, locate: async (faults) => (faults.length === 0 ? [] : ((await ask({ type: 'locate', faults })) as readonly Fault[])) });
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
