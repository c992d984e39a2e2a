/**
 * What a person does with custom resources: list, apply and delete them with his own rights. The API server says who may, and stores objects
 * one by one; so that nothing is half done, everything is tried there before anything is written.
 */
import { isDeepStrictEqual } from 'node:util';
import { setTimeout as delay } from 'node:timers/promises';
import { describeRef } from '../../core/desired-state.ts';
import { SallyportError, type Fault, type ObjectRef } from '../../core/errors.ts';
import { readerFor } from '../../core/manifest/object-reader.ts';
import type { Kind } from '../../core/objects/index.ts';
import type { Assignment } from '../../core/snat/assignments.ts';
import { decodeAssignment } from '../assignments.ts';
import type { SnatAssignmentObject } from '../crd/snat-assignment.ts';
import { applyContentType, type Query } from '../client.ts';
import { assignmentResource, desiredResources, objectPath } from '../operator/resources.ts';
import { pathOf, type Resource } from '../watch/reflect.ts';
import type { Asker } from './asking.ts';

/** An object as somebody has written it. */
export interface Manifest {
  readonly apiVersion: string;
  readonly kind: Kind;
  readonly metadata: { readonly name: string; readonly namespace?: string; readonly [field: string]: unknown };
  readonly [field: string]: unknown;
}

/** One that is at the API server. */
export interface LiveObject extends Manifest {
  readonly metadata: Manifest['metadata'] & { readonly generation?: number };
  readonly status?: { readonly conditions?: readonly { readonly type: string; readonly status: string; readonly message: string; readonly observedGeneration?: number }[] };
}

export interface ObjectOutcome {
  readonly ref: ObjectRef;
  readonly action: 'created' | 'configured' | 'unchanged' | 'deleted';
}

export interface WriteOptions {
  /** Only try it. */
  readonly dryRun: boolean;
}

export interface DesiredObjects {
  /** Those of a kind, in all namespaces or one, in the order of their names. */
  list(kind: Kind, where?: { readonly namespace?: string; readonly name?: string }): Promise<readonly LiveObject[]>;
  assignments(): Promise<readonly Assignment[]>;
  /** By server-side apply, in the order in which they need each other. `takeOver`: also fields that somebody else has set. Throws with a fault for each that is refused. */
  apply(manifests: readonly Manifest[], options: WriteOptions & { readonly takeOver: boolean }): Promise<readonly ObjectOutcome[]>;
  /** What others need goes last. Throws `not-found` where one is not there, and then deletes nothing. */
  remove(manifests: readonly Manifest[], options: WriteOptions): Promise<readonly ObjectOutcome[]>;
  /** The manifests that name these, as far as they are there. Throws `not-found`. */
  named(refs: readonly ObjectRef[]): Promise<readonly Manifest[]>;
  /** Until gateways enforce them all. Throws `timeout`, with why each does not that is left. */
  waitFor(manifests: readonly Manifest[], withinMs: number): Promise<void>;
}

/** Not the operator's: what a person says, a person keeps. */
export const userFieldManager = 'sallyport-cli';

const requestsMax = 8;
const lookEveryMs = 250;

/** What stands on what: each after those that it may name. */
const order: readonly Kind[] = ['Namespace', 'Service', 'SnatPool', 'EgressGateway', 'ExternalService', 'ReferenceGrant', 'EgressPolicy', 'SnatBinding', 'WorkloadEntry'];

interface KindResource extends Resource {
  readonly apiVersion: string;
  readonly kind: string;
  readonly isOptional: boolean;
}

const coreResources: readonly KindResource[] = (['Namespace', 'Service'] as const).map((kind) => ({ group: '', version: 'v1', plural: `${kind.toLowerCase()}s`, apiVersion: 'v1', kind, isOptional: false }));
const resources: readonly KindResource[] = [...desiredResources.map((resource) => ({ ...resource, apiVersion: `${resource.group}/${resource.version}` })), ...coreResources];

