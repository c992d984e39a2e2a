/** The grants of one service port: policies say who may, bindings say from where. */
import { bindingOfAccount, bindingOfSubject, type NamespaceBindings } from './bindings.ts';
import type { FtpConstraints } from '../ftp/rules.ts';
import { refOfKey } from '../desired-state.ts';
import { byText, sortedUnique } from '../order.ts';
import type { Ground } from '../plan-fault.ts';
import type { Grant, ServicePort, Subject } from './plan.ts';
import type { ResolvedPolicy } from './policies.ts';

type BindingsOf = (namespace: string) => NamespaceBindings | undefined;

interface NamespacePolicies {
  /** Those that speak of the whole namespace. */
  readonly wide: ResolvedPolicy[];
  /** Those that speak of a service account. */
  readonly accounts: Map<string, ResolvedPolicy[]>;
}

/**
 * The grants that these policies, all of which name the port, give. A service account has one of its own where a policy
 * or a binding speaks of it; it holds what the namespace has too, so that a decision reads one grant only.
 */
export function grantsOf(port: Pick<ServicePort, 'id' | 'protocol'>, policies: readonly ResolvedPolicy[], bindingsOf: BindingsOf): Grant[] {
  const grants: Grant[] = [];
  for (const [namespace, { wide, accounts }] of [...policiesByNamespace(policies)].sort(([a], [b]) => byText(a, b))) {
    const bindings = bindingsOf(namespace);
    if (wide.length > 0) {
      grants.push(grantOf({ namespace }, port, wide, bindings));
      for (const account of bindings?.accounts.keys() ?? []) {
        if (!accounts.has(account) && bindingOfAccount(bindings, account, port.id) !== undefined) accounts.set(account, []);
      }
    }
    for (const [serviceAccount, own] of [...accounts].sort(([a], [b]) => byText(a, b))) {
      grants.push(grantOf({ namespace, serviceAccount }, port, [...wide, ...own], bindings));
    }
  }
  return grants;
}

/** What makes a grant: its policies and its binding, and what may decide whom they mean. */
export function groundsOfGrant({ subject: { namespace }, policies, binding }: Grant): Ground[] {
  return [
    ...policies.map((key) => refOfKey('EgressPolicy', key)),
    ...(binding === null ? [] : [refOfKey('SnatBinding', binding)]),
    { kind: 'Namespace', name: namespace },
    { kind: 'Service', namespace },
  ];
}

function policiesByNamespace(policies: readonly ResolvedPolicy[]): Map<string, NamespacePolicies> {
  const namespaces = new Map<string, NamespacePolicies>();
  for (const policy of policies) {
    for (const { namespace, serviceAccount } of policy.subjects) {
      let entry = namespaces.get(namespace);
      if (entry === undefined) namespaces.set(namespace, (entry = { wide: [], accounts: new Map() }));
      if (serviceAccount === undefined) {
        entry.wide.push(policy);
        continue;
      }
      const own = entry.accounts.get(serviceAccount);
      if (own === undefined) entry.accounts.set(serviceAccount, [policy]);
      else own.push(policy);
    }
  }
  return namespaces;
}

function grantOf(subject: Subject, port: Pick<ServicePort, 'id' | 'protocol'>, policies: readonly ResolvedPolicy[], bindings: NamespaceBindings | undefined): Grant {
  const binding = bindingOfSubject(bindings, subject, port.id);
  const snat = binding?.snat ?? null;
  return {
    subject,
    policies: sortedUnique(policies.map(({ key }) => key)),
    snat,
    binding: snat === null ? null : binding!.key,
    connectAuthorities: port.protocol === 'HTTPConnect' ? authoritiesOf(policies) : null,
    ftp: port.protocol === 'FTP' ? ftpOf(policies) : null,
  };
}

/** What each of the policies allows, every one once; null as soon as one of them sets no limit. */
function ftpOf(policies: readonly ResolvedPolicy[]): readonly FtpConstraints[] | null {
  const alternatives = new Map<string, FtpConstraints>();
  for (const { ftp } of policies) {
    if (ftp === null) return null;
    alternatives.set(JSON.stringify(ftp), ftp);
  }
  return [...alternatives].sort(([a], [b]) => byText(a, b)).map(([, ftp]) => ftp);
}

/** What any of the policies allows; null as soon as one of them sets no limit. */
function authoritiesOf(policies: readonly ResolvedPolicy[]): readonly string[] | null {
  const lists = policies.map(({ connectAuthorities }) => connectAuthorities);
  return lists.includes(null) ? null : sortedUnique(lists.flatMap((list) => list ?? []));
}
