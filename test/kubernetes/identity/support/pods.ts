/** Pods of an API server without nodes, and the tokens that a kubelet would project into them. */
import { CoreV1Api, KubernetesObjectApi, type V1Pod } from '@kubernetes/client-node';
import type { KubernetesServer } from '../../../support/kubernetes.ts';

interface TokenOptions {
  readonly account?: string;
  readonly audience?: string;
}

export interface Pods {
  /** A pod of namespace `bookinfo` that is bound to `node-a`, as far as an API server knows of that. */
  start(name: string, options?: { readonly account?: string; readonly finalizers?: readonly string[] }): Promise<V1Pod>;
  remove(name: string): Promise<void>;
  /** As the kubelet asks for it; null: bound to no pod. */
  tokenOf(pod: V1Pod | null, options?: TokenOptions): Promise<string>;
}

/** Makes the namespace `bookinfo` with the service accounts `productpage` and `reviews`. */
export async function createPods(server: KubernetesServer): Promise<Pods> {
  const namespace = 'bookinfo';
  const core = server.kubeConfig().makeApiClient(CoreV1Api);
  const objects = KubernetesObjectApi.makeApiClient(server.kubeConfig());
  await objects.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } });
  for (const name of ['productpage', 'reviews']) await objects.create({ apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name, namespace } });
  return {
    start: async (name, { account = 'productpage', finalizers = [] } = {}) => {
      const body = { apiVersion: 'v1', kind: 'Pod', metadata: { name, namespace, finalizers: [...finalizers] }, spec: { serviceAccountName: account, nodeName: 'node-a', containers: [{ name: 'app', image: 'app' }] } };
      return await core.createNamespacedPod({ namespace, body });
    },
    async remove(name) {
      await core.deleteNamespacedPod({ name, namespace, gracePeriodSeconds: 0 });
    },
    async tokenOf(pod, { account = 'productpage', audience = 'sallyport' } = {}) {
      const boundObjectRef = pod === null ? {} : { boundObjectRef: { apiVersion: 'v1', kind: 'Pod', name: pod.metadata!.name!, uid: pod.metadata!.uid! } };
      const { status } = await core.createNamespacedServiceAccountToken({ name: account, namespace, body: { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: { audiences: [audience], expirationSeconds: 600, ...boundObjectRef } } });
      return status!.token!;
    },
  };
}

/** The same token by another key. */
export function resigned(token: string, signWith: (text: string) => Buffer): string {
  const [head, claims] = token.split('.') as [string, string];
  return `${head}.${claims}.${signWith(`${head}.${claims}`).toString('base64url')}`;
}
