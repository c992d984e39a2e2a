import type { NodeStatus, SnapshotCache, StreamStatus } from './snapshot-cache.ts';
import type { ResourceStatus } from './stream-status.ts';

/** A resource on the debug page: what it is, not what is in it. */
export interface DebugResource {
  readonly typeUrl: string;
  readonly name: string;
  readonly version: string;
  readonly state: ResourceStatus['state'];
}

/** What the debug page says of a node; plain JSON. */
export interface DebugNode extends Omit<NodeStatus, 'streams'> {
  readonly streams: readonly (StreamStatus & { readonly resources: readonly DebugResource[] })[];
}

/**
 * What each node is to hold and what its streams make of it, resource by resource, as plain values to be written as JSON. Says
 * nothing of the resources' content. Cost is linear in the resources of all open streams.
 */
export function debugPage(cache: SnapshotCache): { readonly nodes: readonly DebugNode[] } {
  return {
    nodes: cache.status().map((node) => {
      const resources = cache.resourceStatus(node.nodeKey);
      return { ...node, streams: node.streams.map((stream, index) => ({ ...stream, resources: [...(resources[index]?.resources ?? [])].map(debugResource) })) };
    }),
  };
}

function debugResource({ resource: { typeUrl, name, version }, state }: ResourceStatus): DebugResource {
  return { typeUrl, name, version, state };
}
