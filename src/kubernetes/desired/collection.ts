/**
 * Desired state out of what an API server holds: every object read by the same schema as from a file. One object there may make several
 * here (the older form does), and two there the same one. An object that cannot be read is told so, and leaves the others alone.
 */
import { describeRef, refOf, type DesiredChange } from '../../core/desired-state.ts';
import type { Fault, ObjectRef } from '../../core/errors.ts';
import { renderObject } from '../../core/manifest/manifest-text.ts';
import { isKind, readerFor } from '../../core/manifest/object-reader.ts';
import { olderApiVersion, olderNamespace, type DesiredObject } from '../../core/objects/index.ts';
import { byText } from '../../core/order.ts';
import type { Standing } from '../../core/plan/acceptance.ts';
import { nameOf, type ApiObject, type ObjectChange } from '../watch/reflection.ts';

/** `GROUP KIND NAMESPACE/NAME`, unique at an API server. */
export type SourceName = string;

/** An object at the API server, and what became of it here. */
export interface Source {
  readonly name: SourceName;
  readonly apiObject: ApiObject;
  readonly createdAt: number;
  /** What it says; where it cannot be read, what it said before, as far as that is known. */
  readonly objects: readonly DesiredObject[];
  /** Why it cannot be read. */
  readonly faults: readonly Fault[];
}

export interface Collection {
  /** Where objects may speak about everyone; what the older form says is said there. */
  readonly rootNamespace: string;
  readonly sources: ReadonlyMap<SourceName, Source>;
  /** Who says each object (by `describeRef`), the one that goes first in front. */
  readonly makers: ReadonlyMap<string, readonly Source[]>;
}

interface MutableCollection extends Collection {
  readonly sources: Map<SourceName, Source>;
  readonly makers: Map<string, readonly Source[]>;
}

export const emptyCollection = (rootNamespace: string): MutableCollection => ({ rootNamespace, sources: new Map(), makers: new Map() });

/** `status` of an object, as far as it is looked at. */
interface KnownStatus {
  readonly conditions?: readonly { readonly type?: unknown; readonly status?: unknown; readonly observedGeneration?: unknown }[];
  /** What it said before it was changed to what cannot be in force. */
  readonly inForce?: { readonly spec?: unknown };
}

const statusOf = (apiObject: ApiObject): KnownStatus | undefined => (apiObject as ApiObject & { readonly status?: KnownStatus }).status;

/** Whether the object is in force as it is, by its own status. */
export function isAccepted({ apiObject }: Pick<Source, 'apiObject'>): boolean {
  return statusOf(apiObject)?.conditions?.some((condition) => condition.type === 'Accepted' && condition.status === 'True' && condition.observedGeneration === apiObject.metadata.generation) === true;
}

export function nameOfSource(apiObject: ApiObject): SourceName {
  const { apiVersion = '', kind = '' } = apiObject;
  return [apiVersion.slice(0, Math.max(0, apiVersion.indexOf('/'))), kind, nameOf(apiObject)].join(' ');
}

const noFaults: readonly Fault[] = [];

/** Reads one object. The kinds are those that are watched, so another is a bug of ours. */
export function readSource(apiObject: ApiObject, rootNamespace: string): Source {
  const { apiVersion = '', kind = '', metadata } = apiObject;
  const source = { name: nameOfSource(apiObject), apiObject, createdAt: Date.parse(metadata.creationTimestamp ?? '') || 0 };
  if (!isKind(kind)) return { ...source, objects: [], faults: [{ code: 'kind-unknown', message: `kind ${JSON.stringify(kind)} is not known` }] };
  // k8s-ext-connector's services are all of one namespace, whichever their objects are in
  const value = apiVersion === olderApiVersion ? { ...apiObject, metadata: { ...metadata, namespace: olderNamespace } } : apiObject;
  const reading = readerFor(kind, apiVersion).read(value as unknown as Readonly<Record<string, unknown>>, rootNamespace);
  if (reading.ok) return { ...source, objects: reading.value.map(({ object }) => object), faults: noFaults };
  const object: ObjectRef = { kind, namespace: metadata.namespace ?? '', name: metadata.name };
  return { ...source, objects: [], faults: reading.faults.map(({ code, message, hint, path }) => ({ code, message, object, path, ...(hint === undefined ? {} : { hint }) })) };
}

/** What an object said before, as its status has kept it; none where it says what it said, or nobody has kept it. */
export function readEarlier(apiObject: ApiObject, rootNamespace: string): readonly DesiredObject[] {
  const { inForce } = statusOf(apiObject) ?? {};
  return inForce === undefined ? [] : readSource({ ...apiObject, spec: inForce.spec } as ApiObject, rootNamespace).objects;
}

