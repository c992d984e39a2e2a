/** Objects of desired state, at a control plane of its own or at an API server of Kubernetes: what commands do with them is the same. */
import type { AdminClient } from '../api/admin-client.ts';
import { adminPaths, type ApplyResult, type AssignmentList, type ManifestSource, type ObjectList } from '../api/admin.ts';
import { describeRef, keyOf, refOf } from '../core/desired-state.ts';
import { SallyportError, type ObjectRef } from '../core/errors.ts';
import { parseManifests, type ParsedManifests } from '../core/manifest/manifest.ts';
import { readerFor } from '../core/manifest/object-reader.ts';
import type { EgressPolicy, Kind, SnatBinding } from '../core/objects/index.ts';
import { byText } from '../core/order.ts';
import { faultsWithout } from '../core/plan/targets.ts';
import type { Assignment } from '../core/snat/assignments.ts';
import type { Manifest, UserCluster } from '../kubernetes/index.ts';

/** What became of objects, and what hangs on them. */
export type Change = Pick<ApplyResult, 'changes' | 'dryRun' | 'effects' | 'warnings'>;

export interface ApplyOptions {
  readonly dryRun?: boolean;
  /** Take over fields that somebody else has set; where only one sets them it says nothing. */
  readonly takeOver?: boolean;
}

/** An object as it is held, of whatever kind. */
export type HeldObject = Readonly<Record<string, unknown>>;

export interface DesiredObjects {
  /** Where a namespace is wanted and none is named. */
  readonly defaultNamespace: string;
  list(kind: Kind, where: { readonly namespace?: string; readonly name?: string }): Promise<readonly HeldObject[]>;
  /** The same as somebody could have written it, to be changed and applied; undefined: there is none. */
  written(ref: ObjectRef & { readonly kind: Kind }): Promise<HeldObject | undefined>;
  assignments(): Promise<readonly Assignment[]>;
  /** All or nothing. */
  apply(sources: readonly ManifestSource[], options?: ApplyOptions): Promise<Change>;
  /** Until gateways enforce all that the manifests say; undefined where objects do not say so of themselves. Throws `timeout`. */
  readonly waitFor?: (sources: readonly ManifestSource[], withinMs: number) => Promise<void>;
  remove(refs: readonly ObjectRef[], options?: { readonly dryRun?: boolean }): Promise<Change>;
  /** An external service that nothing names. Throws `manifest-invalid` with a fault for each place that does. */
  withdraw(ref: ObjectRef): Promise<Change>;
  /** Those that manifests name. */
  removeNamedIn(sources: readonly ManifestSource[], options?: { readonly dryRun?: boolean }): Promise<Change>;
}

export function desiredObjectsAtServer(client: AdminClient): DesiredObjects {
  const list: DesiredObjects['list'] = async (kind, where) => (await client.get<ObjectList>(adminPaths.objects, { kind, ...where })).items;
  const remove: DesiredObjects['remove'] = (refs, { dryRun = false } = {}) => client.post<ApplyResult>(adminPaths.remove, { refs, dryRun });
  return {
    defaultNamespace: 'default',
    list,
    written: async ({ kind, namespace, name }) => (await list(kind, { name, ...(namespace === '' ? {} : { namespace }) }))[0],
    assignments: async () => (await client.get<AssignmentList>(adminPaths.assignments)).items,
    apply: (sources, { dryRun = false } = {}) => client.post<ApplyResult>(adminPaths.apply, { sources, dryRun }),
    remove,
    withdraw: (ref) => remove([ref]),
    removeNamedIn: (sources, options) => remove(readWhole(sources).objects.map(({ object }) => refOf(object)), options),
  };
}

