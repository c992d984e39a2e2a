/** How a grant's connections leave: from which address and ports, and to which target. */
import { hash } from 'node:crypto';
import type { MessageInitShape } from '@bufbuild/protobuf';
import { familyOf } from '../../core/ip-address.ts';
import type { Condition } from '../../core/plan/condition.ts';
import type { Endpoint, GatewayLimits, Grant, PortRange, ServicePort, SnatSource, Target } from '../../core/plan/plan.ts';
import { isWhole, snatPorts } from '../../core/snat/address-space.ts';
import { sidesOf } from '../../core/snat/snat-source.ts';
import type { SnatAddress } from '../../core/snat/snat-source.ts';
import { Cluster_DiscoveryType as DiscoveryType, Cluster_DnsLookupFamily as DnsLookupFamily, Cluster_LbPolicy as LbPolicy, type ClusterSchema } from '../../proto/envoy/config/cluster/v3/cluster_pb.ts';
import type { BindConfigSchema } from '../../proto/envoy/config/core/v3/address_pb.ts';
import { SocketOption_SocketState as SocketState, type SocketOptionSchema } from '../../proto/envoy/config/core/v3/socket_option_pb.ts';
import { snatCluster, targetsCluster } from './names.ts';
import { assignment, connectionLimit, endpointAddress, keepAlive, milliseconds, socketAddress } from './places.ts';
import { resourceOf, type EnvoyResource } from './resource.ts';

type ClusterInit = Omit<MessageInitShape<typeof ClusterSchema>, '$typeName'> & { readonly name: string };

/** The way out of one grant. */
export interface Departure {
  readonly cluster: EnvoyResource;
  /** Where the cluster is for any target of one source: the target. */
  readonly target?: Endpoint;
  /** How often to try, where the cluster does not try everything by itself. */
  readonly attempts: number;
}

export interface DepartureContext {
  readonly limits: GatewayLimits;
  /** `net.ipv4.ip_local_port_range` of the gateway's host. */
  readonly localPorts: PortRange;
}

type Refusal = Pick<Condition, 'code' | 'message' | 'hint'>;
export type DepartureOutcome = { readonly ok: true; readonly departure: Departure } | { readonly ok: false; readonly refusal: Refusal };

/**
 * One address as the target is state of the connection, so that everything that leaves from one source shares one cluster,
 * whatever the service. Several addresses, and hosts, are a cluster of their own for each source and service port.
 */
export function departureOf(servicePort: Pick<ServicePort, 'id' | 'targets'>, snat: NonNullable<Grant['snat']>, context: DepartureContext): DepartureOutcome {
  const { localPorts } = context;
  const outside = sidesOf(snat).find(({ ports }) => !isWhole(ports) && (ports.first < localPorts.first || ports.last > localPorts.last));
  if (outside !== undefined) return { ok: false, refusal: outsideLocalPorts(outside, localPorts) };
  const targets = servicePort.targets.filter((target) => target.kind === 'host' || sourceFor(snat, target) !== undefined);
  const [first, ...others] = targets;
  if (first === undefined) return { ok: false, refusal: { code: 'snat-family-mismatch', message: 'no source address is of the family of any target', hint: 'give its SnatBinding one' } };
  if (first.kind === 'address' && others.length === 0) {
    return { ok: true, departure: { cluster: fromSource(sourceFor(snat, first)!, context), target: first, attempts: 1 } };
  }
  return { ok: true, departure: toTargets(servicePort.id, snat, targets, context) };
}

const sourceFor = (snat: SnatSource, { address }: Extract<Target, { kind: 'address' }>): SnatAddress | undefined => snat[familyOf(address)];

/** ip(7): a bound of IP_LOCAL_PORT_RANGE that lies outside the range of the host has no effect, and the connection leaves from somebody else's port. */
function outsideLocalPorts({ address, ports }: SnatAddress, localPorts: PortRange): Refusal {
  return {
    code: 'port-block-unusable',
    message: `ports ${ports.first}-${ports.last} of ${address} are outside the range ${localPorts.first}-${localPorts.last} from which the gateway's host takes source ports`,
    hint: `set "net.ipv4.ip_local_port_range = ${snatPorts.first} ${snatPorts.last}" on the gateway's host, and say so in spec.localPorts of its EgressGateway`,
  };
}

