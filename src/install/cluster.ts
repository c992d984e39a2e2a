/** The shell: installed objects at an API server. */
import { setTimeout as delay } from 'node:timers/promises';
import { SallyportError } from '../core/errors.ts';
import { apiVersion } from '../core/objects/index.ts';
import { applyContentType, assignmentFinalizer, createApiClient, createAsker, openClusterAccess, managedBy, managedByLabel, mergeContentType, type KubeConfigChoice } from '../kubernetes/index.ts';
import { keep } from './metadata.ts';
import { componentLabel } from './names.ts';
import { installObjects } from './objects.ts';
import { installOptions } from './options.ts';

/** An object of Kubernetes, as far as it is looked at here. */
export interface KubernetesObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string; readonly annotations?: Readonly<Record<string, string>> };
}

export type Outcome = 'created' | 'changed' | 'unchanged';

export interface Cluster {
  /**
   * Makes an object what it is to be, by server-side apply. Throws `cluster-conflict` where somebody else has set a field to something
   * else, unless it is to be taken over.
   */
  apply(object: KubernetesObject, options: { readonly takeOver: boolean }): Promise<Outcome>;
  /** Until a definition is served, or all pods of a StatefulSet are ready and of its last version. Throws `timeout`. */
  waitFor(object: KubernetesObject, withinMs: number): Promise<void>;
  /** All that was ever installed and is there, but the definitions; what others rest on comes last. */
  installed(): Promise<readonly KubernetesObject[]>;
  /** Those of our kinds, of the older form only where they are ours. With one go all objects of its kind. */
  definitions(): Promise<readonly KubernetesObject[]>;
  /** What the control plane has made of custom resources, and can make again. */
  made(): Promise<readonly KubernetesObject[]>;
  /** One that is gone already is well. */
  remove(object: KubernetesObject): Promise<void>;
  /** Assignments of addresses may go from now on, whatever was promised to firewalls. */
  releaseAssignments(): Promise<void>;
}

/** Another than the control plane's own, so that what that has written (keys, a CA, statuses) is not taken for ours to remove. */
const fieldManager = 'sallyport-install';
const lookEveryMs = 250;

export function isKept({ metadata }: KubernetesObject): boolean {
  return Object.entries(keep).every(([name, value]) => metadata.annotations?.[name] === value);
}

/** Whether two are the same object, whatever they say. */
export function isSame(one: KubernetesObject, other: KubernetesObject): boolean {
  return pathOf(one) === pathOf(other);
}

/** All kinds that are ever installed, in the order in which they are applied. */
const installedKinds: ReadonlyMap<string, Pick<KubernetesObject, 'apiVersion' | 'kind'>> = new Map(
  installObjects(installOptions('0').parse({ gateways: ['any'] })).map(({ object }) => [object['kind'] as string, object as unknown as KubernetesObject]),
);

export async function connectCluster(choice: KubeConfigChoice): Promise<Cluster> {
  const { ask, find } = createAsker(createApiClient(await openClusterAccess(choice)));

  async function list({ apiVersion, kind }: Pick<KubernetesObject, 'apiVersion' | 'kind'>, query: { readonly labelSelector?: string } = {}): Promise<readonly KubernetesObject[]> {
    const answer = await find<{ readonly items: readonly KubernetesObject[] }>({ method: 'GET', path: pathOfKind({ apiVersion, kind }), query });
    return (answer?.items ?? []).map((item) => ({ ...item, apiVersion, kind })); // which a list says once for all
  }

  return {
    async apply(object, { takeOver }) {
      const path = pathOf(object);
      const before = await find<Versioned>({ method: 'GET', path });
      const after = await ask<Versioned>({ method: 'PATCH', path, query: { fieldManager, force: takeOver }, contentType: applyContentType, body: object });
      return before === undefined ? 'created' : before.metadata.resourceVersion === after.metadata.resourceVersion ? 'unchanged' : 'changed';
    },
    async waitFor(object, withinMs) {
      const deadline = performance.now() + withinMs;
      while (!isReady(await ask<Live>({ method: 'GET', path: pathOf(object) }))) {
        if (performance.now() > deadline) throw new SallyportError('timeout', `${object.kind} "${object.metadata.name}" is not ready after ${withinMs / 1000} s`, { hint: `kubectl describe ${object.kind.toLowerCase()} ${object.metadata.name}${object.metadata.namespace === undefined ? '' : ` -n ${object.metadata.namespace}`}` });
        await delay(lookEveryMs);
      }
    },
    async installed() {
      const found = await Promise.all([...installedKinds.values()].map((kind) => list(kind, { labelSelector: componentLabel })));
      return found.reverse().flat();
    },
    definitions: () => list({ apiVersion: 'apiextensions.k8s.io/v1', kind: 'CustomResourceDefinition' }, { labelSelector: 'app.kubernetes.io/name=sallyport' }),
    async made() {
      const kinds = [{ apiVersion: 'discovery.k8s.io/v1', kind: 'EndpointSlice' }, { apiVersion: 'v1', kind: 'Service' }, { apiVersion: 'v1', kind: 'ConfigMap' }];
      return (await Promise.all(kinds.map((kind) => list(kind, { labelSelector: `${managedByLabel}=${managedBy}` })))).flat();
    },
    async remove(object) {
      await find({ method: 'DELETE', path: pathOf(object), query: { propagationPolicy: 'Background' } });
    },
    async releaseAssignments() {
      const assignments = await list({ apiVersion, kind: 'SnatAssignment' });
      for (const assignment of assignments as readonly Live[]) {
        const finalizers = (assignment.metadata.finalizers ?? []).filter((each) => each !== assignmentFinalizer);
        await find({ method: 'PATCH', path: pathOf(assignment), contentType: mergeContentType, body: { metadata: { finalizers } } });
      }
    },
  };
}

interface Versioned {
  readonly metadata: { readonly resourceVersion: string };
}

/** What is looked at of an object that is there, beside its name. */
interface Live extends KubernetesObject {
  readonly metadata: KubernetesObject['metadata'] & { readonly generation?: number; readonly finalizers?: readonly string[] };
  readonly spec?: { readonly replicas?: number };
  readonly status?: { readonly observedGeneration?: number; readonly updatedReplicas?: number; readonly readyReplicas?: number; readonly conditions?: readonly { readonly type: string; readonly status: string }[] };
}

function isReady({ kind, metadata, spec = {}, status = {} }: Live): boolean {
  if (kind === 'CustomResourceDefinition') return status.conditions?.some((condition) => condition.type === 'Established' && condition.status === 'True') === true;
  return status.observedGeneration === metadata.generation && status.updatedReplicas === spec.replicas && status.readyReplicas === spec.replicas;
}

/** As all kinds that are met here are called in paths. */
const pluralOf = (kind: string): string => `${kind.toLowerCase().replace(/y$/, 'ie')}s`;

function pathOfKind({ apiVersion, kind }: Pick<KubernetesObject, 'apiVersion' | 'kind'>, namespace?: string): string {
  return `/${apiVersion.includes('/') ? 'apis' : 'api'}/${apiVersion}${namespace === undefined ? '' : `/namespaces/${namespace}`}/${pluralOf(kind)}`;
}

function pathOf(object: KubernetesObject): string {
  return `${pathOfKind(object, object.metadata.namespace)}/${object.metadata.name}`;
}
