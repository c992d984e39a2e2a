/**
 * Enforces a cluster's NetworkPolicies on its node, by nftables: what a plugin for the network of pods does elsewhere. It knows what the policies
 * of tests say, and fails at anything else.
 *
 * https://kubernetes.io/docs/concepts/services-networking/network-policies/
 */
import { spawnSync } from 'node:child_process';
import { pino } from 'pino';
import type { ApiClient } from '../../../src/kubernetes/client.ts';
import type { ApiObject } from '../../../src/kubernetes/watch/reflection.ts';
import { reflect, type Mirror } from '../../../src/kubernetes/watch/reflect.ts';

type Labels = Readonly<Record<string, string>>;
interface LabelledObject extends ApiObject {
  readonly metadata: ApiObject['metadata'] & { readonly labels?: Labels };
}
interface Selector {
  readonly matchLabels?: Labels;
}
interface Peer {
  readonly podSelector?: Selector;
  readonly namespaceSelector?: Selector;
}
interface Port {
  readonly protocol: 'TCP' | 'UDP';
  readonly port: number;
}
interface Rule {
  readonly ports?: readonly Port[];
  readonly from?: readonly Peer[];
  readonly to?: readonly Peer[];
}

export interface PolicyObject extends ApiObject {
  readonly spec: { readonly podSelector: Selector; readonly policyTypes: readonly ('Ingress' | 'Egress')[]; readonly ingress?: readonly Rule[]; readonly egress?: readonly Rule[] };
}
export interface PodObject extends LabelledObject {
  readonly spec: { readonly hostNetwork?: boolean };
  readonly status?: { readonly podIP?: string };
}

export interface PolicyState {
  readonly namespaces: Iterable<LabelledObject>;
  readonly pods: Iterable<PodObject>;
  readonly policies: Iterable<PolicyObject>;
}

const table = 'inet network-policies';
const directions = ['Ingress', 'Egress'] as const;

/** Follows all that they depend on, until what it gives is called. `nft` is a command that loads what it reads. */
export function enforceNetworkPolicies(client: ApiClient, nft: readonly [string, ...string[]]): () => void {
  const mirrors: Pick<Mirror<ApiObject>, 'close'>[] = [];
  const follow = <Item extends ApiObject>(group: string, plural: string): Mirror<Item> => {
    const mirror = reflect<Item>({ client, resource: { group, version: 'v1', plural }, onChange: () => load(), random: Math.random, log: pino({ level: 'silent' }) });
    mirrors.push(mirror);
    return mirror;
  };
  const namespaces = follow<LabelledObject>('', 'namespaces');
  const pods = follow<PodObject>('', 'pods');
  const policies = follow<PolicyObject>('networking.k8s.io', 'networkpolicies');
  let loaded = '';

  function load(): void {
    const rules = rulesOf({ namespaces: namespaces.objects.values(), pods: pods.objects.values(), policies: policies.objects.values() });
    if (rules === loaded) return;
    const { status, stderr } = spawnSync(nft[0], nft.slice(1), { input: rules, encoding: 'utf8' });
    if (status !== 0) throw new Error(`${stderr}${rules}`);
    loaded = rules;
  }
  return () => {
    for (const mirror of mirrors) mirror.close();
  };
}

/** Pure: what nft is to load. Of what a pod and its own node say to each other, only what the pod begins is anybody's matter. */
export function rulesOf(state: PolicyState): string {
  const labelsOfNamespace = new Map([...state.namespaces].map(({ metadata: { name, labels = {} } }) => [name, labels]));
  const pods = [...state.pods].filter(({ spec, status }) => spec.hostNetwork !== true && status?.podIP !== undefined);
  const policies = [...state.policies];

  /** Nothing where the rule is about nobody. */
  function linesOf({ ports, from, to, ...others }: Rule, namespace: string, address: 'saddr' | 'daddr'): readonly string[] {
    failAtOthers(others);
    const peers = from ?? to;
    const sources = peers === undefined ? [''] : addressesOf(peers, namespace).map((each) => `ip ${address} ${each} `);
    const services = ports === undefined ? [''] : ports.map(({ protocol, port, ...more }) => (failAtOthers(more), `${protocol.toLowerCase()} dport ${port} `));
    return sources.flatMap((source) => services.map((service) => `    ${source}${service}return`));
  }
  function addressesOf(peers: readonly Peer[], namespace: string): readonly string[] {
    return peers.flatMap(({ podSelector = {}, namespaceSelector, ...others }) => {
      failAtOthers(others);
      const isNamespaceMeant = (name: string): boolean => (namespaceSelector === undefined ? name === namespace : selects(namespaceSelector, labelsOfNamespace.get(name) ?? {}));
      return pods.filter(({ metadata }) => isNamespaceMeant(metadata.namespace!) && selects(podSelector, metadata.labels)).map(({ status }) => status!.podIP!);
    });
  }

  const chains: string[] = [];
  const jumps = { Ingress: [] as string[], Egress: [] as string[] };
  for (const { metadata, status } of pods) {
    for (const direction of directions) {
      const own = policies.filter(({ metadata: { namespace }, spec }) => namespace === metadata.namespace && spec.policyTypes.includes(direction) && selects(spec.podSelector, metadata.labels));
      if (own.length === 0) continue;
      const name = `${direction.toLowerCase()}-${metadata.uid}`;
      const rules = own.flatMap(({ spec }) => (direction === 'Ingress' ? spec.ingress : spec.egress) ?? []);
      chains.push(`  chain ${name} {`, ...rules.flatMap((rule) => linesOf(rule, metadata.namespace!, direction === 'Ingress' ? 'saddr' : 'daddr')), '    drop', '  }');
      jumps[direction].push(`    ip ${direction === 'Ingress' ? 'daddr' : 'saddr'} ${status!.podIP!} jump ${name}`);
    }
  }
  const hooked = (hook: string, lines: readonly string[]): readonly string[] => [`  chain ${hook} {`, `    type filter hook ${hook} priority filter;`, '    ct state established,related accept', ...lines, '  }'];
  return [`table ${table} {}`, `delete table ${table}`, `table ${table} {`, ...chains, ...hooked('forward', [...jumps.Egress, ...jumps.Ingress]), ...hooked('input', jumps.Egress), '}', ''].join('\n');
}

function selects({ matchLabels = {}, ...others }: Selector, labels: Labels = {}): boolean {
  failAtOthers(others);
  return Object.entries(matchLabels).every(([key, value]) => labels[key] === value);
}

function failAtOthers(others: object): void {
  if (Object.keys(others).length > 0) throw new Error(`${JSON.stringify(others)} of a NetworkPolicy is not known here`);
}
