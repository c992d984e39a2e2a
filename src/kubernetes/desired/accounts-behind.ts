/**
 * Which service accounts are behind the Services of a cluster: those of the pods that their EndpointSlices name. Desired state has them as
 * `istioctl register` wrote them, in an annotation, so that what reads it knows one form only. A Service that selects no pods keeps the
 * annotation that somebody gave it.
 */
import { serviceAccountsAnnotation } from '../../core/objects/kubernetes.ts';
import { byText } from '../../core/order.ts';
import { addTo, dropFrom } from '../sets-by-key.ts';
import { ownPodIps, type PodObject } from './addressed-pods.ts';
import type { ApiObject, ObjectChange, ObjectName } from '../watch/reflection.ts';

/** The part of a `v1 Service` that is looked at. */
export interface ServiceObject extends ApiObject {
  readonly spec?: { readonly selector?: Readonly<Record<string, string>> };
}

/** The part of a `discovery.k8s.io/v1 EndpointSlice` that is looked at. */
export interface SliceObject extends ApiObject {
  readonly endpoints?: readonly { readonly targetRef?: { readonly kind?: string; readonly name?: string } }[] | null;
}

export interface AccountsBehind {
  /** Takes changes of the API server's objects, and gives those of the Services as desired state has them. */
  takeServices(changes: readonly ObjectChange<ServiceObject>[]): readonly ObjectChange<ApiObject>[];
  takeSlices(changes: readonly ObjectChange<SliceObject>[]): readonly ObjectChange<ApiObject>[];
  takePods(changes: readonly ObjectChange<PodObject>[]): readonly ObjectChange<ApiObject>[];
  /** The service accounts behind a Service that pods beside it run under too, sorted: an address for the Service is one for them. */
  sharedAccounts(service: ObjectName): readonly string[];
}

const serviceNameLabel = 'kubernetes.io/service-name';

export const keepOfPod = (pod: PodObject): PodObject => ({
  apiVersion: pod.apiVersion,
  kind: pod.kind,
  metadata: bare(pod.metadata),
  spec: { serviceAccountName: pod.spec?.serviceAccountName ?? 'default' },
  status: { phase: pod.status?.phase ?? '', podIPs: ownPodIps(pod) },
});
export const keepOfSlice = ({ apiVersion, kind, metadata, endpoints }: SliceObject): SliceObject => ({
  apiVersion,
  kind,
  metadata: { ...bare(metadata), ...labelsOf(metadata, [serviceNameLabel]) },
  endpoints: podsIn(endpoints).map((name) => ({ targetRef: { kind: 'Pod', name } })),
});
export const keepOfService = ({ apiVersion, kind, metadata, spec }: ServiceObject): ServiceObject => ({ apiVersion, kind, metadata: { ...bare(metadata), ...annotationOf(metadata) }, spec: { selector: spec?.selector ?? {} } });
/** Of a Namespace its labels are what selectors match. */
export const keepOfNamespace = ({ apiVersion, kind, metadata }: ApiObject): ApiObject => ({ apiVersion, kind, metadata: { ...bare(metadata), ...labelsOf(metadata) } });

