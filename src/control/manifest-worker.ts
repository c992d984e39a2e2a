/** The entry of the thread that reads large manifests: it reads those it was born with, says how that went, and then answers questions. */
import { parentPort, workerData } from 'node:worker_threads';
import { invariant } from '../core/errors.ts';
import { locateFault } from '../core/manifest/fault-location.ts';
import { parseManifests, type ManifestSource } from '../core/manifest/manifest.ts';
import type { ReadingQuestion, ReadingResult } from './manifest-reader.ts';

/** Objects of one answer: about a millisecond of the asking thread, which takes them in. */
const pieceObjects = 100;

const port = parentPort;
invariant(port !== null, 'this file runs in a worker thread');
const parsed = parseManifests(workerData as readonly ManifestSource[]);
const located = parsed.ok ? parsed.objects : [];
port.on('message', (question: ReadingQuestion) => {
  port.postMessage(question.type === 'objects' ? located.slice(question.from, question.from + pieceObjects).map(({ object }) => object) : question.faults.map((fault) => locateFault(fault, located)));
});
port.postMessage((parsed.ok ? { ok: true, count: located.length } : parsed) satisfies ReadingResult);
