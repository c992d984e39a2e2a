/** An Envoy beside a workload: a local listener for each service port that its identity may use, and mTLS to the gateway with its SVID. */
import type { MessageInitShape } from '@bufbuild/protobuf';
import { isLoopback, type IpAddress } from '../../core/ip-address.ts';
import { agentView, type AgentUpstream } from '../../core/plan/agent-view.ts';
import type { Condition } from '../../core/plan/condition.ts';
import type { Endpoint, Plan, PortRange } from '../../core/plan/plan.ts';
import type { SpiffeId } from '../../core/spiffe-id.ts';
import { Cluster_DiscoveryType as DiscoveryType, Cluster_LbPolicy as LbPolicy, type ClusterSchema } from '../../proto/envoy/config/cluster/v3/cluster_pb.ts';
import { originalDestination, setFilterState, tcpProxy, type FilterInit } from './filters.ts';
import { ftpDataCluster, localListenerName, upstreamCluster } from './names.ts';
import { endpointAddress, endpointAssignment, keepAlive, milliseconds, unlimited } from './places.ts';
import { resourceOf, type EnvoyResource } from './resource.ts';
import type { Rendered } from './service-port.ts';
import { gatewayFacing } from './tls.ts';

/** Until the gateway has answered, its TLS included. The gateway's own limits hold for everything after. */
const connectTimeoutMs = 10_000;
/** A listener each: beyond this a sidecar is nothing but ports. */
const ftpDataPortsMax = 1_000;

const remembered = new WeakMap<AgentUpstream, Rendered>();

/** Renders a sidecar. Pure and deterministic; resources of an upstream that stays the same are the same objects. */
export function renderEnvoySidecar(plan: Plan, identity: SpiffeId): Rendered {
  const upstreams = agentView(plan, identity);
  const parts = [...upstreams.map(renderUpstream), renderFtpData(plan, upstreams.filter((upstream) => upstream.protocol === 'FTP' && refusalOf(upstream) === undefined))];
  return { resources: parts.flatMap(({ resources }) => resources), conditions: parts.flatMap(({ conditions }) => conditions) };
}

function renderUpstream(upstream: AgentUpstream): Rendered {
  const known = remembered.get(upstream);
  if (known !== undefined) return known;
  const refusal = refusalOf(upstream);
  const cluster = upstreamCluster(upstream.id);
  const rendered: Rendered = refusal === undefined ? { resources: [towardsGateway(cluster, upstream, toAddresses(cluster, upstream.gateways)), localListener(upstream.listen, [toCluster(cluster)])], conditions: [] } : { resources: [], conditions: [refusal] };
  remembered.set(upstream, rendered);
  return rendered;
}

/** Whoever reaches the listener is taken for the workload; and with nobody to believe, Envoy would believe everybody of the trust domain. */
function refusalOf({ id, protocol, listen, serverIdentities }: AgentUpstream): Condition | undefined {
  if (protocol === 'UDP') return { code: 'datagrams-unable', object: id, message: 'a sidecar cannot carry datagrams to the gateway', hint: 'run "sallyport agent" beside the workload' };
  if (!isLoopback(listen.address)) return { code: 'listener-exposed', object: id, message: `${listen.address} is not a loopback address`, hint: 'set spec.agentAddress of the ExternalService to an address of 127.0.0.0/8, or ::1' };
  if (serverIdentities.length === 0) return { code: 'server-identity-missing', object: id, message: 'nobody could be believed as its gateway', hint: 'name an identity in "subjectAltNames", or leave it out' };
  return undefined;
}

const toCluster = (cluster: string): FilterInit => tcpProxy(cluster, { idleTimeout: milliseconds(0) });

function localListener(listen: Endpoint, filters: readonly FilterInit[]): EnvoyResource {
  return resourceOf('listener', { name: localListenerName(listen), statPrefix: 'local', address: endpointAddress(listen), filterChains: [{ name: 'workload', filters: [...filters] }] });
}

