/**
 * The agent as a pod has it: a container, and the volumes that it needs. Everything a pod under the level `restricted` of the Pod
 * Security Standards may have, and no right beyond that. The example in manifests/kubernetes is held to be the same.
 *
 * https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/
 * https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
 */
import type { V1Container, V1Sysctl, V1Volume } from '@kubernetes/client-node';
import { podFiles, podIdentitySource } from '../../core/pod-identity.ts';
import type { TrustDomain } from '../../core/spiffe-id.ts';

/** What an agent has to know that its pod does not say. */
export interface AgentSettings {
  readonly image: string;
  /** The control plane as pods reach it, `HOST:PORT`. */
  readonly control: string;
  readonly trustDomain: TrustDomain;
  /** Where Sallyport is installed: the control plane's identity is `control` of it. */
  readonly systemNamespace: string;
}

/** By which a pod is seen to have its agent already, whoever gave it. */
export const agentContainerName = 'sallyport-agent';

/** Not one of those that Istio's sidecar has. */
const probePort = 15022;
/** As in the image; said here too, since a pod may say that its containers run as another, root even. */
const userId = 65532;

const identityVolume = 'sallyport-identity';
const stateVolume = 'sallyport-state';
const statePath = '/var/lib/sallyport';

export function agentContainer({ image, control, trustDomain, systemNamespace }: AgentSettings): V1Container {
  return {
    name: agentContainerName,
    image,
    restartPolicy: 'Always',
    args: [
      'agent',
      `--control=${control}`,
      `--control-identity=spiffe://${trustDomain}/ns/${systemNamespace}/sa/control`,
      `--trust-domain=${trustDomain}`,
      `--trust-bundle=${podFiles.trustBundle}`,
      `--pod-token-file=${podFiles.token}`,
      `--state=${statePath}/agent`,
      `--probe-listen=[::]:${probePort}`,
    ],
    // Init containers and the application come after this: they find their services open. A control plane that is away for ten minutes is waited for.
    startupProbe: { httpGet: { path: '/readyz', port: probePort }, periodSeconds: 1, timeoutSeconds: 2, failureThreshold: 600 },
    // No readinessProbe: an agent that waits for a certificate is no reason to send those away who ask the application for something.
    livenessProbe: { httpGet: { path: '/livez', port: probePort }, periodSeconds: 10, timeoutSeconds: 5, failureThreshold: 3 },
    // No limit of the processor's time: it would delay the application's connections and spare nobody anything.
    resources: { requests: { cpu: '10m', memory: '128Mi' }, limits: { memory: '512Mi' } },
    securityContext: {
      allowPrivilegeEscalation: false,
      capabilities: { drop: ['ALL'] },
      readOnlyRootFilesystem: true,
      runAsGroup: userId,
      runAsNonRoot: true,
      runAsUser: userId,
      seccompProfile: { type: 'RuntimeDefault' },
    },
    volumeMounts: [
      { name: identityVolume, mountPath: podFiles.directory, readOnly: true },
      { name: stateVolume, mountPath: statePath },
    ],
  };
}

export const agentVolumes: readonly V1Volume[] = [
  { name: identityVolume, ...podIdentitySource },
  // In memory, since it has the private key: it survives the container, and is gone with the pod.
  { name: stateVolume, emptyDir: { medium: 'Memory', sizeLimit: '16Mi' } },
];

/**
 * An agent offers a service at the service's own port, FTP's 21 too, and is nobody who may listen below 1024; nor does a right that is given
 * to a container reach a program of it that is not root's. This says it for the pod's own network, and is counted among the safe ones.
 */
export const agentSysctl: V1Sysctl = { name: 'net.ipv4.ip_unprivileged_port_start', value: '0' };