/**
 * @param trial as which everything is tried first: what is warned of then may not be so when it is done
 * @param defaultNamespace of objects that name none
 */
export function openDesiredObjects({ ask, find }: Asker, trial: Asker, defaultNamespace: string): DesiredObjects {
  const placed = (manifest: Manifest) => withNamespace(manifest, defaultNamespace);
  const get = (manifest: Manifest) => find<LiveObject>({ method: 'GET', path: pathOfManifest(manifest) });

  async function listResource(resource: KindResource, { namespace, name }: { readonly namespace?: string; readonly name?: string }): Promise<readonly LiveObject[]> {
    const where = { ...resource, ...(namespace === undefined ? {} : { namespace }) };
    const isByName = name !== undefined && (namespace !== undefined || !isNamespaced(resource));
    const answer: Promise<readonly LiveObject[]> = isByName
      ? find<LiveObject>({ method: 'GET', path: objectPath(where, { name }) }).then((live) => (live === undefined ? [] : [live]))
      : listPages(pathOf(where), { fieldSelector: name === undefined ? undefined : `metadata.name=${name}` });
    const items = await answer.catch((error: unknown) => {
      // Of a resource that it does not have, the API server first asks for the right.
      if (resource.isOptional && error instanceof SallyportError && ['not-found', 'cluster-forbidden'].includes(error.code)) return [];
      throw error;
    });
    return items.map((item) => ({ ...item, apiVersion: resource.apiVersion, kind: resource.kind as Kind }));
  }

  async function listPages(path: string, query: Query): Promise<readonly LiveObject[]> {
    const items: LiveObject[] = [];
    let next: string | undefined;
    do {
      const page: { readonly items: readonly LiveObject[]; readonly metadata: { readonly continue?: string } } = await ask({ method: 'GET', path, query: { ...query, limit: 500, continue: next } });
      items.push(...page.items);
      next = page.metadata.continue === '' ? undefined : page.metadata.continue;
    } while (next !== undefined);
    return items;
  }

  /** Calls `work` for all, and throws every refusal in one error. */
  async function tryAll(manifests: readonly Manifest[], work: (manifest: Manifest) => Promise<void>): Promise<void> {
    const refusals: { readonly ref: ObjectRef; readonly error: SallyportError }[] = [];
    await eachBounded(manifests, async (manifest) => {
      await work(manifest).catch((error: unknown) => {
        if (!(error instanceof SallyportError) || error.code === 'unavailable') throw error;
        refusals.push({ ref: refOfManifest(manifest), error });
      });
    });
    const [first] = refusals;
    if (first === undefined) return;
    const { code, hint } = first.error;
    const faults: Fault[] = refusals.map(({ ref, error }) => ({ code: error.code, message: error.message, object: ref }));
    throw new SallyportError(code, `the API server refuses ${refusals.length === 1 ? describeRef(first.ref) : `${refusals.length} objects`}, nothing was changed`, { faults, cause: first.error, ...(hint === undefined ? {} : { hint }) });
  }

  /** Writes kind after kind. Where one fails after all, the error says what is done. */
  async function writeAll(groups: readonly (readonly Manifest[])[], work: (manifest: Manifest) => Promise<void>): Promise<void> {
    const done: string[] = [];
    try {
      for (const group of groups) {
        await eachBounded(group, async (manifest) => {
          await work(manifest);
          done.push(describeRef(refOfManifest(manifest)));
        });
      }
    } catch (error) {
      if (!(error instanceof SallyportError) || done.length === 0) throw error;
      throw new SallyportError(error.code, `${error.message}; written before that: ${done.join(', ')}`, { ...(error.place === undefined ? {} : { place: error.place }), cause: error, hint: error.hint ?? 'run the same command again for the others' });
    }
  }

  const list: DesiredObjects['list'] = async (kind, where = {}) => (await Promise.all(resourcesOf(kind).map((resource) => listResource(resource, where)))).flat();

  return {
    list,
    assignments: async () => ((await listPages(pathOf(assignmentResource), {})) as unknown as readonly SnatAssignmentObject[]).map(decodeAssignment),
    async apply(given, { dryRun, takeOver }) {
      const manifests = given.map(placed);
      const newNamespaces = new Set(manifests.flatMap(({ kind, metadata }) => (kind === 'Namespace' ? [metadata.name] : [])));
      const before = new Map<string, LiveObject | undefined>();
      const after = new Map<string, LiveObject | undefined>();
      const patch = async (manifest: Manifest, isTrial: boolean): Promise<void> => {
        const query = { fieldManager: userFieldManager, force: takeOver, ...(isTrial ? { dryRun: 'All' } : {}) };
        const asker = isTrial && !dryRun ? trial : { ask };
        after.set(pathOfManifest(manifest), await asker.ask({ method: 'PATCH', path: pathOfManifest(manifest), query, contentType: applyContentType, body: manifest }));
      };
      await tryAll(manifests, async (manifest) => {
        before.set(pathOfManifest(manifest), await get(manifest));
        await patch(manifest, true).catch((error: unknown) => {
          // In a namespace that is to come with it, an object can be tried only when that is there.
          const isTooEarly = error instanceof SallyportError && error.code === 'not-found' && newNamespaces.has(manifest.metadata.namespace ?? '');
          if (!isTooEarly) throw error;
        });
      });
      if (!dryRun) await writeAll(inOrder(manifests), (manifest) => patch(manifest, false));
      return manifests.map((manifest) => {
        const known = before.get(pathOfManifest(manifest));
        const action = known === undefined ? 'created' : isDeepStrictEqual(wordsOf(known), wordsOf(after.get(pathOfManifest(manifest))!)) ? 'unchanged' : 'configured';
        return { ref: refOfManifest(manifest), action };
      });
    },
    async remove(given, { dryRun }) {
      const manifests = given.map(placed);
      const present = await Promise.all(manifests.map(get));
      const missing = manifests.filter((_, index) => present[index] === undefined);
      if (missing.length > 0) throw noSuch(missing.map(refOfManifest));
      const remove = (asker: Pick<Asker, 'find'>, manifest: Manifest, query: Query) => asker.find({ method: 'DELETE', path: pathOfManifest(manifest), query }).then(() => undefined);
      // What is needed by others that go with it cannot be tried alone.
      const groups = inOrder(manifests).reverse();
      await tryAll(dryRun ? manifests : (groups[0] ?? []), (manifest) => remove(dryRun ? { find } : trial, manifest, { dryRun: 'All' }));
      if (!dryRun) await writeAll(groups, (manifest) => remove({ find }, manifest, {}));
      return manifests.map((manifest) => ({ ref: refOfManifest(manifest), action: 'deleted' }));
    },
    async named(refs) {
      const found = await Promise.all(refs.map(({ kind, namespace, name }) => list(kind as Kind, { name, ...(namespace === '' ? {} : { namespace }) })));
      const missing = refs.filter((_, index) => found[index]!.length === 0);
      if (missing.length > 0) throw noSuch(missing);
      return found.map(([first]) => first!);
    },
    async waitFor(given, withinMs) {
      const deadline = performance.now() + withinMs;
      let waiting = given.map(placed).filter(hasStatus);
      for (;;) {
        const live = await Promise.all(waiting.map(get));
        const left = live.flatMap((each, index) => (each !== undefined && isEnforced(each) ? [] : [{ manifest: waiting[index]!, live: each }]));
        if (left.length === 0) return;
        if (performance.now() > deadline) {
          const faults = left.map(({ manifest, live: each }): Fault => ({ code: 'not-programmed', message: whyNot(each), object: refOfManifest(manifest) }));
          throw new SallyportError('timeout', `${left.length === 1 ? 'an object is' : `${left.length} objects are`} not enforced after ${withinMs / 1000} s`, { faults, hint: 'they are stored, and will be as soon as they can' });
        }
        waiting = left.map(({ manifest }) => manifest);
        await delay(lookEveryMs);
      }
    },
  };
}

