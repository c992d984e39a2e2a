/**
 * Sallyport on Kubernetes: desired state as custom resources. So far what they look like to an API server.
 *
 * Invariants: every field and rule of a kind comes from its schema in core; what an API server refuses core refuses too.
 */
export { customResourceDefinitions, type CustomResourceDefinition } from './crd/definitions.ts';
export { createPodAttestor, type PodAttestor } from './identity/attest.ts';
export { managedBy } from './registration/registration.ts';
export { registrantsOf } from './registration/registrants.ts';
export { createRegistrar, type Registrant, type Registrar, type RegistrarOptions } from './registration/registrar.ts';
export { createHostResolver } from './registration/resolve-host.ts';
export { createTrustBundlePublisher, type TrustBundlePublisher, type TrustBundlePublisherOptions } from './trust-bundle/publisher.ts';
export { assignmentFinalizer } from './assignments.ts';
export { applyContentType, ApiRefusal, createApiClient, mergeContentType, type ApiClient, type ApiRequest } from './client.ts';
export { loadKubeConfig, type KubeConfigChoice } from './kube-config.ts';
export { injectKey } from './webhook/injection.ts';
export type { AgentSettings } from './webhook/agent-sidecar.ts';
export { createCaBundleKeeper, type CaBundleKeeper } from './webhook/ca-bundle-keeper.ts';
export type { Findings, ValidateChange } from './webhook/validation.ts';
export { startWebhooks, webhookPaths, type ServerIdentity, type Webhooks } from './webhook/webhooks.ts';
