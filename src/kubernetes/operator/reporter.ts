/** Statuses: what became of each object, written where it says something else than what is there. Only the leader has one. */
import { isDeepStrictEqual } from 'node:util';
import type { Logger } from 'pino';
import { describeRef, keyOf, refOf, type DesiredState } from '../../core/desired-state.ts';
import type { Fault } from '../../core/errors.ts';
import type { DesiredObject, SnatBinding } from '../../core/objects/index.ts';
import type { Refusal } from '../../core/plan/acceptance.ts';
import type { Assignment, Assignments } from '../../core/snat/assignments.ts';
import { holderOfBinding } from '../../core/snat/holder.ts';
import { holdingsOf } from '../../core/snat/holdings.ts';
import { forEachInSteps, type Steps } from '../../core/steps.ts';
import { ApiRefusal, applyContentType, fieldManager, type ApiClient } from '../client.ts';
import { rivalFaults, type Collection, type Source, type SourceName } from '../desired/collection.ts';
import { statusOf, type Condition, type Enforcement, type ObjectStatus } from '../desired/status.ts';
import type { ApiObject } from '../watch/reflection.ts';
import { withSharedValues } from '../watch/shared-values.ts';
import { createWorkQueue } from '../work-queue.ts';
import { enforcementOf, type Concerned, type Published } from './enforcement.ts';
import type { Occurrence } from './events.ts';
import { objectPath, resourceOf } from './resources.ts';

/** What the leader knows, of which statuses tell. */
export interface Situation {
  readonly collection: Collection;
  /** What of it is in force. */
  readonly accepted: DesiredState;
  /** By `describeRef`. */
  readonly refused: ReadonlyMap<string, Refusal>;
  /** By `describeRef`. */
  readonly warnings: ReadonlyMap<string, readonly Fault[]>;
  /** Those that are at the API server, by which plans go. */
  readonly assignments: Assignments;
  /** Those that are to be there. */
  readonly assigned: Assignments;
  readonly concerned: Concerned;
  readonly published: Published;
  /** Open streams, by gateway. */
  readonly connected: ReadonlyMap<string, number>;
  /** What an object said when it was last in force, as the API server had it. */
  readonly inForce: ReadonlyMap<SourceName, unknown>;
}

export interface Reporter {
  /** Looks at every object, or at those of these names, and has written what is to be. */
  report(situation: Situation, names?: ReadonlySet<SourceName>): Steps<void>;
  /** Objects whose status waits for a gateway. */
  readonly waiting: ReadonlySet<SourceName>;
  close(): Promise<void>;
}

export interface ReporterOptions {
  readonly client: ApiClient;
  readonly tell: (occurrence: Occurrence) => void;
  readonly now: () => number;
  readonly random: () => number;
  readonly log: Logger;
}

/** Gateways have most often taken a plan within this: one write then tells of both, that an object is in force and that it is enforced. */
const patienceMs = 250;
/** Objects of a step, most of which are as they were. */
const perStep = 64;

interface Wanted {
  readonly source: Source;
  readonly status: ObjectStatus;
  /** What there is to look at again only where it has changed. */
  readonly key: string;
}