/** The manifest that somebody could have written for what is there: without what the API server and others have added. */
export function manifestOf({ apiVersion: version, kind, metadata, spec }: LiveObject): Manifest {
  const { name, namespace, labels, annotations = {} } = metadata as Manifest['metadata'] & { readonly annotations?: Readonly<Record<string, string>> };
  const own = Object.fromEntries(Object.entries(annotations).filter(([key]) => !key.startsWith('kubectl.kubernetes.io/')));
  return {
    apiVersion: version,
    kind,
    metadata: { name, ...(namespace === undefined ? {} : { namespace }), ...(labels === undefined ? {} : { labels }), ...(Object.keys(own).length === 0 ? {} : { annotations: own }) },
    ...(spec === undefined ? {} : { spec }),
  };
}

const isEnforced = (live: LiveObject): boolean => (conditionOf(live, 'Programmed') ?? conditionOf(live, 'Accepted'))?.status === 'True';

function whyNot(live: LiveObject | undefined): string {
  if (live === undefined) return 'it is not there any more';
  const told = conditionOf(live, 'Accepted')?.status === 'False' ? conditionOf(live, 'Accepted') : conditionOf(live, 'Programmed');
  return told?.message ?? 'the control plane has said nothing about it yet';
}

/** As the control plane says it of the object as it is now. */
function conditionOf({ metadata, status }: LiveObject, type: string) {
  return status?.conditions?.find((condition) => condition.type === type && condition.observedGeneration === metadata.generation);
}

