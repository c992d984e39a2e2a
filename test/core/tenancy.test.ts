import assert from 'node:assert/strict';
import { applyChange, describeRef, refOf, type DesiredChange } from '../../src/core/desired-state.ts';
import type { Fault } from '../../src/core/errors.ts';
import { parseManifests } from '../../src/core/manifest/manifest.ts';
import { renderObject } from '../../src/core/manifest/manifest-text.ts';
import type { DesiredObject } from '../../src/core/objects/index.ts';
import type { PlanFault } from '../../src/core/plan-fault.ts';
import { accept, type Standing } from '../../src/core/plan/acceptance.ts';
import { binding, build, externalService, gateway, kubernetesService, namespace, placesOf, policy, pool, referenceGrant, state, trustDomain, workloadEntry } from './world.ts';

const rootNamespace = 'sallyport-system';
const gw = gateway('gw');
const eu = pool('eu', ['10.0.0.1-10.0.0.9']);
const bank = externalService('shop/bank');
const inShop = { subjects: [{ namespace: 'shop' }] };
const toBank = [{ service: 'bank', namespace: 'shop' }];

function faultsOf(objects: readonly DesiredObject[], tenancy: { readonly rootNamespace?: string } = { rootNamespace }): readonly Fault[] {
  return build(state(...objects), [], tenancy).faults;
}

interface Case {
  readonly what: string;
  readonly objects: readonly DesiredObject[];
  readonly faults?: readonly string[];
  readonly says?: RegExp;
}

const subjects: readonly Case[] = [
  { what: 'a policy about its own namespace', objects: [bank, policy('shop/p', { ...inShop, to: [{ service: 'bank' }] })] },
  { what: 'a policy about an account of its own namespace', objects: [bank, policy('shop/p', { subjects: [{ namespace: 'shop', serviceAccount: 'till' }], to: [{ service: 'bank' }] })] },
  { what: 'a policy about who is behind a Service of its own', objects: [bank, kubernetesService('shop/web', 'desk'), policy('shop/p', { subjects: [{ service: { name: 'web' } }, { service: { namespace: 'shop', name: 'web' } }], to: [{ service: 'bank' }] })] },
  { what: 'a policy about another namespace', objects: [bank, policy('shop/p', { subjects: [{ namespace: 'shop' }, { namespace: 'zoo' }], to: [{ service: 'bank' }] })], faults: ['subject-foreign EgressPolicy shop/p spec.subjects.1'], says: /itself only, not about "zoo".*"sallyport-system"/ },
  { what: 'a policy about who is behind a Service of another', objects: [bank, policy('shop/p', { subjects: [{ service: { namespace: 'zoo', name: 'web' } }], to: [{ service: 'bank' }] })], faults: ['subject-foreign EgressPolicy shop/p spec.subjects.0'] },
  { what: 'a policy about namespaces by their labels, its own too', objects: [bank, namespace('shop', { team: 'a' }), policy('shop/p', { subjects: [{ namespaceSelector: { matchLabels: { team: 'a' } } }], to: [{ service: 'bank' }] })], faults: ['subject-foreign EgressPolicy shop/p spec.subjects.0'], says: /by their labels/ },
  { what: 'a policy of the root namespace about anybody', objects: [bank, namespace('zoo', { team: 'a' }), policy(`${rootNamespace}/p`, { subjects: [{ namespace: 'shop' }, { namespaceSelector: { matchLabels: { team: 'a' } } }], to: toBank })] },
  { what: 'a binding about another namespace, which gets nothing', objects: [eu, binding('shop/b', { subject: { namespace: 'zoo' }, pool: 'eu' })], faults: ['subject-foreign SnatBinding shop/b spec.subject'] },
  { what: 'a binding about a Service of another namespace', objects: [eu, binding('shop/b', { subject: { service: { namespace: 'zoo', name: 'web' } }, pool: 'eu' })], faults: ['subject-foreign SnatBinding shop/b spec.subject'] },
  { what: 'a binding of the root namespace about anybody', objects: [eu, binding(`${rootNamespace}/b`, { subject: { namespace: 'zoo' }, pool: 'eu' })] },
  {
    what: 'one that would take the last address from another',
    objects: [pool('eu', ['10.0.0.1']), binding('shop/b', { subject: { namespace: 'aaa' }, pool: 'eu' }), binding('zoo/b', { subject: { namespace: 'zoo' }, pool: 'eu' })],
    faults: ['subject-foreign SnatBinding shop/b spec.subject'],
  },
];

