/**
 * What a cluster holds, read once and judged as the operator judges it: for whoever wants to know what is, or what would be, without a control
 * plane. Reads only; needs the right to list what the operator watches.
 */
import { applyChange, describeRef, emptyDesiredState, keyOf, refOf, type DesiredState } from '../core/desired-state.ts';
import type { Fault } from '../core/errors.ts';
import type { DesiredObject, Kind } from '../core/objects/index.ts';
import { accept, type Acceptance } from '../core/plan/acceptance.ts';
import type { TrustDomain } from '../core/spiffe-id.ts';
import type { Assignments } from '../core/snat/assignments.ts';
import { createAssignmentBook, type AssignmentObject } from './assignment-book.ts';
import type { ApiClient } from './client.ts';
import { createAccountsBehind, type ServiceObject, type SliceObject } from './desired/accounts-behind.ts';
import type { PodObject } from './desired/addressed-pods.ts';
import { collect, emptyCollection, readEarlier, rivalFaults, standingsOf, type Collection } from './desired/collection.ts';
import { assignmentResource, desiredResources } from './operator/resources.ts';
import { sharedAccountWarnings } from './operator/shared-accounts.ts';
import { isMarked } from './registration/registration.ts';
import { createAsker } from './user/asking.ts';
import { listAll } from './user/list-all.ts';
import { pathOf, type Resource } from './watch/reflect.ts';
import { nameOf, type ApiObject, type ObjectChange } from './watch/reflection.ts';

export interface LiveState {
  readonly collection: Collection;
  readonly desired: DesiredState;
  readonly assignments: Assignments;
  /** Services that are ours, `namespace/name`. */
  readonly registered: ReadonlySet<string>;
  /** See `AccountsBehind`. */
  readonly sharedAccounts: (service: string) => readonly string[];
}

/** Throws a SallyportError. */
export async function readLiveState(client: ApiClient, rootNamespace: string): Promise<LiveState> {
  const { ask } = createAsker(client);
  const list = async <Item extends ApiObject>(resource: Resource & { readonly isOptional?: boolean }, type: Pick<ApiObject, 'apiVersion' | 'kind'> = {}): Promise<readonly ObjectChange<Item>[]> => {
    const items = await listAll<Item>(ask, pathOf(resource), { isOptional: resource.isOptional === true });
    return items.map((item) => ({ name: nameOf(item), before: null, after: { ...item, ...type } }));
  };
  const core = (plural: string): Resource => ({ group: '', version: 'v1', plural });
  const [desiredObjects, assignmentObjects, namespaces, services, pods, slices] = await Promise.all([
    Promise.all(desiredResources.map((resource) => list<ApiObject>(resource, { apiVersion: `${resource.group}/${resource.version}`, kind: resource.kind }))),
    list<AssignmentObject>(assignmentResource),
    list<ApiObject>(core('namespaces'), { apiVersion: 'v1', kind: 'Namespace' }),
    list<ServiceObject>(core('services')),
    list<PodObject>(core('pods')),
    list<SliceObject>({ group: 'discovery.k8s.io', version: 'v1', plural: 'endpointslices' }),
  ]);
  const accounts = createAccountsBehind();
  accounts.takePods(pods);
  accounts.takeSlices(slices);
  const { collection, change } = collect(emptyCollection(rootNamespace), [...desiredObjects.flat(), ...namespaces, ...accounts.takeServices(services)]);
  const book = createAssignmentBook();
  book.take(assignmentObjects);
  return {
    collection,
    desired: applyChange(emptyDesiredState, change),
    assignments: book.assignments,
    registered: new Set(services.flatMap(({ name, after }) => (isMarked(after!) ? [name] : []))),
    sharedAccounts: (service) => accounts.sharedAccounts(service),
  };
}

export interface Judgement {
  readonly accepted: Acceptance;
  /** Of objects that the cluster holds: why each is not in force. */
  readonly faults: readonly Fault[];
  /** Of the objects that are put beside them. */
  readonly faultsOfPut: Acceptance['refused'];
  readonly warnings: readonly Fault[];
}

/** What of it can be in force together with `put`, which came last and yields to what is there. */
export function judge({ collection, desired, assignments, sharedAccounts }: LiveState, put: readonly DesiredObject[], { trustDomain, clusterDomain, now }: { readonly trustDomain: TrustDomain; readonly clusterDomain: string; readonly now: number }): Judgement {
  const given = new Set(put.map((object) => describeRef(refOf(object))));
  const standings = standingsOf(collection, (ref) => {
    const [source] = collection.makers.get(describeRef(ref)) ?? [];
    const earlier = source === undefined ? undefined : readEarlier(source.apiObject, collection.rootNamespace).find((object) => describeRef(refOf(object)) === describeRef(ref));
    return earlier === desired[ref.kind as Kind].get(keyOf(ref)) ? null : (earlier ?? null);
  });
  const accepted = accept(applyChange(desired, { put, remove: [] }), assignments, { now, trustDomain, clusterDomain, rootNamespace: collection.rootNamespace }, (ref) =>
    given.has(describeRef(ref)) ? { isAccepted: false, createdAt: Infinity, fallback: null } : standings(ref),
  );
  const refusals = Map.groupBy(accepted.refused, ([name]) => given.has(name));
  return {
    accepted,
    faults: [...[...collection.sources.values()].flatMap((source) => [...source.faults, ...rivalFaults(collection, source)]).filter(({ object }) => object === undefined || !given.has(describeRef(object))), ...(refusals.get(false) ?? []).flatMap(([, { faults }]) => faults.map(({ restsOn: _, ...fault }): Fault => fault))],
    faultsOfPut: new Map(refusals.get(true)),
    warnings: [...accepted.warnings, ...sharedAccountWarnings(accepted.desired, sharedAccounts)],
  };
}
