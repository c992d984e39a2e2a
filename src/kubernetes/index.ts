/**
 * Sallyport on Kubernetes: desired state as custom resources, watched by every replica, written about by the leader alone.
 *
 * Invariants: every field and rule of a kind comes from its schema in core, and what an API server refuses core refuses too; an address is in a
 * plan only after its assignment is at the API server; what somebody else has made is not taken over; where nothing changes, nothing is written.
 */
export { customResourceDefinitions, type CustomResourceDefinition } from './crd/definitions.ts';
export { createPodAttestor, type PodAttestor } from './identity/attest.ts';
export { managedBy, managedByLabel } from './registration/registration.ts';
export { createHostResolver } from './registration/resolve-host.ts';
export { assignmentFinalizer } from './assignments.ts';
export { clockCondition } from './clocks.ts';
export { applyContentType, ApiRefusal, createApiClient, mergeContentType, type ApiClient, type ApiRequest } from './client.ts';
export { openClusterAccess, type KubeConfigChoice } from './kube-config.ts';
export { judge, readLiveState, type Judgement, type LiveState } from './live-state.ts';
export { desiredResources, objectPath } from './operator/resources.ts';
export { createAsker, type Asker } from './user/asking.ts';
export { listAll } from './user/list-all.ts';
export { pathOf, type Resource } from './watch/reflect.ts';
export { injectKey } from './webhook/injection.ts';
export { startWebhooks, webhookPaths, type Webhooks } from './webhook/webhooks.ts';
export type { Evidence } from './operator/assigner.ts';
export type { GatewayReport } from './operator/gateway-report.ts';
export { startOperator, type Operator, type OperatorOptions } from './operator/operator.ts';
export { openSecretText, type SecretText } from './secret-text.ts';
export { openUserCluster, type UserCluster } from './user/cluster.ts';
export { manifestOf, type DesiredObjects, type LiveObject, type Manifest, type ObjectOutcome } from './user/desired-objects.ts';
export type { Replica } from './user/replicas.ts';
