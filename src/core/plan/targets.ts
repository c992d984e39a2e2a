/** What policies and bindings point at: services and their ports, by name or number. */
import { describeRef, keyOf, refOf, refOfKey, type DesiredState, type ObjectKey } from '../desired-state.ts';
import type { ObjectRef } from '../errors.ts';
import { dataPortName, type EgressPolicy, type ExternalService, type SnatBinding } from '../objects/index.ts';
import { boundedList } from '../order.ts';
import type { PlanFault } from '../plan-fault.ts';
import { mayRefer, notGranted, referralFor, type Reach } from '../tenancy.ts';
import type { PortRange, ServicePortId } from './plan.ts';

export function servicePortId(serviceKey: string, portName: string): ServicePortId {
  return `${serviceKey}:${portName}` as ServicePortId;
}

/** As `serviceTarget` of the object schemas has it. */
export interface ServiceTarget {
  readonly service: string;
  readonly namespace?: string | undefined;
  readonly ports?: readonly (string | number)[] | undefined;
}

/**
 * The port that policies and bindings name to mean this one: itself, or the control port of a data port. Null for the way back, which no
 * port stands for: it is for whoever may use any.
 */
export function namedPortOf({ spec }: ExternalService, portName: string): string | null {
  return spec.ports.find(({ name, tls }) => name === portName || dataPortNames(name, tls?.dataPorts).includes(portName))?.name ?? null;
}

function dataPortNames(control: string, { first, last }: PortRange = { first: 1, last: 0 }): readonly string[] {
  return Array.from({ length: last - first + 1 }, (_, index) => dataPortName(control, first + index));
}

export function serviceKeyOf(target: ServiceTarget, ownNamespace: string): string {
  return keyOf({ namespace: target.namespace ?? ownNamespace, name: target.service });
}

export interface ResolvedTarget {
  readonly serviceKey: string;
  /** Null: every port of the service. */
  readonly portNames: readonly string[] | null;
}

/**
 * Resolves the targets that stand at `path` of `object`. Those that do not exist are faults, coded `KIND-service-unknown` and
 * `KIND-port-unknown`. `referrals` are those that ReferenceGrants were looked for by.
 */
export function resolveTargets(
  targets: readonly ServiceTarget[],
  services: DesiredState['ExternalService'],
  reach: Reach,
  { object, path, kind }: { readonly object: ObjectRef; readonly path: readonly string[]; readonly kind: 'policy' | 'binding' },
): { readonly targets: readonly ResolvedTarget[]; readonly referrals: readonly string[]; readonly faults: readonly PlanFault[] } {
  const faults: PlanFault[] = [];
  const referrals = new Set<string>();
  const resolved = targets.flatMap((target, index): ResolvedTarget[] => {
    const ref = { namespace: target.namespace ?? object.namespace, name: target.service };
    const referral = referralFor(object, ref.namespace, reach);
    if (referral !== undefined) referrals.add(referral);
    if (!mayRefer(object, ref, reach)) {
      faults.push(notGranted(object, [...path, index, 'namespace'], ref));
      return [];
    }
    const serviceKey = keyOf(ref);
    const service = services.get(serviceKey);
    const restsOn = [refOfKey('ExternalService', serviceKey)];
    if (service === undefined) {
      const namesake = [...services.values()].find(({ metadata }) => metadata.name === target.service && mayRefer(object, metadata, reach))?.metadata;
      const hint = namesake === undefined ? `apply ExternalService ${serviceKey} first, or remove the reference` : `did you mean ${keyOf(namesake)}? say "namespace: ${namesake.namespace}"`;
      faults.push({ code: `${kind}-service-unknown`, message: `there is no ExternalService "${serviceKey}"`, hint, object, path: [...path, index, 'service'], restsOn });
      return [];
    }
    if (target.ports === undefined) return [{ serviceKey, portNames: null }];
    const portNames = target.ports.flatMap((wanted, portIndex) => {
      const ports = service.spec.ports.filter((candidate) => wanted === (typeof wanted === 'number' ? candidate.port : candidate.name));
      if (ports.length > 0) return ports.map(({ name }) => name); // two where a number is that of a TCP and of a UDP port
      const known = service.spec.ports.map((candidate) => `${candidate.name} (${candidate.port})`);
      faults.push({ code: `${kind}-port-unknown`, message: `${describeRef({ kind: 'ExternalService', ...service.metadata })} has no port ${JSON.stringify(wanted)}`, hint: `its ports are ${boundedList(known)}`, object, path: [...path, index, 'ports', portIndex], restsOn });
      return [];
    });
    return [{ serviceKey, portNames }];
  });
  return { targets: resolved, referrals: [...referrals], faults };
}

const everyoneMayRefer: Reach = { rootNamespace: undefined, referenceGrants: new Map() };

/** The faults that there would be without an external service: one for each place that names it, whether or not that is granted. */
export function faultsWithout(service: ObjectKey, objects: readonly (EgressPolicy | SnatBinding)[]): readonly PlanFault[] {
  return objects.flatMap((object) => {
    const { targets, ...place } = object.kind === 'EgressPolicy' ? { targets: object.spec.to, path: ['spec', 'to'], kind: 'policy' as const } : { targets: object.spec.targets ?? [], path: ['spec', 'targets'], kind: 'binding' as const };
    const { faults } = resolveTargets(targets, new Map(), everyoneMayRefer, { ...place, object: refOf(object) });
    return faults.filter((_, index) => serviceKeyOf(targets[index]!, object.metadata.namespace) === service);
  });
}
