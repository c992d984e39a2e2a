/**
 * Desired state from an API server: watched, collected, accepted, assigned, published, and told in statuses. Every replica publishes from its
 * own watch; only the leader writes.
 *
 * Invariants: an address is used by a plan only after its assignment is at the API server; nothing is published before everything was listed
 * once; where nothing changes nothing is written.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';
import { applyChangeInSteps, describeRef, emptyDesiredState, keyOf, refOf, type DesiredChange, type DesiredState } from '../../core/desired-state.ts';
import { SallyportError, type Fault, type ObjectRef } from '../../core/errors.ts';
import type { DesiredObject, Kind } from '../../core/objects/index.ts';
import { acceptInSteps, type Acceptance, type Refusal } from '../../core/plan/acceptance.ts';
import { buildInSteps, type Build } from '../../core/plan/build.ts';
import { compileInSteps, type CompileState } from '../../core/plan/compile.ts';
import type { Plan, Revision } from '../../core/plan/plan.ts';
import type { Assignments } from '../../core/snat/assignments.ts';
import type { TrustDomain } from '../../core/spiffe-id.ts';
import type { Steps } from '../../core/steps.ts';
import { createAssignmentBook, type AssignmentObject } from '../assignment-book.ts';
import type { ApiClient } from '../client.ts';
import { timeSpan } from '../clocks.ts';
import { absorb, collect, emptyCollection, isAccepted, nameOfSource, readEarlier, standingsOf, type Collection, type SourceName } from '../desired/collection.ts';
import type { ResolveHost } from '../registration/host-addresses.ts';
import { electLeader, type LeaderElection } from '../leader/elect.ts';
import type { ApiObject, ObjectChange } from '../watch/reflection.ts';
import type { Findings } from '../webhook/validation.ts';
import { createAddressBook, type AddressBookOptions } from './address-book.ts';
import { affectedBy, fewOf, type Outcome } from './affected.ts';
import { createAssigner, type Evidence } from './assigner.ts';
import { concernedBy, createPlanOrder, type Concerned } from './enforcement.ts';
import { gatewayWarnings, type GatewayReport } from './gateway-report.ts';
import { createInForce } from './in-force.ts';
import { startLeaderWork, type LeaderWork } from './leader-work.ts';
import type { Situation } from './reporter.ts';
import { sharedAccountWarnings } from './shared-accounts.ts';
import { createTurnLoop } from './turn-loop.ts';
import { watchAll } from './watches.ts';

/** A plan that is to be in force. */
export interface Publication {
  readonly plan: Plan;
  readonly previous: Plan | null;
  /** What has changed in desired state since the last one, as messages name it. */
  readonly changed: readonly string[];
}

export interface OperatorOptions {
  readonly client: ApiClient;
  /** Where Sallyport is: its Lease is there, and objects there may speak about everyone. */
  readonly namespace: string;
  /** This replica's name, unique among them. */
  readonly replica: string;
  readonly trustDomain: TrustDomain;
  readonly clusterDomain: string;
  /** Runs long work so that whatever else the process does goes on. */
  readonly runSteps: <Result>(steps: Steps<Result>) => Promise<Result>;
  readonly publish: (publication: Publication) => Promise<void>;
  /** Who is behind which address; not called while no gateway of the plan is of class kernel. */
  readonly publishAddresses: AddressBookOptions['publish'];
  /** By name, of all replicas' gateways. */
  readonly gateways: () => ReadonlyMap<string, GatewayReport>;
  /** Of addresses that this replica gives and takes back. */
  readonly evidence: Evidence;
  /** Of hosts that external services name. */
  readonly resolve: ResolveHost;
  /** Where other replicas reach this one, `HOST:PORT`; null: nowhere. */
  readonly replicaAddress: string | null;
  readonly now: () => number;
  readonly monotonicNow: () => number;
  readonly random: () => number;
  readonly log: Logger;
}

