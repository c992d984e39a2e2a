/** Embedded gateways. */
import { podFiles } from '../core/pod-identity.ts';
import type { ExplainedObject } from '../generate/index.ts';
import { labelsOf, metadataOf } from './metadata.ts';
import { controlAccount, controlPlaneName, gatewayLabel, gatewayNamespace, ports } from './names.ts';
import type { InstallOptions } from './options.ts';
import { containerSecurity, identityMount, identityVolume, podSecurity, probes, stateClaim, stateMount, stateVariable } from './pod.ts';

const component = 'gateway';
/** Records that the control plane has not taken yet, and the last good plan. */
const stateSize = '2Gi';

export function gatewaysNamespace(): ExplainedObject {
  return {
    object: { apiVersion: 'v1', kind: 'Namespace', metadata: metadataOf(component, gatewayNamespace, undefined, { kept: true, labels: { 'pod-security.kubernetes.io/enforce': 'privileged' } }) },
    why: "Of gateways alone: SNAT addresses are their node's, so they use its network and are probed on its loopback, which the standards \"restricted\" and \"baseline\" both refuse. But for that, their pods are as restricted as the control plane's. Whoever may make pods here may use the network of any node.",
  };
}

export function gateway(options: InstallOptions, name: string): readonly ExplainedObject[] {
  const metadata = metadataOf(component, name, gatewayNamespace);
  const own = { ...labelsOf(component), [gatewayLabel]: name };
  return [
    { object: { apiVersion: 'v1', kind: 'ServiceAccount', metadata, automountServiceAccountToken: false } },
    {
      why: 'A StatefulSet, since there must never be two: they would use the same source ports.',
      object: {
        apiVersion: 'apps/v1',
        kind: 'StatefulSet',
        metadata,
        spec: {
          replicas: 1,
          serviceName: name,
          selector: { matchLabels: own },
          template: {
            metadata: { labels: own },
            spec: {
              serviceAccountName: name,
              automountServiceAccountToken: false,
              hostNetwork: true,
              dnsPolicy: 'ClusterFirstWithHostNet',
              nodeSelector: { [gatewayLabel]: name },
              tolerations: [{ key: gatewayLabel, operator: 'Exists' }],
              securityContext: podSecurity,
              containers: [
                {
                  name: 'gateway',
                  image: options.image,
                  args: [
                    'gateway',
                    `--name=${name}`,
                    `--control=${controlPlaneName}.${options.namespace}.svc.${options.clusterDomain}:${ports.mesh}`,
                    `--control-identity=spiffe://${options.trustDomain}/ns/${options.namespace}/sa/${controlAccount}`,
                    `--trust-domain=${options.trustDomain}`,
                    `--trust-bundle=${podFiles.trustBundle}`,
                    `--pod-token-file=${podFiles.token}`,
                    `--probe-listen=127.0.0.1:${ports.probe}`,
                  ],
                  env: [stateVariable],
                  ...probes(ports.probe, '127.0.0.1'),
                  resources: { requests: { cpu: '500m', memory: '512Mi' }, limits: { memory: '2Gi' } },
                  securityContext: containerSecurity,
                  volumeMounts: [stateMount, identityMount],
                },
              ],
              volumes: [identityVolume],
            },
          },
          volumeClaimTemplates: [stateClaim(stateSize, options.storageClass)],
        },
      },
      reasons: [
        { path: ['spec', 'template', 'spec', 'automountServiceAccountToken'], why: 'It asks nothing of the API server; who it is, a token for the control plane says.' },
        { path: ['spec', 'template', 'spec', 'hostNetwork'], why: 'To connect onward from an address, the gateway must be where that address is.' },
        { path: ['spec', 'template', 'spec', 'tolerations'], why: 'A node may be kept for its gateway by a taint with that key.' },
        { path: ['spec', 'template', 'spec', 'containers', 0, 'resources', 'limits'], why: 'A connection takes some 70 KB: this is for 25,000 at a time. None of the processor: all that a gateway does is in a hurry.' },
      ],
    },
  ];
}