function noSuch(refs: readonly ObjectRef[]): SallyportError {
  return new SallyportError('not-found', `there is no ${refs.map(describeRef).join(', ')}`, { hint: 'nothing was deleted; list what there is: sallyport get KIND -A' });
}

/** The resources that objects of a kind are in: with the older form it may be two. */
function resourcesOf(kind: Kind): readonly KindResource[] {
  return resources.filter((resource) => resource.kind === kind);
}

function hasStatus({ apiVersion: version, kind }: Manifest): boolean {
  return desiredResources.some((resource) => resource.hasStatus && resource.kind === kind && `${resource.group}/${resource.version}` === version);
}

function isNamespaced({ kind, apiVersion: version }: Pick<KindResource, 'kind' | 'apiVersion'>): boolean {
  return readerFor(kind as Kind, version).defaultNamespace !== '';
}

function withNamespace(manifest: Manifest, defaultNamespace: string): Manifest {
  if (!isNamespaced(manifest) || manifest.metadata.namespace !== undefined) return manifest;
  return { ...manifest, metadata: { ...manifest.metadata, namespace: defaultNamespace } };
}

function pathOfManifest({ apiVersion: version, kind, metadata }: Manifest): string {
  const resource = resourcesOf(kind).find((each) => each.apiVersion === version) ?? resourcesOf(kind)[0]!;
  return objectPath(resource, metadata);
}

function refOfManifest({ kind, metadata: { namespace = '', name } }: Manifest): ObjectRef {
  return { kind, namespace, name };
}

/** What an object says. */
function wordsOf({ metadata: { labels = {}, annotations = {} }, spec }: Manifest): unknown {
  return { labels, annotations, spec };
}

function inOrder(manifests: readonly Manifest[]): (readonly Manifest[])[] {
  return order.map((kind) => manifests.filter((manifest) => manifest.kind === kind)).filter((group) => group.length > 0);
}

/** In order, some at a time; none is begun after one has failed. */
async function eachBounded<Item>(items: readonly Item[], work: (item: Item) => Promise<void>): Promise<void> {
  const rest = items.values();
  let failed = false;
  const worker = async (): Promise<void> => {
    for (const item of rest) {
      if (failed) return;
      await work(item).catch((error: unknown) => {
        failed = true;
        throw error;
      });
    }
  };
  const [failure] = (await Promise.allSettled(Array.from({ length: requestsMax }, worker))).filter(({ status }) => status === 'rejected') as readonly PromiseRejectedResult[];
  if (failure !== undefined) throw failure.reason;
}

