/** Envoy's resources, small ones: a TCP listener that leads to a cluster, and clusters with endpoints on loopback. */
import { create, toBinary } from '@bufbuild/protobuf';
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { anyPack } from '@bufbuild/protobuf/wkt';
import { Cluster_DiscoveryType, ClusterSchema } from '../../src/proto/envoy/config/cluster/v3/cluster_pb.ts';
import { ConfigSourceSchema } from '../../src/proto/envoy/config/core/v3/config_source_pb.ts';
import { ClusterLoadAssignmentSchema } from '../../src/proto/envoy/config/endpoint/v3/endpoint_pb.ts';
import { ListenerSchema } from '../../src/proto/envoy/config/listener/v3/listener_pb.ts';
import { TcpProxySchema } from '../../src/proto/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy_pb.ts';
import { createResource, envoyTypes, type Resource } from '../../src/xds/index.ts';

const socketAddress = (port: number) => ({ address: { case: 'socketAddress' as const, value: { address: '127.0.0.1', portSpecifier: { case: 'portValue' as const, value: port } } } });
const seconds = (count: number) => ({ seconds: BigInt(count), nanos: 0 });

function loadAssignment(clusterName: string, port: number) {
  return { clusterName, endpoints: [{ lbEndpoints: [{ hostIdentifier: { case: 'endpoint' as const, value: { address: socketAddress(port) } } }] }] };
}

/** Field `number` of a message, encoded: two encodings one after the other are the message with the fields of both. */
export function field(number: number, value: Uint8Array | string): Uint8Array {
  const writer = new BinaryWriter().tag(number, WireType.LengthDelimited);
  return (typeof value === 'string' ? writer.string(value) : writer.bytes(value)).finish();
}

const ads = toBinary(ConfigSourceSchema, create(ConfigSourceSchema, { configSourceSpecifier: { case: 'ads', value: {} }, resourceApiVersion: 2 }));

export function staticCluster(name: string, port: number): Resource {
  const message = create(ClusterSchema, { name, clusterDiscoveryType: { case: 'type', value: Cluster_DiscoveryType.STATIC }, connectTimeout: seconds(1), loadAssignment: loadAssignment(name, port) });
  return createResource({ name, typeUrl: envoyTypes.cluster, value: toBinary(ClusterSchema, message) });
}

/** A cluster whose endpoints come by EDS under `serviceName`, or where that is left out under its own name. */
export function edsCluster(name: string, serviceName?: string): Resource {
  const message = create(ClusterSchema, { name, clusterDiscoveryType: { case: 'type', value: Cluster_DiscoveryType.EDS }, connectTimeout: seconds(1) });
  const eds = Buffer.concat([field(1, ads), ...(serviceName === undefined ? [] : [field(2, serviceName)])]);
  return createResource({ name, typeUrl: envoyTypes.cluster, value: Buffer.concat([toBinary(ClusterSchema, message), field(3, eds)]) });
}

export function endpoints(name: string, port: number): Resource {
  const value = toBinary(ClusterLoadAssignmentSchema, create(ClusterLoadAssignmentSchema, loadAssignment(name, port)));
  return createResource({ name, typeUrl: envoyTypes.endpoint, value });
}

export function tcpListener(name: string, port: number, cluster: string): Resource {
  const proxy = anyPack(TcpProxySchema, create(TcpProxySchema, { statPrefix: name, clusterSpecifier: { case: 'cluster', value: cluster } }));
  const message = create(ListenerSchema, { name, address: socketAddress(port), filterChains: [{ filters: [{ name: 'tcp', configType: { case: 'typedConfig', value: proxy } }] }] });
  return createResource({ name, typeUrl: envoyTypes.listener, value: toBinary(ListenerSchema, message) });
}

/** A ConfigSource that says: from where this came. */
export const fromAds: Uint8Array = ads;
