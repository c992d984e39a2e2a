/**
 * Keeps the registrations of all external services at the API server: the shell of plan.ts. It runs at the leader. What the API server has of
 * ours is mirrored, so that a settled system asks and writes nothing, and what somebody changes or deletes is noticed and put back.
 */
import { setImmediate } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import type { Logger } from 'pino';
import { refOfKey, type ObjectKey } from '../../core/desired-state.ts';
import { SallyportError, type Fault } from '../../core/errors.ts';
import type { IpAddress } from '../../core/ip-address.ts';
import type { ExternalService } from '../../core/objects/index.ts';
import type { TrustDomain } from '../../core/spiffe-id.ts';
import { ApiRefusal, fieldManager, mergeContentType, type ApiClient } from '../client.ts';
import { addTo, dropFrom } from '../sets-by-key.ts';
import { pathOf, type Followed } from '../watch/reflect.ts';
import type { ObjectChange } from '../watch/reflection.ts';
import { createWorkQueue } from '../work-queue.ts';
import { createHostAddresses, type ResolveHost } from './host-addresses.ts';
import { planRegistration, type Action, type StoredObject } from './plan.ts';
import { isMarked, isPlaceless, registrationOf, serviceNameOf, type OwnedObject, type Owner } from './registration.ts';

/** An external service that is to be registered. */
export interface Registrant {
  readonly external: ExternalService;
  /** The custom resource; null where it is in another namespace. */
  readonly owner: Owner | null;
}

export interface Registrar {
  /** These are registered from now on, and no others. Nothing is written before this is called. */
  want(registrants: ReadonlyMap<ObjectKey, Registrant>): void;
  /** Begins nothing more, and resolves when what is under way has ended. */
  close(): Promise<void>;
}

export interface RegistrarOptions {
  readonly client: ApiClient;
  /** All that there are; those that are marked as ours with all that is looked at of them (`keepOfStored`). */
  readonly services: Followed<StoredObject>;
  readonly slices: Followed<StoredObject>;
  readonly trustDomain: TrustDomain;
  readonly resolve: ResolveHost;
  /** Called when what keeps a service from being registered has changed; null: nothing does any more. */
  readonly onFinding: (key: ObjectKey, fault: Fault | null) => void;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  readonly log: Logger;
}

const resources = {
  Service: { group: '', version: 'v1', plural: 'services' },
  EndpointSlice: { group: 'discovery.k8s.io', version: 'v1', plural: 'endpointslices' },
} as const;