export function createReporter({ client, tell, now, random, log }: ReporterOptions): Reporter {
  const wanted = new Map<SourceName, Wanted>();
  /** Written, and not yet told by the watch. */
  const written = new Map<SourceName, { readonly status: ObjectStatus; readonly version: bigint }>();
  const waiting = new Set<SourceName>();
  /** To be written when gateways have had their time. */
  let late = new Set<SourceName>();
  let patience: NodeJS.Timeout | undefined;
  const queue = createWorkQueue({ work: write, onFailure: (name, error) => log.warn({ err: error, object: name }, 'a status could not be written'), random });

  /** As the API server has it, as far as is known. */
  function statusAt(source: Source): ObjectStatus | undefined {
    const own = written.get(source.name);
    if (own !== undefined && own.version > BigInt(source.apiObject.metadata.resourceVersion)) return own.status;
    written.delete(source.name);
    return (source.apiObject as ApiObject & { readonly status?: ObjectStatus }).status;
  }

  async function write(name: SourceName): Promise<void> {
    const { source, status } = wanted.get(name) ?? {};
    if (source === undefined || status === undefined) return;
    const before = statusAt(source);
    if (isDeepStrictEqual(before, status)) return;
    const { apiVersion, kind, metadata } = source.apiObject;
    const { namespace, name: objectName, uid } = metadata;
    const body = { apiVersion, kind, metadata: { name: objectName, uid, ...(namespace === undefined ? {} : { namespace }) }, status };
    try {
      const answer = await client.request<ApiObject>({ method: 'PATCH', path: `${objectPath(resourceOf(source.apiObject)!, metadata)}/status`, query: { fieldManager, force: true }, contentType: applyContentType, body });
      written.set(name, { status, version: BigInt(answer.metadata.resourceVersion) });
    } catch (error) {
      // It is gone, or another one of its name: the watch tells.
      if (error instanceof ApiRefusal && (error.status === 404 || error.status === 409)) return;
      throw error;
    }
    for (const occurrence of occurrencesOf(source, before, status)) tell(occurrence);
  }

  function reportOne(source: Source, situation: Situation): void {
    const before = statusAt(source);
    const names = source.objects.map((object) => describeRef(refOf(object)));
    const refusals = names.flatMap((name) => situation.refused.get(name) ?? []);
    const faults = source.faults.length > 0 ? source.faults : [...rivalFaults(situation.collection, source), ...refusals.flatMap((refusal) => refusal.faults)];
    const fellBack = source.faults.length > 0 ? source.objects.length > 0 : refusals.some((refusal) => refusal.fellBack);
    const warnings = names.flatMap((name) => situation.warnings.get(name) ?? []);
    const own = { ...ownFields(source, situation), ...(fellBack && situation.inForce.has(source.name) ? { inForce: { spec: situation.inForce.get(source.name) } } : {}) };
    const gateways = gatewaysOf(source, situation.concerned);
    const awaitsAddress = isAwaitingAddress(source, situation);
    const known = wanted.get(source.name);
    // Most objects are as they were, in a world that is as it was.
    const key = [[...(gateways ?? [])].sort().join(), awaitsAddress, JSON.stringify(own)].join(' '); // a template would keep its pieces
    if (known?.source === source && known.key === key && faults.length + warnings.length + known.status.conditions.filter(({ type, status }) => (type === 'Accepted' && status === 'False') || (type === 'Warned' && status === 'True')).length === 0 && !waiting.has(source.name)) return;

    const generation = source.apiObject.metadata.generation ?? 0;
    const isInForce = faults.length === 0 || fellBack;
    const earlier = before !== undefined && (fellBack || before.observedGeneration === generation) ? enforcementIn(before) : null;
    const enforcement = gateways === null ? null : isInForce && !awaitsAddress ? enforcementOf(earlier, gateways, situation.published) : { revision: null, gateways: [] };
    const found = statusOf({ generation, faults, warnings, fellBack, awaitsAddress, enforcement, own }, before, new Date(now()).toISOString().replace(/\.\d+Z$/, 'Z'));
    const status = found === before ? before : withSharedValues(found); // thousands that say the same may wait to be written
    wanted.set(source.name, { source, status, key });
    if (enforcement !== null && enforcement.gateways.some(({ revision }) => revision === null)) waiting.add(source.name);
    else waiting.delete(source.name);
    if (status === before) return;
    if (waiting.has(source.name) && faults.length === 0) writeLater(source.name);
    else queue.add(source.name);
  }

  function writeLater(name: SourceName): void {
    late.add(name);
    patience ??= setTimeout(() => {
      patience = undefined;
      for (const each of late) queue.add(each);
      late = new Set();
    }, patienceMs);
  }

  return {
    waiting,
    *report(situation, names) {
      const { sources } = situation.collection;
      const chosen = names === undefined ? sources.values() : [...names].flatMap((name) => sources.get(name) ?? []);
      yield* forEachInSteps(chosen, perStep, (source) => {
        if (resourceOf(source.apiObject)?.hasStatus === true) reportOne(source, situation);
      });
      for (const name of names ?? wanted.keys()) {
        if (sources.has(name)) continue;
        for (const known of [wanted, written, waiting]) known.delete(name);
      }
    },
    close() {
      clearTimeout(patience);
      return queue.close();
    },
  };
}

