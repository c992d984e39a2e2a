export { createDeltaClient, deltaClientLimits } from './delta-client.ts';
export type { DeltaClient, DeltaClientOptions, DeltaClientState, DeltaClientStateDetail, DeltaEndpoint } from './delta-client.ts';
export type { DeltaSubscription, DeltaUpdate } from './delta-client-state.ts';
export { createResource, createSnapshot, resourcesOf } from './resource.ts';
export type { Resource, ResourceMap, Snapshot } from './resource.ts';
