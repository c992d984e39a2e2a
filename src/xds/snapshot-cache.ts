import type { Snapshot } from './resource.ts';
import type { TypeStatus, Variant } from './stream-state.ts';

/** A stream that serves a node, as the cache sees it. */
export interface AttachedStream {
  readonly variant: Variant;
  readonly connectedSinceMs: number;
  /** Called with every snapshot that is set from now on, and with undefined where it is cleared. */
  readonly onSnapshot: (snapshot: Snapshot | undefined) => void;
  readonly status: () => readonly TypeStatus[];
}

export interface StreamStatus {
  readonly variant: Variant;
  readonly connectedSinceMs: number;
  /** In the order of the client's first requests. */
  readonly types: readonly TypeStatus[];
}

export interface NodeStatus {
  readonly nodeKey: string;
  /** The snapshot that the node is to hold; undefined where it has connected before it was given one. */
  readonly snapshotVersion: string | undefined;
  /** One for each open stream, oldest first; usually there is one or none. */
  readonly streams: readonly StreamStatus[];
}

export interface SnapshotCache {
  /** Replaces what the node is to hold. Its streams are sent what differs, before this returns or as soon as they can take it. */
  setSnapshot(nodeKey: string, snapshot: Snapshot): void;
  /**
   * Forgets the node's snapshot. Clients keep what they hold, and are sent nothing until there is a snapshot again; to have
   * them remove everything, set an empty one.
   */
  clearSnapshot(nodeKey: string): void;
  getSnapshot(nodeKey: string): Snapshot | undefined;
  /** Every node that has a snapshot or a stream, in the order of their first appearance. */
  status(): readonly NodeStatus[];
  /** For servers: joins a stream to its node; the returned function ends that. */
  attach(nodeKey: string, stream: AttachedStream): () => void;
}

interface Node {
  snapshot: Snapshot | undefined;
  readonly streams: Set<AttachedStream>;
}

/**
 * Holds, for each node key, the snapshot that the node is to be served, and what its streams make of it. Several proxies may
 * share a key, and so a snapshot; several servers may share a cache.
 */
export function createSnapshotCache(): SnapshotCache {
  const nodes = new Map<string, Node>();

  function nodeOf(nodeKey: string): Node {
    const node = nodes.get(nodeKey) ?? { snapshot: undefined, streams: new Set() };
    nodes.set(nodeKey, node);
    return node;
  }

  function forgetIfUnused(nodeKey: string): void {
    const node = nodes.get(nodeKey);
    if (node?.snapshot === undefined && node?.streams.size === 0) nodes.delete(nodeKey);
  }

  function replace(node: Node, snapshot: Snapshot | undefined): void {
    node.snapshot = snapshot;
    for (const stream of [...node.streams]) stream.onSnapshot(snapshot);
  }

  return {
    setSnapshot(nodeKey, snapshot) {
      replace(nodeOf(nodeKey), snapshot);
    },
    clearSnapshot(nodeKey) {
      replace(nodeOf(nodeKey), undefined);
      forgetIfUnused(nodeKey);
    },
    getSnapshot: (nodeKey) => nodes.get(nodeKey)?.snapshot,
    status: () =>
      [...nodes].map(([nodeKey, { snapshot, streams }]) => ({
        nodeKey,
        snapshotVersion: snapshot?.version,
        streams: [...streams].map(({ variant, connectedSinceMs, status }) => ({ variant, connectedSinceMs, types: status() })),
      })),
    attach(nodeKey, stream) {
      nodeOf(nodeKey).streams.add(stream);
      return () => {
        nodes.get(nodeKey)?.streams.delete(stream);
        forgetIfUnused(nodeKey);
      };
    },
  };
}
