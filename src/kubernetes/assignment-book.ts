/**
 * What is known of the assignments at the API server: what its watch has told, and what this replica has written and not yet heard of. An
 * assignment that is in use and vanishes, by whatever hand, is still a promise to a firewall: it stays known, and is written again.
 */
import { isDeepStrictEqual } from 'node:util';
import type { Assignment, Assignments } from '../core/snat/assignments.ts';
import { byText } from '../core/order.ts';
import { assignmentFinalizer, decodeAssignment, encodeAssignment, nameOfAssignment } from './assignments.ts';
import { snatAssignment } from './crd/snat-assignment.ts';
import type { ApiObject, ObjectChange } from './watch/reflection.ts';
import { shared } from './watch/shared-values.ts';

/** As the API server gives it. */
export interface AssignmentObject extends ApiObject {
  readonly metadata: ApiObject['metadata'] & { readonly finalizers?: readonly string[] };
  readonly spec: unknown;
}

/** What the book looks at. */
export function keepOfAssignment({ apiVersion, kind, metadata: { name, uid, resourceVersion, finalizers, deletionTimestamp }, spec }: AssignmentObject): AssignmentObject {
  return {
    apiVersion: shared(apiVersion),
    kind: shared(kind),
    metadata: { name, uid, resourceVersion, ...(finalizers === undefined ? {} : { finalizers: shared(finalizers) }), ...(deletionTimestamp === undefined ? {} : { deletionTimestamp }) },
    spec,
  };
}

export type AssignmentWrite =
  /** `isNews`: it is given or taken back by this, not only put back as it was. */
  | { readonly type: 'create'; readonly record: Assignment; readonly isNews: boolean; readonly body: object }
  | { readonly type: 'replace'; readonly record: Assignment; readonly isNews: boolean; readonly name: string; readonly body: object }
  /** Without its finalizer first. */
  | { readonly type: 'delete'; readonly object: AssignmentObject };

/** What there is to do about what the watch has told. */
export interface Taken {
  /** What cannot be read is nobody's until a person has looked at it. */
  readonly unreadable: readonly { readonly name: string; readonly why: string }[];
  /** Whether a promise, or what keeps it, is missing at the API server, though nothing of what is known has changed. */
  readonly isLacking: boolean;
}

export interface AssignmentBook {
  /** The same array while nothing changes. */
  readonly assignments: Assignments;
  /** Takes what the watch tells. */
  take(changes: readonly ObjectChange<AssignmentObject>[]): Taken;
  /** What there is to write so that the API server has these. What is in use is released first, and deleted another time. */
  writesFor(wanted: Assignments, now: number): readonly AssignmentWrite[];
  /** The API server has taken a write. */
  wrote(write: AssignmentWrite, object: AssignmentObject | null): void;
  /** Takes these very objects for what they say, where that is what is known, so that whoever compares by reference sees that nothing changed. */
  adopt(wanted: Assignments): void;
}

interface Entry {
  /** Null: it is not at the API server, and has to be. */
  readonly object: AssignmentObject | null;
  readonly record: Assignment;
  /** Of the last event or answer. */
  readonly version: bigint;
}

