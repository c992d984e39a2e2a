/** Analyses of who may go where. */
import { describeRef, refOf, refOfKey } from '../desired-state.ts';
import { boundedList, byText } from '../order.ts';
import { nameOfSubject, namespaceOfSubject } from '../plan/subjects.ts';
import { serviceKeyOf } from '../plan/targets.ts';
import type { EgressPolicy } from '../objects/index.ts';
import { ownerOf } from '../snat/holder.ts';
import { mayRefer, reachOf } from '../tenancy.ts';
import type { Analysis, Found, World } from './analysis.ts';

/** Somebody of the namespace with an address is enough: the others may be left out on purpose. */
function policiesWithoutAddress({ plan }: World): readonly Found[] {
  const subjects = new Map<string, { readonly policy: string; readonly names: Set<string>; readonly ports: Set<string> }>();
  for (const { id, protocol, grants } of plan.servicePorts) {
    if (protocol === 'Reverse') continue; // for whoever may use the service's other ports
    const served = new Set(grants.flatMap(({ snat, policies, subject }) => (snat === null ? [] : policies.map((policy) => `${policy} ${subject.namespace}`))));
    for (const { snat, policies, subject } of grants) {
      for (const policy of snat === null ? policies : []) {
        const key = `${policy} ${subject.namespace}`;
        if (served.has(key)) continue;
        const known = subjects.get(key) ?? { policy, names: new Set(), ports: new Set() };
        subjects.set(key, known);
        known.names.add(nameOfSubject(subject));
        known.ports.add(id);
      }
    }
  }
  return Array.from(subjects.values(), ({ policy, names, ports }) => ({
    object: refOfKey('EgressPolicy', policy),
    path: ['spec', 'subjects'],
    message: `it lets ${boundedList([...names])} use ${boundedList([...ports])}, and no SnatBinding gives an address there: everyone of them is refused`,
    hint: 'apply a SnatBinding for the namespace or the service account',
  }));
}

function duplicates({ desired }: World): readonly Found[] {
  const alike = Map.groupBy(
    [...desired.EgressPolicy.values()].sort((a, b) => byText(describeRef(refOf(a)), describeRef(refOf(b)))),
    wordsOf,
  );
  return [...alike.values()].flatMap(([first, ...others]) =>
    others.map((policy) => ({ object: refOf(policy), path: ['spec'], message: `it says the same as ${describeRef(refOf(first!))}`, hint: 'remove one of them' })),
  );
}

/** The same text for policies that say the same, whatever the order of their lists. */
function wordsOf({ metadata: { namespace }, spec: { subjects, to, constraints = {} } }: EgressPolicy): string {
  const subjectTexts = subjects.map((subject) => JSON.stringify('service' in subject ? { service: { namespace, ...subject.service } } : subject, sortedKeys)).sort(byText);
  const targets = to.map((target) => `${serviceKeyOf(target, namespace)} ${JSON.stringify(target.ports?.map(String).sort(byText) ?? null)}`).sort(byText);
  return JSON.stringify([subjectTexts, targets, constraints], sortedKeys);
}

function sortedKeys(_key: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => byText(a, b)));
}

function unknownNamespaces({ desired, isWholeCluster }: World): readonly Found[] {
  if (!isWholeCluster) return [];
  const unless = (namespace: string | null, rest: Pick<Found, 'object' | 'path'>): readonly Found[] =>
    namespace === null || desired.Namespace.has(namespace) ? [] : [{ ...rest, message: `there is no namespace "${namespace}", so this is about nobody`, hint: `kubectl create namespace ${namespace}, or correct the name` }];
  return [
    ...[...desired.EgressPolicy.values()].flatMap((policy) => policy.spec.subjects.flatMap((subject, index) => unless(namespaceOfSubject(subject, policy.metadata.namespace), { object: refOf(policy), path: ['spec', 'subjects', index] }))),
    ...[...desired.SnatBinding.values()].flatMap((binding) => unless(ownerOf(binding).namespace, { object: refOf(binding), path: ['spec', 'subject'] })),
  ];
}

/** Without tenants nobody needs a grant, and files may be a part of what is applied. */
function unusedGrants({ desired, rootNamespace }: World): readonly Found[] {
  if (rootNamespace === undefined) return [];
  const referrals = [
    ...[...desired.EgressPolicy.values()].flatMap((policy) => policy.spec.to.map((target) => ({ from: refOf(policy), to: target }))),
    ...[...desired.SnatBinding.values()].flatMap((binding) => (binding.spec.targets ?? []).map((target) => ({ from: refOf(binding), to: target }))),
  ].filter(({ from, to }) => to.namespace !== undefined && to.namespace !== from.namespace && from.namespace !== rootNamespace);
  return [...desired.ReferenceGrant.values()].flatMap((grant) => {
    const alone = reachOf(rootNamespace, [grant]);
    const isUsed = referrals.some(({ from, to }) => mayRefer(from, { namespace: to.namespace!, name: to.service }, alone));
    return isUsed ? [] : [{ object: refOf(grant), path: ['spec'], message: 'no EgressPolicy and no SnatBinding refers to anything by it', hint: 'remove it, unless what refers is still to come' }];
  });
}

export const policyAnalyses: readonly Analysis[] = [
  { code: 'grant-unused', level: 'info', says: 'in a cluster: nothing refers to an ExternalService by this ReferenceGrant', remedy: 'remove it, unless what refers is still to come', find: unusedGrants },
  { code: 'policy-duplicate', level: 'info', says: 'two EgressPolicies say the same, whatever the order of their lists', remedy: 'remove one', find: duplicates },
  { code: 'policy-without-address', level: 'warning', says: 'an EgressPolicy lets a namespace use a port, and no SnatBinding gives anybody of that namespace an address for it: they are refused with `no-snat-binding`', remedy: 'apply a SnatBinding', find: policiesWithoutAddress },
  { code: 'subject-namespace-unknown', level: 'warning', says: 'in a cluster: an EgressPolicy or SnatBinding speaks about a namespace that is not there', remedy: 'correct the name, or create the namespace', find: unknownNamespaces },
];
