/** The entry of a worker thread. A failure here is a bug: it reaches the main thread, unhandled, and ends the process. */
import { parentPort, workerData } from 'node:worker_threads';
import { invariant } from '../core/errors.ts';
import type { WorkerBirth, WorkerCommand } from './plane.ts';
import { createThread } from './thread.ts';

const port = parentPort;
invariant(port !== null, 'this file runs in a worker thread');
const run = createThread({ ...(workerData as WorkerBirth), report: (report) => port.postMessage(report), now: Date.now, random: Math.random });
port.on('message', (command: WorkerCommand) => void run(command));
