/**
 * The plan as a stock Envoy enforces it: pure renderers from the plan to xDS resources, and from Envoy's access log back to
 * ledger records. Whatever Envoy cannot do as exactly as the plan says it is a condition on the service port, and refused.
 *
 *     socket ─▶ entrance: mTLS, the SNI ─▶ cluster ─▶ internal listener of the service port: the identity ─▶ a grant's chain ─▶ (SNAT address) ─▶ target
 *
 * - Nothing is opened onward before the identity is proved and has a grant.
 * - One internal listener a service port, one chain a grant: a policy that changes resends the listeners it touches, and a chain
 *   that goes ends its own connections and no others.
 * - A private key is in no resource but a proxy's own secret.
 *
 * Source: docs/decisions/0600 and following; Envoy 1.40.
 */
export { renderEnvoyBootstrap, renderEnvoySecretFiles, proxyHeader, type EnvoyBootstrapOptions, type IdentityFiles, type SecretFiles } from './bootstrap.ts';
export { renderEnvoyGateway, renderEnvoyGatewayInSteps, type EnvoyGatewayOptions } from './gateway.ts';
export { ledgerRecordOf, type EntryContext, type EnvoyRecord } from './ledger-record.ts';
export { accessLogName, svidSecret } from './names.ts';
export { encodeResource, resourceToJson, type EnvoyResource } from './resource.ts';
export { renderSvidSecret, renderTrustBundleSecret } from './secrets.ts';
export type { Rendered } from './service-port.ts';
export { renderEnvoySidecar } from './sidecar.ts';
