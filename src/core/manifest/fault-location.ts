import { describeRef, refOf } from '../desired-state.ts';
import type { Fault } from '../errors.ts';
import type { LocatedObject } from './manifest.ts';

const indexes = new WeakMap<readonly LocatedObject[], ReadonlyMap<string, LocatedObject>>();

/** Adds file, line and column to a fault that names an object and a field, where that object came with this input. The first fault of an input costs linear time, a further one nearly none. */
export function locateFault(fault: Fault, objects: readonly LocatedObject[]): Fault {
  const { object: ref, path = [] } = fault;
  if (ref === undefined) return fault;
  let index = indexes.get(objects);
  if (index === undefined) indexes.set(objects, (index = new Map(objects.map((located) => [describeRef(refOf(located.object)), located]))));
  const found = index.get(describeRef(ref));
  return found === undefined ? fault : { ...fault, position: found.positionOf(path) };
}
