/**
 * What each identity that has a workload now may do at a gateway: the decisions of the plan (`decide`), by address and port, which is all
 * that a kernel sees of a service.
 */
import { familyOf, formatEndpoint, type IpAddress, type IpFamily } from '../../core/ip-address.ts';
import { transportOf } from '../../core/objects/index.ts';
import type { Condition } from '../../core/plan/condition.ts';
import { decide } from '../../core/plan/decide.ts';
import type { Decision, Plan, ServicePort, SnatSource } from '../../core/plan/plan.ts';
import { isWhole } from '../../core/snat/address-space.ts';
import { sidesOf, type SnatAddress } from '../../core/snat/snat-source.ts';
import { workloadSpiffeId, type TrustDomain } from '../../core/spiffe-id.ts';
import type { RefusalReason } from './chains.ts';
import type { AddressedIdentity } from './workloads.ts';

/** What a packet says of the service it is for. */
export interface Destination {
  readonly address: IpAddress;
  readonly family: IpFamily;
  readonly transport: 'tcp' | 'udp';
  readonly port: number;
}

/** A grant in force: an identity with a workload, a service port, and the source address that they have together. */
export interface Admission {
  readonly identity: AddressedIdentity;
  readonly servicePort: ServicePort;
  readonly snat: SnatSource;
}

/** Of an identity at a service port, destination by destination. */
export interface Access {
  readonly identity: AddressedIdentity;
  readonly servicePort: ServicePort;
  readonly destinations: readonly { readonly destination: Destination; readonly outcome: Admission | RefusalReason }[];
}

export function destinationsOf({ protocol, targets }: ServicePort): readonly Destination[] {
  const transport = transportOf(protocol) === 'UDP' ? 'udp' : 'tcp';
  return targets.flatMap((target) => (target.kind === 'address' ? [{ address: target.address, family: familyOf(target.address), transport, port: target.port } as const] : []));
}

/** Of everyone whom the plan names at a service port, in order; all others have no policy there. */
export function accessOf(plan: Pick<Plan, 'trustDomain'>, served: readonly ServicePort[], identities: readonly AddressedIdentity[]): readonly Access[] {
  const ofNamespace = Map.groupBy(identities, ({ namespace }) => namespace);
  return served.flatMap((servicePort) => {
    const named = new Set(servicePort.grants.flatMap(({ subject }) => (ofNamespace.get(subject.namespace) ?? []).filter(({ serviceAccount }) => subject.serviceAccount === undefined || subject.serviceAccount === serviceAccount)));
    return [...named].map((identity) => accessTo(servicePort, identity, plan.trustDomain));
  });
}

function accessTo(servicePort: ServicePort, identity: AddressedIdentity, trustDomain: TrustDomain): Access {
  const decision = decide(servicePort, workloadSpiffeId(trustDomain, identity), trustDomain);
  return { identity, servicePort, destinations: destinationsOf(servicePort).map((destination) => ({ destination, outcome: outcomeOf(decision, identity, destination) })) };
}

function outcomeOf(decision: Decision, identity: AddressedIdentity, { family }: Destination): Admission | RefusalReason {
  // Everyone who is asked about is a workload of this trust domain, and a policy names it; what else there is is a missing address.
  if (!decision.allowed) return 'no-snat-binding';
  const { servicePort, grant } = decision;
  const side = grant.snat[family];
  if (side === undefined) return 'snat-family-mismatch';
  return blockFault(servicePort, side) === undefined ? { identity, servicePort, snat: grant.snat } : 'no-snat-binding';
}

/** Why connections would not stay within a block of source ports; undefined where they do, or it is none. */
function blockFault({ protocol }: ServicePort, { address, ports }: SnatAddress): string | undefined {
  if (isWhole(ports)) return undefined;
  if (protocol === 'FTP') return 'data connections of FTP have the address of their control connection, and any port'; // nf_nat_follow_master of the kernel
  return familyOf(address) === 'ipv6' && protocol !== 'Reverse' ? 'nftables 1.0.6 has no map from marks to IPv6 addresses with ranges of ports' : undefined;
}

/** What of a service port is refused for want of a way to do it, whoever has a workload now. */
export function conditionsOf(servicePort: ServicePort): readonly Condition[] {
  const families = new Set(destinationsOf(servicePort).map(({ family }) => family));
  return servicePort.grants.flatMap(({ subject: { namespace, serviceAccount }, snat }) => {
    const refuse = (code: Condition['code'], why: string, hint: string): Condition => ({ code, object: servicePort.id, message: `${serviceAccount === undefined ? namespace : `${namespace}/${serviceAccount}`} is refused: ${why}`, hint });
    const sides = sidesOf(snat).filter(({ address }) => families.has(familyOf(address)));
    if (snat !== null && sides.length === 0) return [refuse('snat-family-mismatch', 'no source address is of the family of any target', 'give its SnatBinding one')];
    return sides.flatMap((side) => {
      const fault = blockFault(servicePort, side);
      return fault === undefined ? [] : [refuse('port-block-unusable', `"${side.address}" is shared by blocks of source ports, and ${fault}`, 'give it an address of its own (a SnatPool without "sharing"), or serve it by a gateway of class sallyport')];
    });
  });
}

/** As sets of the table have it. */
export const destinationKey = ({ address, transport, port }: Omit<Destination, 'family'>): string => `${address} . ${transport} . ${port}`;

export const describeDestination = (destination: Destination): string => `${formatEndpoint(destination)} (${destination.transport})`;