const zooToBank = policy('zoo/p', { subjects: [{ namespace: 'zoo' }], to: toBank });
const zooBound = binding('zoo/b', { subject: { namespace: 'zoo' }, pool: 'eu', targets: toBank });
const refused = 'reference-not-granted EgressPolicy zoo/p spec.to.0.namespace';
const references: readonly Case[] = [
  { what: 'a policy that refers to another namespace', objects: [bank, zooToBank], faults: [refused], says: /kind: ReferenceGrant, metadata: { name: zoo-to-bank, namespace: shop }, spec: { from: \[ { group: sallyport\.dev, kind: EgressPolicy, namespace: zoo } \], to: \[ { group: sallyport\.dev, kind: ExternalService, name: bank } \] }/ },
  { what: 'the same where nothing is there, in the same words', objects: [zooToBank], faults: [refused] },
  { what: 'a policy that is let', objects: [bank, zooToBank, referenceGrant('shop/g', ['EgressPolicy zoo'])] },
  { what: 'a policy that is let refer to this one', objects: [bank, zooToBank, referenceGrant('shop/g', ['EgressPolicy zoo'], ['bank'])] },
  { what: 'a policy that is let refer to another one', objects: [bank, zooToBank, referenceGrant('shop/g', ['EgressPolicy zoo'], ['till'])], faults: [refused] },
  { what: 'a grant for bindings', objects: [bank, zooToBank, referenceGrant('shop/g', ['SnatBinding zoo'])], faults: [refused] },
  { what: 'a grant for another namespace', objects: [bank, zooToBank, referenceGrant('shop/g', ['EgressPolicy farm'])], faults: [refused] },
  { what: 'a grant that does not stand beside the service', objects: [bank, zooToBank, referenceGrant('zoo/g', ['EgressPolicy zoo'])], faults: [refused] },
  { what: 'one grant of several', objects: [bank, zooToBank, referenceGrant('shop/a', ['SnatBinding zoo'], ['till']), referenceGrant('shop/g', ['EgressPolicy farm', 'EgressPolicy zoo'], ['till', 'bank'])] },
  { what: 'a policy of the root namespace', objects: [bank, policy(`${rootNamespace}/p`, { subjects: [{ namespace: 'zoo' }], to: toBank })] },
  { what: 'a policy that refers to the root namespace', objects: [externalService(`${rootNamespace}/bank`), policy('zoo/p', { subjects: [{ namespace: 'zoo' }], to: [{ service: 'bank', namespace: rootNamespace }] })], faults: [refused] },
  { what: 'a binding that refers to another namespace', objects: [eu, bank, zooBound], faults: ['reference-not-granted SnatBinding zoo/b spec.targets.0.namespace'] },
  { what: 'a binding that is let', objects: [eu, bank, zooBound, referenceGrant('shop/g', ['SnatBinding zoo'])] },
  { what: 'a service that is not there, where that may be known: without the names of others', objects: [bank, policy('zoo/p', { subjects: [{ namespace: 'zoo' }], to: [{ service: 'bank' }] })], faults: ['policy-service-unknown EgressPolicy zoo/p spec.to.0.service'], says: /apply ExternalService zoo\/bank first/ },
];

