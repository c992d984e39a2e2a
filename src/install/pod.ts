/** What all pods of an installation have in common: as little as a process can do with. */
import { podFiles, podIdentitySource } from '../core/pod-identity.ts';

/** Of nobody: an image need not know it, and files of the node do not belong to it. */
const userId = 65_532;
const stateDirectory = '/var/lib/sallyport';

/** What the Pod Security Standard `restricted` asks for. https://kubernetes.io/docs/concepts/security/pod-security-standards/ */
export const podSecurity = { runAsNonRoot: true, runAsUser: userId, runAsGroup: userId, fsGroup: userId, fsGroupChangePolicy: 'OnRootMismatch', seccompProfile: { type: 'RuntimeDefault' } } as const;
export const containerSecurity = { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ['ALL'] } } as const;

/** A volume of the pod's own, which outlives it. */
export function stateClaim(size: string, storageClass: string): object {
  return {
    metadata: { name: 'state' },
    spec: { accessModes: ['ReadWriteOnce'], ...(storageClass === '' ? {} : { storageClassName: storageClass }), resources: { requests: { storage: size } } },
  };
}

export const stateMount = { name: 'state', mountPath: stateDirectory } as const;
/** For every command that is run in the container: `sallyport status` finds the socket of `sallyport serve` by it. */
export const stateVariable = { name: 'SALLYPORT_STATE', value: stateDirectory } as const;

/** By what a pod proves who it is, and knows the control plane. */
export const identityVolume = { name: 'identity', ...podIdentitySource };
export const identityMount = { name: 'identity', mountPath: podFiles.directory, readOnly: true } as const;

/** @param host where the kubelet asks; default: the pod's address */
export function probes(port: number, host?: string): object {
  const probe = (path: string, failureThreshold: number): object => ({ httpGet: { path, port, ...(host === undefined ? {} : { host }) }, periodSeconds: 5, timeoutSeconds: 2, failureThreshold });
  return { startupProbe: probe('/livez', 24), livenessProbe: probe('/livez', 6), readinessProbe: probe('/readyz', 2) };
}
