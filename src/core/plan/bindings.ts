/** Bindings resolved, and the order among them: which one decides the address of an identity at a service port. */
import type { Assignment, Holder } from '../snat/assignments.ts';
import type { Holdings } from '../snat/holdings.ts';
import { describeRef, keyOf, refOf, refOfKey, type DesiredState } from '../desired-state.ts';
import type { Fault, ObjectRef } from '../errors.ts';
import { holderOfBinding, ownerOf, type BindingOwner } from '../snat/holder.ts';
import { keptList } from '../kept-list.ts';
import type { SnatBinding } from '../objects/index.ts';
import { boundedList, byText, sortedUnique } from '../order.ts';
import type { Ground, PlanFault } from '../plan-fault.ts';
import type { ServicePortId, SnatSource, Subject } from './plan.ts';
import { foreignSubject, type Reach } from '../tenancy.ts';
import { accountsBehind, nameOfSubject } from './subjects.ts';
import { resolveTargets, servicePortId } from './targets.ts';

/** What a binding is for: `*` for everything, a service key, or the id of a service port. */
type Scope = string;
const everything: Scope = '*';
const scopesOfAll: readonly Scope[] = [everything];

export interface ResolvedBinding {
  /** `namespace/name`. */
  readonly key: string;
  readonly object: ObjectRef;
  readonly owner: BindingOwner;
  /** `namespace/name` of a Kubernetes Service or service account. */
  readonly ownerKey: string;
  readonly holder: Holder;
  /** Services that the targets name. */
  readonly serviceKeys: readonly string[];
  /** By which ReferenceGrants let it name services of other namespaces. */
  readonly referrals: readonly string[];
  /** Of a Kubernetes Service: the service accounts behind it. */
  readonly accounts: readonly string[];
  readonly scopes: readonly Scope[];
  /** Null only where no address has been assigned. */
  readonly snat: SnatSource | null;
  /** That the addresses are of. */
  readonly pools: readonly string[];
  readonly faults: readonly PlanFault[];
  readonly warnings: readonly Fault[];
}

type Lookups = Pick<DesiredState, 'ExternalService' | 'Service'>;

/** Adds to `found` what `resolveBinding` looked up, as it is now. */
export function findForBinding(found: unknown[], { owner, ownerKey, holder, serviceKeys, referrals }: ResolvedBinding, desired: Lookups, holdings: Holdings, { referenceGrants }: Reach): void {
  const records = holdings.get(holder);
  if (records !== undefined) for (const record of records) found.push(record);
  if (owner.kind === 'service') found.push(desired.Service.get(ownerKey));
  for (const key of serviceKeys) found.push(desired.ExternalService.get(key));
  for (const referral of referrals) found.push(referenceGrants.get(referral));
}

export function resolveBinding(binding: SnatBinding, desired: Lookups, holdings: Holdings, reach: Reach): ResolvedBinding {
  const object = refOf(binding);
  const owner = ownerOf(binding);
  const holder = holderOfBinding(binding);
  const { accounts, warnings } = owner.kind === 'service' ? accountsBehind(keyOf(owner), desired.Service, { object, path: ['spec', 'subject', 'service'] }) : { accounts: [], warnings: [] };
  const records = recordsOf(binding, holdings.get(holder) ?? []);
  const { targets, referrals, faults } = resolveTargets(binding.spec.targets ?? [], desired.ExternalService, reach, { object, path: ['spec', 'targets'], kind: 'binding' });
  return {
    key: keyOf(object),
    object,
    owner,
    ownerKey: owner.kind === 'namespace' ? owner.namespace : keyOf(owner),
    holder,
    serviceKeys: keptList(targets.map(({ serviceKey }) => serviceKey)),
    referrals: keptList(referrals),
    accounts: keptList(accounts),
    scopes: binding.spec.targets === undefined ? scopesOfAll : sortedUnique(targets.flatMap(({ serviceKey, portNames }) => portNames?.map((name) => servicePortId(serviceKey, name)) ?? [serviceKey])),
    snat: sourceOf(records),
    pools: records.map(({ pool }) => pool),
    faults: keptList([...foreignSubject(object, ['spec', 'subject'], owner.namespace, reach.rootNamespace), ...faults]),
    warnings: keptList(warnings),
  };
}

/** Those of the holder's assignments that the binding speaks of. */
function recordsOf({ spec }: SnatBinding, held: readonly Assignment[]): readonly Assignment[] {
  return held.filter((record) => (spec.addresses === undefined ? record.pool === spec.pool && record.fixed === undefined : spec.addresses.includes(record.address)));
}

function sourceOf(records: readonly Assignment[]): SnatSource | null {
  const of = (family: Assignment['family']) => records.find((record) => record.family === family);
  const [ipv4, ipv6] = [of('ipv4'), of('ipv6')];
  if (ipv4 === undefined && ipv6 === undefined) return null;
  return { ...(ipv4 && { ipv4: { address: ipv4.address, ports: ipv4.ports } }), ...(ipv6 && { ipv6: { address: ipv6.address, ports: ipv6.ports } }) };
}

interface ByScope {
  readonly everything: ResolvedBinding | undefined;
  /** Most often the same empty one. */
  readonly narrow: ReadonlyMap<Scope, ResolvedBinding>;
}

