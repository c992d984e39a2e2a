/**
 * When clients are to be told that resources with a time to live go on living: in the middle of that time, so that one lost
 * or late word costs nothing. Resources with the same time to live are told of together.
 */
import { layersOf } from './layered-map.ts';
import type { Resource, ResourceMap } from './resource.ts';

/** The resources of a map that have a time to live, by that time. */
export type ResourcesByTtl = ReadonlyMap<number, readonly Resource[]>;

const NONE: ResourcesByTtl = new Map();
const known = new WeakMap<ResourceMap, ResourcesByTtl>();

/** Reckoned once for a map, whichever number of streams asks; of a map with layers, once for a layer. */
export function byTtl(resources: ResourceMap): ResourcesByTtl {
  let groups = known.get(resources);
  if (groups === undefined) known.set(resources, (groups = reckon(resources)));
  return groups;
}

function reckon(resources: ResourceMap): ResourcesByTtl {
  const layers = layersOf(resources);
  if (layers === undefined) return groupByTtl(resources.values());
  const [lower, upper] = [byTtl(layers.lower), byTtl(layers.upper)];
  if (lower.size === 0) return upper;
  const visible = [...lower.values()].flat().filter(({ name }) => !layers.upper.has(name));
  return groupByTtl([...visible, ...[...upper.values()].flat()]);
}

/** Those that have a time to live, by that time. */
export function groupByTtl(resources: Iterable<Resource>): ResourcesByTtl {
  const groups = new Map<number, Resource[]>();
  for (const resource of resources) {
    if (resource.ttlMs === undefined) continue;
    const sameTtl = groups.get(resource.ttlMs);
    if (sameTtl === undefined) groups.set(resource.ttlMs, [resource]);
    else sameTtl.push(resource);
  }
  return groups.size === 0 ? NONE : groups;
}

/** When what is sent now is to be refreshed. */
export function refreshTime(ttlMs: number, sentAtMs: number): number {
  return sentAtMs + ttlMs / 2;
}

/** Whether a refresh that was due then comes so late that the client may have dropped the resource. */
export function isTooLate(ttlMs: number, dueAtMs: number, atMs: number): boolean {
  return atMs >= dueAtMs + ttlMs / 2;
}
