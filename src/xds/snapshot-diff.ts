import type { ResourceMap } from './resource.ts';

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
  if (names === undefined) answers.set(after, (names = reckon(before, after)));
  return names;
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
