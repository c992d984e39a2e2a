/**
 * Keeps desired state and its plan. Every change goes one way, one at a time: read the whole input, allocate, compile,
 * write down, publish. A change that has a fault anywhere changes nothing, and is told every fault of all three at once.
 */
import { isDeepStrictEqual } from 'node:util';
import type { ApplyRequest, ApplyResult, ChangeAction, DeleteRequest } from '../api/admin.ts';
import type { Assignments } from '../core/snat/assignments.ts';
import { buildInSteps } from '../core/plan/build.ts';
import { compile, type Compilation } from '../core/plan/compile.ts';
import { applyChangeInSteps, describeRef, keyOf, refOf, type DesiredChange, type DesiredState } from '../core/desired-state.ts';
import { SallyportError, type Fault, type ObjectRef } from '../core/errors.ts';
import type { LedgerRecord } from '../core/ledger-record.ts';
import type { DesiredObject, Kind } from '../core/objects/index.ts';
import { describePlanDiffInSteps, diffPlansInSteps } from '../core/plan/plan-diff.ts';
import type { Plan } from '../core/plan/plan.ts';
import type { TrustDomain } from '../core/spiffe-id.ts';
import { filterInSteps, mapInSteps, type Steps } from '../core/steps.ts';
import type { StateStore } from '../store/index.ts';
import { createManifestReader, nothingWritten, type ReadManifests } from './manifest-reader.ts';
import type { ControlSections } from './sections.ts';
import { runInSlices } from './slices.ts';
import { createTurns } from './turns.ts';

export interface Planner {
  readonly plan: Plan;
  readonly warnings: readonly Fault[];
  apply(request: ApplyRequest, actor: string): Promise<ApplyResult>;
  remove(request: DeleteRequest, actor: string): Promise<ApplyResult>;
}

export interface PlannerOptions {
  readonly store: StateStore<ControlSections>;
  readonly trustDomain: TrustDomain;
  readonly clusterDomain: string;
  readonly now: () => number;
  /** Makes ledger records durable. */
  readonly record: (records: readonly LedgerRecord[]) => Promise<void>;
  /** Called with each new plan, once it and the addresses it stands on are durable; the next change waits for it. */
  readonly publish: (plan: Plan) => Promise<void>;
}

const changesWaitingMax = 256;

/** Compiles what the store holds. Throws `manifest-invalid` where that has faults, which only an upgrade that is stricter could bring about. */
export async function createPlanner(options: PlannerOptions): Promise<Planner> {
  const { store, trustDomain, clusterDomain, now, record, publish } = options;

  const readManifests = createManifestReader();
  /** Each change sees the state that the one before has made. */
  const inTurn = createTurns('changes', changesWaitingMax);
  const held = compile(store.desired, store.assignments, { trustDomain, clusterDomain });
  if (!held.ok) throw invalidManifests(await nothingWritten.faults(held.faults));
  let current: Extract<Compilation, { ok: true }> = held;
  for (const [key, records] of [...store.entries('outbox')]) {
    await record(records);
    await store.commit({ put: { outbox: { [key]: null } } });
  }
  await publish(current.plan);

  async function change(desiredChange: DesiredChange, actions: ApplyResult['changes'], written: ReadManifests, dryRun: boolean, actor: string): Promise<ApplyResult> {
    const time = now();
    // In slices, however large the change: certificates are issued and probes answered meanwhile. Nothing else changes what this reads.
    const desired = await runInSlices(applyChangeInSteps(store.desired, desiredChange));
    const next = await runInSlices(buildInSteps(desired, store.assignments, { now: time, trustDomain, clusterDomain, previous: current.state }));
    const faults = await written.faults(next.ok ? [] : next.faults);
    if (!next.ok || faults.length > 0) throw invalidManifests(faults);
    const previous = current.plan;
    const result: ApplyResult = {
      revision: next.plan.revision,
      previous: previous.revision,
      dryRun,
      changes: actions,
      warnings: await written.locate(next.warnings.length === 0 ? [] : await runInSlices(warningsFor(written.objects, next.warnings, current.warnings))),
      effects: await runInSlices(describePlanDiffInSteps(await runInSlices(diffPlansInSteps(previous, next.plan)))),
    };
    if (dryRun || (desiredChange.put.length === 0 && desiredChange.remove.length === 0)) return result;

    // The records wait in the store's own commit until the ledger has them, so that a crash in between loses none.
    const records = await runInSlices(recordsOf(new Date(time).toISOString(), store.assignments, next.assignments, previous, next.plan, actions, actor));
    await runInSlices(store.encodeAhead(desiredChange));
    const outboxKey = `${time}-${next.plan.revision}`;
    await store.commit({ desired: desiredChange, assignments: next.assignments, put: { outbox: { [outboxKey]: records } } });
    current = next;
    await record(records);
    await store.commit({ put: { outbox: { [outboxKey]: null } } });
    await publish(next.plan);
    return result;
  }

  return {
    get plan() {
      return current.plan;
    },
    get warnings() {
      return current.warnings;
    },
    apply: ({ sources, dryRun = false }, actor) =>
      readManifests(sources, (written) =>
        inTurn(async () => {
          const actions = await runInSlices(mapInSteps(written.objects, 64, (object) => ({ ref: refOf(object), action: actionFor(object, store.desired) })));
          const put = written.objects.filter((_, index) => actions[index]!.action !== 'unchanged');
          return await change({ put, remove: [] }, actions, written, dryRun, actor);
        }),
      ),
    remove: ({ refs, dryRun = false }, actor) =>
      inTurn(async () => {
        const missing = refs.filter((ref) => !isHeld(store.desired, ref));
        if (missing.length > 0) throw new SallyportError('not-found', `there is no ${missing.map(describeRef).join(', ')}`, { hint: 'nothing was deleted; list what there is: sallyport get KIND -A' });
        return await change({ put: [], remove: refs }, refs.map((ref) => ({ ref, action: 'deleted' })), nothingWritten, dryRun, actor);
      }),
  };
}

