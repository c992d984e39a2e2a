/** Of which objects there may be something else to say since a plan, among thousands of which there is not. */
import { describeRef, refOf, refOfKey, type DesiredState } from '../../core/desired-state.ts';
import type { Fault } from '../../core/errors.ts';
import type { Refusal } from '../../core/plan/acceptance.ts';
import type { Plan, ServicePort } from '../../core/plan/plan.ts';
import type { Assignments } from '../../core/snat/assignments.ts';
import { holderOfBinding } from '../../core/snat/holder.ts';
import { originsOf } from './enforcement.ts';

/** What statuses are made of beside the objects themselves. */
export interface Outcome {
  readonly plan: Plan;
  readonly desired: DesiredState;
  readonly assignments: Assignments;
  /** By `describeRef`. */
  readonly refused: ReadonlyMap<string, Refusal>;
  /** And what others than the plan have to say. */
  readonly warnings: readonly Fault[];
}

/** As messages name them. What is the very same object before and after is the same. */
export function affectedBy(before: Outcome, after: Outcome): ReadonlySet<string> {
  const affected = new Set<string>([...before.refused.keys(), ...after.refused.keys()]);
  if (before.plan !== after.plan) for (const name of namesInChangedPorts(before.plan, after.plan)) affected.add(name);
  for (const name of objectsOf(new Set(before.warnings).symmetricDifference(new Set(after.warnings)))) affected.add(name);
  if (before.assignments !== after.assignments) {
    const holders = new Set([...new Set(before.assignments).symmetricDifference(new Set(after.assignments))].map(({ holder }) => holder));
    for (const binding of after.desired.SnatBinding.values()) if (holders.has(holderOfBinding(binding))) affected.add(describeRef(refOf(binding)));
  }
  return affected;
}

/** The objects that faults are about. */
function objectsOf(faults: ReadonlySet<Fault>): readonly string[] {
  return [...faults].flatMap(({ object }) => (object === undefined ? [] : [describeRef(object)]));
}

/** Gateways and pools, which are few, and tell of what all the others bring about. */
export function fewOf({ EgressGateway, SnatPool }: DesiredState): readonly string[] {
  return [...EgressGateway.values(), ...SnatPool.values()].map((object) => describeRef(refOf(object)));
}

function namesInChangedPorts(before: Plan, after: Plan): Iterable<string> {
  const ports = new Set(before.servicePorts).symmetricDifference(new Set(after.servicePorts));
  return [...ports].flatMap(namesIn);
}

function namesIn(servicePort: ServicePort): string[] {
  const { policies, bindings } = originsOf(servicePort);
  const named = (kind: 'EgressPolicy' | 'SnatBinding', keys: ReadonlySet<string>): string[] => [...keys].map((key) => describeRef(refOfKey(kind, key)));
  return [describeRef({ kind: 'ExternalService', ...servicePort.service }), ...named('EgressPolicy', policies), ...named('SnatBinding', bindings)];
}