const bound = (where: string, more: object = { pool: 'eu' }) => binding(`${where}/b`, { subject: { namespace: where }, ...more });
const closed = (spec: NonNullable<Parameters<typeof pool>[2]>['namespaces']) => pool('eu', ['10.0.0.1-10.0.0.9'], { namespaces: spec });
const notAllowed = ['pool-not-allowed SnatBinding shop/b spec.pool'];
const pools: readonly Case[] = [
  { what: 'a pool that says nothing', objects: [eu, bound('shop')] },
  { what: 'a pool for all', objects: [closed({ from: 'All' }), bound('shop')] },
  { what: 'a pool for none', objects: [closed({ from: 'None' }), bound('shop')], faults: notAllowed, says: /SnatBinding shop\/b draws from SnatPool eu, which is not for namespace "shop"/ },
  { what: 'a pool for none, from the root namespace', objects: [closed({ from: 'None' }), binding(`${rootNamespace}/b`, { subject: { namespace: 'shop' }, pool: 'eu' })] },
  { what: 'a pool for it by name', objects: [closed({ from: 'Names', names: ['zoo', 'shop'] }), bound('shop')] },
  { what: 'a pool for others by name', objects: [closed({ from: 'Names', names: ['zoo'] }), bound('shop')], faults: notAllowed },
  { what: 'a pool for it by label', objects: [closed({ from: 'Selector', selector: { matchLabels: { team: 'a' } } }), namespace('shop', { team: 'a', tier: 'web' }), bound('shop')] },
  { what: 'a pool for others by label', objects: [closed({ from: 'Selector', selector: { matchLabels: { team: 'a', tier: 'db' } } }), namespace('shop', { team: 'a' }), bound('shop')], faults: notAllowed },
  { what: 'a pool by label, of a namespace that is not known', objects: [closed({ from: 'Selector', selector: { matchLabels: { team: 'a' } } }), bound('shop')], faults: notAllowed },
  { what: 'an address of a pool for others, by its number', objects: [closed({ from: 'None' }), bound('shop', { addresses: ['10.0.0.3'] })], faults: ['pool-not-allowed SnatBinding shop/b spec.addresses.0'] },
  { what: 'one that would take the last address from another', objects: [pool('eu', ['10.0.0.1'], { namespaces: { from: 'Names', names: ['zoo'] } }), bound('shop'), bound('zoo')], faults: notAllowed },
];

const gateways: readonly Case[] = [
  { what: 'a gateway for none', objects: [gateway('gw', { namespaces: { from: 'None' } }), bank], faults: ['gateway-not-allowed ExternalService shop/bank spec.gateway'], says: /no EgressGateway is for services of namespace "shop"/ },
  { what: 'a gateway for none, by its name', objects: [gw, gateway('own', { listen: [{ address: '127.0.0.1', port: 2 }], namespaces: { from: 'None' } }), externalService('shop/bank', { gateway: 'own' })], faults: ['gateway-not-allowed ExternalService shop/bank spec.gateway'], says: /EgressGateway own is not for/ },
  { what: 'a gateway for none, from the root namespace', objects: [gateway('gw', { namespaces: { from: 'None' } }), externalService(`${rootNamespace}/bank`)] },
  { what: 'the only gateway that is for it, of several', objects: [gw, gateway('own', { listen: [{ address: '127.0.0.1', port: 2 }], namespaces: { from: 'Names', names: ['zoo'] } }), bank] },
  { what: 'a gateway for it by label', objects: [gateway('gw', { namespaces: { from: 'Selector', selector: { matchLabels: { team: 'a' } } } }), namespace('shop', { team: 'a' }), bank] },
  { what: 'a gateway for others by label', objects: [gateway('gw', { namespaces: { from: 'Selector', selector: { matchLabels: { team: 'a' } } } }), namespace('shop', { team: 'b' }), bank], faults: ['gateway-not-allowed ExternalService shop/bank spec.gateway'] },
];

