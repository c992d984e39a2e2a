import { describeFaults } from './consistency.ts';
import type { SnapshotFault } from './consistency.ts';
import type { Snapshot } from './resource.ts';
import type { ResourceStatus, TypeStatus } from './stream-status.ts';
import type { Variant } from './stream-state.ts';
import type { UserAgent } from './user-agent.ts';

/** A stream that serves a node, as the cache sees it. */
export interface AttachedStream {
  readonly nodeId: string;
  readonly userAgent: UserAgent;
  readonly variant: Variant;
  readonly connectedSinceMs: number;
  /** Called with every snapshot that is set from now on, and with undefined where it is cleared. */
  readonly onSnapshot: (snapshot: Snapshot | undefined) => void;
  readonly status: () => readonly TypeStatus[];
  readonly resources: () => Iterable<ResourceStatus>;
}

/** What a stream is and where its types stand. */
export interface StreamStatus {
  /** What the client calls itself; several proxies of one key may have ids of their own. */
  readonly nodeId: string;
  readonly userAgent: UserAgent;
  readonly variant: Variant;
  readonly connectedSinceMs: number;
  /** In the order of the client's first requests. */
  readonly types: readonly TypeStatus[];
}

/** Why a server has last refused or ended a stream of a node, and how often it has done so. */
export interface NodeTrouble {
  readonly reason: string;
  readonly atMs: number;
  readonly count: number;
}

/** What there is to say about a node; plain values. */
export interface NodeStatus {
  readonly nodeKey: string;
  /** The snapshot that the node is to hold; undefined where it has connected before it was given one. */
  readonly snapshotVersion: string | undefined;
  /** One for each open stream, oldest first; usually there is one or none. */
  readonly streams: readonly StreamStatus[];
  /** Streams that were open since the node appeared; many where it comes and goes. */
  readonly streamsOpened: number;
  readonly trouble: NodeTrouble | undefined;
}

/** Where the resources stand that one stream of a node subscribes to. */
export interface StreamResources {
  readonly nodeId: string;
  readonly resources: Iterable<ResourceStatus>;
  readonly types: readonly TypeStatus[];
}

/** Holds what nodes are to be served, and is told what they make of it. */
export interface SnapshotCache {
  /**
   * Replaces what the node is to hold. Its streams are sent what differs, before this returns or as soon as they can take it.
   * Throws a RangeError, and changes nothing, where the cache's `check` finds faults.
   */
  setSnapshot(nodeKey: string, snapshot: Snapshot): void;
  /**
   * Forgets the node's snapshot. Clients keep what they hold, and are sent nothing until there is a snapshot again; to have
   * them remove everything, set an empty one.
   */
  clearSnapshot(nodeKey: string): void;
  getSnapshot(nodeKey: string): Snapshot | undefined;
  /** Every node that has a snapshot, a stream or trouble, in the order of their first appearance. */
  status(): readonly NodeStatus[];
  /** The resources of a node's open streams, one by one; at a cost for each of them. */
  resourceStatus(nodeKey: string): readonly StreamResources[];
  /** For servers: joins a stream to its node; the returned function ends that. */
  attach(nodeKey: string, stream: AttachedStream): () => void;
  /** For servers: notes that a stream of the node was refused or ended, and why. */
  noteTrouble(nodeKey: string, reason: string, atMs: number): void;
}

/** What a cache may be told at its beginning. */
export interface SnapshotCacheOptions {
  /** Looks over every snapshot before it is served in the place of another; `consistencyFaultsOf` is one. A snapshot with faults is not served. */
  readonly check?: (snapshot: Snapshot, context: { readonly since: Snapshot | undefined }) => readonly SnapshotFault[];
}

interface Node {
  snapshot: Snapshot | undefined;
  readonly streams: Set<AttachedStream>;
  streamsOpened: number;
  trouble: NodeTrouble | undefined;
}

/** Nodes that are known for nothing but their trouble; the oldest is forgotten first. */
const TROUBLED_NODES_MAX = 1_000;

/**
 * Holds, for each node key, the snapshot that the node is to be served, and what its streams make of it. Several proxies may
 * share a key, and so a snapshot; several servers may share a cache.
 */
export function createSnapshotCache({ check = () => [] }: SnapshotCacheOptions = {}): SnapshotCache {
  const nodes = new Map<string, Node>();
  const troubledOnly = new Set<string>();

  function nodeOf(nodeKey: string): Node {
    const node = nodes.get(nodeKey) ?? { snapshot: undefined, streams: new Set(), streamsOpened: 0, trouble: undefined };
    nodes.set(nodeKey, node);
    troubledOnly.delete(nodeKey);
    return node;
  }

  function forgetIfUnused(nodeKey: string): void {
    const node = nodes.get(nodeKey);
    if (node === undefined || node.snapshot !== undefined || node.streams.size > 0) return;
    if (node.trouble !== undefined) troubledOnly.add(nodeKey);
    else nodes.delete(nodeKey);
    if (troubledOnly.size <= TROUBLED_NODES_MAX) return;
    const [oldest] = troubledOnly;
    troubledOnly.delete(oldest!);
    nodes.delete(oldest!);
  }

  function replace(node: Node, snapshot: Snapshot | undefined): void {
    node.snapshot = snapshot;
    for (const stream of [...node.streams]) stream.onSnapshot(snapshot);
  }

  return {
    setSnapshot(nodeKey, snapshot) {
      const faults = check(snapshot, { since: nodes.get(nodeKey)?.snapshot });
      if (faults.length > 0) throw new RangeError(`snapshot "${snapshot.version}" for "${nodeKey}" is not served: ${describeFaults(faults)}`, { cause: faults });
      replace(nodeOf(nodeKey), snapshot);
    },
    clearSnapshot(nodeKey) {
      replace(nodeOf(nodeKey), undefined);
      forgetIfUnused(nodeKey);
    },
    getSnapshot: (nodeKey) => nodes.get(nodeKey)?.snapshot,
    status: () =>
      [...nodes].map(([nodeKey, { snapshot, streams, streamsOpened, trouble }]) => ({
        nodeKey,
        snapshotVersion: snapshot?.version,
        streams: [...streams].map(({ nodeId, userAgent, variant, connectedSinceMs, status }) => ({ nodeId, userAgent, variant, connectedSinceMs, types: status() })),
        streamsOpened,
        trouble,
      })),
    resourceStatus: (nodeKey) => [...(nodes.get(nodeKey)?.streams ?? [])].map(({ nodeId, resources, status }) => ({ nodeId, resources: resources(), types: status() })),
    attach(nodeKey, stream) {
      const node = nodeOf(nodeKey);
      node.streams.add(stream);
      node.streamsOpened += 1;
      return () => {
        nodes.get(nodeKey)?.streams.delete(stream);
        forgetIfUnused(nodeKey);
      };
    },
    noteTrouble(nodeKey, reason, atMs) {
      const node = nodeOf(nodeKey);
      node.trouble = { reason, atMs, count: (node.trouble?.count ?? 0) + 1 };
      forgetIfUnused(nodeKey);
    },
  };
}