/** What an object says that may have said something else before, where it cannot be read now. */
function readAfter(before: Source | undefined, apiObject: ApiObject, rootNamespace: string): Source {
  const read = readSource(apiObject, rootNamespace);
  if (read.faults.length === 0) return read;
  return { ...read, objects: before === undefined || before.objects.length === 0 ? readEarlier(apiObject, rootNamespace) : before.objects };
}

interface WithContent extends ApiObject {
  readonly metadata: ApiObject['metadata'] & { readonly labels?: unknown; readonly annotations?: unknown };
  readonly spec?: object;
}

/** Whether that is known without a look: the watch gives what is as it was by the very values that it gave before. */
function saysTheSame(after: WithContent, before: WithContent): boolean {
  return after.spec !== undefined && after.spec === before.spec && after.metadata.uid === before.metadata.uid && after.metadata.labels === before.metadata.labels && after.metadata.annotations === before.metadata.annotations;
}

/** Takes changes in, and says how desired state changes by them: what an object says first is in it, and what nobody says any more is out. */
export function collect({ rootNamespace, sources, makers }: Collection, changes: readonly ObjectChange<ApiObject>[]): { readonly collection: Collection; readonly change: DesiredChange } {
  const collection = { rootNamespace, sources: new Map(sources), makers: new Map(makers) };
  return { collection, change: absorb(collection, changes) };
}

/** The same, into the collection itself: to copy one costs more than most changes. */
export function absorb({ rootNamespace, sources, makers }: MutableCollection, changes: readonly ObjectChange<ApiObject>[]): DesiredChange {
  const touched = new Map<string, { readonly ref: ObjectRef; readonly was: Source | undefined }>();
  const touch = (object: DesiredObject): string => {
    const ref = refOf(object);
    const name = describeRef(ref);
    if (!touched.has(name)) touched.set(name, { ref, was: makers.get(name)?.[0] });
    return name;
  };
  for (const { before, after } of changes) {
    const gone = before === null ? undefined : sources.get(nameOfSource(before));
    if (gone !== undefined) {
      sources.delete(gone.name);
      for (const object of gone.objects) {
        const name = touch(object);
        makers.set(name, (makers.get(name) ?? []).filter((maker) => maker.name !== gone.name));
      }
    }
    if (after === null) continue;
    const source = gone !== undefined && gone.faults.length === 0 && saysTheSame(after, gone.apiObject) ? { ...gone, apiObject: after } : readAfter(gone, after, rootNamespace);
    sources.set(source.name, source);
    for (const object of source.objects) {
      const name = touch(object);
      const others = makers.get(name);
      makers.set(name, others === undefined ? [source] : [...others, source].sort(byPrecedence));
    }
  }
  const put: DesiredObject[] = [];
  const remove: ObjectRef[] = [];
  for (const [name, { ref, was }] of touched) {
    const first = makers.get(name)?.[0];
    if (first === undefined) {
      makers.delete(name);
      if (was !== undefined) remove.push(ref);
    } else {
      const object = saidBy(first, name)!;
      const before = was === undefined ? undefined : saidBy(was, name);
      if (before !== object && (before === undefined || renderObject(before) !== renderObject(object))) put.push(object);
    }
  }
  return { put, remove };
}

function saidBy(source: Source, name: string): DesiredObject | undefined {
  return source.objects.find((object) => describeRef(refOf(object)) === name);
}

/** What is in force goes first, then the older, then by name. */
function byPrecedence(a: Source, b: Source): number {
  return Number(isAccepted(b)) - Number(isAccepted(a)) || a.createdAt - b.createdAt || byText(a.name, b.name);
}

/** Faults of a source that says what another has said before it, otherwise. */
export function rivalFaults({ makers }: Collection, { name, objects }: Source): readonly Fault[] {
  return objects.flatMap((object): Fault[] => {
    const ref = refOf(object);
    const first = makers.get(describeRef(ref))?.[0];
    if (first === undefined || first.name === name || renderObject(saidBy(first, describeRef(ref))!) === renderObject(object)) return [];
    return [{ code: 'object-duplicate', message: `${describeRef(ref)} is already said otherwise by ${first.name.trim()}`, hint: 'keep one of them', object: ref }];
  });
}

/** What `accept` wants to know. `fallbackOf` gives what was in force of an object that has changed since. */
export function standingsOf({ makers }: Collection, fallbackOf: (ref: ObjectRef) => DesiredObject | null): (ref: ObjectRef) => Standing {
  return (ref) => {
    const first = makers.get(describeRef(ref))?.[0];
    if (first === undefined) return { isAccepted: false, createdAt: Infinity, fallback: null };
    return { isAccepted: isAccepted(first), createdAt: first.createdAt, fallback: fallbackOf(ref) };
  };
}