const hosts: readonly Case[] = [
  { what: 'a service that goes by names of its own namespace, and of the world', objects: [gw, externalService('shop/bank', { hosts: ['bank.example', 'svc.example.com', 'db.shop.svc.cluster.local'], serverNames: ['old.shop.svc', 'svc'] })] },
  { what: 'a service that goes by a name of another namespace', objects: [gw, externalService('shop/bank', { serverNames: ['bank.shop.svc', 'bank.zoo.svc'] })], faults: ['service-name-foreign ExternalService shop/bank spec.serverNames.1'], says: /"bank\.zoo\.svc" is a name of namespace "zoo"/ },
  { what: 'a service that leads to one of another namespace', objects: [gw, externalService('shop/bank', { hosts: ['0.db.zoo.svc.cluster.local'] })], faults: ['service-name-foreign ExternalService shop/bank spec.hosts.0'] },
  { what: 'a service of the root namespace that does', objects: [gw, externalService(`${rootNamespace}/bank`, { hosts: ['db.zoo.svc.cluster.local'] })] },
];

const entries: readonly Case[] = [
  { what: 'an entry of the root namespace about a workload of another', objects: [workloadEntry(`${rootNamespace}/till`, ['10.0.0.1'], { namespace: 'shop' })] },
  { what: 'an entry of another namespace, about its own workload too', objects: [workloadEntry('shop/till', ['10.0.0.1'])], faults: ['workload-entry-foreign WorkloadEntry shop/till spec.addresses'], says: /"shop" may not say who is behind an address .*"sallyport-system", with "namespace: shop"/ },
];

describe('a cluster with tenants', () => {
  for (const { what, objects, faults = [], says } of [...subjects, ...references, ...pools, ...gateways, ...hosts, ...entries]) {
    it(`${faults.length === 0 ? 'takes' : 'refuses'} ${what}`, () => {
      const found = faultsOf(objects);
      assert.deepEqual(placesOf(found), faults);
      if (says !== undefined) assert.match(`${found[0]!.message} ${found[0]!.hint ?? ''}`, says);
      const elsewhere = placesOf(faultsOf(objects, {})).filter((fault) => /(subject|name|entry)-foreign|not-granted|not-allowed/.test(fault));
      assert.deepEqual(elsewhere, [], 'no fault where there are no tenants');
    });
  }

  it('reads the older form as of the root namespace, which is about everyone, and its pools as for nobody else', () => {
    const text = 'apiVersion: externalservice.example.com/v1alpha1\nkind: ExternalService\nmetadata: {name: db}\nspec: {targetIP: 192.0.2.7, sources: [{service: {namespace: zoo, name: web}, sourceIP: 192.0.2.1}], ports: [{port: 8000}]}\n';
    const objects = parseManifests([{ file: 'a.yaml', text }], rootNamespace).objects.map(({ object }) => object);
    assert.deepEqual(objects.map((object) => describeRef(refOf(object))), ['ExternalService external-services/db', `EgressPolicy ${rootNamespace}/db`, `SnatBinding ${rootNamespace}/db.zoo.web`, 'SnatPool older-192.0.2.1']);
    assert.deepEqual(faultsOf([gw, ...objects]), []);
    assert.deepEqual(placesOf(faultsOf([gw, ...objects, bound('zoo', { pool: 'older-192.0.2.1' })])), ['pool-not-allowed SnatBinding zoo/b spec.pool']);
  });
});