function invalidManifests(faults: readonly Fault[]): SallyportError {
  return new SallyportError('manifest-invalid', `${faults.length === 1 ? 'a fault' : `${faults.length} faults`}, nothing was changed`, { faults });
}

function actionFor(object: DesiredObject, desired: DesiredState): ChangeAction {
  const known = desired[object.kind].get(keyOf(refOf(object)));
  return known === undefined ? 'created' : isDeepStrictEqual(known, object) ? 'unchanged' : 'configured';
}

/** Objects and names of a step in which little is done with each. */
const perStep = 256;

/** Warnings that whoever makes a change should read: about what he gave, and what his change has brought about. */
function* warningsFor(objects: readonly DesiredObject[], warnings: readonly Fault[], known: readonly Fault[]): Steps<readonly Fault[]> {
  const textOf = ({ object, message }: Fault) => `${object === undefined ? '' : describeRef(object)} ${message}`;
  const given = new Set(yield* mapInSteps(objects, perStep, (object) => describeRef(refOf(object))));
  const before = new Set(yield* mapInSteps(known, perStep, textOf));
  return yield* filterInSteps(warnings, perStep, (warning) => (warning.object !== undefined && given.has(describeRef(warning.object))) || !before.has(textOf(warning)));
}

function isHeld(desired: DesiredState, ref: ObjectRef): boolean {
  return Object.hasOwn(desired, ref.kind) && desired[ref.kind as Kind].has(keyOf(ref));
}

/** Names in one record, which so stays below the 1 MiB that the ledger takes: a name has some 340 characters at most. */
const namesPerRecordMax = 2_500;

/** What the ledger is told of a change: which addresses were given and released by it, and who changed what. */
function* recordsOf(time: string, before: Assignments, after: Assignments, previous: Plan, next: Plan, actions: ApplyResult['changes'], actor: string): Steps<readonly LedgerRecord[]> {
  const base = { time, origin: 'control' } as const;
  const changed = yield* mapInSteps(actions.filter(({ action }) => action !== 'unchanged'), perStep, ({ ref }) => describeRef(ref));
  const pieces = Array.from({ length: Math.max(1, Math.ceil(changed.length / namesPerRecordMax)) }, (_, index) => changed.slice(index * namesPerRecordMax, (index + 1) * namesPerRecordMax));
  return [
    ...changedAssignments(before, after).map(({ pool, holder, address, ports, releasedAt }): LedgerRecord => ({ ...base, type: releasedAt === null ? 'address-assigned' : 'address-released', pool, holder, address, firstPort: ports.first, lastPort: ports.last })),
    ...pieces.map((piece): LedgerRecord => ({ ...base, type: 'plan-published', revision: next.revision, previous: previous.revision, changed: piece, actor })),
  ];
}

/** Assignments that are new or released. What did not change is the same object, so most are told by reference. */
function changedAssignments(before: Assignments, after: Assignments): Assignments {
  if (before === after) return [];
  const keyOfAssignment = ({ pool, holder, address, ports, releasedAt }: Assignments[number]) => `${pool} ${holder} ${address} ${ports.first} ${releasedAt === null ? 'held' : 'released'}`;
  const same = new Set(before).intersection(new Set(after));
  const replaced = new Set(before.filter((assignment) => !same.has(assignment)).map(keyOfAssignment));
  return after.filter((assignment) => !same.has(assignment) && !replaced.has(keyOfAssignment(assignment)));
}
