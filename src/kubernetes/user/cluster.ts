/** A cluster as a person asks it, by his kubeconfig. */
import type { WorkloadName } from '../../core/spiffe-id.ts';
import { createApiClient } from '../client.ts';
import { openClusterAccess, type KubeConfigChoice } from '../kube-config.ts';
import { createAsker } from './asking.ts';
import { openDesiredObjects, type DesiredObjects } from './desired-objects.ts';
import { findReplicas, type Replica } from './replicas.ts';
import { findWorkload } from './workload.ts';

export interface UserCluster {
  /** As the kubeconfig calls what is asked. */
  readonly context: string;
  /** Where a namespace is wanted and none is named. */
  readonly defaultNamespace: string;
  readonly objects: DesiredObjects;
  /** See `findWorkload`. */
  workload(text: string, namespace: string): Promise<WorkloadName | undefined>;
  /** See `findReplicas`. */
  replicas(namespace: string): Promise<readonly [Replica, ...Replica[]]>;
}

/** @param onWarning called with what the API server has to say about what it does */
export async function openUserCluster(choice: KubeConfigChoice, onWarning: (text: string) => void): Promise<UserCluster> {
  const access = await openClusterAccess(choice);
  const asker = createAsker(createApiClient(access, onWarning));
  const { context, defaultNamespace } = access;
  return {
    context,
    defaultNamespace,
    objects: openDesiredObjects(asker, createAsker(createApiClient(access)), defaultNamespace),
    workload: (text, namespace) => findWorkload(asker, text, namespace),
    replicas: (namespace) => findReplicas(asker, namespace),
  };
}