export interface Operator {
  /** Resolves with the first plan's publication. */
  readonly ready: Promise<void>;
  readonly plan: Plan | null;
  readonly desired: DesiredState;
  readonly assignments: Assignments;
  readonly warnings: readonly Fault[];
  readonly refused: ReadonlyMap<string, Refusal>;
  readonly isLeader: boolean;
  /** The replica that leads, as far as it is known; empty for none. */
  readonly leader: string;
  /** Where the leader is reached, `HOST:PORT`; null where this is it, or nobody knows. */
  readonly leaderAddress: string | null;
  /** Whether the API server answers. */
  readonly isConnected: boolean;
  /** Whether there is no such pod any more; false while that is not known. */
  isPodGone(pod: { readonly namespace: string; readonly name: string; readonly uid: string }): boolean;
  /** What a change would make of what is in force, or every fault of it. Nothing is changed. */
  preview(change: DesiredChange): Promise<Build>;
  /** What a change of an object would bring that is not so now. Throws `unavailable` while nothing is known. */
  validate(change: ObjectChange<ApiObject>): Promise<Findings>;
  /** In every namespace, and in the webhooks' configurations, from now on. */
  publishTrustBundle(pem: string): void;
  close(): Promise<void>;
}

/** Longer than this no plan waits for assignments: it goes without those that are not there yet, and so without their grants. */
const assignWithinMs = 500;
const retryAfterMs = 2_000;
/** How often gateways are asked what they hold, and quarantines whether they are over. */
const lookEveryMs = 100;
const addressAnnotation = 'sallyport.dev/mesh-address';
const quarantineCheckMs = 5_000;

