/**
 * What the control plane may do at the API server, and why: the one table that its roles and docs/reference/permissions.md come from. Its
 * gateways, and the agents beside workloads, may do nothing there.
 */
import { apiVersion, olderApiVersion } from '../core/objects/index.ts';
import { customResourceDefinitions } from '../kubernetes/index.ts';
import { trustBundleConfigMap } from '../core/pod-identity.ts';
import { caSecretName, leaseName, stateSecretName, webhookConfigurations } from './names.ts';

export interface Permission {
  /** In all namespaces and outside of them, or in the control plane's own alone. */
  readonly where: 'cluster' | 'own namespace';
  /** Empty for Kubernetes' own first kinds, as Services are. */
  readonly group: string;
  readonly resources: readonly string[];
  readonly verbs: readonly string[];
  /** Only objects of these names. A `list` or `watch` has to ask for one of them by `metadata.name`. */
  readonly names?: readonly string[];
  readonly why: string;
  /** Only where the webhooks are installed. */
  readonly forWebhooks?: true;
}

const [ownGroup, olderGroup] = [apiVersion, olderApiVersion].map((text) => text.split('/')[0]!) as [string, string];

/** Of all kinds of a group, or of those that have a status. */
function resourcesOf(group: string, { withStatus = false } = {}): readonly string[] {
  const ofGroup = customResourceDefinitions.filter(({ spec }) => spec.group === group);
  return ofGroup.flatMap(({ spec: { names, versions } }) => (withStatus ? (versions[0].subresources === undefined ? [] : [`${names.plural}/status`]) : [names.plural]));
}

export const permissions: readonly Permission[] = [
  { where: 'cluster', group: ownGroup, resources: resourcesOf(ownGroup), verbs: ['list', 'watch'], why: 'Desired state, and the addresses that were given' },
  { where: 'cluster', group: olderGroup, resources: resourcesOf(olderGroup), verbs: ['list', 'watch'], why: 'Desired state in the older form; asked for also where its definition is not installed, to see when it is' },
  { where: 'cluster', group: ownGroup, resources: resourcesOf(ownGroup, { withStatus: true }), verbs: ['patch'], why: 'What became of each object' },
  { where: 'cluster', group: olderGroup, resources: resourcesOf(olderGroup, { withStatus: true }), verbs: ['patch'], why: 'The same' },
  { where: 'cluster', group: ownGroup, resources: ['snatassignments'], verbs: ['create', 'update', 'patch', 'delete'], why: 'An address is promised before it is used, and given back after its quarantine' },
  { where: 'cluster', group: ownGroup, resources: ['externalservices/finalizers'], verbs: ['update'], why: 'To name an object as the owner of what is registered for it, where the admission plugin OwnerReferencesPermissionEnforcement asks for that' },
  { where: 'cluster', group: olderGroup, resources: ['externalservices/finalizers'], verbs: ['update'], why: 'The same' },
  { where: 'cluster', group: '', resources: ['namespaces', 'services'], verbs: ['list', 'watch'], why: 'Namespaces by their labels, and the Services that policies and bindings name' },
  { where: 'cluster', group: '', resources: ['pods'], verbs: ['get', 'list', 'watch'], why: 'The service accounts of the pods behind a Service, and which address is whose; and whether the pod of a token is there and alive' },
  { where: 'cluster', group: 'discovery.k8s.io', resources: ['endpointslices'], verbs: ['list', 'watch'], why: 'The pods behind a Service' },
  { where: 'cluster', group: '', resources: ['services'], verbs: ['create', 'patch', 'delete'], why: 'External services are registered; by the admission policy only what is labelled as ours, and nothing in kube-system' },
  { where: 'cluster', group: 'discovery.k8s.io', resources: ['endpointslices'], verbs: ['create', 'patch', 'delete'], why: 'The same' },
  { where: 'cluster', group: '', resources: ['configmaps'], verbs: ['create'], why: 'The trust bundle, for the pods of every namespace; no role can say by which name, the admission policy does' },
  { where: 'cluster', group: '', resources: ['configmaps'], verbs: ['list', 'watch', 'patch'], names: [trustBundleConfigMap.name], why: 'The same, kept true; no other ConfigMap is read' },
  { where: 'cluster', group: 'authentication.k8s.io', resources: ['tokenreviews'], verbs: ['create'], why: 'Whose a token is that a pod comes with' },
  { where: 'cluster', group: 'events.k8s.io', resources: ['events'], verbs: ['create'], why: 'What a person should know of an object' },
  { where: 'cluster', group: 'admissionregistration.k8s.io', resources: ['mutatingwebhookconfigurations'], verbs: ['get', 'patch'], names: [webhookConfigurations.inject], why: "The leader writes the CA by which the API server knows the webhook", forWebhooks: true },
  { where: 'cluster', group: 'admissionregistration.k8s.io', resources: ['validatingwebhookconfigurations'], verbs: ['get', 'patch'], names: [webhookConfigurations.validate], why: 'The same', forWebhooks: true },
  { where: 'own namespace', group: 'coordination.k8s.io', resources: ['leases'], verbs: ['create'], why: 'Which replica leads; no role can say by which name' },
  { where: 'own namespace', group: 'coordination.k8s.io', resources: ['leases'], verbs: ['get', 'update'], names: [leaseName], why: 'The same' },
  { where: 'own namespace', group: '', resources: ['secrets'], verbs: ['get', 'list', 'watch', 'update'], names: [caSecretName], why: "The CA's keys, which all replicas sign with; installed empty, so that none may be created" },
  { where: 'own namespace', group: '', resources: ['secrets'], verbs: ['get', 'list', 'watch', 'update'], names: [stateSecretName], why: 'Join tokens, and what is revoked, which all replicas know; installed empty likewise' },
];

/** `PolicyRule` of `rbac.authorization.k8s.io/v1`. */
export interface PolicyRule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly resourceNames?: readonly string[];
  readonly verbs: readonly string[];
}

export function ruleOf({ group, resources, names, verbs }: Permission): PolicyRule {
  return { apiGroups: [group], resources, ...(names === undefined ? {} : { resourceNames: names }), verbs };
}
