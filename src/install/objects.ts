/** All objects of an installation, in the order in which they are applied. */
import type { ExplainedObject } from '../generate/index.ts';
import { customResourceDefinitions } from '../kubernetes/index.ts';
import { olderApiVersion, olderNamespace } from '../core/objects/index.ts';
import { access } from './access.ts';
import { controlPlane } from './control-plane.ts';
import { gateway, gatewaysNamespace } from './gateways.ts';
import { keep, metadataOf } from './metadata.ts';
import { networkPolicies } from './network-policies.ts';
import type { InstallOptions } from './options.ts';
import { webhooks } from './webhooks.ts';

/** The parts of an installation, in the order in which they are applied: what others rest on comes first. */
export interface InstallParts {
  /** Of the control plane; a chart that is installed into it does not make it. */
  readonly namespace: ExplainedObject;
  readonly definitions: readonly ExplainedObject[];
  readonly olderForm: readonly ExplainedObject[];
  readonly access: readonly ExplainedObject[];
  readonly networkPolicies: readonly ExplainedObject[];
  readonly controlPlane: readonly ExplainedObject[];
  readonly webhooks: readonly ExplainedObject[];
  readonly gatewaysNamespace: ExplainedObject;
  readonly gateway: (name: string) => readonly ExplainedObject[];
}

export function installParts(options: InstallOptions): InstallParts {
  const definitions = Map.groupBy(customResourceDefinitions, ({ spec }) => olderApiVersion.startsWith(`${spec.group}/`));
  const definitionsOf = (isOlder: boolean): readonly ExplainedObject[] => (definitions.get(isOlder) ?? []).map((definition) => ({ object: { ...definition, metadata: { ...definition.metadata, annotations: keep } } }));
  return {
    namespace: namespaceOf(options),
    definitions: definitionsOf(false),
    olderForm: [...definitionsOf(true), olderNamespaceObject],
    access: access(options),
    networkPolicies: networkPolicies(options),
    controlPlane: controlPlane(options),
    webhooks: webhooks(options),
    gatewaysNamespace: gatewaysNamespace(),
    gateway: (name) => gateway(options, name),
  };
}

export function installObjects(options: InstallOptions): readonly ExplainedObject[] {
  const parts = installParts(options);
  return [
    parts.namespace,
    ...parts.definitions,
    ...(options.olderForm ? parts.olderForm : []),
    ...parts.access,
    ...parts.networkPolicies,
    ...parts.controlPlane,
    ...(options.webhooks ? parts.webhooks : []),
    ...(options.gateways.length > 0 ? [parts.gatewaysNamespace, ...options.gateways.flatMap(parts.gateway)] : []),
  ];
}

function namespaceOf({ namespace }: InstallOptions): ExplainedObject {
  const labels = { 'pod-security.kubernetes.io/enforce': 'restricted', 'pod-security.kubernetes.io/warn': 'restricted' };
  return { object: { apiVersion: 'v1', kind: 'Namespace', metadata: metadataOf('control-plane', namespace, undefined, { kept: true, labels }) } };
}

const olderNamespaceObject: ExplainedObject = {
  object: { apiVersion: 'v1', kind: 'Namespace', metadata: { name: olderNamespace, annotations: keep } },
  why: 'Where services of the older form are registered, by a control plane that may make no namespaces. Not labelled as ours: others may have Services in it, so no uninstall removes it.',
};
