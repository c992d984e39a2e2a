/** What came of manifests: their objects, and every fault, whether reading found it or what came after. */
import { describeRef, refOf } from '../desired-state.ts';
import type { Fault, FieldPath } from '../errors.ts';
import type { DesiredObject } from '../objects/index.ts';
import type { Ground, PlanFault } from '../plan-fault.ts';
import type { FaultList } from './manifest-faults.ts';
import type { Position } from './manifest-yaml.ts';
import type { UnreadDocument } from './unread-document.ts';

/** An object and where it was written. */
export interface LocatedObject {
  readonly object: DesiredObject;
  /** As it was written, without defaults; what the older form is converted to shares that. */
  readonly written: Readonly<Record<string, unknown>>;
  /** Where a field stands, or the nearest one above it that was written. */
  positionOf(path: FieldPath): Position;
}

/** Manifests as far as they could be read. */
export interface ParsedManifests {
  /** Those without a fault of their own, in the order of the input; of those that are there twice, the first. */
  readonly objects: readonly LocatedObject[];
  /**
   * Every fault of the input, in its order: those of reading, and of `found`, which allocation and compilation found with
   * `objects` in place, each that is true whatever the rest of the input turns out to say. A fault that a document which
   * could not be read may take away once it is mended (see unread-document.ts) is left out: to be told then, if it stays.
   */
  readonly faults: (found?: readonly PlanFault[]) => readonly Fault[];
  /** The fault with its place, where its object came with this input. */
  readonly locate: (fault: Fault) => Fault;
}

/** What reading collects beside objects. */
export interface Findings {
  readonly faults: FaultList;
  readonly unread: UnreadDocument[];
  /** Names of objects that are there twice, saying different things: which one is meant is not known. */
  readonly disputed: Set<string>;
}

export function parsedManifests(objects: readonly LocatedObject[], { faults, unread, disputed }: Findings): ParsedManifests {
  const byName = new Map(objects.map((located) => [describeRef(refOf(located.object)), located]));
  const locate = (fault: Fault): Fault => {
    const located = fault.object && byName.get(describeRef(fault.object));
    return located === undefined ? fault : { ...fault, position: located.positionOf(fault.path ?? []) };
  };
  const isSettled = ({ kind, namespace = '', name }: Ground) => {
    if (name === undefined) return false;
    const described = describeRef({ kind, namespace, name });
    return byName.has(described) && !disputed.has(described);
  };
  const mayChange = (ground: Ground) => !isSettled(ground) && unread.some((document) => document.mayBecome(ground));
  const stays = ({ object, restsOn }: PlanFault) => (byName.has(describeRef(object)) || !mayChange(object)) && !restsOn.some(mayChange);
  return {
    objects,
    faults: (found = []) => faults.toArray(found.filter(stays).map(({ restsOn, ...fault }) => locate(fault))),
    locate,
  };
}