export function startOperator(options: OperatorOptions): Operator {
  const { client, namespace, replica, trustDomain, clusterDomain, runSteps, publish, publishAddresses, gateways, evidence, resolve, replicaAddress, now, monotonicNow, random, log } = options;
  const book = createAssignmentBook();
  const { promise: ready, resolve: setReady } = Promise.withResolvers<undefined>();

  let pending: ObjectChange<ApiObject>[] = [];
  const collection = emptyCollection(namespace);
  let desired: DesiredState = emptyDesiredState;
  let accepted: Acceptance | undefined;
  let state: CompileState | undefined;
  let plan: Plan | null = null;
  let warnings: readonly Fault[] = [];
  let concerned: Concerned | undefined;
  const changedSince = new Set<string>();
  /** Of plans by what statuses call them. */
  const order = createPlanOrder();
  const inForce = createInForce();

  let rebuild = true;
  /** Whether the API server may lack assignments that are known. */
  let mustWrite = true;
  let isSynced = false;
  let closed = false;
  let assigning: Promise<void> | undefined;
  let leading: LeaderWork | undefined;
  let trustBundlePem: string | undefined;
  /** What statuses were last told of; null: of nothing yet. */
  let reported: Outcome | null = null;
  /** Whether gateways hold something else than when statuses were last told. */
  let areGatewaysDue = false;
  const turns = createTurnLoop(turn);
  const wake = (): void => turns.wake();

  const watches = watchAll({
    client,
    random,
    log,
    onDesired: (changes) => {
      for (const change of changes) pending.push(change);
      if (changes.length > 0) wake();
    },
    onAssignments: takeAssignments,
    onAddresses: () => addresses.podsChanged(),
  });
  const addresses = createAddressBook({ pods: () => watches.pods.objects.values(), entries: () => accepted!.desired.WorkloadEntry, isWanted: () => plan?.gateways.some((gateway) => gateway.class === 'kernel') === true, runSteps, publish: publishAddresses, onFaults: wake, log });
  const assigner = createAssigner({ client, book, now: () => timeSpan(client, now()).latest, mayWrite: () => election.isLeader && !closed, evidence, log });
  const election: LeaderElection = electLeader({
    client,
    namespace,
    lease: 'sallyport',
    self: replica,
    ...(replicaAddress === null ? {} : { annotations: { [addressAnnotation]: replicaAddress } }),
    onElected: () => {
      leading = startLeaderWork({ client, watches, replica, trustDomain, resolve, now, random, log, onFinding: wake });
      reported = null;
      if (trustBundlePem !== undefined) leading.publishTrustBundle(trustBundlePem);
      mustWrite = true; // what the last one could not, or has not any more
      rebuild = true;
      wake();
    },
    onDeposed: () => {
      void leading?.close();
      leading = undefined;
    },
    now,
    monotonicNow,
    log,
  });

  function takeAssignments(changes: readonly ObjectChange<AssignmentObject>[]): void {
    const before = book.assignments;
    const { unreadable, isLacking } = book.take(changes);
    for (const { name, why } of unreadable) log.error({ assignment: name, why }, 'an assignment cannot be read: its address is given to nobody until it is mended or removed');
    if (isLacking) mustWrite = true;
    if (book.assignments === before && !isLacking) return;
    rebuild = true;
    wake();
  }

  /** Takes what has come meanwhile, and brings everything up to it. */
  async function turn(): Promise<void> {
    if (!isSynced) return;
    const changes = pending;
    pending = [];
    const touched = new Set(changes.flatMap(({ before, after }) => namesOfSources(before, after)));
    const stood = [...touched].filter((name) => isInForce(collection, name));
    const change = absorb(collection, changes);
    desired = await runSteps(applyChangeInSteps(desired, change));
    const changed = [...change.put.map(refOf), ...change.remove].map(describeRef);
    for (const name of changed) changedSince.add(name);
    const isFirst = accepted === undefined;
    // Who came first matters only where somebody has to yield.
    const standsOtherwise = (accepted?.refused.size ?? 0) > 0 && [...touched].filter((name) => isInForce(collection, name)).join() !== stood.join();
    const isRebuilt = rebuild || isFirst || standsOtherwise || changed.length > 0;
    if (isRebuilt) {
      rebuild = false;
      await build(touched);
      addresses.look();
    }
    if (assigning === undefined) evidence.settle(book.assignments);
    if (leading === undefined || accepted === undefined || plan === null) return;
    // Also one that is being deleted, or another of its name, is registered otherwise.
    if (isRebuilt || reported === null || changes.some(({ before, after }) => (after ?? before)?.kind === 'ExternalService')) leading.register(accepted.desired, collection);
    // What others than the plan have to say: that a Service's accounts are shared, that something is in the way of a registration, how gateways are.
    const remarks = [...sharedAccountWarnings(accepted.desired, watches.accounts.sharedAccounts), ...leading.findings.values(), ...addresses.faults, ...gatewayWarnings(gateways())];
    const outcome = { plan, desired: accepted.desired, assignments: book.assignments, refused: accepted.refused, warnings: [...warnings, ...remarks] };
    const due = reported === null ? [] : [...affectedBy(reported, outcome), ...changed, ...fewOf(desired)];
    const names = reported === null ? undefined : new Set([...touched, ...due.flatMap((name) => (collection.makers.get(name) ?? []).map((source) => source.name)), ...(areGatewaysDue ? leading.waiting : [])]);
    reported = outcome;
    areGatewaysDue = false;
    await runSteps(leading.report(situation(outcome.warnings), names));
  }

  async function build(touched: ReadonlySet<SourceName>): Promise<void> {
    const last = accepted;
    const previous = state === undefined ? {} : { previous: state };
    const context = { ...timeSpan(client, now()), trustDomain, clusterDomain, rootNamespace: namespace, ...previous };
    const next = await runSteps(acceptInSteps(desired, book.assignments, context, standingsOf(collection, fallbackOf)));
    if (election.isLeader && (mustWrite || next.assignments !== book.assignments)) await assign(next.assignments);
    const held = book.assignments;
    const compiled = next.assignments === held ? next : await runSteps(compileInSteps(next.desired, held, { trustDomain, clusterDomain, rootNamespace: namespace, previous: next.state }));
    if (!compiled.ok) {
      log.error({ faults: compiled.faults.slice(0, 10) }, 'what was accepted cannot be compiled without some of its addresses; the last plan stays in force');
      return;
    }
    accepted = next;
    state = compiled.state;
    warnings = compiled.warnings;
    inForce.update(collection, { before: last?.refused ?? new Map(), now: next.refused }, touched);
    if (plan?.revision === compiled.plan.revision) return;
    const publication: Publication = { plan: compiled.plan, previous: plan, changed: [...changedSince] };
    changedSince.clear();
    plan = compiled.plan;
    concerned = undefined;
    order.note(shortened(plan.revision));
    await publish(publication);
    setReady(undefined);
  }

  /** Has written what is missing, or is at it: the turn that follows does what is left, and what another has come between. */
  async function assign(wanted: Assignments): Promise<void> {
    mustWrite = false;
    assigning ??= assigner
      .assign(wanted)
      .catch(async (error: unknown) => {
        log.warn({ err: error }, 'addresses could not be assigned; what needs them is refused until they are');
        await delay(retryAfterMs);
      })
      .finally(() => {
        assigning = undefined;
        wake(); // what was noted of them can be settled
      });
    const underWay = assigning;
    await Promise.race([underWay, delay(assignWithinMs)]);
    if (book.assignments === wanted) return;
    void underWay.then(async () => {
      if (book.assignments !== wanted) await delay(retryAfterMs); // the watch tells sooner where somebody else has come between
      rebuild = true;
      wake();
    });
  }

  async function preview(change: DesiredChange): Promise<Build> {
    const changed = await runSteps(applyChangeInSteps(accepted?.desired ?? emptyDesiredState, change));
    return await runSteps(buildInSteps(changed, book.assignments, { ...timeSpan(client, now()), trustDomain, clusterDomain, rootNamespace: namespace, ...(state === undefined ? {} : { previous: state }) }));
  }

  /** What was in force of an object that says something else now. */
  function fallbackOf(ref: ObjectRef): DesiredObject | null {
    const kind = ref.kind as Kind;
    const current = desired[kind].get(keyOf(ref));
    const last = accepted?.desired[kind].get(keyOf(ref));
    if (last !== undefined) return last === current ? null : last;
    const [source] = collection.makers.get(describeRef(ref)) ?? [];
    return source === undefined ? null : (readEarlier(source.apiObject, namespace).find((object) => describeRef(refOf(object)) === describeRef(ref)) ?? null);
  }

  function situation(said: readonly Fault[]): Situation {
    const reports = gateways();
    const byObject = Map.groupBy(said.filter(({ object }) => object !== undefined), ({ object }) => describeRef(object!));
    concerned ??= concernedBy(plan!);
    return {
      collection,
      accepted: accepted!.desired,
      refused: accepted!.refused,
      warnings: byObject,
      assignments: book.assignments,
      assigned: accepted!.assignments,
      concerned,
      published: { revision: shortened(plan!.revision), orderOf: (revision) => order.orderOf(revision), heldBy: (gateway) => shortenedOrNull(reports.get(gateway)?.held ?? null) },
      connected: new Map([...reports].map(([name, { connected }]) => [name, connected])),
      inForce: inForce.specs,
    };
  }

  let lastReports = '';
  let checkedAt = monotonicNow();
  const looking = setInterval(() => {
    if (leading === undefined || plan === null) return;
    if (monotonicNow() - checkedAt >= quarantineCheckMs) {
      checkedAt = monotonicNow();
      if (book.assignments.some(({ releasedAt }) => releasedAt !== null)) {
        rebuild = true;
        wake();
      }
    }
    const reports = JSON.stringify([...gateways()]);
    if (reports === lastReports) return;
    lastReports = reports;
    areGatewaysDue = true;
    wake();
  }, lookEveryMs);

  void watches.synced.then(() => {
    isSynced = true;
    wake();
  });

  return {
    ready,
    get plan() {
      return plan;
    },
    get desired() {
      return accepted?.desired ?? emptyDesiredState;
    },
    get assignments() {
      return book.assignments;
    },
    get warnings() {
      return [...warnings, ...addresses.faults];
    },
    get refused() {
      return accepted?.refused ?? new Map<string, Refusal>();
    },
    get isLeader() {
      return election.isLeader;
    },
    get leader() {
      return election.leader;
    },
    get leaderAddress() {
      return election.leader === '' || election.leader === replica ? null : (election.leaderAnnotations[addressAnnotation] ?? null);
    },
    get isConnected() {
      return watches.isConnected;
    },
    isPodGone: (pod) => isSynced && watches.pods.objects.get(`${pod.namespace}/${pod.name}`)?.metadata.uid !== pod.uid,
    preview,
    async validate({ name, after, before }) {
      if (accepted === undefined) throw new SallyportError('unavailable', 'the objects that there are have not been read yet', { hint: 'try again' });
      const source = collection.sources.get(nameOfSource((after ?? before)!));
      const { change } = collect(collection, [{ name, before: source?.apiObject ?? null, after }]);
      const next = await preview(change);
      return next.ok ? { faults: [], warnings: next.warnings.filter((warning) => !warnings.some(({ message }) => message === warning.message)) } : { faults: next.faults, warnings: [] };
    },
    publishTrustBundle(pem) {
      trustBundlePem = pem;
      leading?.publishTrustBundle(pem);
    },
    async close() {
      closed = true;
      clearInterval(looking);
      watches.close();
      await Promise.all([turns.close(), addresses.close()]);
      await assigning;
      await leading?.close();
      await election.close();
    },
  };
}

/** As people see it in statuses, and in what the CLI prints: no two plans of a cluster begin alike. */
const shortened = (revision: Revision): Revision => revision.slice(0, 12) as Revision;
const shortenedOrNull = (revision: Revision | null): Revision | null => (revision === null ? null : shortened(revision));

function namesOfSources(...objects: readonly (ApiObject | null)[]): SourceName[] {
  return objects.flatMap((object) => (object === null ? [] : [nameOfSource(object)]));
}

function isInForce({ sources }: Collection, name: SourceName): boolean {
  const source = sources.get(name);
  return source !== undefined && isAccepted(source);
}
