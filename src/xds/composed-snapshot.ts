import { layMaps } from './layered-map.ts';
import { NO_RESOURCES } from './resource.ts';
import type { ResourceMap, Snapshot } from './resource.ts';

/**
 * Lays snapshots over one another: where several have a resource of one type and name, the last of them counts. Nothing is
 * copied, so that thousands of nodes may each have a few resources of their own over a large part that they share; a change
 * of that part is reckoned once for all of them. Cost is linear in the resources of all parts but the first.
 */
export function composeSnapshots(version: string, parts: readonly Snapshot[]): Snapshot {
  const types = new Map<string, ResourceMap>();
  for (const part of parts) for (const [typeUrl, resources] of part.types) types.set(typeUrl, layMaps(types.get(typeUrl) ?? NO_RESOURCES, resources));
  return { version, types };
}
