/**
 * Desired state that came object by object, each already stored, as from a Kubernetes API server: what of it can be in force together. A
 * fault takes one object out and leaves the rest alone; what was in force goes before what is new, and the older before the younger, so that
 * nobody takes from others what they have.
 */
import { buildInSteps, type Build, type BuildContext } from './build.ts';
import type { Assignments } from '../snat/assignments.ts';
import { applyChangeInSteps, describeRef, keyOf, type DesiredState } from '../desired-state.ts';
import { invariant, type ObjectRef } from '../errors.ts';
import type { DesiredObject, Kind } from '../objects/index.ts';
import { byText } from '../order.ts';
import type { PlanFault } from '../plan-fault.ts';
import { forEachInSteps, mapInSteps, runThrough, sortInSteps, type Steps } from '../steps.ts';
import { speaksForAll, type RootNamespace } from '../tenancy.ts';

/** What there is to know of an object beside its content. */
export interface Standing {
  /** It is in force as it is. */
  readonly isAccepted: boolean;
  /** Milliseconds since the epoch. */
  readonly createdAt: number;
  /** What of it was in force before it was changed to what it is; null for nothing. */
  readonly fallback: DesiredObject | null;
}

export interface Refusal {
  readonly ref: ObjectRef;
  /** As it is not in force. */
  readonly object: DesiredObject;
  readonly faults: readonly PlanFault[];
  /** Whether its earlier form stays in force. */
  readonly fellBack: boolean;
}

export type Acceptance = Extract<Build, { ok: true }> & {
  /** What is in force. */
  readonly desired: DesiredState;
  /** By `describeRef`. */
  readonly refused: ReadonlyMap<string, Refusal>;
};

/** Of the kinds that are Kubernetes' own nothing is refused: they are as they are. */
const foreignKinds: ReadonlySet<string> = new Set<Kind>(['Namespace', 'Service']);

/**
 * The same for the same content, whatever the order. A fault is laid to the charge of the object, among those that it is of or rests on,
 * that came last: one that is not in force before any that is, then a tenant's before the platform's, which nobody keeps from coming to be
 * by what he writes first, then by age, then by name. That one falls back to its earlier form, or
 * where that has a fault too, or there is none, it is left out. As many builds as there are rounds of faults, each of which takes out
 * one object at least; where that takes too long, everything that is new in a fault is left out at once, so that nobody stalls the others
 * by what he writes.
 */
export const accept = (desired: DesiredState, before: Assignments, context: BuildContext, standingOf: (ref: ObjectRef) => Standing): Acceptance => runThrough(acceptInSteps(desired, before, context, standingOf));

/** As `accept`. */
export function* acceptInSteps(desired: DesiredState, before: Assignments, context: BuildContext, standingOf: (ref: ObjectRef) => Standing): Steps<Acceptance> {
  const refused = new Map<string, Refusal>();
  let admitted = desired;
  for (let round = 1; ; round += 1) {
    const built = yield* buildInSteps(admitted, before, context);
    if (built.ok) return { ...built, desired: admitted, refused };
    const put: DesiredObject[] = [];
    const remove: ObjectRef[] = [];
    const charge = round > patientRoundsMax ? chargeAllNew : chargeOneEach;
    const charged = yield* charge(built.faults, admitted, (each) => precedenceOf(each, standingOf(each), refused.get(describeRef(each)), context.rootNamespace));
    yield* forEachInSteps(charged, perStep, ([name, { ref, faults }]) => {
      const { fallback } = standingOf(ref);
      const known = refused.get(name);
      const fellBack = known === undefined && fallback !== null;
      if (fellBack) put.push(fallback);
      else remove.push(ref);
      refused.set(name, { ref, object: desired[ref.kind as Kind].get(keyOf(ref))!, faults: [...(known?.faults ?? []), ...faults], fellBack });
    });
    invariant(put.length + remove.length > 0, 'a fault is some object’s');
    admitted = yield* applyChangeInSteps(admitted, { put, remove });
  }
}

/** Rounds in which of each fault one object yields. More happen only where many objects are in each other's way in many ways. */
const patientRoundsMax = 32;
/** Faults, and objects that are charged with them. */
const perStep = 32;

interface Party {
  readonly ref: ObjectRef;
  readonly precedence: Precedence;
}

type Charged = Map<string, { readonly ref: ObjectRef; readonly faults: PlanFault[] }>;
type Charge = (faults: readonly PlanFault[], admitted: DesiredState, precedence: (ref: ObjectRef) => Precedence) => Steps<Charged>;

/**
 * Each object that has to yield, with the faults that are laid to its charge. Who comes first is heard first: a fault with one that has to
 * yield already may be none any more, so it waits for the next round. What is in force is then never decided anew.
 */
const chargeOneEach: Charge = function* (faults, admitted, precedence) {
  const cases = yield* mapInSteps(faults, perStep, (fault) => {
    const parties = partiesOf(fault, admitted, precedence);
    return { fault, parties, charged: lastOf(parties) };
  });
  const charged: Charged = new Map();
  const inOrder = yield* sortInSteps(cases, (a, b) => compare(a.charged.precedence, b.charged.precedence));
  yield* forEachInSteps(inOrder, perStep, ({ fault, parties, charged: { ref, precedence: { name } } }) => {
    const known = charged.get(name);
    if (known !== undefined) known.faults.push(fault);
    else if (!parties.some((party) => charged.has(party.precedence.name))) charged.set(name, { ref, faults: [fault] });
  });
  return charged;
};

/** Every object of a fault that is not in force; where all are, the one that came last. */
const chargeAllNew: Charge = function* (faults, admitted, precedence) {
  const charged: Charged = new Map();
  yield* forEachInSteps(faults, perStep, (fault) => {
    const parties = partiesOf(fault, admitted, precedence);
    const fresh = parties.filter((party) => party.precedence.rank > 0);
    for (const { ref, precedence: { name } } of fresh.length > 0 ? fresh : [lastOf(parties)]) {
      const known = charged.get(name);
      if (known === undefined) charged.set(name, { ref, faults: [fault] });
      else if (known.faults.length < faultsToldMax) known.faults.push(fault);
    }
  });
  return charged;
};
const faultsToldMax = 10;

function partiesOf(fault: PlanFault, admitted: DesiredState, precedence: (ref: ObjectRef) => Precedence): readonly Party[] {
  const grounds = fault.restsOn.flatMap(({ kind, namespace = '', name }) => (name === undefined ? [] : [{ kind, namespace, name }]));
  return [fault.object, ...grounds].filter((ref) => !foreignKinds.has(ref.kind) && admitted[ref.kind as Kind].has(keyOf(ref))).map((ref) => ({ ref, precedence: precedence(ref) }));
}

function lastOf(parties: readonly Party[]): Party {
  return parties.reduce((last, next) => (compare(last.precedence, next.precedence) < 0 ? next : last));
}

/** Smaller goes first. */
interface Precedence {
  readonly rank: number;
  readonly isTenants: boolean;
  readonly createdAt: number;
  readonly name: string;
}

function precedenceOf(ref: ObjectRef, { isAccepted, createdAt }: Standing, refusal: Refusal | undefined, rootNamespace: RootNamespace): Precedence {
  const isTenants = ref.namespace !== '' && !speaksForAll(ref.namespace, rootNamespace);
  return { rank: isAccepted || refusal?.fellBack === true ? 0 : 1, isTenants, createdAt, name: describeRef(ref) };
}

function compare(a: Precedence, b: Precedence): number {
  return a.rank - b.rank || Number(a.isTenants) - Number(b.isTenants) || a.createdAt - b.createdAt || byText(a.name, b.name);
}
