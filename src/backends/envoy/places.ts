/** Addresses, times and limits as Envoy's messages have them. */
import type { MessageInitShape } from '@bufbuild/protobuf';
import { durationFromMs, type Duration } from '@bufbuild/protobuf/wkt';
import type { Endpoint } from '../../core/plan/plan.ts';
import type { CircuitBreakersSchema } from '../../proto/envoy/config/cluster/v3/circuit_breaker_pb.ts';
import type { AddressSchema, SocketAddressSchema, TcpKeepaliveSchema } from '../../proto/envoy/config/core/v3/address_pb.ts';
import type { ClusterLoadAssignmentSchema } from '../../proto/envoy/config/endpoint/v3/endpoint_pb.ts';

type AddressInit = MessageInitShape<typeof AddressSchema>;

export const socketAddress = ({ address, port }: { readonly address: string; readonly port: number }): MessageInitShape<typeof SocketAddressSchema> => ({ address, portSpecifier: { case: 'portValue', value: port } });

export const endpointAddress = (endpoint: { readonly address: string; readonly port: number }): AddressInit => ({ address: { case: 'socketAddress', value: socketAddress(endpoint) } });

export const internalAddress = (listener: string): AddressInit => ({ address: { case: 'envoyInternalAddress', value: { addressNameSpecifier: { case: 'serverListenerName', value: listener } } } });

/** One member that has one address or, tried in this order, several. */
export function assignment(clusterName: string, [first, ...others]: readonly AddressInit[]): MessageInitShape<typeof ClusterLoadAssignmentSchema> {
  const endpoint = { ...(first === undefined ? {} : { address: first }), additionalAddresses: others.map((address) => ({ address })) };
  return { clusterName, endpoints: [{ lbEndpoints: [{ hostIdentifier: { case: 'endpoint', value: endpoint } }] }] };
}

export const endpointAssignment = (clusterName: string, endpoints: readonly Endpoint[]): MessageInitShape<typeof ClusterLoadAssignmentSchema> => assignment(clusterName, endpoints.map(endpointAddress));

export const milliseconds = (ms: number): Duration => durationFromMs(ms);

/** Finds a peer that vanished long before the idle timeout, which may be an hour. */
export const keepAlive: MessageInitShape<typeof TcpKeepaliveSchema> = { keepaliveTime: 30, keepaliveInterval: 10, keepaliveProbes: 3 };

/** Envoy's own limit of a cluster is 1,024 connections, those that wait included. */
export function connectionLimit(connections: number): MessageInitShape<typeof CircuitBreakersSchema> {
  return { thresholds: [{ maxConnections: connections, maxPendingRequests: connections, maxRequests: connections }] };
}

/** What is limited elsewhere. */
export const unlimited = connectionLimit(0xffff_ffff);
