import type { Resource, ResourceMap } from './resource.ts';

/** What a map that was laid from two is made of. */
export interface Layers {
  readonly lower: ResourceMap;
  readonly upper: ResourceMap;
}

const layers = new WeakMap<ResourceMap, Layers>();
const laid = new WeakMap<ResourceMap, WeakMap<ResourceMap, ResourceMap>>();

/** The layers of a map that `layMaps` has made; undefined for any other. */
export function layersOf(map: ResourceMap): Layers | undefined {
  return layers.get(map);
}

/**
 * A view of two maps as one, in which a resource of `upper` hides that of the same name in `lower`. The same two give the very
 * same view, so that whoever compares maps by reference sees that nothing has changed. Cost is linear in `upper`.
 */
export function layMaps(lower: ResourceMap, upper: ResourceMap): ResourceMap {
  if (upper.size === 0) return lower;
  if (lower.size === 0) return upper;
  const views = laid.get(lower) ?? new WeakMap<ResourceMap, ResourceMap>();
  laid.set(lower, views);
  let view = views.get(upper);
  if (view === undefined) {
    views.set(upper, (view = viewOf(lower, upper)));
    layers.set(view, { lower, upper });
  }
  return view;
}

function viewOf(lower: ResourceMap, upper: ResourceMap): ResourceMap {
  let added = 0;
  for (const name of upper.keys()) if (!lower.has(name)) added += 1;

  function* entries(): Generator<[string, Resource], undefined> {
    for (const [name, resource] of lower) yield [name, upper.get(name) ?? resource];
    for (const [name, resource] of upper) if (!lower.has(name)) yield [name, resource];
  }
  function* keys(): Generator<string, undefined> {
    for (const [name] of entries()) yield name;
  }
  function* values(): Generator<Resource, undefined> {
    for (const [, resource] of entries()) yield resource;
  }
  const view: ResourceMap = {
    size: lower.size + added,
    has: (name) => upper.has(name) || lower.has(name),
    get: (name) => upper.get(name) ?? lower.get(name),
    entries,
    keys,
    values,
    forEach(callback) {
      for (const [name, resource] of entries()) callback(resource, name, view);
    },
    [Symbol.iterator]: entries,
  };
  return view;
}
