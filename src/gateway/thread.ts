import { randomUUID } from 'node:crypto';
import type { LedgerRecord } from '../core/ledger-record.ts';
import { createDataPlane, type DataPlane } from './data-plane.ts';
import { createIdentityLimits } from './identity-limits.ts';
import type { WorkerBirth, WorkerCommand, WorkerReport } from './plane.ts';
import { protocolHandlers } from './protocol-handlers.ts';

/** Records wait this long for company on their way to the main thread. */
const batchDelayMs = 10;
const batchRecordsMax = 256;
/** Records that the main thread has not taken over yet; beyond that it has fallen behind, and nothing new is let out. */
const untakenMax = 20_000;

export interface ThreadOptions extends WorkerBirth {
  readonly report: (report: WorkerReport) => void;
  readonly now: () => number;
  readonly random: () => number;
}

/** One thread's data plane, driven by messages: the same in a worker and in the main thread. */
export function createThread({ index, count, limits, flowLimits, report, now, random }: ThreadOptions): (command: WorkerCommand) => Promise<void> {
  let dataPlane: DataPlane | undefined;
  let keepable = true;
  let untaken = 0;
  let batch: LedgerRecord[] = [];
  let timer: NodeJS.Timeout | undefined;

  function flush(): void {
    clearTimeout(timer);
    timer = undefined;
    if (batch.length === 0) return;
    const records = batch;
    batch = [];
    report({ type: 'records', records, unrecorded: dataPlane?.unrecorded ?? 0 });
  }

  const sink = {
    get accepting() {
      return keepable && untaken < untakenMax;
    },
    append(record: LedgerRecord) {
      untaken += 1;
      batch.push(record);
      if (batch.length >= batchRecordsMax) flush();
      else timer ??= setTimeout(flush, batchDelayMs);
    },
  };

  return async (command) => {
    switch (command.type) {
      case 'start':
        dataPlane = createDataPlane({
          material: command.material,
          handlers: protocolHandlers,
          sink,
          limits: createIdentityLimits(limits),
          flowLimits: createIdentityLimits(flowLimits),
          portStart: (index + random()) / count,
          reusePort: count > 1,
          onListenerFault: (endpoint, error) => report({ type: 'listener-fault', endpoint, code: error === undefined ? null : (error.code ?? 'unknown') }),
          now,
          random,
          newId: randomUUID,
        });
        await dataPlane.update(command.change);
        report({ type: 'done', id: command.id });
        return;
      case 'update':
        await dataPlane?.update(command.change);
        report({ type: 'done', id: command.id });
        return;
      case 'material':
        dataPlane?.setMaterial(command.material);
        return;
      case 'accepting':
        keepable = command.accepting;
        return;
      case 'taken':
        untaken -= command.count;
        return;
      case 'stop':
        await dataPlane?.stop(command.drainMs);
        flush();
        report({ type: 'done', id: command.id });
    }
  };
}
