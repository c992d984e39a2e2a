/**
 * xDS for TypeScript: a server library for both variants of the protocol, aggregated and for one type, a cache of snapshots to
 * serve, the client status discovery service, and a client of the Delta variant. Serves any type of resource, also ones that it
 * has never heard of, and knows nothing of the rest of this project.
 *
 * - The protocol is one pure reducer per stream (`stream-state.ts`): events in, the next state and effects out. Sockets, clocks
 *   and timers are in the thin shells `server-stream.ts` and `delta-client.ts` only.
 * - A resource is immutable and encoded once; responses of all streams are put together from the same bytes.
 * - One response is outstanding for a type, and one is in the transport for a stream; what changes meanwhile merges.
 * - A client that is up to date costs no memory for what it holds.
 *
 * Source: https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol; where we read it otherwise than its letter,
 * docs/decisions/0300-xds-protocol.md says so.
 */
export { createDeltaClient, deltaClientLimits } from './delta-client.ts';
export type { DeltaClient, DeltaClientOptions, DeltaClientState, DeltaClientStateDetail, DeltaEndpoint } from './delta-client.ts';
export type { DeltaSubscription, DeltaUpdate } from './delta-client-state.ts';
export { composeSnapshots } from './composed-snapshot.ts';
export { consistencyFaultsOf, describeFaults, readReferences } from './consistency.ts';
export type { ConsistencyOptions, SnapshotFault } from './consistency.ts';
export { debugNodes } from './debug-nodes.ts';
export type { DebugNode, DebugResource } from './debug-nodes.ts';
export { envoyDiscoveryServices } from './discovery-services.ts';
export type { DiscoveryService } from './discovery-services.ts';
export { encodeResource } from './encode-resource.ts';
export { envoyReferences } from './envoy-references.ts';
export type { XdsLog } from './quiet-log.ts';
export type { Reference, ReferenceTable } from './reference.ts';
export { createResource, createSnapshot, resourcesOf } from './resource.ts';
export type { Resource, ResourceMap, Snapshot } from './resource.ts';
export { createXdsServer } from './server.ts';
export type { XdsAuthentication, XdsServer, XdsServerOptions } from './server.ts';
export { xdsServerLimits } from './server-stream.ts';
export type { OnDemand, XdsCall, XdsCaller, XdsDemand, XdsPeer, XdsStatus } from './server-stream.ts';
export { createSnapshotCache } from './snapshot-cache.ts';
export type { AttachedStream, NodeStatus, NodeTrouble, SnapshotCache, SnapshotCacheOptions, StreamResources, StreamStatus } from './snapshot-cache.ts';
export type { Variant } from './stream-state.ts';
export type { ResourceStatus, TypeRejection, TypeStatus } from './stream-status.ts';
export { envoyFullStateTypes, envoyTypeOrder, envoyTypes } from './type-order.ts';
export type { TypeOrder } from './type-order.ts';
export type { UserAgent } from './user-agent.ts';