export function createAssignmentBook(): AssignmentBook {
  const entries = new Map<string, Entry>();
  /** Versions at which names went: an event from before that is old. */
  const gone = new Map<string, bigint>();
  let assignments: Assignments | undefined = [];

  function set(name: string, entry: Entry): void {
    if (entries.get(name)?.record !== entry.record) assignments = undefined;
    entries.set(name, entry);
    gone.delete(name);
  }

  function forget(name: string): void {
    if (entries.delete(name)) assignments = undefined;
  }

  function takeOne({ name, before, after }: ObjectChange<AssignmentObject>): string | undefined {
    const known = entries.get(name);
    const version = versionOf(after ?? before!);
    if ((known !== undefined && version < known.version) || version <= (gone.get(name) ?? -1n)) return undefined;
    if (after === null) {
      if (known === undefined) return undefined;
      if (known.record.releasedAt === null) set(name, { ...known, object: null, version });
      else forget(name);
      return undefined;
    }
    if (known?.object?.metadata.resourceVersion === after.metadata.resourceVersion) return undefined;
    const { apiVersion, kind, metadata, spec } = after;
    const parsed = snatAssignment.safeParse({ apiVersion, kind, metadata: { name: metadata.name }, spec });
    if (!parsed.success) return parsed.error.issues.map(({ path, message }) => `${path.join('.')} ${message}`).join('; ');
    const record = decodeAssignment(parsed.data);
    set(name, { object: after, record: known !== undefined && isDeepStrictEqual(known.record, record) ? known.record : record, version });
    return undefined;
  }

  return {
    get assignments() {
      assignments ??= Array.from(entries.values(), ({ record }) => record).sort(byPlace);
      return assignments;
    },
    take(changes) {
      const unreadable = changes.flatMap((change) => {
        const why = takeOne(change);
        return why === undefined ? [] : [{ name: change.name, why }];
      });
      const isLacking = changes.some(({ name }) => {
        const object = entries.get(name)?.object;
        return object === null || (object !== undefined && !isHeldFast(object));
      });
      return { unreadable, isLacking };
    },
    writesFor(wanted, now) {
      const names = new Set<string>();
      const writes = wanted.flatMap((record): AssignmentWrite[] => {
        const name = nameOfAssignment(record);
        names.add(name);
        const known = entries.get(name);
        if (known?.object === undefined || known.object === null) return [{ type: 'create', record, isNews: !isDeepStrictEqual(known?.record, record), body: encodeAssignment(record) }];
        const isNews = !isDeepStrictEqual(known.record, record);
        return isNews || !isHeldFast(known.object) ? [{ ...replaceBy(record, name, known.object), isNews }] : [];
      });
      for (const [name, { object, record }] of entries) {
        if (names.has(name) || object === null) continue;
        writes.push(record.releasedAt === null ? { ...replaceBy({ ...record, releasedAt: now }, name, object), isNews: true } : { type: 'delete', object });
      }
      return writes;
    },
    wrote(write, object) {
      const name = write.type === 'delete' ? write.object.metadata.name : nameOfAssignment(write.record);
      if (write.type === 'delete') {
        // Of an object that goes the last version is not told; the watch's word of it is of this one at least.
        gone.set(name, versionOf(write.object));
        forget(name);
      } else if (object !== null) set(name, { object: keepOfAssignment(object), record: write.record, version: versionOf(object) });
    },
    adopt(wanted) {
      if (wanted.length !== entries.size || !wanted.every((record) => isDeepStrictEqual(entries.get(nameOfAssignment(record))?.record, record))) return;
      for (const record of wanted) {
        const name = nameOfAssignment(record);
        entries.set(name, { ...entries.get(name)!, record });
      }
      assignments = wanted;
    },
  };
}

/** Whether its finalizer keeps it, which cannot be given any more to what is being deleted. */
function isHeldFast({ metadata }: AssignmentObject): boolean {
  return metadata.deletionTimestamp !== undefined || metadata.finalizers?.includes(assignmentFinalizer) === true;
}

function replaceBy(record: Assignment, name: string, { metadata: { resourceVersion, finalizers = [], deletionTimestamp } }: AssignmentObject): Omit<Extract<AssignmentWrite, { type: 'replace' }>, 'isNews'> {
  const { metadata, ...rest } = encodeAssignment(record);
  const kept = deletionTimestamp === undefined ? [...new Set([...finalizers, assignmentFinalizer])] : finalizers;
  return { type: 'replace', record, name, body: { ...rest, metadata: { ...metadata, finalizers: kept, resourceVersion } } };
}

/** Versions of one resource grow, https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions */
function versionOf({ metadata }: ApiObject): bigint {
  return BigInt(metadata.resourceVersion);
}

/** The order that `Assignments` promises. */
function byPlace(a: Assignment, b: Assignment): number {
  return byText(a.pool, b.pool) || byText(a.holder, b.holder) || byText(a.family, b.family) || byText(a.address, b.address);
}
