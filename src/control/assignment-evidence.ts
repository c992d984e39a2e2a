/**
 * The ledger's records of addresses that are given and taken back at an API server, with which there is no transaction. So what is to be written
 * there is noted in the store first, and looked for when nobody can say what became of it: after an answer that did not come, and after a
 * crash. Store and ledger are of one replica and one disk: what is noted here is recorded here, whoever leads by then.
 */
import type { Logger } from 'pino';
import type { LedgerRecord } from '../core/ledger-record.ts';
import type { Assignment, Assignments } from '../core/snat/assignments.ts';
import type { Evidence } from '../kubernetes/index.ts';
import type { StateStore } from '../store/index.ts';
import { assignmentRecord } from './plan-change.ts';
import type { ControlSections, Intent } from './sections.ts';

export interface AssignmentEvidenceOptions {
  readonly store: Pick<StateStore<ControlSections>, 'entries' | 'commit'>;
  /** Makes ledger records durable. */
  readonly record: (records: readonly LedgerRecord[]) => Promise<void>;
  readonly now: () => number;
  readonly log: Pick<Logger, 'error'>;
}

/** Longer than any request is under way: what is not there by then was not written. */
const forgottenAfterMs = 5 * 60_000;

export function createAssignmentEvidence({ store, record, now, log }: AssignmentEvidenceOptions): Evidence {
  const recording = new Set<string>();
  const put = (intents: Readonly<Record<string, Intent | null>>) => store.commit({ put: { intents } });

  function conclude(key: string, records: readonly LedgerRecord[]): void {
    if (recording.has(key)) return;
    recording.add(key);
    record(records)
      .then(() => put({ [key]: null }))
      .catch((error: unknown) => log.error({ err: error }, 'what became of an address could not be recorded; it is tried again after a restart at the latest'))
      .finally(() => recording.delete(key));
  }

  return {
    async intend(assignment) {
      await put({ [keyOf(assignment)]: { assignment, atMs: now() } });
    },
    written(assignment) {
      conclude(keyOf(assignment), [recordAt(now(), assignment)]);
    },
    settle(assignments) {
      for (const [key, { assignment, atMs }] of [...store.entries('intents')]) {
        if (isSo(assignment, assignments)) conclude(key, [recordAt(atMs, assignment)]);
        else if (now() - atMs > forgottenAfterMs) conclude(key, []);
      }
    },
  };
}

const recordAt = (timeMs: number, assignment: Assignment): LedgerRecord => assignmentRecord(new Date(timeMs).toISOString(), assignment);

function keyOf({ address, ports, releasedAt }: Assignment): string {
  return `${address} ${ports.first} ${releasedAt === null ? 'assigned' : 'released'}`;
}

/** Whether it was written: what was given is there, released or not; what was taken back is not in use any more. */
function isSo({ address, ports, holder, releasedAt }: Assignment, assignments: Assignments): boolean {
  const found = assignments.find((each) => each.address === address && each.ports.first === ports.first && each.holder === holder);
  return releasedAt === null ? found !== undefined : found?.releasedAt !== null;
}
