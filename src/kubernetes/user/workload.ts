/** Workloads by the names that kubectl has for them, as far as their pods run under one service account. */
import { SallyportError } from '../../core/errors.ts';
import type { WorkloadName } from '../../core/spiffe-id.ts';
import { objectPath } from '../operator/resources.ts';
import type { Resource } from '../watch/reflect.ts';
import type { Asker } from './asking.ts';

interface WorkloadKind extends Resource {
  readonly kind: string;
  readonly names: readonly string[];
  /** Of its pods, within the object; undefined: it is a service account itself. */
  readonly podSpec?: (object: WorkloadObject) => PodSpec | undefined;
}

interface PodSpec {
  readonly serviceAccountName?: string;
}

interface WorkloadObject {
  readonly spec?: PodSpec & { readonly template?: { readonly spec?: PodSpec }; readonly jobTemplate?: WorkloadObject };
}

const fromTemplate = ({ spec }: WorkloadObject): PodSpec | undefined => spec?.template?.spec;
const apps = { group: 'apps', version: 'v1', podSpec: fromTemplate };
const batch = { group: 'batch', version: 'v1' };
const workloadKinds: readonly WorkloadKind[] = [
  { ...apps, kind: 'Deployment', plural: 'deployments', names: ['deploy', 'deployment', 'deployments'] },
  { ...apps, kind: 'StatefulSet', plural: 'statefulsets', names: ['sts', 'statefulset', 'statefulsets'] },
  { ...apps, kind: 'DaemonSet', plural: 'daemonsets', names: ['ds', 'daemonset', 'daemonsets'] },
  { ...apps, kind: 'ReplicaSet', plural: 'replicasets', names: ['rs', 'replicaset', 'replicasets'] },
  { ...batch, kind: 'Job', plural: 'jobs', names: ['job', 'jobs'], podSpec: fromTemplate },
  { ...batch, kind: 'CronJob', plural: 'cronjobs', names: ['cj', 'cronjob', 'cronjobs'], podSpec: ({ spec }) => spec?.jobTemplate?.spec?.template?.spec },
  { group: '', version: 'v1', kind: 'Pod', plural: 'pods', names: ['po', 'pod', 'pods'], podSpec: ({ spec }) => spec },
  { group: '', version: 'v1', kind: 'ServiceAccount', plural: 'serviceaccounts', names: ['sa', 'serviceaccount', 'serviceaccounts'] },
];

/**
 * Whose identity a workload has, named like `deploy/productpage`. Undefined where the text names no kind of workload, as `bookinfo/productpage` does
 * not. Throws `not-found` where there is no such workload.
 */
export async function findWorkload({ find }: Pick<Asker, 'find'>, text: string, namespace: string): Promise<WorkloadName | undefined> {
  const [word, name, ...more] = text.split('/') as [string, ...string[]];
  const kind = workloadKinds.find(({ names }) => names.includes(word.toLowerCase()));
  if (kind === undefined || name === undefined || name === '' || more.length > 0) return undefined;
  const object = await find<WorkloadObject>({ method: 'GET', path: objectPath({ ...kind, namespace }, { name }) });
  if (object === undefined) {
    throw new SallyportError('not-found', `there is no ${kind.kind} ${JSON.stringify(name)} in namespace ${JSON.stringify(namespace)}`, { value: text, hint: `list them: kubectl get ${kind.plural} -n ${namespace}; another namespace: -n NAMESPACE` });
  }
  return { namespace, serviceAccount: kind.podSpec === undefined ? name : (kind.podSpec(object)?.serviceAccountName ?? 'default') };
}
