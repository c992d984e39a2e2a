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
import { ApiRefusal, fieldManager, mergeContentType, readIfThere, type ApiClient } from '../client.ts';
import { pathOf, reflect, type Mirror } from '../watch/reflect.ts';
import { createWorkQueue } from '../work-queue.ts';
import { createHostAddresses, type ResolveHost } from './host-addresses.ts';
import { planRegistration, type Action, type Existing, type StoredObject } from './plan.ts';
import { isPlaceless, managedBy, managedByLabel, registrationOf, serviceNameOf, type OwnedObject, type Owner } from './registration.ts';

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
  readonly trustDomain: TrustDomain;
  readonly resolve: ResolveHost;
  /** Called when what keeps a service from being registered has changed; null: nothing does any more. */
  readonly onFinding: (key: ObjectKey, fault: Fault | null) => void;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  readonly log: Logger;
}

const ours = { version: 'v1', labelSelector: `${managedByLabel}=${managedBy}` };
const resources = {
  Service: { ...ours, group: '', plural: 'services' },
  EndpointSlice: { ...ours, group: 'discovery.k8s.io', plural: 'endpointslices' },
} as const;

export function createRegistrar({ client, trustDomain, resolve, onFinding, random, log }: RegistrarOptions): Registrar {
  let wanted: ReadonlyMap<ObjectKey, Registrant> | null = null;
  let usersOf: ReadonlyMap<string, readonly ObjectKey[]> = new Map();
  let synced = false;
  let closed = false;
  const findings = new Map<ObjectKey, Fault>();
  const slicesOf = new Map<ObjectKey, Map<string, StoredObject>>();

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
  const services: Mirror<StoredObject> = reflect<StoredObject>({ client, resource: resources.Service, random, log, onChange: (changes) => changes.forEach(({ name }) => look(name)) });
  const slices: Mirror<StoredObject> = reflect<StoredObject>({
    client,
    resource: resources.EndpointSlice,
    random,
    log,
    onChange: (changes) => {
      for (const { name, after } of changes) {
        const key = serviceNameOf(name);
        const known = slicesOf.get(key) ?? new Map<string, StoredObject>();
        if (after === null) known.delete(name);
        else known.set(name, after);
        if (known.size === 0) slicesOf.delete(key);
        else slicesOf.set(key, known);
        look(key);
      }
    },
  });
  void Promise.all([services.synced, slices.synced]).then(() => {
    synced = true;
    lookAtAll();
  });

  function lookAtAll(): void {
    for (const key of new Set([...(wanted?.keys() ?? []), ...services.objects.keys(), ...slicesOf.keys()])) look(key);
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
    const { name } = refOfKey('ExternalService', key);
    const registrant = wanted?.get(key);
    const registration = registrant === undefined ? null : registrationOf(registrant.external, registrant.owner, addressesOf(registrant.external), trustDomain);
    let existing: Existing = { service: services.objects.get(key) ?? null, slices: [...(slicesOf.get(key)?.values() ?? [])] };
    if (registration !== null && existing.service === null && findings.get(key)?.code === 'service-name-taken') existing = { ...existing, service: await read(registration.service) };
    for (let hasWritten = false; ; ) {
      const { actions, stranger } = planRegistration(name, existing, registration);
      hasWritten ||= actions.length > 0;
      const met = await performAll(actions);
      if (met !== null) {
        existing = met.kind === 'Service' ? { ...existing, service: met } : { ...existing, slices: [...existing.slices, met] };
        continue;
      }
      if (stranger !== null) throw obstacle(takenFaultOf(stranger));
      if (hasWritten) queue.rest(key);
      return;
    }
  }

  /** Up to an object that was met under the name of one to be created, to which it resolves: the mirror is late, or it is a stranger. */
  async function performAll(actions: readonly Action[]): Promise<StoredObject | null> {
    for (const action of actions) {
      if (closed) break;
      try {
        await perform(action);
      } catch (error) {
        const met = action.type === 'create' && error instanceof ApiRefusal && error.reason === 'AlreadyExists' ? await read(action.object) : null;
        if (met !== null) return met;
        const fault = faultOf(error, action);
        throw fault === null ? error : obstacle(fault);
      }
    }
    return null;
  }

  async function perform(action: Action): Promise<void> {
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

  async function read(object: OwnedObject): Promise<StoredObject | null> {
    return (await readIfThere<StoredObject>(client, placeOf(object))) ?? null;
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
      services.close();
      slices.close();
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

/** What was to be changed is another by now, or gone, of which the mirror will tell. */
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
