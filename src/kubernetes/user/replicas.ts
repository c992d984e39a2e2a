/** Where the control plane runs: its pods, and which of them leads. */
import { SallyportError } from '../../core/errors.ts';
import type { Asker } from './asking.ts';

export interface Replica {
  /** Of its pod. */
  readonly name: string;
  readonly isReady: boolean;
  readonly isLeader: boolean;
}

interface Pod {
  readonly metadata: { readonly name: string; readonly deletionTimestamp?: string };
  readonly status?: { readonly phase?: string; readonly conditions?: readonly { readonly type: string; readonly status: string }[] };
}

const labelSelector = 'app.kubernetes.io/name=sallyport,sallyport.dev/component=control-plane';
const lease = 'sallyport';

/**
 * Those that run, the one that leads first, then those that are ready: one that is not may still be told what it lacks, such as a CA. Throws
 * `unavailable` where none runs.
 */
export async function findReplicas({ ask, find }: Asker, namespace: string): Promise<readonly [Replica, ...Replica[]]> {
  const { items } = await ask<{ readonly items: readonly Pod[] }>({ method: 'GET', path: `/api/v1/namespaces/${namespace}/pods`, query: { labelSelector } });
  const leader = await find<{ readonly spec?: { readonly holderIdentity?: string } }>({ method: 'GET', path: `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases/${lease}` });
  const [first, ...others] = items
    .filter(({ metadata, status }) => metadata.deletionTimestamp === undefined && status?.phase === 'Running')
    .map(({ metadata: { name }, status }) => ({
      name,
      isReady: status?.conditions?.some((condition) => condition.type === 'Ready' && condition.status === 'True') === true,
      isLeader: name === leader?.spec?.holderIdentity,
    }))
    .sort((a, b) => rankOf(b) - rankOf(a));
  if (first === undefined) {
    throw new SallyportError('unavailable', `no control plane runs in namespace ${JSON.stringify(namespace)}`, { hint: 'install one: sallyport install; if it is in another namespace: --sallyport-namespace' });
  }
  return [first, ...others];
}

const rankOf = ({ isReady, isLeader }: Replica): number => (isLeader ? 2 : 0) + (isReady ? 1 : 0);
