/**
 * xDS for TypeScript: a server library for both variants of the aggregated discovery service, a cache of snapshots to serve,
 * and a client of the Delta variant. Knows no type of resource but by its URL, and nothing of the rest of this project.
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
export { createResource, createSnapshot, resourcesOf } from './resource.ts';
export type { Resource, ResourceMap, Snapshot } from './resource.ts';
export { createXdsServer } from './server.ts';
export type { XdsAuthentication, XdsServer, XdsServerOptions } from './server.ts';
export { xdsServerLimits } from './server-stream.ts';
export type { XdsCall, XdsLog, XdsStatus } from './server-stream.ts';
export { createSnapshotCache } from './snapshot-cache.ts';
export type { AttachedStream, NodeStatus, SnapshotCache, StreamStatus } from './snapshot-cache.ts';
export type { TypeStatus, Variant } from './stream-state.ts';
export { envoyFullStateTypes, envoyTypeOrder, envoyTypes } from './type-order.ts';
export type { TypeOrder } from './type-order.ts';