/** The gateways that hear of an object; null for the kinds that none hears of. */
function gatewaysOf({ apiObject, objects }: Source, { services, policies, bindings }: Concerned): ReadonlySet<string> | null {
  if (!['EgressPolicy', 'ExternalService', 'SnatBinding'].includes(apiObject.kind ?? '')) return null;
  const of = (object: DesiredObject): ReadonlySet<string> | undefined => {
    const key = keyOf(refOf(object));
    return object.kind === 'ExternalService' ? services.get(key) : object.kind === 'EgressPolicy' ? policies.get(key) : object.kind === 'SnatBinding' ? bindings.get(key) : undefined;
  };
  return new Set(objects.flatMap((object) => [...(of(object) ?? [])]));
}

function ownFields(source: Source, situation: Situation): Readonly<Record<string, unknown>> {
  const { apiObject } = source;
  const { assignments, published, connected } = situation;
  const { name } = apiObject.metadata;
  switch (apiObject.kind) {
    case 'EgressGateway': {
      const revision = published.heldBy(name);
      return { connected: connected.get(name) ?? 0, ...(revision === null ? {} : { revision }) };
    }
    case 'SnatPool': {
      const own = assignments.filter(({ pool }) => pool === name);
      return { assigned: own.filter(({ releasedAt }) => releasedAt === null).length, quarantined: own.filter(({ releasedAt }) => releasedAt !== null).length };
    }
    case 'SnatBinding':
      return source.objects.length === 0 ? {} : { addresses: addressesFrom(source, situation, 'assignments') };
    default:
      return {};
  }
}

/** Where the subject of a binding leaves from, or is to; none where it is not in force. */
function addressesFrom({ objects: [first] }: Source, situation: Situation, which: 'assignments' | 'assigned'): readonly string[] {
  const inForce = first === undefined ? undefined : situation.accepted.SnatBinding.get(keyOf(refOf(first))); // in its earlier form, where it fell back to that
  return inForce === undefined ? [] : addressesOf(inForce, holdingsOf(situation[which]).get(holderOfBinding(inForce)) ?? []);
}

function isAwaitingAddress(source: Source, situation: Situation): boolean {
  if (source.apiObject.kind !== 'SnatBinding' || situation.assigned === situation.assignments) return false;
  const held = new Set(addressesFrom(source, situation, 'assignments'));
  return addressesFrom(source, situation, 'assigned').some((address) => !held.has(address));
}

/** With the ports where the address is shared. */
function addressesOf({ spec }: SnatBinding, held: readonly Assignment[]): readonly string[] {
  const own = held.filter(({ pool, address, fixed }) => (spec.pool === undefined ? spec.addresses?.includes(address) === true : pool === spec.pool && fixed !== true));
  return own.map(({ address, ports }) => (ports.first === 1_024 && ports.last === 65_535 ? address : `${address}:${ports.first}-${ports.last}`));
}

/** The inverse of what a status shows of it. */
function enforcementIn({ revision, gateways = [] }: ObjectStatus): Enforcement | null {
  return revision === undefined ? null : { revision, gateways: gateways.map((gateway) => ({ name: gateway.name, revision: gateway.revision ?? null })) };
}

/** What of a change of status a person should know. */
function occurrencesOf({ apiObject: regarding }: Source, before: ObjectStatus | undefined, after: ObjectStatus): readonly Occurrence[] {
  const of = (status: ObjectStatus | undefined, type: Condition['type']) => status?.conditions.find((condition) => condition.type === type);
  const occurrences: Occurrence[] = [];
  const [was, is] = [of(before, 'Accepted'), of(after, 'Accepted')!];
  if (is.status === 'False' && (was?.status !== 'False' || was.message !== is.message)) occurrences.push({ regarding, type: 'Warning', action: 'Accept', reason: is.reason, note: is.message });
  if (is.status === 'True' && was?.status === 'False') occurrences.push({ regarding, type: 'Normal', action: 'Accept', reason: 'Accepted', note: 'it is in force again' });
  const [warned, warns] = [of(before, 'Warned'), of(after, 'Warned')!];
  if (warns.status === 'True' && warned?.message !== warns.message) occurrences.push({ regarding, type: 'Warning', action: 'Accept', reason: warns.reason, note: warns.message });
  const addresses = addressesIn(after);
  if (addresses.length > 0 && !isDeepStrictEqual(addressesIn(before), addresses)) occurrences.push({ regarding, type: 'Normal', action: 'Assign', reason: 'AddressAssigned', note: `its subject leaves from ${addresses.join(' and ')}` });
  return occurrences;
}

function addressesIn(status: ObjectStatus | undefined): readonly string[] {
  return (status?.['addresses'] ?? []) as readonly string[];
}
