import type { NodeStatus, SnapshotCache, StreamStatus } from './snapshot-cache.ts';
import type { ResourceStatus } from './stream-status.ts';

/** A resource as `debugNodes` tells of it: what it is, not what is in it. */
export interface DebugResource {
  readonly typeUrl: string;
  readonly name: string;
  readonly version: string;
  readonly state: ResourceStatus['state'];
}

/** What there is to say about a node, resource by resource; plain JSON. */
export interface DebugNode extends Omit<NodeStatus, 'streams'> {
  readonly streams: readonly (StreamStatus & { readonly resources: readonly DebugResource[] })[];
}

/**
 * What each node is to hold and what its streams make of it, resource by resource, as plain values to be written as JSON. Says
 * nothing of the resources' content. Cost is linear in the resources of all open streams, those of a node as it is taken.
 */
export function* debugNodes(cache: SnapshotCache): Iterable<DebugNode> {
  for (const node of cache.status()) {
    const resources = cache.resourceStatus(node.nodeKey);
    yield { ...node, streams: node.streams.map((stream, index) => ({ ...stream, resources: Array.from(resources[index]?.resources ?? [], debugResource) })) };
  }
}

function debugResource({ resource: { typeUrl, name, version }, state }: ResourceStatus): DebugResource {
  return { typeUrl, name, version, state };
}
