/** Random desired states, small enough that everything meets everything, and a second, naive answer to who may go where. */
import fc from 'fast-check';
import type { Assignments } from '../../../src/core/snat/assignments.ts';
import type { DesiredState } from '../../../src/core/desired-state.ts';
import { keyOf } from '../../../src/core/desired-state.ts';
import type { AllowedNamespaces, DesiredObject, EgressPolicy, ExternalService, SnatBinding } from '../../../src/core/objects/index.ts';
import { binding, externalService, gateway, kubernetesService, namespace, policy, pool, referenceGrant } from '../world.ts';

const namespaces = ['a', 'b', 'c'];
const accounts = ['x', 'y', 'z'];
const services = ['s1', 's2', 's3'];

/** Every identity that could matter, one of each namespace that nothing speaks of. */
export const everyone = namespaces.flatMap((name) => [...accounts, 'unspoken'].map((account) => ({ namespace: name, serviceAccount: account })));

const someNamespace = fc.constantFrom(...namespaces);
const someAccount = fc.constantFrom(...accounts);
const someService = fc.constantFrom(...services);

const target = fc.record({ service: someService, namespace: fc.constantFrom('a', 'b') }).chain((named) => fc.option(fc.constantFrom<(string | number)[]>([8080], ['alpha'], ['alpha', 'beta']), { nil: undefined }).map((ports) => ({ ...named, ...(ports !== undefined && { ports }) })));

type PolicySpec = Parameters<typeof policy>[1];
type BindingSpec = Parameters<typeof binding>[1];

const kubernetesSubject = fc.tuple(someNamespace, fc.constantFrom('k1', 'k2')).map(([namespaceName, name]) => ({ service: { namespace: namespaceName, name } }));
const policySubject: fc.Arbitrary<PolicySpec['subjects'][number]> = fc.oneof(
  someNamespace.map((name) => ({ namespace: name })),
  fc.tuple(someNamespace, someAccount).map(([name, serviceAccount]) => ({ namespace: name, serviceAccount })),
  fc.constantFrom('red', 'blue').map((colour) => ({ namespaceSelector: { matchLabels: { colour } } })),
  fc.tuple(fc.constantFrom('red', 'blue'), someAccount).map(([colour, serviceAccount]) => ({ namespaceSelector: { matchLabels: { colour } }, serviceAccount })),
  kubernetesSubject,
);
const bindingSubject: fc.Arbitrary<BindingSpec['subject']> = fc.oneof(
  someNamespace.map((name) => ({ namespace: name })),
  fc.tuple(someNamespace, someAccount).map(([name, serviceAccount]) => ({ namespace: name, serviceAccount })),
  kubernetesSubject,
);

const somePolicy = fc
  .record({ key: fc.integer({ min: 0, max: 9 }), subjects: fc.array(policySubject, { minLength: 1, maxLength: 3 }), to: fc.array(target, { minLength: 1, maxLength: 2 }), authorities: fc.constantFrom<(string[] | undefined)[]>(undefined, undefined, ['example.com:443'], ['*.example.org:*']) })
  .map(({ key, subjects, to, authorities }) => policy(`a/p${key}`, { subjects, to, ...(authorities !== undefined && { constraints: { connectAuthorities: authorities } }) }));
const someBinding = fc
  .record({ key: fc.integer({ min: 0, max: 9 }), subject: bindingSubject, targets: fc.option(fc.array(target, { minLength: 1, maxLength: 2 }), { nil: undefined, freq: 2 }) })
  .map(({ key, subject, targets }) => binding(`b/b${key}`, { subject, pool: 'eu', ...(targets !== undefined && { targets }) }));

/** What the port alpha of a service speaks. Each has its options, if it has any. */
const connect = { protocol: 'HTTPConnect' } as const;
const sealed = { protocol: 'FTPS', tls: { mode: 'PassThrough', dataPorts: { first: 2121, last: 2122 } } } as const;
const alphas = [{ protocol: 'TCP' }, connect, { protocol: 'UDP' }, { protocol: 'FTP' }, { protocol: 'FTPS' }, sealed] as const;

interface ServiceForm {
  readonly alpha: (typeof alphas)[number];
  readonly host?: boolean;
  readonly reverse?: boolean;
}

/** Addresses at agents and ports of the way back differ between services, so that no two meet. */
function serviceOf(namespaceName: string, name: string, { alpha, host = false, reverse = false }: ServiceForm): DesiredObject {
  const [inNamespaces, inServices] = [namespaces.indexOf(namespaceName), services.indexOf(name)];
  return externalService(`${namespaceName}/${name}`, {
    ...(host ? { hosts: [`${name}-${namespaceName}.example.net`] } : {}),
    agentAddress: `127.0.${inNamespaces}.${inServices + 1}`,
    ports: [
      { name: 'alpha', port: 8080, ...alpha },
      { name: 'beta', port: 9090, protocol: 'HTTPConnect' },
    ],
    ...(reverse ? { reverse: [{ name: 'back', port: 7000 + 10 * inNamespaces + inServices }] } : {}),
  });
}