type Discovery = Pick<MessageInitShape<typeof ClusterSchema>, 'clusterDiscoveryType' | 'loadAssignment' | 'lbPolicy'>;

const toAddresses = (name: string, gateways: readonly Endpoint[]): Discovery => ({ clusterDiscoveryType: { case: 'type', value: DiscoveryType.STATIC }, loadAssignment: endpointAssignment(name, gateways) });
const toOriginalDestination: Discovery = { clusterDiscoveryType: { case: 'type', value: DiscoveryType.ORIGINAL_DST }, lbPolicy: LbPolicy.CLUSTER_PROVIDED };

function towardsGateway(name: string, { serverName, serverIdentities }: AgentUpstream, discovery: Discovery): EnvoyResource {
  return resourceOf('cluster', {
    name,
    ...discovery,
    connectTimeout: milliseconds(connectTimeoutMs),
    circuitBreakers: unlimited,
    transportSocket: gatewayFacing(serverName, serverIdentities),
    upstreamConnectionOptions: { tcpKeepalive: keepAlive },
  });
}

/**
 * FTP's data connections. Our agent rewrites what the server says of them; Envoy cannot, so each port that the gateway may name
 * is a local listener, which leads to the same port of the gateway. Clients find it by EPSV, whose answer has no address, or by
 * PASV where they keep to the address of the control connection.
 */
function renderFtpData(plan: Plan, upstreams: readonly AgentUpstream[]): Rendered {
  const resources: EnvoyResource[] = [];
  const conditions: Condition[] = [];
  /** By local address: a data connection does not say which service it is for, so there all must have one gateway. */
  const places = new Map<string, DataPlace>();
  for (const upstream of upstreams) {
    const place = dataPlaceOf(plan, upstream);
    const { address } = upstream.listen;
    const other = places.get(address);
    if (place === undefined) conditions.push(unreachable(upstream, `its gateway has several addresses, or no range of up to ${ftpDataPortsMax} passive ports`, 'set "ftp.passivePorts" of the EgressGateway, and advertise one address'));
    else if (other !== undefined && !sameDataPlace(other, place)) conditions.push(unreachable(upstream, `another service on ${address} has its data connections at another gateway`, 'set spec.agentAddress of the ExternalService to another loopback address'));
    else if (other === undefined) {
      places.set(address, place);
      resources.push(...dataListeners(upstream, place));
    }
  }
  return { resources, conditions };
}

interface DataPlace {
  readonly gateway: IpAddress;
  readonly ports: PortRange;
  readonly serverIdentities: readonly SpiffeId[];
}

function dataPlaceOf(plan: Plan, { id, gateways: [gateway, ...others], serverIdentities }: AgentUpstream): DataPlace | undefined {
  const servicePort = plan.servicePorts.find((each) => each.id === id);
  const ports = plan.gateways.find(({ name }) => name === servicePort?.gateway)?.ftpPassivePorts ?? null;
  if (gateway === undefined || others.length > 0 || ports === null || ports.last - ports.first >= ftpDataPortsMax) return undefined;
  return { gateway: gateway.address, ports, serverIdentities };
}

const sameDataPlace = (a: DataPlace, b: DataPlace): boolean => JSON.stringify(a) === JSON.stringify(b);

function* dataListeners(upstream: AgentUpstream, { gateway, ports }: DataPlace): Iterable<EnvoyResource> {
  const cluster = ftpDataCluster(upstream.id);
  yield towardsGateway(cluster, upstream, toOriginalDestination);
  for (let port = ports.first; port <= ports.last; port += 1) {
    yield localListener({ address: upstream.listen.address, port }, [setFilterState({ onNewConnection: [originalDestination({ address: gateway, port })] }), toCluster(cluster)]);
  }
}

function unreachable({ id }: AgentUpstream, message: string, hint: string): Condition {
  return { code: 'ftp-data-unreachable', object: id, message, hint };
}
