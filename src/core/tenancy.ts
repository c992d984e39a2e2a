/**
 * Multi-tenancy: how far an object may speak, by the namespace that it is in. Without a root namespace, as from files, one administrator
 * speaks about everyone. With one, as in a cluster, its objects do; those of another namespace speak about their own workloads, and use
 * what is not theirs as far as that lets them: an ExternalService by a ReferenceGrant beside it, a SnatPool and an EgressGateway by their
 * `namespaces`.
 */
import { stringify } from 'yaml';
import type { DesiredState } from './desired-state.ts';
import type { FieldPath, ObjectRef } from './errors.ts';
import { apiGroup, apiVersion, type AllowedNamespaces, type ReferenceGrant } from './objects/index.ts';
import type { PlanFault } from './plan-fault.ts';

/** Istio's word. Undefined where there are no tenants. */
export type RootNamespace = string | undefined;

/** Whether objects of the namespace may speak about everyone. */
export function speaksForAll(namespace: string, rootNamespace: RootNamespace): boolean {
  return rootNamespace === undefined || namespace === rootNamespace;
}

/** The fault of an object that speaks about another namespace and may not. `about` is the namespace, or null for whichever have some labels. */
export function foreignSubject(object: ObjectRef, path: FieldPath, about: string | null, rootNamespace: RootNamespace): readonly PlanFault[] {
  if (speaksForAll(object.namespace, rootNamespace) || about === object.namespace) return [];
  return [
    {
      code: 'subject-foreign',
      message: `namespace "${object.namespace}" may speak about itself only, not about ${about === null ? 'namespaces by their labels' : `"${about}"`}`,
      hint: `name workloads of "${object.namespace}"; what is about others belongs in the root namespace "${rootNamespace}"`,
      object,
      path,
      restsOn: [],
    },
  ];
}

/** Of what kind and namespace an object is that refers to another. */
export type Referrer = Pick<ObjectRef, 'kind' | 'namespace'>;

/** Who refers to which namespace: `KIND NAMESPACE NAMESPACE`. */
type Referral = string;

function referralOf({ kind, namespace }: Referrer, to: string): Referral {
  return `${kind} ${namespace} ${to}`;
}

/** What decides whether one object may refer to another. */
export interface Reach {
  readonly rootNamespace: RootNamespace;
  readonly referenceGrants: ReadonlyMap<Referral, readonly ReferenceGrant[]>;
}

/** What a grant is about: those of `from`, each with the grant's own namespace. */
export function referralsIn({ metadata, spec }: ReferenceGrant): ReadonlySet<Referral> {
  return new Set(spec.from.map((from) => referralOf(from, metadata.namespace)));
}

/** How far objects may refer by these grants. */
export function reachOf(rootNamespace: RootNamespace, grants: Iterable<ReferenceGrant>): Reach {
  const referenceGrants = new Map<Referral, ReferenceGrant[]>();
  for (const grant of grants) for (const referral of referralsIn(grant)) referenceGrants.set(referral, [...(referenceGrants.get(referral) ?? []), grant]);
  return { rootNamespace, referenceGrants };
}

/** The referral that needs a grant; undefined where none is needed. */
export function referralFor(from: Referrer, to: string, { rootNamespace }: Reach): Referral | undefined {
  return from.namespace === to || speaksForAll(from.namespace, rootNamespace) ? undefined : referralOf(from, to);
}

/** Whether an object of this kind and namespace may refer to an ExternalService, there or not. */
export function mayRefer(from: Referrer, service: Pick<ObjectRef, 'namespace' | 'name'>, reach: Reach): boolean {
  const referral = referralFor(from, service.namespace, reach);
  return referral === undefined || (reach.referenceGrants.get(referral)?.some(({ spec }) => spec.to.some(({ name = service.name }) => name === service.name)) ?? false);
}

/** A manifest that lets just these refer to just this service. */
export function grantManifest(name: string, from: readonly Referrer[], service: Pick<ObjectRef, 'namespace' | 'name'>) {
  return {
    apiVersion,
    kind: 'ReferenceGrant',
    metadata: { name, namespace: service.namespace },
    spec: { from: from.map(({ kind, namespace }) => ({ group: apiGroup, kind, namespace })), to: [{ group: apiGroup, kind: 'ExternalService', name: service.name }] },
  };
}

/**
 * The fault of a reference that may not be. It is laid to nobody else's charge: the grant that could be may have any name, and whether the
 * service is there was not asked.
 */
export function notGranted(object: ObjectRef, path: FieldPath, service: Pick<ObjectRef, 'namespace' | 'name'>): PlanFault {
  const grant = stringify(grantManifest(`${object.namespace}-to-${service.name}`, [object], service), { collectionStyle: 'flow', lineWidth: 0, compat: 'yaml-1.1' }).trim();
  return {
    code: 'reference-not-granted',
    message: `namespace "${service.namespace}" lets no ${object.kind} of "${object.namespace}" refer to its ExternalService "${service.name}"`,
    hint: `ask whoever may write there for ${grant}`,
    object,
    path,
    restsOn: [{ kind: 'ReferenceGrant', namespace: service.namespace }],
  };
}

/** Whether something of the platform's is for the namespace too. */
export function isOpenTo(allowed: AllowedNamespaces | undefined, namespace: string, rootNamespace: RootNamespace, namespaces: DesiredState['Namespace']): boolean {
  if (allowed === undefined || speaksForAll(namespace, rootNamespace)) return true;
  switch (allowed.from) {
    case 'All':
      return true;
    case 'None':
      return false;
    case 'Names':
      return allowed.names.includes(namespace);
    case 'Selector':
      return hasLabels(namespaces.get(namespace)?.metadata.labels ?? {}, allowed.selector.matchLabels);
  }
}

/** Whether every wanted label is there with its value. */
export function hasLabels(labels: Readonly<Record<string, string>>, wanted: Readonly<Record<string, string>>): boolean {
  return Object.entries(wanted).every(([label, value]) => labels[label] === value);
}

/** The labels of namespaces as far as any of these asks for them, to tell by identity whether an answer may be another. */
export function labelsAskedFor(platform: Iterable<{ readonly spec: { readonly namespaces?: AllowedNamespaces | undefined } }>, rootNamespace: RootNamespace, namespaces: DesiredState['Namespace']): DesiredState['Namespace'] | undefined {
  return rootNamespace !== undefined && Array.from(platform).some(({ spec }) => spec.namespaces?.from === 'Selector') ? namespaces : undefined;
}