describe('what tenants may not say, beside a document that cannot be read', () => {
  const misspelt = (object: DesiredObject) => renderObject(object).replace(/^spec:/m, 'spce:').replace(/^metadata:\n/m, 'metadata:\n  lables: {}\n');
  const byLabel = closed({ from: 'Selector', selector: { matchLabels: { team: 'a' } } });
  const cases: readonly (readonly [what: string, objects: readonly DesiredObject[], unread: DesiredObject, told: boolean])[] = [
    ['is not told where that may be the grant', [bank, zooToBank], referenceGrant('shop/g', ['EgressPolicy zoo']), false],
    ['is told where that may be a grant of another namespace', [bank, zooToBank], referenceGrant('farm/g', ['EgressPolicy zoo']), true],
    ['is not told where that may give the namespace its label', [byLabel, bound('shop')], namespace('shop', { team: 'a' }), false],
    ['is told where that may be a label of another namespace', [byLabel, bound('shop')], namespace('farm', { team: 'a' }), true],
    ['is not told where that may be a gateway for the namespace', [gateway('gw', { namespaces: { from: 'None' } }), bank], gateway('own'), false],
    ['is told of a gateway that is named, whatever others there may be', [gateway('gw', { namespaces: { from: 'None' } }), externalService('shop/bank', { gateway: 'gw' })], gateway('own'), true],
    ['is told of a subject, which rests on nothing', [bank, policy('shop/p', { subjects: [{ namespace: 'zoo' }], to: [{ service: 'bank' }] })], namespace('shop'), true],
  ];
  for (const [what, objects, unread, told] of cases) {
    it(what, () => {
      const parsed = parseManifests([...objects.map(renderObject), misspelt(unread)].map((text, index) => ({ file: `${index}.yaml`, text })), rootNamespace);
      const found = build(state(...parsed.objects.map(({ object }) => object)), [], { rootNamespace }).faults as readonly PlanFault[];
      assert.equal(found.length, 1);
      assert.equal(parsed.faults(found).some(({ code }) => code === found[0]!.code), told);
    });
  }
});

describe('acceptance in a cluster with tenants', () => {
  const inForce = { isAccepted: true };
  function play(...entries: readonly (readonly [DesiredObject, Partial<Standing>])[]) {
    const standings = new Map(entries.map(([object, standing]) => [describeRef(refOf(object)), { isAccepted: false, createdAt: 0, fallback: null, ...standing }]));
    const { refused: found, assignments, plan } = accept(state(...entries.map(([object]) => object)), [], { now: 0, trustDomain, rootNamespace }, (ref) => standings.get(describeRef(ref))!);
    return { refusals: Object.fromEntries([...found].map(([name, { faults, fellBack }]) => [name, `${faults.map(({ code }) => code).join()}${fellBack ? ', as it was' : ''}`])), addresses: assignments.map(({ holder, address }) => `${holder} ${address}`), grants: plan.servicePorts.flatMap(({ grants }) => grants.length) };
  }

  it('keeps a pool open while somebody draws from it', () => {
    const { refusals, addresses } = play([closed({ from: 'None' }), { fallback: eu }], [bound('shop'), inForce]);
    assert.deepEqual([refusals, addresses], [{ 'SnatPool eu': 'pool-not-allowed, as it was' }, ['ns/shop 10.0.0.1']]);
  });

  it('keeps a gateway open while somebody has a service at it', () => {
    const { refusals } = play([gateway('gw', { namespaces: { from: 'None' } }), { fallback: gw }], [bank, inForce]);
    assert.deepEqual(refusals, { 'EgressGateway gw': 'gateway-not-allowed, as it was' });
  });

  it('lets nobody keep a pool or a gateway from coming to be by what he wrote before', () => {
    const { refusals } = play([closed({ from: 'None' }), { createdAt: 2 }], [gateway('gw', { namespaces: { from: 'None' } }), { createdAt: 2 }], [bound('shop'), { createdAt: 1 }], [bank, { createdAt: 1 }]);
    assert.deepEqual(refusals, { 'SnatBinding shop/b': 'pool-not-allowed', 'ExternalService shop/bank': 'gateway-not-allowed' });
  });

  it('closes it to a namespace that loses the label, whatever is older', () => {
    const byLabel = closed({ from: 'Selector', selector: { matchLabels: { team: 'a' } } });
    const { refusals } = play([byLabel, { ...inForce, createdAt: 2 }], [namespace('shop', { team: 'b' }), {}], [bound('shop'), { ...inForce, createdAt: 1 }]);
    assert.deepEqual(refusals, { 'SnatBinding shop/b': 'pool-not-allowed' });
  });

  it('takes a policy out of force with its grant, and leaves the service alone', () => {
    const world: readonly (readonly [DesiredObject, Partial<Standing>])[] = [[gw, inForce], [bank, { ...inForce, createdAt: 2 }], [zooToBank, { ...inForce, createdAt: 1 }]];
    assert.deepEqual(play(...world).refusals, { 'EgressPolicy zoo/p': 'reference-not-granted' });
    const { refusals, grants } = play(...world, [referenceGrant('shop/g', ['EgressPolicy zoo']), {}]);
    assert.deepEqual([refusals, grants], [{}, [1]]);
  });

  it('leaves whoever has not come to be in force out of the way of others', () => {
    const { refusals, addresses } = play([eu, inForce], [binding('shop/b', { subject: { namespace: 'zoo' }, pool: 'eu' }), { createdAt: 1 }], [bound('zoo'), { createdAt: 2 }]);
    assert.deepEqual([refusals, addresses], [{ 'SnatBinding shop/b': 'subject-foreign' }, ['ns/zoo 10.0.0.1']]);
  });
});

