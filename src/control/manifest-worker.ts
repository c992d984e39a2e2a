/** The entry of the thread that reads large manifests: it reads those it was born with, says how many objects they hold, and then answers questions. */
import { parentPort, workerData } from 'node:worker_threads';
import { invariant, type Fault } from '../core/errors.ts';
import { parseManifests } from '../core/manifest/manifest.ts';
import type { DesiredObject } from '../core/objects/index.ts';
import type { ReadingQuestion, ReadingTask } from './manifest-reader.ts';

/** Objects of one answer: about a millisecond of the asking thread, which takes them in. */
const pieceObjects = 100;

const port = parentPort;
invariant(port !== null, 'this file runs in a worker thread');
const { sources, rootNamespace } = workerData as ReadingTask;
const { objects, faults, locate } = parseManifests(sources, rootNamespace);
port.on('message', (question: ReadingQuestion) => port.postMessage(answer(question)));
port.postMessage(objects.length);

function answer(question: ReadingQuestion): readonly DesiredObject[] | readonly Fault[] {
  switch (question.type) {
    case 'objects':
      return objects.slice(question.from, question.from + pieceObjects).map(({ object }) => object);
    case 'faults':
      return faults(question.found);
    case 'locate':
      return question.warnings.map(locate);
  }
}
