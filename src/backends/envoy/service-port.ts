/** One service port at a gateway: an internal listener with one filter chain a grant, and the ways to it and out of it. */
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { Condition } from '../../core/plan/condition.ts';
import type { PlannedGateway, ServicePort, Subject } from '../../core/plan/plan.ts';
import type { RevokedCertificate } from '../../core/revoked-certificate.ts';
import type { TrustDomain } from '../../core/spiffe-id.ts';
import { Cluster_DiscoveryType as DiscoveryType } from '../../proto/envoy/config/cluster/v3/cluster_pb.ts';
import type { FilterChainSchema } from '../../proto/envoy/config/listener/v3/listener_components_pb.ts';
import { InternalUpstreamTransportSchema } from '../../proto/envoy/extensions/transport_sockets/internal_upstream/v3/internal_upstream_pb.ts';
import { RawBufferSchema } from '../../proto/envoy/extensions/transport_sockets/raw_buffer/v3/raw_buffer_pb.ts';
import { grantLog, refusalLog } from './access-log.ts';
import { departureOf, type Departure, type DepartureContext } from './departure.ts';
import { originalDestination, setFilterState, tcpProxy } from './filters.ts';
import { grantMatcher } from './grant-matcher.ts';
import { revocationMark, revokedAt } from './revocations.ts';
import { chainName, serviceListenerName, sniCluster } from './names.ts';
import { assignment, internalAddress, milliseconds, unlimited } from './places.ts';
import { pack, resourceOf, type EnvoyResource } from './resource.ts';

/** What a service port is rendered with. Made once for each gateway, for it is part of what is remembered. */
export interface GatewayContext extends DepartureContext {
  readonly gateway: PlannedGateway;
  readonly trustDomain: TrustDomain;
}

/** The same objects for as long as what they were rendered from stays the same. */
export interface Rendered {
  readonly resources: readonly EnvoyResource[];
  readonly conditions: readonly Condition[];
}

const remembered = new WeakMap<ServicePort, { readonly context: GatewayContext; readonly revoked: readonly RevokedCertificate[]; readonly rendered: Rendered }>();

/** Costs next to nothing for a service port that was rendered before in the same context: the result is the same object. */
export function renderServicePort(servicePort: ServicePort, context: GatewayContext, allRevoked: readonly RevokedCertificate[]): Rendered {
  const known = remembered.get(servicePort);
  const revoked = revokedAt(servicePort, allRevoked);
  if (known?.context === context && sameCertificates(known.revoked, revoked)) return known.rendered;
  const rendered = render(servicePort, context, revoked);
  remembered.set(servicePort, { context, revoked, rendered });
  return rendered;
}

const sameCertificates = (a: readonly RevokedCertificate[], b: readonly RevokedCertificate[]): boolean => a.length === b.length && a.every(({ serialNumber }, index) => serialNumber === b[index]!.serialNumber);

function render(servicePort: ServicePort, context: GatewayContext, revoked: readonly RevokedCertificate[]): Rendered {
  const { id, grants, serverNames } = servicePort;
  const chainOf = (subject: Subject): string => `${chainName(subject)}${revocationMark(subject, revoked)}`;
  const chains: MessageInitShape<typeof FilterChainSchema>[] = [];
  const clusters = new Map<string, EnvoyResource>();
  const conditions = new Map<string, Condition>();
  for (const { subject, snat } of grants) {
    if (snat === null) continue;
    const outcome = departureOf(servicePort, snat, context);
    if (outcome.ok) {
      chains.push({ name: chainOf(subject), filters: grantFilters(outcome.departure, context) });
      clusters.set(outcome.departure.cluster.name, outcome.departure.cluster);
    } else {
      const { code, message } = outcome.refusal;
      conditions.set(`${code} ${message}`, { object: id, ...outcome.refusal });
    }
  }
  const rendered = { conditions: [...conditions.values()] };
  if (chains.length === 0) return { ...rendered, resources: [] }; // nobody may: then there is no such place, and the entrance refuses
  // A namespace without a chain needs no entry; a service account without one does, lest it be taken for its namespace.
  const names = new Set(chains.map(({ name }) => name));
  const matched = grants.map(({ subject }) => ({ subject, chain: chainOf(subject) })).filter(({ subject, chain }) => subject.serviceAccount !== undefined || names.has(chain));
  const listener = resourceOf('listener', {
    name: serviceListenerName(id),
    statPrefix: 'service',
    listenerSpecifier: { case: 'internalListener', value: {} },
    accessLog: [...refusalLog],
    filterChains: chains,
    filterChainMatcher: grantMatcher(context.trustDomain, matched, revoked.map(({ serialNumber }) => serialNumber)),
  });
  return { ...rendered, resources: [...clusters.values(), ...serverNames.map((serverName) => wayTo(servicePort, serverName)), listener] };
}

/** Nothing of a grant but what it does stands in its chain: a chain that changes ends its connections. */
function grantFilters({ cluster, target, attempts }: Departure, { limits }: DepartureContext) {
  const retries = attempts === 1 ? {} : { maxConnectAttempts: attempts, backoffOptions: { baseInterval: milliseconds(50), maxInterval: milliseconds(100) } };
  const proxy = tcpProxy(cluster.name, { idleTimeout: milliseconds(limits.idleTimeoutMs), accessLog: [...grantLog], accessLogOptions: { flushAccessLogOnConnected: true }, ...retries });
  return target === undefined ? [proxy] : [setFilterState({ onNewConnection: [originalDestination(target)] }), proxy];
}

const withinProcess = { name: 'envoy.transport_sockets.internal_upstream', configType: { case: 'typedConfig', value: pack(InternalUpstreamTransportSchema, { transportSocket: { name: 'envoy.transport_sockets.raw_buffer', configType: { case: 'typedConfig', value: pack(RawBufferSchema, {}) } } }) } } as const;

function wayTo({ id }: ServicePort, serverName: string): EnvoyResource {
  const name = sniCluster(serverName);
  return resourceOf('cluster', {
    name,
    clusterDiscoveryType: { case: 'type', value: DiscoveryType.STATIC },
    connectTimeout: milliseconds(1_000),
    circuitBreakers: unlimited,
    loadAssignment: assignment(name, [internalAddress(serviceListenerName(id))]),
    transportSocket: withinProcess,
  });
}
