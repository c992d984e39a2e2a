/** What is served, and is less than a gateway that sees certificates would make of it: said, so that nobody finds out by himself. */
import { boundedList, sortedUnique } from '../../core/order.ts';
import { unprovenBy } from '../../core/plan/gateway-class.ts';
import type { ServicePort, ServicePortId } from '../../core/plan/plan.ts';
import { describeDestination, destinationKey, type Access, type Admission } from './admissions.ts';

export interface Caveat {
  /** Stable, kebab-case. */
  readonly code: CaveatCode;
  /** Null where it is of the gateway as a whole. */
  readonly object: ServicePortId | null;
  /** One sentence, lower case, without a period. */
  readonly message: string;
  /** What to do about it. */
  readonly hint: string;
}

export type CaveatCode =
  /** Two services are one address and port. */
  | 'destination-shared'
  /** Whoever sends from an address is taken for whose it is. */
  | 'identity-by-address'
  /** Workloads have to use the service's own port. */
  | 'port-of-service'
  /** Several workloads, one of which gets all connections. */
  | 'reverse-to-one';

export function caveatsOf(served: readonly ServicePort[], access: readonly Access[]): readonly Caveat[] {
  return [
    { ...unprovenBy.kernel, object: null },
    ...served.flatMap(portOfService),
    ...served.flatMap((servicePort) => reverseToOne(servicePort, access)),
    ...sharedDestinations(access),
  ];
}

function portOfService({ id, protocol, port, targets }: ServicePort): readonly Caveat[] {
  const others = sortedUnique(targets.filter((target) => target.port !== port).map((target) => String(target.port)));
  if (protocol === 'Reverse' || others.length === 0) return [];
  return [{ code: 'port-of-service', object: id, message: `workloads connect to port ${others.join(', ')} of the service itself, not to ${port}`, hint: 'leave out "targetPort", or tell them so' }];
}

function reverseToOne({ id, protocol }: ServicePort, access: readonly Access[]): readonly Caveat[] {
  if (protocol !== 'Reverse') return [];
  return access.flatMap(({ servicePort, identity: { name, addresses } }) => {
    const several = [addresses.ipv4, addresses.ipv6].find((own) => own.length > 1);
    return servicePort.id === id && several !== undefined ? [{ code: 'reverse-to-one' as const, object: id, message: `of ${several.length} workloads of ${name}, connections of the service go to ${several[0]!} alone`, hint: 'give it one workload, or let the address be that of a load balancer before them' }] : [];
  });
}

/** Where it matters which of them it was: an identity has different source addresses for them. */
function sharedDestinations(access: readonly Access[]): readonly Caveat[] {
  const outward = access.filter(({ servicePort }) => servicePort.protocol !== 'Reverse');
  const admitted = outward.flatMap(({ destinations }) => destinations.flatMap(({ destination, outcome }) => (typeof outcome === 'string' ? [] : [{ destination, admission: outcome }])));
  const sharing = Map.groupBy(admitted, ({ destination, admission }) => `${admission.identity.name} ${destinationKey(destination)}`);
  const caveats = [...sharing.values()].flatMap((same) => {
    const [first, ...others] = same.map(({ admission }) => admission) as [Admission, ...Admission[]];
    const differing = others.filter(({ snat, servicePort }) => servicePort.protocol !== first.servicePort.protocol || JSON.stringify(snat) !== JSON.stringify(first.snat));
    return differing.map(({ servicePort, identity }) => ({ object: servicePort.id, identity: identity.name, message: `${describeDestination(same[0]!.destination)} is ${first.servicePort.id} too, which is what it is taken for` }));
  });
  return [...Map.groupBy(caveats, ({ object, message }) => `${object} ${message}`).values()].map((same) => ({
    code: 'destination-shared',
    object: same[0]!.object,
    message: `${same[0]!.message} of ${boundedList(same.map(({ identity }) => identity))}`,
    hint: 'give both the same SnatBinding and protocol, or one service the grants of both',
  }));
}
