/** Which cluster is meant, and as whom it is asked. */
import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { SallyportError } from '../core/errors.ts';
import type { ClusterAccess } from './client.ts';
import { openPodAccess, serviceAccountDirectory } from './pod-access.ts';

export interface KubeConfigChoice {
  /** A file; default: what `KUBECONFIG` names, `~/.kube/config`, or the service account of the pod. */
  readonly file?: string;
  /** Of that file; default: its current one. */
  readonly context?: string;
}

/** Throws `file-unreadable` for what is no kubeconfig, and `usage` where no cluster is named. */
export async function openClusterAccess(choice: KubeConfigChoice): Promise<ClusterAccess> {
  const isNamed = choice.file !== undefined || choice.context !== undefined || (process.env['KUBECONFIG'] ?? '') !== '' || existsSync(join(homedir(), '.kube', 'config'));
  return !isNamed && existsSync(serviceAccountDirectory) ? await openPodAccess({ directory: serviceAccountDirectory, env: process.env, monotonicNow: () => performance.now() }) : await readKubeConfig(choice);
}

async function readKubeConfig({ file, context }: KubeConfigChoice): Promise<ClusterAccess> {
  const { KubeConfig } = await import('@kubernetes/client-node'); // takes 90 MB, which a control plane in its pod does without
  const config = new KubeConfig();
  try {
    if (file === undefined) config.loadFromDefault();
    else config.loadFromFile(file);
  } catch (cause) {
    throw new SallyportError('file-unreadable', `the kubeconfig cannot be read (${cause instanceof Error ? cause.message : String(cause)})`, { ...(file === undefined ? {} : { place: file }), cause });
  }
  if (context !== undefined) config.setCurrentContext(context);
  if (config.getCurrentCluster() === null) {
    const names = config.getContexts().map(({ name }) => JSON.stringify(name));
    throw new SallyportError('usage', context === undefined ? 'the kubeconfig names no cluster' : `there is no context ${JSON.stringify(context)}`, { hint: names.length === 0 ? 'name a kubeconfig by --kubeconfig' : `contexts: ${names.join(', ')}` });
  }
  return {
    context: config.getCurrentContext(),
    defaultNamespace: config.getContextObject(config.getCurrentContext())?.namespace ?? 'default',
    getCurrentCluster: () => config.getCurrentCluster(),
    applyToHTTPSOptions: (options) => config.applyToHTTPSOptions(options),
  };
}
