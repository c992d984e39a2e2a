/** What tests do at an API server: install the definitions, apply objects, and wait for what becomes of them. */
import { readFileSync } from 'node:fs';
import { parseAllDocuments } from 'yaml';
import { waitFor } from '../../src/demo/processes.ts';
import { ApiRefusal, applyContentType, createApiClient, type ApiClient } from '../../src/kubernetes/client.ts';
import { customResourceDefinitions } from '../../src/kubernetes/index.ts';
import { resourceOf } from '../../src/kubernetes/operator/resources.ts';
import type { ApiObject } from '../../src/kubernetes/watch/reflection.ts';
import type { KubernetesServer } from './kubernetes.ts';

export interface ConditionShown {
  readonly type: string;
  readonly status: string;
  readonly reason: string;
  readonly message: string;
  readonly observedGeneration?: number;
}

/** An object as a manifest has it. */
export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string; readonly [field: string]: unknown };
  readonly [field: string]: unknown;
}

export type LiveObject = ApiObject & Manifest & { readonly spec: Readonly<Record<string, unknown>>; readonly status?: { readonly conditions?: readonly ConditionShown[]; readonly [field: string]: unknown } };

export interface Cluster {
  readonly client: ApiClient;
  /** As `kubectl apply`, with namespaces that are missing; gives what the API server has made of it. */
  apply(...objects: readonly Manifest[]): Promise<LiveObject[]>;
  get(object: Manifest): Promise<LiveObject | undefined>;
  remove(...objects: readonly Manifest[]): Promise<void>;
  list(kind: string, apiVersion?: string): Promise<readonly LiveObject[]>;
  /** Waits until the object is as it is to be, and gives it. */
  until(object: Manifest, what: string, isSo: (live: LiveObject) => boolean, withinMs?: number): Promise<LiveObject>;
}

const plain: Readonly<Record<string, string>> = { Namespace: 'namespaces', Service: 'services', Pod: 'pods', ServiceAccount: 'serviceaccounts', EndpointSlice: 'endpointslices', Event: 'events', Lease: 'leases', Secret: 'secrets', ConfigMap: 'configmaps', SnatAssignment: 'snatassignments' };

function collectionPath({ apiVersion, kind }: Pick<Manifest, 'apiVersion' | 'kind'>, namespace?: string): string {
  const resource = resourceOf({ apiVersion, kind } as ApiObject);
  const plural = resource?.plural ?? plain[kind];
  if (plural === undefined) throw new Error(`no path is known for ${apiVersion} ${kind}`);
  return `/${apiVersion.includes('/') ? 'apis' : 'api'}/${apiVersion}${namespace === undefined ? '' : `/namespaces/${namespace}`}/${plural}`;
}

const pathOfObject = (object: Manifest): string => `${collectionPath(object, object.metadata.namespace)}/${object.metadata.name}`;

/** Installs the definitions, and waits until they are served. */
export async function openCluster(server: KubernetesServer): Promise<Cluster> {
  const client = createApiClient(server.kubeConfig());
  await Promise.all(customResourceDefinitions.map((definition) => client.request({ method: 'PATCH', path: `/apis/apiextensions.k8s.io/v1/customresourcedefinitions/${definition.metadata.name}`, query: { fieldManager: 'test', force: true }, contentType: applyContentType, body: definition })));
  for (const { spec } of customResourceDefinitions) {
    await waitFor(`${spec.names.plural}.${spec.group}`, 15_000, async () => (await client.request({ method: 'GET', path: `/apis/${spec.group}/${spec.versions[0].name}/${spec.names.plural}`, query: { limit: 1 } }).then(() => true, () => undefined)));
  }
  return clusterOf(client);
}

export function clusterOf(client: ApiClient): Cluster {
  const namespaces = new Set<string>(['default', 'kube-system']);
  const applyOne = async (object: Manifest): Promise<LiveObject> => {
    const { namespace } = object.metadata;
    if (namespace !== undefined && !namespaces.has(namespace)) {
      namespaces.add(namespace);
      await applyOne({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } });
    }
    return await client.request({ method: 'PATCH', path: pathOfObject(object), query: { fieldManager: 'test', force: true }, contentType: applyContentType, body: object });
  };
  const get = async (object: Manifest): Promise<LiveObject | undefined> => await client.request<LiveObject>({ method: 'GET', path: pathOfObject(object) }).catch(unless(404));
  return {
    client,
    apply: async (...objects) => {
      const live: LiveObject[] = [];
      for (const object of objects) live.push(await applyOne(object));
      return live;
    },
    get,
    async remove(...objects) {
      for (const object of objects) await client.request({ method: 'DELETE', path: pathOfObject(object) }).catch(unless(404));
    },
    list: async (kind, apiVersion = 'sallyport.dev/v1alpha1') => (await client.request<{ readonly items: readonly LiveObject[] }>({ method: 'GET', path: collectionPath({ apiVersion, kind }) })).items,
    async until(object, what, isSo, withinMs = 15_000) {
      let last: LiveObject | undefined;
      return await waitFor(`${object.kind} ${object.metadata.name} to be ${what}`, withinMs, async () => {
        last = await get(object);
        return last !== undefined && isSo(last) ? last : undefined;
      }).catch((error: unknown) => {
        throw new Error(`it is ${JSON.stringify(last, undefined, 1)}`, { cause: error });
      });
    },
  };
}

function unless(status: number): (error: unknown) => undefined {
  return (error) => {
    if (!(error instanceof ApiRefusal && error.status === status)) throw error as Error;
  };
}

/** The documents of a manifest as they stand; what names no namespace is of `default`, as kubectl has it. */
export function manifestsIn(path: string): Manifest[] {
  return parseAllDocuments(readFileSync(path, 'utf8')).map((document) => {
    const object = document.toJS() as Manifest;
    const isNamespaced = customResourceDefinitions.some(({ spec }) => spec.names.kind === object.kind && object.apiVersion.startsWith(`${spec.group}/`) && spec.scope === 'Namespaced');
    return isNamespaced && object.metadata.namespace === undefined ? { ...object, metadata: { ...object.metadata, namespace: 'default' } } : object;
  });
}

/** `Accepted=True Programmed=False` and so on, of those asked for. */
export function conditionsOf({ status }: LiveObject, ...types: readonly string[]): string {
  return types.map((type) => `${type}=${status?.conditions?.find((condition) => condition.type === type)?.status ?? ''}`).join(' ');
}
