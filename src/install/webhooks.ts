/** What the API server asks the control plane before it stores an object. By whose CA it knows the webhook, the leader writes. */
import { apiGroup, apiVersion, olderApiVersion } from '../core/objects/index.ts';
import type { ExplainedObject } from '../generate/index.ts';
import { injectKey, webhookPaths } from '../kubernetes/index.ts';
import { metadataOf } from './metadata.ts';
import { controlPlaneName, gatewayNamespace, webhookConfigurations } from './names.ts';
import type { InstallOptions } from './options.ts';

const component = 'webhooks';

export function webhooks({ namespace }: InstallOptions): readonly ExplainedObject[] {
  const clientConfig = (path: string): object => ({ service: { namespace, name: controlPlaneName, path, port: 443 } });
  const common = { admissionReviewVersions: ['v1'], sideEffects: 'None', timeoutSeconds: 5, matchPolicy: 'Equivalent' };
  const notWhereWeComeFrom = { key: 'kubernetes.io/metadata.name', operator: 'NotIn', values: ['kube-node-lease', 'kube-public', 'kube-system', namespace, gatewayNamespace] };
  const injectInto = (name: string, namespaceSelector: { readonly matchLabels?: object; readonly matchExpressions: readonly object[] }, ofPod: { readonly operator: string; readonly values: readonly string[] }): object => ({
    name: `${name}.${apiGroup}`,
    ...common,
    clientConfig: clientConfig(webhookPaths.inject),
    rules: [rule('v1', ['pods'], ['CREATE'])],
    namespaceSelector,
    objectSelector: { matchExpressions: [{ key: injectKey, ...ofPod }] },
    reinvocationPolicy: 'IfNeeded',
    failurePolicy: 'Fail',
  });
  const rule = (groupAndVersion: string, resources: readonly string[], operations: readonly string[]): object => {
    const [group, version] = groupAndVersion.includes('/') ? groupAndVersion.split('/') : ['', groupAndVersion];
    return { apiGroups: [group], apiVersions: [version], resources, operations, scope: '*' };
  };
  return [
    {
      object: {
        apiVersion: 'admissionregistration.k8s.io/v1',
        kind: 'MutatingWebhookConfiguration',
        metadata: metadataOf(component, webhookConfigurations.inject),
        webhooks: [
          injectInto('inject', { matchLabels: { [injectKey]: 'enabled' }, matchExpressions: [notWhereWeComeFrom] }, { operator: 'NotIn', values: ['false'] }),
          injectInto('inject-pod', { matchExpressions: [{ key: injectKey, operator: 'NotIn', values: ['enabled'] }, notWhereWeComeFrom] }, { operator: 'In', values: ['true'] }),
        ],
      },
      reasons: [
        { path: ['webhooks', 0], why: 'All pods of a namespace that is labelled so.' },
        { path: ['webhooks', 0, 'namespaceSelector', 'matchExpressions'], why: "Never where the cluster's own pods and ours come from: they would wait for each other." },
        { path: ['webhooks', 0, 'failurePolicy'], why: 'A pod without its agent would start, and reach nothing: better it is tried again.' },
        { path: ['webhooks', 1], why: 'Elsewhere, the pods that are labelled so themselves.' },
      ],
    },
    {
      object: {
        apiVersion: 'admissionregistration.k8s.io/v1',
        kind: 'ValidatingWebhookConfiguration',
        metadata: metadataOf(component, webhookConfigurations.validate),
        webhooks: [
          {
            name: `validate.${apiGroup}`,
            ...common,
            clientConfig: clientConfig(webhookPaths.validate),
            rules: [
              rule(apiVersion, ['egressgateways', 'egresspolicies', 'externalservices', 'snatbindings', 'snatpools', 'workloadentries'], ['CREATE', 'UPDATE']),
              rule(olderApiVersion, ['externalservices'], ['CREATE', 'UPDATE']),
              rule(apiVersion, ['egressgateways', 'snatpools'], ['DELETE']),
            ],
            failurePolicy: 'Ignore',
          },
        ],
      },
      reasons: [
        { path: ['webhooks', 0, 'rules', 2], why: 'A pool in use is not pulled away. What is in a namespace can always be deleted, and the namespace with it.' },
        { path: ['webhooks', 0, 'failurePolicy'], why: 'What it would have said stands in the status of the object too, and a fault changes nothing that is in force.' },
      ],
    },
  ];
}