function fromSource(side: SnatAddress, { limits }: DepartureContext): EnvoyResource {
  return resourceOf('cluster', { ...common(snatCluster(side), limits), clusterDiscoveryType: typed(DiscoveryType.ORIGINAL_DST), lbPolicy: LbPolicy.CLUSTER_PROVIDED, upstreamBindConfig: bindConfig([side]) });
}

function toTargets(id: ServicePort['id'], snat: SnatSource, targets: readonly Target[], { limits }: DepartureContext): Departure {
  const name = targetsCluster(id, snat, digestOf(targets));
  const base = { ...common(name, limits), upstreamBindConfig: bindConfig(sidesOf(snat)) };
  const hosts = targets.filter((target) => target.kind === 'host');
  if (hosts.length === 0) {
    const addresses = targets.filter((target) => target.kind === 'address').map(endpointAddress);
    return { cluster: resourceOf('cluster', { ...base, clusterDiscoveryType: typed(DiscoveryType.STATIC), loadAssignment: assignment(name, addresses) }), attempts: 1 };
  }
  const lookup = { respectDnsTtl: true, waitForWarmOnInit: false, dnsLookupFamily: familiesOf(snat) };
  const places = hosts.map(({ host, port }) => endpointAddress({ address: host, port }));
  if (places.length === 1) {
    return { cluster: resourceOf('cluster', { ...base, ...lookup, clusterDiscoveryType: typed(DiscoveryType.LOGICAL_DNS), loadAssignment: assignment(name, places) }), attempts: 1 };
  }
  const endpoints = places.flatMap((place, priority) => (assignment(name, [place]).endpoints ?? []).map((group) => ({ ...group, priority })));
  return { cluster: resourceOf('cluster', { ...base, ...lookup, ...passOverFailed, clusterDiscoveryType: typed(DiscoveryType.STRICT_DNS), loadAssignment: { clusterName: name, endpoints } }), attempts: places.length };
}

/** A host to which a connection failed is passed over for a while, so that the next attempt goes to the next host. */
const passOverFailed: Partial<ClusterInit> = {
  outlierDetection: { splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailure: 1, maxEjectionPercent: 100, interval: milliseconds(1_000), baseEjectionTime: milliseconds(1_000) },
};

const typed = (value: DiscoveryType) => ({ case: 'type', value }) as const;

/** The limit is per source, which is what an identity, or a namespace that shares one, has to itself. */
function common(name: string, { connectTimeoutMs, connectionsPerIdentity }: GatewayLimits): ClusterInit {
  return { name, connectTimeout: milliseconds(connectTimeoutMs), circuitBreakers: connectionLimit(connectionsPerIdentity), upstreamConnectionOptions: { tcpKeepalive: keepAlive } };
}

function bindConfig([first, second]: readonly SnatAddress[]): MessageInitShape<typeof BindConfigSchema> {
  if (first === undefined) return {};
  const other = second === undefined ? [] : [{ address: socketAddress({ address: second.address, port: 0 }), socketOptions: { socketOptions: portBlock(second.ports) } }];
  return { sourceAddress: socketAddress({ address: first.address, port: 0 }), socketOptions: portBlock(first.ports), extraSourceAddresses: other };
}

/** ip(7), Linux 6.3: the range in which the kernel chooses the source port, as (highest << 16) | lowest, for IPv6 too. */
const ipLocalPortRange = { level: 0n, name: 51n } as const;

function portBlock(ports: PortRange): MessageInitShape<typeof SocketOptionSchema>[] {
  if (isWhole(ports)) return [];
  return [{ description: `source ports ${ports.first}-${ports.last}`, ...ipLocalPortRange, value: { case: 'intValue', value: (BigInt(ports.last) << 16n) | BigInt(ports.first) }, state: SocketState.STATE_PREBIND }];
}

function familiesOf({ ipv4, ipv6 }: SnatSource): DnsLookupFamily {
  if (ipv6 === undefined) return DnsLookupFamily.V4_ONLY;
  return ipv4 === undefined ? DnsLookupFamily.V6_ONLY : DnsLookupFamily.ALL;
}

/** In the cluster's name, so that a change of the targets changes the grant's chain: connections to a target that is no more end. */
const digestOf = (targets: readonly Target[]): string => hash('sha256', JSON.stringify(targets)).slice(0, 16);