const someExternalService = fc
  .record({ name: someService, namespaceName: fc.constantFrom('a', 'b'), alpha: fc.constantFrom(...alphas), host: fc.boolean(), reverse: fc.boolean() })
  .map(({ name, namespaceName, ...form }) => serviceOf(namespaceName, name, form));
const someNamespaceObject = fc.tuple(someNamespace, fc.constantFrom('red', 'blue', 'green')).map(([name, colour]) => namespace(name, { colour }));
const someKubernetesService = fc.record({ namespaceName: someNamespace, name: fc.constantFrom('k1', 'k2'), behind: fc.constantFrom(undefined, 'x', 'y', 'x, y') }).map(({ namespaceName, name, behind }) => kubernetesService(`${namespaceName}/${name}`, behind));

/** Any object but gateways and pools. */
export const someObject: fc.Arbitrary<DesiredObject> = fc.oneof({ weight: 3, arbitrary: somePolicy }, { weight: 3, arbitrary: someBinding }, someExternalService, someNamespaceObject, someKubernetesService);

function poolFor(allowed: Allowed): DesiredObject {
  return pool('eu', ['10.0.0.0/24', '2001:db8::/64'], allowed);
}

/** What every state begins with: all services, a gateway, a pool. */
export const ground: readonly DesiredObject[] = [
  gateway('gw'),
  poolFor({}),
  ...['a', 'b'].flatMap((namespaceName) => services.map((name) => serviceOf(namespaceName, name, { alpha: name === 's2' && namespaceName === 'b' ? sealed : connect, reverse: name === 's3' && namespaceName === 'a' }))),
];

export const someObjects = fc.array(someObject, { maxLength: 14, size: 'max' });

/** Of a cluster with tenants: whose objects may speak about everyone. */
export const rootNamespace = 'root';

type Allowed = Pick<NonNullable<Parameters<typeof pool>[2]>, 'namespaces'>;
const someAllowed = fc.constantFrom<Allowed>(
  {},
  { namespaces: { from: 'All' } },
  { namespaces: { from: 'None' } },
  { namespaces: { from: 'Names', names: ['a'] } },
  { namespaces: { from: 'Selector', selector: { matchLabels: { colour: 'red' } } } },
);
const someGrant = fc
  .record({ namespaceName: fc.constantFrom('a', 'b'), name: fc.constantFrom('g1', 'g2'), from: fc.subarray(['EgressPolicy a', 'EgressPolicy b', 'EgressPolicy c', 'SnatBinding a', 'SnatBinding b'] as const, { minLength: 1 }), to: fc.option(fc.subarray(services, { minLength: 1 }), { nil: [] }) })
  .map(({ namespaceName, name, from, to }) => referenceGrant(`${namespaceName}/${name}`, from, to));

/** Written anywhere, mostly about its own namespace. */
const tenantsPolicy = fc
  .tuple(fc.constantFrom('a', 'b', 'c', rootNamespace), someAccount)
  .chain(([where, account]) => fc.record({ key: fc.nat({ max: 3 }), subjects: fc.array(fc.oneof({ weight: 6, arbitrary: fc.constantFrom<PolicySpec['subjects'][number]>({ namespace: where }, { namespace: where, serviceAccount: account }, { service: { name: 'k1' } }) }, policySubject), { minLength: 1, maxLength: 2 }), to: fc.array(target, { minLength: 1, maxLength: 2 }) }).map(({ key, ...spec }) => policy(`${where}/p${key}`, spec)));
const tenantsBinding = fc
  .tuple(fc.constantFrom('a', 'b', 'c', rootNamespace), someAccount)
  .chain(([where, account]) =>
    fc
      .record({ key: fc.nat({ max: 3 }), subject: fc.oneof<fc.MaybeWeightedArbitrary<BindingSpec['subject']>[]>({ weight: 4, arbitrary: fc.constantFrom({ namespace: where }, { namespace: where, serviceAccount: account }) }, bindingSubject), targets: fc.option(fc.array(target, { minLength: 1, maxLength: 1 }), { nil: undefined, freq: 2 }), source: fc.constantFrom<Pick<BindingSpec, 'pool' | 'addresses'>>({ pool: 'eu' }, { addresses: ['10.0.0.9'] }) })
      .map(({ key, subject, targets, source }) => binding(`${where}/b${key}`, { subject, ...source, ...(targets !== undefined && { targets }) })),
  );

