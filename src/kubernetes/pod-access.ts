/**
 * The API server as a pod asks it: by the address in its environment and the service account's files, which the kubelet replaces.
 * https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/#directly-accessing-the-rest-api
 */
import { readFile } from 'node:fs/promises';
import type { OutgoingHttpHeaders } from 'node:http';
import { isIPv6 } from 'node:net';
import { join } from 'node:path';
import { SallyportError } from '../core/errors.ts';
import type { ClusterAccess } from './client.ts';

export const serviceAccountDirectory = '/var/run/secrets/kubernetes.io/serviceaccount';

/** As client-go reads the token anew; the kubelet replaces it when a fifth of its time is left. */
const readEveryMs = 60_000;

export interface PodAccessOptions {
  /** `token`, `ca.crt` and `namespace`. */
  readonly directory: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly monotonicNow: () => number;
}

interface Credentials {
  readonly token: string;
  readonly ca: string;
}

/** Throws `file-unreadable` where a file of the service account is missing, and `usage` where the environment does not name the API server. */
export async function openPodAccess({ directory, env, monotonicNow }: PodAccessOptions): Promise<ClusterAccess> {
  const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port } = env;
  if (host === undefined || port === undefined) throw new SallyportError('usage', 'KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT do not say where the API server is', { hint: 'the kubelet sets them in each pod; elsewhere name a kubeconfig by --kubeconfig' });
  const cluster = { server: `https://${isIPv6(host) ? `[${host}]` : host}:${port}` };

  const read = async (name: string): Promise<string> => {
    const path = join(directory, name);
    return await readFile(path, 'utf8').catch((cause: unknown) => {
      throw new SallyportError('file-unreadable', `the pod's service account cannot be read (${cause instanceof Error ? cause.message : String(cause)})`, { place: path, cause });
    });
  };
  const readCredentials = async (): Promise<Credentials> => ({ token: (await read('token')).trim(), ca: await read('ca.crt') });

  const defaultNamespace = (await read('namespace')).trim();
  let credentials = await readCredentials();
  let readAtMs = monotonicNow();
  return {
    context: 'in-cluster',
    defaultNamespace,
    getCurrentCluster: () => cluster,
    async applyToHTTPSOptions(options) {
      if (monotonicNow() - readAtMs >= readEveryMs) {
        readAtMs = monotonicNow();
        credentials = await readCredentials();
      }
      options.ca = credentials.ca;
      options.headers = { ...(options.headers as OutgoingHttpHeaders | undefined), authorization: `Bearer ${credentials.token}` };
    },
  };
}
