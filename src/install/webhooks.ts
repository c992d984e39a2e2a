/** What the API server asks the control plane before it stores an object. By whose CA it knows the webhook, the leader writes. */
import { apiGroup, apiVersion, olderApiVersion } from '../core/objects/index.ts';
import type { ExplainedObject } from '../generate/index.ts';
import { metadataOf } from './metadata.ts';
import { controlPlaneName, gatewayNamespace, webhookConfigurations } from './names.ts';
import type { InstallOptions } from './options.ts';

const component = 'webhooks';
const injectLabel = 'sallyport.dev/inject';
const namespaceName = 'kubernetes.io/metadata.name';

export function webhooks({ namespace }: InstallOptions): readonly ExplainedObject[] {
  const clientConfig = (path: string): object => ({ service: { namespace, name: controlPlaneName, path, port: 443 } });
  const common = { admissionReviewVersions: ['v1'], sideEffects: 'None', timeoutSeconds: 5, matchPolicy: 'Equivalent' };
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
          {
            name: `inject.${apiGroup}`,
            ...common,
            clientConfig: clientConfig('/inject'),
            rules: [rule('v1', ['pods'], ['CREATE'])],
            namespaceSelector: { matchLabels: { [injectLabel]: 'enabled' }, matchExpressions: [{ key: namespaceName, operator: 'NotIn', values: ['kube-system', namespace, gatewayNamespace] }] },
            objectSelector: { matchExpressions: [{ key: injectLabel, operator: 'NotIn', values: ['false'] }] },
            reinvocationPolicy: 'IfNeeded',
            failurePolicy: 'Fail',
          },
        ],
      },
      reasons: [
        { path: ['webhooks', 0, 'namespaceSelector'], why: "Where it is asked for, and never where the cluster's own pods and ours come from, which would wait for each other." },
        { path: ['webhooks', 0, 'failurePolicy'], why: 'A pod without its agent would start, and reach nothing: better it is tried again.' },
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
            clientConfig: clientConfig('/validate'),
            rules: [
              rule(apiVersion, ['egressgateways', 'egresspolicies', 'externalservices', 'snatbindings', 'snatpools'], ['CREATE', 'UPDATE']),
              rule(olderApiVersion, ['externalservices'], ['CREATE', 'UPDATE']),
            ],
            failurePolicy: 'Ignore',
          },
        ],
      },
      reasons: [{ path: ['webhooks', 0, 'failurePolicy'], why: 'What it would have said stands in the status of the object too, and a fault changes nothing that is in force.' }],
    },
  ];
}