/** Any object of a cluster with tenants. */
export const someTenantsObject: fc.Arbitrary<DesiredObject> = fc.oneof(
  { weight: 3, arbitrary: tenantsPolicy },
  { weight: 3, arbitrary: tenantsBinding },
  { weight: 2, arbitrary: someGrant },
  { weight: 2, arbitrary: someNamespaceObject },
  someKubernetesService,
  someAllowed.map(poolFor),
  someAllowed.map((allowed) => gateway('gw', allowed)),
);

/** What a state with tenants begins with: all is granted, and by label too. */
export const tenantsGround: readonly DesiredObject[] = [
  ...ground,
  ...['a', 'b'].flatMap((name) => [namespace(name, { colour: 'red' }), referenceGrant(`${name}/g1`, ['EgressPolicy a', 'EgressPolicy b', 'EgressPolicy c', 'SnatBinding a', 'SnatBinding b', 'SnatBinding c'])]),
];

/** What may not be said by whom: `CODE KIND NAMESPACE/NAME`, straight from the words of the kinds. */
export function naiveTrespasses(desired: DesiredState): ReadonlySet<string> {
  const isOpen = (allowed: AllowedNamespaces | undefined, name: string) => {
    if (name === rootNamespace || allowed === undefined || allowed.from === 'All') return true;
    if (allowed.from === 'Names') return allowed.names.includes(name);
    return allowed.from === 'Selector' && desired.Namespace.get(name)?.metadata.labels?.['colour'] === allowed.selector.matchLabels['colour'];
  };
  const isGranted = (kind: string, from: string, to: string, service: string) =>
    [...desired.ReferenceGrant.values()].some(({ metadata, spec }) => metadata.namespace === to && spec.from.some((each) => each.kind === kind && each.namespace === from) && spec.to.some(({ name = service }) => name === service));
  const found = new Set<string>();
  const check = ({ kind, metadata: { namespace: own, name } }: EgressPolicy | SnatBinding, about: readonly (string | undefined)[], targets: readonly NamedTarget[]) => {
    if (own === rootNamespace) return;
    if (about.some((each) => each !== own)) found.add(`subject-foreign ${kind} ${own}/${name}`);
    if (targets.some((each) => (each.namespace ?? own) !== own && !isGranted(kind, own, each.namespace!, each.service))) found.add(`reference-not-granted ${kind} ${own}/${name}`);
  };
  for (const each of desired.EgressPolicy.values()) check(each, each.spec.subjects.map((subject) => ('service' in subject ? (subject.service.namespace ?? each.metadata.namespace) : 'namespace' in subject ? subject.namespace : undefined)), each.spec.to);
  for (const each of desired.SnatBinding.values()) {
    const { metadata: { namespace: own, name }, spec: { subject, targets = [] } } = each;
    const about = 'service' in subject ? (subject.service.namespace ?? own) : subject.namespace;
    check(each, [about], targets);
    if ((own === rootNamespace || about === own) && !isOpen(desired.SnatPool.get('eu')!.spec.namespaces, own)) found.add(`pool-not-allowed SnatBinding ${own}/${name}`);
  }
  for (const { metadata: { namespace: own, name } } of desired.ExternalService.values()) {
    if (!isOpen(desired.EgressGateway.get('gw')!.spec.namespaces, own)) found.add(`gateway-not-allowed ExternalService ${own}/${name}`);
  }
  return found;
}

// The naive second implementation: no index, no inheritance, one identity and one port at a time.

type Identity = (typeof everyone)[number];

function isBehind(desired: DesiredState, who: Identity, service: { readonly namespace: string; readonly name: string }): boolean {
  const annotation = desired.Service.get(`${service.namespace}/${service.name}`)?.metadata.annotations?.['alpha.istio.io/kubernetes-serviceaccounts'] ?? '';
  return who.namespace === service.namespace && annotation.split(',').some((name) => name.trim() === who.serviceAccount);
}

/** The ports by which a service is used, or uses: each by its name, and the one of `ports` that speaks for it; none speaks for the way back. */
export function portsOf({ spec: { ports, reverse = [] } }: ExternalService): readonly { readonly name: string; readonly spokenForBy: ExternalService['spec']['ports'][number] | undefined }[] {
  const forward = ports.flatMap((port) => {
    const { first, last } = port.tls?.dataPorts ?? { first: 1, last: 0 };
    return [port.name, ...Array.from({ length: last - first + 1 }, (_, index) => `${port.name}-${first + index}`)].map((name) => ({ name, spokenForBy: port }));
  });
  return [...forward, ...reverse.map(({ name }) => ({ name, spokenForBy: undefined }))];
}