/** Warnings of the API server are told as they come. */
export function desiredObjectsAtCluster({ objects, defaultNamespace }: Pick<UserCluster, 'objects' | 'defaultNamespace'>): DesiredObjects {
  const changeOf = (changes: Change['changes'], dryRun: boolean, warnings: Change['warnings'] = []): Change => ({ changes, dryRun, effects: [], warnings });
  return {
    defaultNamespace,
    list: async (kind, where) => (await objects.list(kind, where)).map(withoutManagedFields),
    written: async ({ kind, namespace, name }) => {
      const [live] = await objects.list(kind, { name, ...(namespace === '' ? {} : { namespace }) });
      if (live === undefined) return undefined;
      const { manifestOf } = await import('../kubernetes/index.ts');
      return manifestOf(live);
    },
    assignments: () => objects.assignments(),
    async apply(sources, { dryRun = false, takeOver = false } = {}) {
      const parsed = readWhole(sources);
      return changeOf(await objects.apply(writtenIn(parsed), { dryRun, takeOver }).catch(placedIn(parsed)), dryRun);
    },
    async waitFor(sources, withinMs) {
      const parsed = readWhole(sources);
      await objects.waitFor(writtenIn(parsed), withinMs).catch(placedIn(parsed));
    },
    remove: async (refs, { dryRun = false } = {}) => changeOf(await objects.remove(await objects.named(refs), { dryRun }), dryRun),
    async withdraw(ref) {
      const manifests = await objects.named([ref]);
      const { found, warnings } = await readNamers(objects, ref.namespace);
      const faults = faultsWithout(keyOf(ref), found);
      if (faults.length > 0) throw new SallyportError('manifest-invalid', `${describeRef(ref)} is named by others, nothing was changed`, { faults });
      return changeOf(await objects.remove(manifests, { dryRun: false }), false, warnings);
    },
    async removeNamedIn(sources, { dryRun = false } = {}) {
      const parsed = readWhole(sources);
      return changeOf(await objects.remove(writtenIn(parsed), { dryRun }).catch(placedIn(parsed)), dryRun);
    },
  };
}

/** What may name an external service: of all namespaces where the user may list that, else of its own, which is told. What cannot be read names nothing. */
async function readNamers(objects: UserCluster['objects'], namespace: string): Promise<{ readonly found: readonly (EgressPolicy | SnatBinding)[]; readonly warnings: Change['warnings'] }> {
  const unseen: Kind[] = [];
  const unlessForbidden = <Result>(instead: () => Result) => (error: unknown): Result => {
    if (!(error instanceof SallyportError && error.code === 'cluster-forbidden')) throw error;
    return instead();
  };
  const list = (kind: Kind) =>
    objects.list(kind).catch(
      unlessForbidden(() => {
        unseen.push(kind);
        return objects.list(kind, { namespace }).catch(unlessForbidden(() => []));
      }),
    );
  const live = (await Promise.all([list('EgressPolicy'), list('SnatBinding')])).flat();
  const found = live.flatMap((each) => {
    const reading = readerFor(each.kind, each.apiVersion).read(each);
    return reading.ok ? reading.value.map(({ object }) => object) : [];
  });
  return {
    found: found.filter((object) => object.kind === 'EgressPolicy' || object.kind === 'SnatBinding'),
    warnings: unseen.length === 0 ? [] : [{ code: 'namers-unseen', message: `what you may not list in all namespaces is not looked at: ${unseen.sort(byText).join(', ')}` }],
  };
}

/** Throws `manifest-invalid` with every fault. */
function readWhole(sources: readonly ManifestSource[]): ParsedManifests {
  const parsed = parseManifests(sources);
  const faults = parsed.faults();
  if (faults.length > 0) throw new SallyportError('manifest-invalid', `${faults.length === 1 ? 'a fault' : `${faults.length} faults`}, nothing was changed`, { faults });
  return parsed;
}

/** As they were written: what the older form is converted to is the control plane's matter. */
function writtenIn({ objects }: ParsedManifests): readonly Manifest[] {
  return [...new Set(objects.map(({ written }) => written))] as unknown as readonly Manifest[];
}

/** Throws the error with its faults where they stand in the manifests. */
function placedIn(parsed: ParsedManifests): (error: unknown) => never {
  return (error) => {
    if (!(error instanceof SallyportError) || error.faults.length === 0) throw error;
    throw new SallyportError(error.code, error.message, { faults: error.faults.map(parsed.locate), cause: error, ...(error.hint === undefined ? {} : { hint: error.hint }) });
  };
}

/** Who has set which field is kubectl's to show, with --show-managed-fields. */
function withoutManagedFields(object: Manifest): HeldObject {
  const metadata = Object.fromEntries(Object.entries(object.metadata).filter(([field]) => field !== 'managedFields'));
  return { ...object, metadata };
}
