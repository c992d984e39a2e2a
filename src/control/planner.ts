/**
 * Keeps desired state and its plan. Every change goes one way, one at a time: read the whole input, allocate, compile,
 * write down, publish. A change that has a fault anywhere changes nothing, and is told every fault of all three at once.
 */
import type { ApplyRequest, ApplyResult, DeleteRequest } from '../api/admin.ts';
import type { Assignments } from '../core/snat/assignments.ts';
import { buildInSteps } from '../core/plan/build.ts';
import { compile, type Compilation } from '../core/plan/compile.ts';
import { applyChangeInSteps, describeRef, type DesiredChange, type DesiredState } from '../core/desired-state.ts';
import type { Fault } from '../core/errors.ts';
import type { LedgerRecord } from '../core/ledger-record.ts';
import type { RefusedObject } from '../core/plan/not-in-force.ts';
import type { Plan } from '../core/plan/plan.ts';
import { workloadAddresses, type WorkloadAddresses } from '../core/plan/workload-addresses.ts';
import type { TrustDomain } from '../core/spiffe-id.ts';
import type { RootNamespace } from '../core/tenancy.ts';
import type { StateStore } from '../store/index.ts';
import { createManifestReader, nothingWritten, type ReadManifests } from './manifest-reader.ts';
import { actionsFor, assignmentRecord, changedAssignments, invalidManifests, publicationRecords, removalsOf, resultOf } from './plan-change.ts';
import type { ControlSections } from './sections.ts';
import { runInSlices } from './slices.ts';
import { createTurns } from './turns.ts';

/** Desired state, wherever it is kept, and its plan. */
export interface Planner {
  readonly plan: Plan;
  readonly warnings: readonly Fault[];
  /** What is in force. */
  readonly desired: DesiredState;
  readonly assignments: Assignments;
  /** What was written and is not in force as it is. */
  readonly refused: ReadonlyMap<string, RefusedObject>;
  /** Of a cluster with tenants. */
  readonly rootNamespace: RootNamespace;
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
  /** Called after it with who is behind which address. */
  readonly publishAddresses: (addresses: WorkloadAddresses['addresses']) => Promise<void>;
}

const changesWaitingMax = 256;

const addressesIn = ({ WorkloadEntry }: DesiredState): WorkloadAddresses => workloadAddresses(WorkloadEntry, []);

/** Compiles what the store holds. Throws `manifest-invalid` where that has faults, which only an upgrade that is stricter could bring about. */
export async function createPlanner(options: PlannerOptions): Promise<Planner> {
  const { store, trustDomain, clusterDomain, now, record, publish, publishAddresses } = options;

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
  await publishAddresses(addressesIn(store.desired).addresses);

  async function change(desiredChange: DesiredChange, changes: ApplyResult['changes'], written: ReadManifests, dryRun: boolean, actor: string): Promise<ApplyResult> {
    const nowMs = now();
    // In slices, however large the change: certificates are issued and probes answered meanwhile. Nothing else changes what this reads.
    const desired = await runInSlices(applyChangeInSteps(store.desired, desiredChange));
    const next = await runInSlices(buildInSteps(desired, store.assignments, { now: nowMs, trustDomain, clusterDomain, previous: current.state }));
    // Whatever runs without Kubernetes is in the entries: there are no pods to be in their way later.
    const { addresses, faults: conflicts } = addressesIn(desired);
    const faults = await written.faults([...(next.ok ? [] : next.faults), ...conflicts]);
    if (!next.ok || faults.length > 0) throw invalidManifests(faults);
    const result = await resultOf({ written, changes, dryRun, current, next });
    if (dryRun || (desiredChange.put.length === 0 && desiredChange.remove.length === 0)) return result;

    // The records wait in the store's own commit until the ledger has them, so that a crash in between loses none.
    const time = new Date(nowMs).toISOString();
    const changed = changes.filter(({ action }) => action !== 'unchanged').map(({ ref }) => describeRef(ref));
    const records = [...changedAssignments(store.assignments, next.assignments).map((assignment) => assignmentRecord(time, assignment)), ...publicationRecords(time, current.plan.revision, next.plan.revision, changed, actor)];
    await runInSlices(store.encodeAhead(desiredChange));
    const outboxKey = `${nowMs}-${next.plan.revision}`;
    await store.commit({ desired: desiredChange, assignments: next.assignments, put: { outbox: { [outboxKey]: records } } });
    current = next;
    await record(records);
    await store.commit({ put: { outbox: { [outboxKey]: null } } });
    await publish(next.plan);
    await publishAddresses(addresses);
    return result;
  }

  return {
    get plan() {
      return current.plan;
    },
    get warnings() {
      return current.warnings;
    },
    get desired() {
      return store.desired;
    },
    get assignments() {
      return store.assignments;
    },
    refused: new Map(), // a change is taken whole or not at all
    rootNamespace: undefined,
    apply: ({ sources, dryRun = false }, actor) =>
      readManifests(sources, (written) =>
        inTurn(async () => {
          const changes = await runInSlices(actionsFor(written.objects, store.desired));
          const put = written.objects.filter((_, index) => changes[index]!.action !== 'unchanged');
          return await change({ put, remove: [] }, changes, written, dryRun, actor);
        }),
      ),
    remove: ({ refs, dryRun = false }, actor) => inTurn(async () => await change({ put: [], remove: refs }, removalsOf(refs, store.desired), nothingWritten, dryRun, actor)),
  };
}
