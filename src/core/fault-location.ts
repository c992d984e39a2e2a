import { keyOf, refOf } from './desired-state.ts';
import type { Fault } from './errors.ts';
import type { LocatedObject } from './manifest.ts';

/** Adds file, line and column to a fault that names an object and a field, where that object came with this input. */
export function locateFault(fault: Fault, objects: readonly LocatedObject[]): Fault {
  const { object: ref, path = [] } = fault;
  const found = ref === undefined ? undefined : objects.find(({ object }) => object.kind === ref.kind && keyOf(refOf(object)) === keyOf(ref));
  return found === undefined ? fault : { ...fault, position: found.positionOf(path) };
}
