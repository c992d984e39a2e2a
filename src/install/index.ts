/**
 * Sallyport in a cluster: the objects of an installation, made from options alone, and the shell that applies and removes them.
 *
 * Lives here: `options.ts` (what an installation is told), `objects.ts` (all of it; a file a part), `permissions.ts` (what the control plane
 * may do, and why), `chart.ts` (the same as a Helm chart), `cluster.ts` (the shell).
 *
 * Invariants: the chart and `sallyport install` say the same; applied again nothing changes; what cannot be made again (definitions, and with
 * them all custom resources; the CA's keys; ledgers) is removed only where that is asked for by name.
 */
export { chartFiles } from './chart.ts';
export { connectCluster, isKept, isSame, type Cluster, type KubernetesObject } from './cluster.ts';
export { caSecretName, controlAccount, controlPlaneName, gatewayNamespace, leaseName, webhookConfigurations } from './names.ts';
export { installObjects } from './objects.ts';
export { installOptions, type InstallOptions } from './options.ts';
export { permissions, type Permission } from './permissions.ts';
