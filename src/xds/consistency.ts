import type { Resource, Snapshot } from './resource.ts';
import { envoyReferences } from './envoy-references.ts';
import type { Reference, ReferenceTable } from './reference.ts';

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
}

const known = new WeakMap<ReferenceTable[string], WeakMap<Resource, readonly Reference[]>>();

/**
 * The references of a snapshot's resources that lead nowhere, in the order of its resources; none for a snapshot that may be
 * served. Each resource is read once in its life, so the cost of another look is that of its look-ups.
 */
export function consistencyFaultsOf(snapshot: Snapshot, { references = envoyReferences, isElsewhere = () => false }: ConsistencyOptions = {}): readonly SnapshotFault[] {
  const faults: SnapshotFault[] = [];
  for (const [typeUrl, resources] of snapshot.types) {
    const find = references[typeUrl];
    if (find === undefined) continue;
    for (const resource of resources.values()) {
      const from = { typeUrl, name: resource.name };
      const found = referencesOf(resource, find);
      if (found === undefined) {
        faults.push({ from, to: undefined, message: `${called(from)} cannot be read` });
        continue;
      }
      for (const to of found) {
        if (snapshot.types.get(to.typeUrl)?.has(to.name) === true || isElsewhere(to)) continue;
        faults.push({ from, to, message: `${called(from)} refers to ${called(to)}, which is not there` });
      }
    }
  }
  return faults;
}

/** Undefined for a message that cannot be read. */
function referencesOf(resource: Resource, find: ReferenceTable[string]): readonly Reference[] | undefined {
  const found = known.get(find) ?? new WeakMap<Resource, readonly Reference[]>();
  known.set(find, found);
  const references = found.get(resource);
  if (references !== undefined) return references;
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
