/** Objects that would have a say about a workload at a service, were they in force. */
import { describeRef, keyOf, refOf, type DesiredState } from '../desired-state.ts';
import type { Fault } from '../errors.ts';
import { inOneSentence } from '../fault-text.ts';
import type { DesiredObject } from '../objects/index.ts';
import type { WorkloadName } from '../spiffe-id.ts';
import type { Subject } from './plan.ts';
import { resolveSubject } from './subjects.ts';
import { serviceKeyOf, type ServiceTarget } from './targets.ts';

/** An object that is not in force as it is, and why. */
export interface RefusedObject {
  readonly object: DesiredObject;
  readonly faults: readonly Fault[];
}

/** A sentence each. `desired` is what is in force. */
export function describeNotInForce(refused: Iterable<RefusedObject>, workload: WorkloadName, serviceKey: string, desired: DesiredState): readonly string[] {
  return Array.from(refused)
    .filter(({ object }) => concerns(object, workload, serviceKey, desired))
    .map(({ object, faults }) => `${describeRef(refOf(object))} is not in force: ${faults.map(inOneSentence).join('; ')}`);
}

function concerns(object: DesiredObject, workload: WorkloadName, serviceKey: string, desired: DesiredState): boolean {
  const named = (targets: readonly ServiceTarget[] | undefined, own: string) => targets?.some((target) => serviceKeyOf(target, own) === serviceKey) ?? true;
  const place = { object: refOf(object), path: [] };
  const meant = ({ namespace, serviceAccount = workload.serviceAccount }: Subject) => namespace === workload.namespace && serviceAccount === workload.serviceAccount;
  switch (object.kind) {
    case 'ExternalService':
      return keyOf(object.metadata) === serviceKey;
    case 'EgressPolicy':
      return named(object.spec.to, object.metadata.namespace) && object.spec.subjects.some((subject) => resolveSubject(subject, desired, place).subjects.some(meant));
    case 'SnatBinding':
      return named(object.spec.targets, object.metadata.namespace) && resolveSubject(object.spec.subject, desired, place).subjects.some(meant);
    default:
      return false;
  }
}
