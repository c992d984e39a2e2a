/**
 * The listeners on sockets: mTLS, and nothing else. They know neither services nor grants, so that no change of either touches
 * them: the SNI is the name of a cluster, and the identity goes along as state of the connection.
 */
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { Endpoint, PlannedGateway } from '../../core/plan/plan.ts';
import { Cluster_DiscoveryType as DiscoveryType } from '../../proto/envoy/config/cluster/v3/cluster_pb.ts';
import type { FilterChainSchema } from '../../proto/envoy/config/listener/v3/listener_components_pb.ts';
import { TlsInspectorSchema } from '../../proto/envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector_pb.ts';
import { UpstreamConnectMode } from '../../proto/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy_pb.ts';
import { entranceLog } from './access-log.ts';
import { ownState, setFilterState, sharedState, tcpProxy } from './filters.ts';
import { entranceName, handOverCluster, nobody, sniCluster, stateKeys } from './names.ts';
import { endpointAddress, endpointAssignment, keepAlive, milliseconds, unlimited } from './places.ts';
import { pack, resourceOf, type EnvoyResource } from './resource.ts';
import { workloadFacing } from './tls.ts';

type FilterChainInit = MessageInitShape<typeof FilterChainSchema>;

/** What is served by the gateway beside this one: chosen by SNI, and handed over with its TLS untouched. */
export interface HandOver {
  readonly gateway: PlannedGateway;
  /** Not empty. */
  readonly serverNames: readonly string[];
}

const readsServerName = { name: 'envoy.filters.listener.tls_inspector', configType: { case: 'typedConfig', value: pack(TlsInspectorSchema, {}) } } as const;

/** A listener that all services share: the SNI says which. */
export function sharedEntrance(endpoint: Endpoint, { limits }: PlannedGateway, handOvers: readonly HandOver[]): EnvoyResource {
  const bySni = terminate(nobody, [ownState('envoy.tcp_proxy.cluster', sniCluster('%REQUESTED_SERVER_NAME%'))], limits.handshakeTimeoutMs);
  return entrance(endpoint, limits.handshakeTimeoutMs, [...handOvers.map((each) => passOn(each, limits.connectTimeoutMs)), bySni], [readsServerName]);
}

/** The listener that a service port has to itself, whatever the SNI. `cluster` leads to the service port. */
export function ownEntrance(endpoint: Endpoint, { limits }: PlannedGateway, cluster: string): EnvoyResource {
  return entrance(endpoint, limits.handshakeTimeoutMs, [terminate(cluster, [], limits.handshakeTimeoutMs)], []);
}

/** Where a connection goes for which there is no service port. */
export const nowhere: EnvoyResource = resourceOf('cluster', { name: nobody, clusterDiscoveryType: { case: 'type', value: DiscoveryType.STATIC }, connectTimeout: milliseconds(1_000) });

/** The cluster of the gateway beside this one. */
export function handOverTo({ name, advertise, limits }: PlannedGateway): EnvoyResource {
  const clusterName = handOverCluster(name);
  return resourceOf('cluster', {
    name: clusterName,
    clusterDiscoveryType: { case: 'type', value: DiscoveryType.STATIC },
    connectTimeout: milliseconds(limits.connectTimeoutMs),
    circuitBreakers: unlimited,
    loadAssignment: endpointAssignment(clusterName, advertise),
  });
}

function entrance(endpoint: Endpoint, handshakeTimeoutMs: number, filterChains: readonly FilterChainInit[], listenerFilters: readonly (typeof readsServerName)[]): EnvoyResource {
  return resourceOf('listener', {
    name: entranceName(endpoint),
    statPrefix: 'entrance',
    address: endpointAddress(endpoint),
    listenerFilters: [...listenerFilters],
    listenerFiltersTimeout: milliseconds(handshakeTimeoutMs),
    filterChains: [...filterChains],
    accessLog: [...entranceLog],
    tcpKeepalive: keepAlive,
  });
}

/**
 * Ends the workload's TLS. Nothing is opened onward before the handshake has proved the identity: Envoy's default would connect
 * at once, and a server that speaks first would be heard by anybody (envoyproxy/envoy#9023).
 */
function terminate(cluster: string, choosing: readonly ReturnType<typeof ownState>[], handshakeTimeoutMs: number): FilterChainInit {
  return {
    name: 'workloads',
    transportSocket: workloadFacing,
    transportSocketConnectTimeout: milliseconds(handshakeTimeoutMs),
    filters: [
      setFilterState({
        onNewConnection: [...choosing, sharedState(stateKeys.client, '%DOWNSTREAM_REMOTE_ADDRESS%')],
        onDownstreamTlsHandshake: [sharedState(stateKeys.identity, '%DOWNSTREAM_PEER_URI_SAN%'), sharedState(stateKeys.serialNumber, '%DOWNSTREAM_PEER_SERIAL%'), sharedState(stateKeys.connection, '%STREAM_ID%')],
      }),
      tcpProxy(cluster, { upstreamConnectMode: UpstreamConnectMode.ON_DOWNSTREAM_TLS_HANDSHAKE, maxEarlyDataBytes: 0, idleTimeout: milliseconds(0) }),
    ],
  };
}

function passOn({ gateway, serverNames }: HandOver, connectTimeoutMs: number): FilterChainInit {
  return {
    name: handOverCluster(gateway.name),
    filterChainMatch: { serverNames: [...serverNames] },
    transportSocketConnectTimeout: milliseconds(connectTimeoutMs),
    filters: [setFilterState({ onNewConnection: [{ ...ownState(stateKeys.handedOver, gateway.name), factoryKey: 'envoy.string' }] }), tcpProxy(handOverCluster(gateway.name), { idleTimeout: milliseconds(0) })],
  };
}
