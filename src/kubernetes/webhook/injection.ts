/**
 * Which pods get an agent, and how. Those that the API server asks about were chosen by its selectors already (the label of the namespace, or
 * of the pod); here is decided what selectors cannot say.
 *
 * Invariants: a pod that has an agent gets no other; nothing that the pod says is changed or taken away.
 */
import type { V1Pod } from '@kubernetes/client-node';
import { quoteText } from '../../core/objects/index.ts';
import { agentContainer, agentContainerName, agentSysctl, agentVolumes, type AgentSettings } from './agent-sidecar.ts';

/** Of a namespace `enabled`, of a pod `true` or `false`. On a pod the annotation does as well, where the namespace is enabled. */
export const injectKey = 'sallyport.dev/inject';

/** RFC 6902, of which it needs one operation. */
export type JsonPatch = readonly { readonly op: 'add'; readonly path: string; readonly value: unknown }[];

export type InjectionOutcome = 'injected' | 'already-there' | 'opted-out' | 'system-namespace' | 'static-pod' | 'host-network' | 'not-linux';

export interface Injection {
  readonly outcome: InjectionOutcome;
  /** Null where the pod stays as it is. */
  readonly patch: JsonPatch | null;
  /** For whoever creates the pod. */
  readonly warnings: readonly string[];
}

/** Kubernetes' own: what runs there has to start before we do. */
const kubernetesNamespaces: ReadonlySet<string> = new Set(['kube-node-lease', 'kube-public', 'kube-system']);

/** @param namespace of the pod, which a pod that is being created need not say itself */
export function injectAgent(pod: V1Pod, namespace: string, settings: AgentSettings): Injection {
  const obstacle = obstacleOf(pod, namespace, settings.systemNamespace);
  return obstacle ?? { outcome: 'injected', patch: patchOf(pod, settings), warnings: misspeltWishes(pod) };
}

function obstacleOf(pod: V1Pod, namespace: string, systemNamespace: string): Injection | null {
  const leave = (outcome: InjectionOutcome, ...warnings: readonly string[]): Injection => ({ outcome, patch: null, warnings });
  const { metadata, spec } = pod;
  if (kubernetesNamespaces.has(namespace) || namespace === systemNamespace) return leave('system-namespace');
  if (metadata?.annotations?.['kubernetes.io/config.mirror'] !== undefined) return leave('static-pod'); // the kubelet runs it by its file, whatever is changed here
  if (wishesOf(pod).includes('false')) return leave('opted-out');
  if ([...(spec?.initContainers ?? []), ...(spec?.containers ?? [])].some(({ name }) => name === agentContainerName)) return leave('already-there');
  if (spec?.hostNetwork === true) return leave('host-network', 'no agent of Sallyport is added: with hostNetwork it would listen on the loopback of the node, where whoever is on that node would leave as this pod');
  if (spec?.os?.name !== undefined && spec.os.name !== 'linux') return leave('not-linux', `no agent of Sallyport is added: it does not run on ${spec.os.name}`);
  return null;
}

function wishesOf({ metadata }: V1Pod): readonly string[] {
  return [metadata?.labels?.[injectKey], metadata?.annotations?.[injectKey]].filter((wish) => wish !== undefined);
}

/** Words that are neither yes nor no: somebody meant something by them. */
function misspeltWishes(pod: V1Pod): readonly string[] {
  return wishesOf(pod)
    .filter((wish) => wish !== 'true')
    .map((wish) => `${injectKey} of a pod is "true" or "false", not ${quoteText(wish)}: an agent is added, as the namespace has it`);
}

function patchOf({ spec }: V1Pod, settings: AgentSettings): JsonPatch {
  const { initContainers, securityContext, volumes } = spec ?? {};
  const isSaid = securityContext?.sysctls?.some(({ name }) => name === agentSysctl.name) === true;
  return [
    ...insert('/spec/initContainers', initContainers, 0, [agentContainer(settings)]), // before the others, which may want to reach something
    ...insert('/spec/volumes', volumes, '-', agentVolumes),
    ...(securityContext === undefined ? [{ op: 'add', path: '/spec/securityContext', value: {} } as const] : []),
    ...(isSaid ? [] : insert('/spec/securityContext/sysctls', securityContext?.sysctls, '-', [agentSysctl])),
  ];
}

/** Puts values into a list that may not be there yet. */
function insert(path: string, list: readonly unknown[] | undefined, at: 0 | '-', values: readonly unknown[]): JsonPatch {
  if (list === undefined) return [{ op: 'add', path, value: values }];
  return values.map((value) => ({ op: 'add', path: `${path}/${at}`, value }));
}