export function createRegistrar({ client, services, slices, trustDomain, resolve, onFinding, random, log }: RegistrarOptions): Registrar {
  let wanted: ReadonlyMap<ObjectKey, Registrant> | null = null;
  let usersOf: ReadonlyMap<string, readonly ObjectKey[]> = new Map();
  let synced = false;
  let closed = false;
  const findings = new Map<ObjectKey, Fault>();
  /** The names of slices that are marked as ours, by what they are named after. */
  const markedSlices = new Map<ObjectKey, Set<string>>();

  const queue = createWorkQueue({
    random,
    async work(key) {
      await setImmediate(); // many at once, of which most say already what is wanted, are no turn of the event loop
      await settle(key);
      if (closed) return;
      const registrant = wanted?.get(key);
      report(key, registrant === undefined ? null : (hostFaultOf(registrant.external) ?? addressFaultOf(registrant.external)));
    },
    onFailure(key, error) {
      if (closed) return;
      const [fault] = error instanceof SallyportError && wanted?.has(key) === true ? error.faults : [];
      if (fault === undefined) log[isOutdated(error) ? 'debug' : 'warn']({ err: error, service: key }, 'an external service is not registered as it is to be');
      else report(key, fault);
    },
  });
  const hosts = createHostAddresses({ resolve, random, log, onChange: (host) => usersOf.get(host)?.forEach(renew) });
  for (const [name, slice] of slices.objects) noteSlice(serviceNameOf(name), name, slice);
  const unfollow = [
    services.follow((changes) => changes.forEach((change) => lookIfConcerned(change.name, change))),
    slices.follow((changes) => {
      for (const change of changes) {
        const key = serviceNameOf(change.name);
        noteSlice(key, change.name, change.after);
        lookIfConcerned(key, change);
      }
    }),
  ];
  void Promise.all([services.synced, slices.synced]).then(() => {
    synced = true;
    lookAtAll();
  });

  function noteSlice(key: ObjectKey, name: string, slice: StoredObject | null): void {
    if (slice !== null && isMarked(slice)) addTo(markedSlices, key, name);
    else dropFrom(markedSlices, key, name);
  }

  function lookAtAll(): void {
    const marked = [...services.objects].flatMap(([key, service]) => (isMarked(service) ? [key] : []));
    for (const key of new Set([...(wanted?.keys() ?? []), ...marked, ...markedSlices.keys()])) look(key);
  }

  /** Most of what a cluster has is somebody else's, and has no name that is wanted. */
  function lookIfConcerned(key: ObjectKey, { before, after }: ObjectChange<StoredObject>): void {
    if (wanted?.has(key) === true || [before, after].some((object) => object !== null && isMarked(object))) look(key);
  }

  /** For what the API server says. */
  function look(key: ObjectKey): void {
    if (isBegun()) queue.add(key);
  }

  /** For what is wanted otherwise from now on, which is not to wait. */
  function renew(key: ObjectKey): void {
    if (isBegun()) queue.renew(key);
  }

  const isBegun = (): boolean => synced && wanted !== null;

  /** Brings the API server to hold what is wanted under a key. Throws where something is in the way. */
  async function settle(key: ObjectKey): Promise<void> {
    const { namespace, name } = refOfKey('ExternalService', key);
    const registrant = wanted?.get(key);
    const registration = registrant === undefined ? null : registrationOf(registrant.external, registrant.owner, addressesOf(registrant.external), trustDomain);
    const sliceNames = new Set([...(markedSlices.get(key) ?? []), ...(registration?.slices ?? []).map((slice) => `${namespace}/${slice.metadata.name}`)]);
    const existing = { service: services.objects.get(key) ?? null, slices: [...sliceNames].flatMap((each) => slices.objects.get(each) ?? []) };
    const { actions, stranger } = planRegistration(name, existing, registration);
    for (const action of actions) {
      if (closed) return;
      await perform(action);
    }
    if (stranger !== null) throw obstacle(takenFaultOf(stranger));
    if (actions.length > 0) queue.rest(key);
  }

  async function perform(action: Action): Promise<void> {
    try {
      await request(action);
    } catch (error) {
      const fault = faultOf(error, action);
      throw fault === null ? error : obstacle(fault);
    }
  }

  async function request(action: Action): Promise<void> {
    const { object } = action;
    switch (action.type) {
      case 'create':
        await client.request({ method: 'POST', path: folderOf(object), query: { fieldManager }, body: object });
        break;
      case 'change':
        await client.request({ method: 'PATCH', path: placeOf(object), query: { fieldManager }, contentType: mergeContentType, body: action.patch });
        break;
      case 'delete': {
        const { uid, resourceVersion } = action.object.metadata;
        await client.request({ method: 'DELETE', path: placeOf(object), body: { apiVersion: 'v1', kind: 'DeleteOptions', preconditions: { uid, resourceVersion } } });
      }
    }
  }

  function addressesOf({ spec }: ExternalService): readonly IpAddress[] | null {
    if (spec.addresses !== undefined) return spec.addresses;
    const known = (spec.hosts ?? []).flatMap((host) => hosts.addressesOf(host) ?? []);
    return known.length === 0 ? null : known;
  }

  function hostFaultOf({ spec }: ExternalService): Fault | null {
    for (const host of spec.hosts ?? []) {
      const failure = hosts.failureOf(host);
      if (failure !== null) return { code: 'host-unresolved', message: `host "${host}" has not been resolved yet: ${failure}`, hint: 'see that the name servers of the control plane know it; it is asked for again all the while' };
    }
    return null;
  }

  function addressFaultOf({ spec }: ExternalService): Fault | null {
    const placeless = spec.addresses?.find(isPlaceless);
    if (placeless === undefined) return null;
    return { code: 'address-placeless', message: `address "${placeless}" means another place wherever it is said, so no pod finds the service there; gateways use it`, hint: 'name an address that is the same for all, if pods are to find it' };
  }

  function report(key: ObjectKey, found: Fault | null): void {
    const fault = found === null ? null : { ...found, object: refOfKey('ExternalService', key) };
    if (isDeepStrictEqual(findings.get(key) ?? null, fault)) return;
    if (fault === null) findings.delete(key);
    else findings.set(key, fault);
    onFinding(key, fault);
  }

  return {
    want(registrants) {
      const before = wanted;
      wanted = registrants;
      usersOf = usersOfHosts(registrants);
      hosts.want(new Set(usersOf.keys()));
      if (before === null) lookAtAll();
      for (const [key, { external, owner }] of registrants) {
        const known = before?.get(key);
        if (known?.external !== external || known.owner?.uid !== owner?.uid) renew(key);
      }
      for (const key of before?.keys() ?? []) if (!registrants.has(key)) renew(key);
    },
    async close() {
      closed = true;
      for (const each of unfollow) each();
      await Promise.all([hosts.close(), queue.close()]);
    },
  };
}

