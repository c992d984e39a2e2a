import { createHash } from 'node:crypto';

/**
 * One named piece of what a client is served: an encoded protobuf message of any type. Immutable: whoever changes it makes
 * another one. The same object may stand in any number of snapshots, which is what makes them cheap to compare and to send.
 */
export interface Resource {
  /** Unique among the resources of its type in a snapshot. */
  readonly name: string;
  /** Says whether two resources of one name are the same; a client that holds this version is not sent it again. */
  readonly version: string;
  /** For example `type.googleapis.com/envoy.config.cluster.v3.Cluster`. */
  readonly typeUrl: string;
  /** The encoded message. Must not be written to afterwards. */
  readonly value: Uint8Array;
  /**
   * How long a client may keep it without a word from a server; where it is left out, for ever. Clients that are connected are
   * told in time to go on keeping it. Two resources of one version have one time to live.
   */
  readonly ttlMs?: number;
}

/** The resources of one type by name. */
export type ResourceMap = ReadonlyMap<string, Resource>;

/** Everything that a node is to hold, at one moment. A type that is not in it has no resources. */
export interface Snapshot {
  /** What the caller calls this state, for example a revision; goes out as `system_version_info` (SotW: `version_info`). */
  readonly version: string;
  /** By type URL. */
  readonly types: ReadonlyMap<string, ResourceMap>;
}

/** What a type has that nobody has given resources. */
export const NO_RESOURCES: ResourceMap = new Map();

/** The resources of `typeUrl` in `snapshot`; the same empty map for every type that it does not have. */
export function resourcesOf(snapshot: Snapshot, typeUrl: string): ResourceMap {
  return snapshot.types.get(typeUrl) ?? NO_RESOURCES;
}

/**
 * Makes a resource. Where no version is given it is a hash of value and time to live (SHA-256, the first 16 hexadecimal
 * digits). Throws a RangeError for a time to live that is not a positive number of whole milliseconds.
 */
export function createResource(resource: Omit<Resource, 'version'> & { readonly version?: string }): Resource {
  const { name, typeUrl, value, ttlMs } = resource;
  if (ttlMs !== undefined && !(Number.isSafeInteger(ttlMs) && ttlMs > 0)) throw new RangeError(`the time to live of "${name}" is ${ttlMs} ms`);
  const version = resource.version ?? createHash('sha256').update(value).update(ttlMs === undefined ? '' : `ttl ${ttlMs}`).digest('hex').slice(0, 16);
  return Object.freeze({ name, version, typeUrl, value, ...(ttlMs === undefined ? {} : { ttlMs }) });
}

/**
 * Makes a snapshot of `resources`. What is equal by type, name and version to a resource of `previous` is taken from there,
 * and a type without any change keeps its very map, so that comparing the two costs next to nothing. Throws a RangeError
 * where two resources of one type have one name. Cost is linear in the resources.
 */
export function createSnapshot(version: string, resources: Iterable<Resource>, previous?: Snapshot): Snapshot {
  const types = new Map<string, Map<string, Resource>>();
  for (const resource of resources) {
    const ofType = types.get(resource.typeUrl) ?? new Map<string, Resource>();
    types.set(resource.typeUrl, ofType);
    if (ofType.has(resource.name)) throw new RangeError(`two resources of type "${resource.typeUrl}" are named "${resource.name}"`);
    const known = previous?.types.get(resource.typeUrl)?.get(resource.name);
    ofType.set(resource.name, known?.version === resource.version ? known : resource);
  }
  const shared = new Map<string, ResourceMap>();
  for (const [typeUrl, ofType] of types) {
    const before = previous?.types.get(typeUrl);
    shared.set(typeUrl, before !== undefined && holdsTheSame(before, ofType) ? before : ofType);
  }
  return { version, types: shared };
}

function holdsTheSame(before: ResourceMap, after: ResourceMap): boolean {
  if (before.size !== after.size) return false;
  for (const [name, resource] of after) if (before.get(name) !== resource) return false;
  return true;
}
