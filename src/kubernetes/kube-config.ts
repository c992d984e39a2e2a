/** Which cluster is meant, and as whom it is asked. */
import { KubeConfig } from '@kubernetes/client-node';
import { SallyportError } from '../core/errors.ts';

export interface KubeConfigChoice {
  /** A file; default: what `KUBECONFIG` names, `~/.kube/config`, or the service account of the pod. */
  readonly file?: string;
  /** Of that file; default: its current one. */
  readonly context?: string;
}

/** Throws `file-unreadable` for what is no kubeconfig, and `usage` where no cluster is named. */
export function loadKubeConfig({ file, context }: KubeConfigChoice): KubeConfig {
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
  return config;
}