function usersOfHosts(registrants: ReadonlyMap<ObjectKey, Registrant>): ReadonlyMap<string, readonly ObjectKey[]> {
  const users = new Map<string, ObjectKey[]>();
  for (const [key, { external }] of registrants) for (const host of external.spec.hosts ?? []) users.set(host, [...(users.get(host) ?? []), key]);
  return users;
}

function folderOf({ kind, metadata: { namespace } }: OwnedObject): string {
  return pathOf({ ...resources[kind as keyof typeof resources], namespace });
}

function placeOf(object: OwnedObject): string {
  return `${folderOf(object)}/${object.metadata.name}`;
}

const obstacle = (fault: Fault): SallyportError => new SallyportError('unavailable', fault.message, { faults: [fault] });

/** What was to be made is there by now, or what was to be changed is another or gone, of which the mirror is going to tell. */
const isOutdated = (error: unknown): boolean => error instanceof ApiRefusal && (error.status === 404 || error.status === 409);

/** Answers that say something about the object, so that it is no use to ask again before something has changed. */
const refusals: ReadonlySet<number> = new Set([400, 403, 405, 413, 415, 422]);

function faultOf(error: unknown, { type, object }: Action): Fault | null {
  if (!(error instanceof ApiRefusal)) return null;
  const { namespace } = object.metadata;
  if (type === 'create' && error.status === 404) return { code: 'namespace-missing', message: `there is no namespace "${namespace}" for its Service`, hint: `kubectl create namespace ${namespace}` };
  if (!refusals.has(error.status)) return null;
  return { code: 'registration-refused', message: `the API server refuses ${nameOf(object)}: ${error.message}`, hint: 'mend what it says; it is tried again all the while' };
}

function takenFaultOf(stranger: OwnedObject): Fault {
  const { kind, metadata: { name, namespace } } = stranger;
  return {
    code: kind === 'Service' ? 'service-name-taken' : 'endpoint-slice-name-taken',
    message: `${nameOf(stranger)} is there already, and not made by Sallyport`,
    hint: `give the ExternalService another name, or remove the other: kubectl delete ${kind.toLowerCase()} ${name} -n ${namespace}`,
  };
}

const nameOf = ({ kind, metadata: { name, namespace } }: OwnedObject): string => `${kind} ${namespace}/${name}`;