export function createAccountsBehind(): AccountsBehind {
  const services = new Map<ObjectName, ServiceObject>();
  /** By slice. */
  const membersOf = new Map<ObjectName, { readonly service: ObjectName; readonly pods: readonly ObjectName[] }>();
  const slicesOf = new Map<ObjectName, Set<ObjectName>>();
  const servicesOf = new Map<ObjectName, Set<ObjectName>>();
  const accounts = new Map<ObjectName, string>();
  const podsUnder = new Map<string, Set<ObjectName>>();
  /** As desired state has them. */
  const told = new Map<ObjectName, ApiObject>();

  function podsBehind(service: ObjectName): Set<ObjectName> {
    return new Set([...(slicesOf.get(service) ?? [])].flatMap((slice) => membersOf.get(slice)?.pods ?? []));
  }

  function tell(names: Iterable<ObjectName>): ObjectChange<ApiObject>[] {
    const changes: ObjectChange<ApiObject>[] = [];
    for (const name of names) {
      const before = told.get(name) ?? null;
      const after = asDesired(name, before);
      if (after === before) continue;
      if (after === null) told.delete(name);
      else told.set(name, after);
      changes.push({ name, before, after });
    }
    return changes;
  }

  function asDesired(name: ObjectName, before: ApiObject | null): ApiObject | null {
    const service = services.get(name);
    if (service === undefined) return null;
    const text = Object.keys(service.spec?.selector ?? {}).length === 0 ? written(service) : [...new Set([...podsBehind(name)].flatMap((pod) => accounts.get(pod) ?? []))].sort(byText).join();
    if (before !== null && before.metadata.uid === service.metadata.uid && written(before) === text) return before;
    return { apiVersion: 'v1', kind: 'Service', metadata: { ...bare(service.metadata), ...(text === '' ? {} : { annotations: { [serviceAccountsAnnotation]: text } }) } };
  }

  return {
    takeServices(changes) {
      for (const { name, after } of changes) {
        if (after === null) services.delete(name);
        else services.set(name, after);
      }
      return tell(changes.map(({ name }) => name));
    },
    takeSlices(changes) {
      const touched = new Set<ObjectName>();
      for (const { name, before, after } of changes) {
        if (before !== null) leave(name);
        const service = after === null ? undefined : serviceOf(after);
        if (after === null || service === undefined) continue;
        const pods = podsIn(after.endpoints).map((pod) => `${after.metadata.namespace}/${pod}`);
        membersOf.set(name, { service, pods });
        addTo(slicesOf, service, name);
        for (const pod of pods) addTo(servicesOf, pod, service);
        touched.add(service);
      }
      return tell(touched);

      function leave(slice: ObjectName): void {
        const known = membersOf.get(slice);
        if (known === undefined) return;
        membersOf.delete(slice);
        dropFrom(slicesOf, known.service, slice);
        const still = podsBehind(known.service);
        for (const pod of known.pods) if (!still.has(pod)) dropFrom(servicesOf, pod, known.service);
        touched.add(known.service);
      }
    },
    takePods(changes) {
      const touched = new Set<ObjectName>();
      for (const { name, after } of changes) {
        const known = accounts.get(name);
        // One that has ended is behind nothing and leaves no more.
        const next = after === null || after.status?.phase === 'Succeeded' || after.status?.phase === 'Failed' ? undefined : (after.spec?.serviceAccountName ?? 'default');
        if (known === next) continue;
        if (known !== undefined) dropFrom(podsUnder, accountKey(name, known), name);
        if (next === undefined) accounts.delete(name);
        else {
          accounts.set(name, next);
          addTo(podsUnder, accountKey(name, next), name);
        }
        for (const service of servicesOf.get(name) ?? []) touched.add(service);
      }
      return tell(touched);
    },
    sharedAccounts(service) {
      const behind = podsBehind(service);
      const used = new Set([...behind].flatMap((pod) => accounts.get(pod) ?? []));
      return [...used].filter((account) => [...(podsUnder.get(accountKey(service, account)) ?? [])].some((pod) => !behind.has(pod))).sort(byText);
    },
  };
}

function serviceOf({ metadata }: SliceObject): ObjectName | undefined {
  const name = (metadata as { readonly labels?: Readonly<Record<string, string>> }).labels?.[serviceNameLabel];
  return name === undefined ? undefined : `${metadata.namespace}/${name}`;
}

function podsIn(endpoints: SliceObject['endpoints'] | undefined): readonly string[] {
  return (endpoints ?? []).flatMap(({ targetRef }) => (targetRef?.kind === 'Pod' ? [targetRef.name ?? ''] : []));
}

/** Pods and Services of one namespace share its accounts. */
function accountKey(name: ObjectName, account: string): string {
  return `${name.slice(0, name.indexOf('/'))}/${account}`;
}

function written({ metadata }: ApiObject): string {
  return (metadata as { readonly annotations?: Readonly<Record<string, string>> }).annotations?.[serviceAccountsAnnotation] ?? '';
}

type Metadata = ApiObject['metadata'];

function bare({ name, namespace, uid, resourceVersion, creationTimestamp, deletionTimestamp }: Metadata): Metadata {
  return { name, uid, resourceVersion, ...(namespace === undefined ? {} : { namespace }), ...(creationTimestamp === undefined ? {} : { creationTimestamp }), ...(deletionTimestamp === undefined ? {} : { deletionTimestamp }) };
}

function labelsOf(metadata: Metadata, names?: readonly string[]): { readonly labels?: Readonly<Record<string, string>> } {
  const { labels } = metadata as { readonly labels?: Readonly<Record<string, string>> };
  if (labels === undefined) return {};
  return { labels: names === undefined ? labels : Object.fromEntries(Object.entries(labels).filter(([name]) => names.includes(name))) };
}

function annotationOf(metadata: Metadata): { readonly annotations?: Readonly<Record<string, string>> } {
  const text = written({ metadata });
  return text === '' ? {} : { annotations: { [serviceAccountsAnnotation]: text } };
}
