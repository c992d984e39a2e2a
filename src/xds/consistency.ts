import { resourcesOf } from './resource.ts';
import type { Resource, Snapshot } from './resource.ts';
import { envoyReferences } from './envoy-references.ts';
import type { Reference, ReferenceTable } from './reference.ts';
import { changedNames } from './snapshot-diff.ts';

/** Why a snapshot would leave its clients with something that cannot work. */
export interface SnapshotFault {
  /** The resource that is at fault. */
  readonly from: Reference;
  /** What it refers to and is not there; undefined where its message cannot be read. */
  readonly to: Reference | undefined;
  /** Names both. */
  readonly message: string;
}

/** How references are found, and which of them need not be answered by the snapshot. */
export interface ConsistencyOptions {
  /** Envoy's, where left out; a table of one's own may build on `envoyReferences`. */
  readonly references?: ReferenceTable;
  /** Whether something that is referred to comes from elsewhere, for example a cluster of the bootstrap. */
  readonly isElsewhere?: (reference: Reference) => boolean;
  /** A snapshot that has no faults: then only what differs from it is looked at. */
  readonly since?: Snapshot | undefined;
}

const FAULTS_SHOWN_MAX = 5;

const known = new WeakMap<ReferenceTable[string], WeakMap<Resource, readonly Reference[]>>();

/**
 * The references of a snapshot's resources that lead nowhere, in the order of its resources; none for a snapshot that may be
 * served. Each resource is read once in its life, here or by `readReferences`, so the cost of another look is that of its
 * look-ups; with `since` it is that of what has changed, and of all where something is gone.
 */
export function consistencyFaultsOf(snapshot: Snapshot, { references = envoyReferences, isElsewhere = () => false, since }: ConsistencyOptions = {}): readonly SnapshotFault[] {
  const faults: SnapshotFault[] = [];
  const isMissing = ({ typeUrl, name }: Reference): boolean => snapshot.types.get(typeUrl)?.has(name) !== true;
  const gone = since === undefined ? NOTHING_GONE : namesGone(since, snapshot);
  const isGone = ({ typeUrl, name }: Reference): boolean => gone.get(typeUrl)?.has(name) === true;
  for (const [typeUrl, resources] of snapshot.types) {
    if (references[typeUrl] === undefined) continue;
    const changed = since === undefined ? undefined : changedNames(resourcesOf(since, typeUrl), resources).filter((name) => resources.has(name));
    const isNew = changed === undefined ? undefined : new Set(changed);
    for (const resource of changed === undefined || gone.size > 0 ? resources.values() : changed.map((name) => resources.get(name)!)) {
      const from = { typeUrl, name: resource.name };
      const found = readReferences(resource, references);
      if (found === undefined) {
        faults.push({ from, to: undefined, message: `${called(from)} cannot be read` });
        continue;
      }
      // What has not changed can only miss what is gone.
      const leadsNowhere = isNew?.has(resource.name) === false ? isGone : isMissing;
      for (const to of found) if (leadsNowhere(to) && !isElsewhere(to)) faults.push({ from, to, message: `${called(from)} refers to ${called(to)}, which is not there` });
    }
  }
  return faults;
}

const NOTHING_GONE: ReadonlyMap<string, ReadonlySet<string>> = new Map();

/** By type. */
function namesGone(before: Snapshot, after: Snapshot): ReadonlyMap<string, ReadonlySet<string>> {
  const gone = new Map<string, ReadonlySet<string>>();
  for (const [typeUrl, resources] of before.types) {
    const now = resourcesOf(after, typeUrl);
    const names = changedNames(resources, now).filter((name) => !now.has(name));
    if (names.length > 0) gone.set(typeUrl, new Set(names));
  }
  return gone;
}

/** What a resource refers to; undefined for a message that cannot be read. Read ahead, a resource at a time, it costs a check nothing. */
export function readReferences(resource: Resource, references: ReferenceTable = envoyReferences): readonly Reference[] | undefined {
  const find = references[resource.typeUrl];
  if (find === undefined) return [];
  const found = known.get(find) ?? new WeakMap<Resource, readonly Reference[]>();
  known.set(find, found);
  const readBefore = found.get(resource);
  if (readBefore !== undefined) return readBefore;
  try {
    const read = [...find(resource.value)];
    found.set(resource, read);
    return read;
  } catch {
    return undefined; // the decoder speaks of offsets and wire types; that it is this resource is what helps
  }
}

/** `Listener "web"`. */
function called({ typeUrl, name }: Reference): string {
  return `${typeUrl.slice(typeUrl.lastIndexOf('.') + 1)} "${name}"`;
}

/** The first few of them, in one line. */
export function describeFaults(faults: readonly SnapshotFault[]): string {
  const shown = faults.slice(0, FAULTS_SHOWN_MAX).map(({ message }) => message);
  return [...shown, ...(faults.length > shown.length ? [`and ${faults.length - shown.length} more`] : [])].join('; ');
}