interface NamedTarget {
  readonly service: string;
  readonly namespace?: string | undefined;
  readonly ports?: readonly (string | number)[] | undefined;
}

function names(targets: readonly NamedTarget[], own: string, service: ExternalService, portName: string): 'port' | 'service' | 'no' {
  const port = portsOf(service).find(({ name }) => name === portName)!.spokenForBy;
  const mine = targets.filter((each) => `${each.namespace ?? own}/${each.service}` === keyOf(service.metadata));
  if (mine.some(({ ports }) => ports?.some((wanted) => wanted === port?.name || wanted === port?.port))) return 'port';
  return mine.some(({ ports }) => ports === undefined) ? 'service' : 'no';
}

export type NaiveAnswer =
  | { readonly kind: 'denied'; readonly reason: 'no-policy' | 'no-snat-binding'; readonly policies: readonly string[] }
  | { readonly kind: 'allowed'; readonly policies: readonly string[]; readonly binding: string; readonly addresses: readonly string[]; readonly connectAuthorities: readonly string[] | null }
  | { readonly kind: 'tie' };

/** Who may go where and as whom, straight from the words of the object descriptions. */
export function naively(desired: DesiredState, assignments: Assignments, who: Identity, service: ExternalService, portName: string): NaiveAnswer {
  const port = portsOf(service).find(({ name }) => name === portName)!.spokenForBy;
  const policies = [...desired.EgressPolicy.values()].filter(({ metadata, spec }) => {
    const meant = spec.subjects.some((subject) => {
      if ('service' in subject) return isBehind(desired, who, { namespace: subject.service.namespace ?? metadata.namespace, name: subject.service.name });
      if (subject.serviceAccount !== undefined && subject.serviceAccount !== who.serviceAccount) return false;
      if ('namespace' in subject) return subject.namespace === who.namespace;
      const labels = desired.Namespace.get(who.namespace)?.metadata.labels ?? {};
      return desired.Namespace.has(who.namespace) && Object.entries(subject.namespaceSelector.matchLabels).every(([key, value]) => labels[key] === value);
    });
    const isNamed = port === undefined ? spec.to.some((each) => `${each.namespace ?? metadata.namespace}/${each.service}` === keyOf(service.metadata)) : names(spec.to, metadata.namespace, service, portName) !== 'no';
    return meant && isNamed; // the way back is for whoever may use any port
  });
  const keys = policies.map(({ metadata }) => keyOf(metadata)).sort();

  const ranked = [...desired.SnatBinding.values()].flatMap((each: SnatBinding) => {
    const { subject, targets } = each.spec;
    let subjectRank = -1;
    if ('service' in subject) subjectRank = isBehind(desired, who, { namespace: subject.service.namespace ?? each.metadata.namespace, name: subject.service.name }) ? 1 : -1;
    else if (subject.namespace === who.namespace && subject.serviceAccount === undefined) subjectRank = 0;
    else if (subject.namespace === who.namespace && subject.serviceAccount === who.serviceAccount) subjectRank = 2;
    const targetRank = targets === undefined ? 0 : { port: 2, service: 1, no: -1 }[names(targets, each.metadata.namespace, service, portName)];
    return subjectRank === -1 || targetRank === -1 ? [] : [{ each, rank: subjectRank * 10 + targetRank }];
  });
  const top = Math.max(...ranked.map(({ rank }) => rank));
  const winners = ranked.filter(({ rank }) => rank === top).map(({ each }) => each);
  if (winners.length > 1) return { kind: 'tie' };
  if (keys.length === 0) return { kind: 'denied', reason: 'no-policy', policies: [] };
  const [winner] = winners;
  if (winner === undefined) return { kind: 'denied', reason: 'no-snat-binding', policies: keys };

  const { subject } = winner.spec;
  const holder = 'service' in subject ? `svc/${subject.service.namespace ?? winner.metadata.namespace}/${subject.service.name}` : subject.serviceAccount === undefined ? `ns/${subject.namespace}` : `sa/${subject.namespace}/${subject.serviceAccount}`;
  const limits = policies.map(({ spec }) => spec.constraints?.connectAuthorities);
  return {
    kind: 'allowed',
    policies: keys,
    binding: keyOf(winner.metadata),
    addresses: assignments.filter((record) => record.holder === holder && record.releasedAt === null).map(({ address }) => address).sort(),
    connectAuthorities: port?.protocol !== 'HTTPConnect' || limits.includes(undefined) ? null : [...new Set(limits.flatMap((list) => list ?? []))].sort(),
  };
}
