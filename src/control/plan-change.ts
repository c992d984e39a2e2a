/** What a change is, in words: to whoever makes it, and to the ledger. */
import { isDeepStrictEqual } from 'node:util';
import type { ApplyResult, ChangeAction } from '../api/admin.ts';
import { describeRef, keyOf, refOf, type DesiredState } from '../core/desired-state.ts';
import { SallyportError, type Fault, type ObjectRef } from '../core/errors.ts';
import type { LedgerRecord } from '../core/ledger-record.ts';
import type { DesiredObject, Kind } from '../core/objects/index.ts';
import type { Build } from '../core/plan/build.ts';
import { describePlanDiffInSteps, diffPlansInSteps } from '../core/plan/plan-diff.ts';
import type { Plan, Revision } from '../core/plan/plan.ts';
import type { Assignment, Assignments } from '../core/snat/assignments.ts';
import { filterInSteps, mapInSteps, type Steps } from '../core/steps.ts';
import { describeTenantChanges } from './bigip/index.ts';
import type { ReadManifests } from './manifest-reader.ts';
import { runInSlices } from './slices.ts';

/** Objects and names of a step in which little is done with each. */
const perStep = 256;

export function invalidManifests(faults: readonly Fault[]): SallyportError {
  return new SallyportError('manifest-invalid', `${faults.length === 1 ? 'a fault' : `${faults.length} faults`}, nothing was changed`, { faults });
}

/** What applying objects does to each. */
export function* actionsFor(objects: readonly DesiredObject[], desired: DesiredState): Steps<ApplyResult['changes']> {
  const actionFor = (object: DesiredObject): ChangeAction => {
    const known = desired[object.kind].get(keyOf(refOf(object)));
    return known === undefined ? 'created' : isDeepStrictEqual(known, object) ? 'unchanged' : 'configured';
  };
  return yield* mapInSteps(objects, 64, (object) => ({ ref: refOf(object), action: actionFor(object) }));
}

/** What removing objects does. Throws `not-found` where there is one that there is not. */
export function removalsOf(refs: readonly ObjectRef[], desired: DesiredState): ApplyResult['changes'] {
  const missing = refs.filter((ref) => !(Object.hasOwn(desired, ref.kind) && desired[ref.kind as Kind].has(keyOf(ref))));
  if (missing.length > 0) throw new SallyportError('not-found', `there is no ${missing.map(describeRef).join(', ')}`, { hint: 'nothing was deleted; list what there is: sallyport get KIND -A' });
  return refs.map((ref) => ({ ref, action: 'deleted' }));
}

interface Outcome {
  readonly written: ReadManifests;
  readonly changes: ApplyResult['changes'];
  readonly dryRun: boolean;
  /** Before the change. */
  readonly current: { readonly plan: Plan; readonly warnings: readonly Fault[] };
  readonly next: Extract<Build, { ok: true }>;
}

/** What whoever has made a change is told. */
export async function resultOf({ written, changes, dryRun, current, next }: Outcome): Promise<ApplyResult> {
  return {
    revision: next.plan.revision,
    previous: current.plan.revision,
    dryRun,
    changes,
    warnings: await written.locate(next.warnings.length === 0 ? [] : await runInSlices(warningsFor(written.objects, next.warnings, current.warnings))),
    effects: [...(await runInSlices(describePlanDiffInSteps(await runInSlices(diffPlansInSteps(current.plan, next.plan))))), ...(await runInSlices(describeTenantChanges(current.plan, next.plan)))],
  };
}

/** Warnings that whoever makes a change should read: about what he gave, and what his change has brought about. */
function* warningsFor(objects: readonly DesiredObject[], warnings: readonly Fault[], known: readonly Fault[]): Steps<readonly Fault[]> {
  const textOf = ({ object, message }: Fault) => `${object === undefined ? '' : describeRef(object)} ${message}`;
  const given = new Set(yield* mapInSteps(objects, perStep, (object) => describeRef(refOf(object))));
  const before = new Set(yield* mapInSteps(known, perStep, textOf));
  return yield* filterInSteps(warnings, perStep, (warning) => (warning.object !== undefined && given.has(describeRef(warning.object))) || !before.has(textOf(warning)));
}

/** That an address was given, or released. */
export function assignmentRecord(time: string, { pool, holder, address, ports, releasedAt }: Assignment): LedgerRecord {
  return { time, origin: 'control', type: releasedAt === null ? 'address-assigned' : 'address-released', pool, holder, address, firstPort: ports.first, lastPort: ports.last };
}

/** Names in one record, which so stays below the 1 MiB that the ledger takes: a name has some 340 characters at most. */
const namesPerRecordMax = 2_500;

/** That a plan was published, and for which changes. */
export function publicationRecords(time: string, previous: Revision | null, revision: Revision, changed: readonly string[], actor: string): readonly LedgerRecord[] {
  const pieces = Array.from({ length: Math.max(1, Math.ceil(changed.length / namesPerRecordMax)) }, (_, index) => changed.slice(index * namesPerRecordMax, (index + 1) * namesPerRecordMax));
  return pieces.map((piece) => ({ time, origin: 'control', type: 'plan-published', revision, previous, changed: piece, actor }));
}

/** Assignments that are new or released. What did not change is the same object, so most are told by reference. */
export function changedAssignments(before: Assignments, after: Assignments): Assignments {
  if (before === after) return [];
  const keyOfAssignment = ({ pool, holder, address, ports, releasedAt }: Assignments[number]) => `${pool} ${holder} ${address} ${ports.first} ${releasedAt === null ? 'held' : 'released'}`;
  const same = new Set(before).intersection(new Set(after));
  const replaced = new Set(before.filter((assignment) => !same.has(assignment)).map(keyOfAssignment));
  return after.filter((assignment) => !same.has(assignment) && !replaced.has(keyOfAssignment(assignment)));
}