const noScopes: ByScope['narrow'] = new Map();
const nothing: ByScope = { everything: undefined, narrow: noScopes };

/** The bindings that speak of a namespace and its service accounts. */
export interface NamespaceBindings {
  readonly wide: ByScope;
  /** By service account that a binding speaks of: its own bindings, and those of Kubernetes Services that it is behind. */
  readonly accounts: ReadonlyMap<string, { readonly own: ByScope; readonly service: ByScope }>;
  readonly faults: readonly PlanFault[];
}

/** Puts the bindings of one namespace in order. Two that nothing sets apart are a fault on each, naming the other. */
export function orderBindings(bindings: readonly ResolvedBinding[]): NamespaceBindings {
  const faults: PlanFault[] = [];
  const sorted = bindings.toSorted((a, b) => byText(a.key, b.key));
  const index = (mine: readonly ResolvedBinding[], who: string, stronger?: ByScope): ByScope => {
    if (mine.length === 0) return nothing;
    const scopes = new Map<Scope, ResolvedBinding>();
    for (const [scope, rivals] of Map.groupBy(mine.flatMap((binding) => binding.scopes.map((name) => ({ name, binding }))), ({ name }) => name)) {
      scopes.set(scope, rivals[0]!.binding);
      if (rivals.length > 1 && (stronger === undefined || inScope(stronger, scope) === undefined)) faults.push(...tie(rivals.map(({ binding }) => binding), who, scope));
    }
    const wide = scopes.get(everything);
    scopes.delete(everything);
    return { everything: wide, narrow: scopes.size === 0 ? noScopes : scopes };
  };
  const namespace = sorted[0]?.owner.namespace ?? '';
  const wide = index(sorted.filter(({ owner }) => owner.kind === 'namespace'), nameOfSubject({ namespace }));
  const accounts = new Map<string, { own: ByScope; service: ByScope }>();
  const owned = Map.groupBy(sorted.filter(({ owner }) => owner.kind === 'serviceAccount'), ({ owner }) => (owner.kind === 'serviceAccount' ? owner.name : ''));
  const behind = Map.groupBy(sorted.flatMap((binding) => binding.accounts.map((account) => ({ account, binding }))), ({ account }) => account);
  for (const account of sortedUnique([...owned.keys(), ...behind.keys()])) {
    const who = nameOfSubject({ namespace, serviceAccount: account });
    const own = index(owned.get(account) ?? [], who);
    const service = index((behind.get(account) ?? []).map(({ binding }) => binding), who, own);
    accounts.set(account, { own, service });
  }
  return { wide, accounts, faults };
}

/** The narrowest binding that covers the scope: a port's own, else its service's, else the one for everything. */
function inScope(bindings: ByScope, scope: Scope): ResolvedBinding | undefined {
  const colon = scope.indexOf(':');
  return bindings.narrow.get(scope) ?? (colon === -1 ? undefined : bindings.narrow.get(scope.slice(0, colon))) ?? bindings.everything;
}

/** The binding that decides for a subject at a service port. */
export function bindingOfSubject(bindings: NamespaceBindings | undefined, { serviceAccount }: Subject, id: ServicePortId): ResolvedBinding | undefined {
  const own = serviceAccount === undefined ? undefined : bindingOfAccount(bindings, serviceAccount, id);
  return own ?? (bindings && inScope(bindings.wide, id));
}

/** The binding that speaks of a service account at a service port beside its namespace's: the account's own first, then its Kubernetes Services'. */
export function bindingOfAccount(bindings: NamespaceBindings | undefined, account: string, id: ServicePortId): ResolvedBinding | undefined {
  const mine = bindings?.accounts.get(account);
  return mine && (inScope(mine.own, id) ?? inScope(mine.service, id));
}

function tie(rivals: readonly ResolvedBinding[], who: string, scope: Scope): PlanFault[] {
  const scopeName = scope === everything ? 'every target' : `"${scope}"`;
  const restsOn = groundsOfTie(rivals, scope);
  return rivals.map((binding) => ({
    code: 'binding-conflict',
    message: `${describeRef(binding.object)} and ${boundedList(rivals.filter((rival) => rival !== binding).map((rival) => describeRef(rival.object)))} are equally specific for ${who} and ${scopeName}`,
    hint: binding.owner.kind === 'service' ? `remove one, or bind ${who} itself, which decides over Kubernetes Services` : 'remove one, or give one of them narrower "targets"',
    object: binding.object,
    path: ['spec'],
    restsOn,
  }));
}

/** The rivals and the service of the scope; of Kubernetes Services also themselves, and that no binding speaks of their accounts. */
function groundsOfTie(rivals: readonly ResolvedBinding[], scope: Scope): readonly Ground[] {
  return [
    ...rivals.map(({ object }) => object),
    ...(scope === everything ? [] : [refOfKey('ExternalService', scope.split(':')[0]!)]),
    ...rivals.flatMap(({ owner, ownerKey }): Ground[] => (owner.kind === 'service' ? [refOfKey('Service', ownerKey), { kind: 'SnatBinding', subject: owner.namespace }] : [])),
  ];
}