describe('a change in a cluster with tenants', () => {
  const start = state(gw, eu, bank, zooToBank, bound('zoo'), referenceGrant('shop/g', ['EgressPolicy zoo']), referenceGrant('farm/g', ['EgressPolicy zoo']));
  const before = build(start, [], { rootNamespace });
  const after = (change: DesiredChange) => {
    assert.ok(before.compiled.ok);
    return build(applyChange(start, change), before.assignments, { previous: before.compiled.state, rootNamespace });
  };
  const grant = { kind: 'ReferenceGrant', namespace: 'shop', name: 'g' };

  it('sees a grant that goes', () => assert.deepEqual(placesOf(after({ put: [], remove: [grant] }).faults), [refused]));
  it('sees a grant that says another thing', () => assert.deepEqual(placesOf(after({ put: [referenceGrant('shop/g', ['EgressPolicy zoo'], ['till'])], remove: [] }).faults), [refused]));
  for (const [what, other] of [
    ['beside another service', referenceGrant('farm/g', ['EgressPolicy cow'])],
    ['for another namespace', referenceGrant('shop/h', ['EgressPolicy farm'])],
    ['for another kind', referenceGrant('shop/h', ['SnatBinding zoo'])],
  ] as const) {
    it(`resolves no policy again for a grant ${what}`, () => {
      const { compiled } = after({ put: [other], remove: [] });
      assert.ok(compiled.ok && before.compiled.ok);
      assert.equal(compiled.state.policies.memos, before.compiled.state.policies.memos);
      assert.equal(compiled.plan, before.compiled.plan);
    });
  }
  it('sees a label that goes, at a pool and at a gateway', () => {
    const selector = { from: 'Selector', selector: { matchLabels: { team: 'a' } } } as const;
    const labelled = state(gateway('gw', { namespaces: selector }), closed(selector), namespace('shop', { team: 'a' }), bank, bound('shop'));
    const first = build(labelled, [], { rootNamespace });
    assert.ok(first.compiled.ok);
    const second = build(applyChange(labelled, { put: [namespace('shop')], remove: [] }), first.assignments, { rootNamespace, previous: first.compiled.state });
    assert.deepEqual(placesOf(second.faults), ['gateway-not-allowed ExternalService shop/bank spec.gateway', 'pool-not-allowed SnatBinding shop/b spec.pool']);
  });
  it('compiles anew for another root namespace', () => {
    const first = build(state(gw, bank, zooToBank), [], { rootNamespace: 'zoo' });
    assert.ok(first.compiled.ok);
    assert.deepEqual(placesOf(build(state(gw, bank, zooToBank), [], { rootNamespace, previous: first.compiled.state }).faults), [refused]);
  });
});
