import { layersOf } from './layered-map.ts';
import type { ResourceMap } from './resource.ts';

const NOTHING: ResourceMap = new Map();
const known = new WeakMap<ResourceMap, WeakMap<ResourceMap, readonly string[]>>();

/**
 * The names that differ between two maps: new, gone, or of another version. Reckoned once for a pair of maps, whichever
 * number of streams asks; resources that the maps share are told apart from the others by reference alone.
 */
export function changedNames(before: ResourceMap, after: ResourceMap): readonly string[] {
  if (before === after) return [];
  let answers = known.get(before);
  if (answers === undefined) known.set(before, (answers = new WeakMap<ResourceMap, readonly string[]>()));
  let names = answers.get(after);
  if (names === undefined) answers.set(after, (names = layersOf(before) ?? layersOf(after) ? reckonByLayers(before, after) : reckon(before, after)));
  return names;
}

/** What no layer has changed has not changed. Any map is its own lower layer, with nothing over it. */
function reckonByLayers(before: ResourceMap, after: ResourceMap): readonly string[] {
  const old = layersOf(before) ?? { lower: before, upper: NOTHING };
  const now = layersOf(after) ?? { lower: after, upper: NOTHING };
  const candidates = new Set([...changedNames(old.lower, now.lower), ...changedNames(old.upper, now.upper)]);
  return [...candidates].filter((name) => before.get(name)?.version !== after.get(name)?.version);
}

function reckon(before: ResourceMap, after: ResourceMap): readonly string[] {
  const names: string[] = [];
  let shared = 0;
  for (const [name, resource] of after) {
    const old = before.get(name);
    if (old !== undefined) shared += 1;
    if (old !== resource && old?.version !== resource.version) names.push(name);
  }
  if (shared < before.size) for (const name of before.keys()) if (!after.has(name)) names.push(name);
  return names;
}
