/** The planes: worker threads that share listeners by SO_REUSEPORT, or this one thread. */
import { Worker } from 'node:worker_threads';
import { allocateIdentityLimits } from './identity-limits.ts';
import type { Plane, PlaneEvents, WorkerBirth, WorkerCommand, WorkerReport } from './plane.ts';
import { createThread } from './thread.ts';

interface Thread {
  post(command: WorkerCommand): void;
  end(): Promise<void>;
}

/** Three semi-spaces of 4 MB, as in the control plane (docs/decisions/0106): as fast as the 16 MB that V8 takes, and a worker that holds connections grows by less. */
const maxYoungGenerationSizeMb = 12;

export interface PlaneOptions {
  /** Worker threads; with 0 this thread does the work. */
  readonly workers: number;
  readonly events: PlaneEvents;
  readonly now: () => number;
  readonly random: () => number;
}

/** Threads load their code at once, so that they can listen as soon as there is a table. */
export function createPlane({ workers, events, now, random }: PlaneOptions): Plane {
  const count = Math.max(workers, 1);
  const shared = { limits: allocateIdentityLimits(), flowLimits: allocateIdentityLimits() };
  const waiting = new Map<number, { left: number; readonly resolve: () => void }>();
  let commands = 0;

  const threads = Array.from({ length: count }, (_, index) => {
    const birth: WorkerBirth = { index, count, ...shared };
    const onReport = (report: WorkerReport): void => take(index, report);
    return workers === 0 ? ownThread(birth, onReport) : workerThread(birth, onReport);
  });

  function ownThread(birth: WorkerBirth, onReport: (report: WorkerReport) => void): Thread {
    const run = createThread({ ...birth, report: onReport, now, random });
    return { post: (command) => void run(command), end: () => Promise.resolve() };
  }

  /** No listener for `error`: what a worker does not catch is a bug, and ends the process rather than leave it with fewer threads. */
  function workerThread(birth: WorkerBirth, onReport: (report: WorkerReport) => void): Thread {
    const worker = new Worker(new URL(import.meta.url.endsWith('.ts') ? './worker.ts' : './worker.js', import.meta.url), { workerData: birth, resourceLimits: { maxYoungGenerationSizeMb } });
    worker.on('message', onReport);
    return {
      post: (command) => worker.postMessage(command),
      end: async () => {
        await worker.terminate();
      },
    };
  }

  function take(index: number, report: WorkerReport): void {
    switch (report.type) {
      case 'done': {
        const command = waiting.get(report.id);
        if (command === undefined) return;
        command.left -= 1;
        if (command.left > 0) return;
        waiting.delete(report.id);
        command.resolve();
        return;
      }
      case 'records':
        events.records(report.records);
        events.unrecorded(index, report.unrecorded);
        threads[index]?.post({ type: 'taken', count: report.records.length });
        return;
      case 'listener-fault':
        events.listenerFault(index, report.endpoint, report.code);
    }
  }

  function postAll(command: WorkerCommand): void {
    for (const thread of threads) thread.post(command);
  }

  /** Posts to every thread; resolves when each is done with it. */
  function callAll(command: (id: number) => WorkerCommand): Promise<void> {
    const id = (commands += 1);
    return new Promise((resolve) => {
      waiting.set(id, { left: count, resolve });
      postAll(command(id));
    });
  }

  return {
    start: (material, change) => callAll((id) => ({ type: 'start', id, material, change })),
    update: (change) => callAll((id) => ({ type: 'update', id, change })),
    setMaterial: (material) => postAll({ type: 'material', material }),
    setAccepting: (accepting) => postAll({ type: 'accepting', accepting }),
    async stop(drainMs) {
      await callAll((id) => ({ type: 'stop', id, drainMs }));
      await Promise.all(threads.map((thread) => thread.end()));
    },
  };
}
