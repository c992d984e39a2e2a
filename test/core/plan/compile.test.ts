import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { applyChange } from '../../../src/core/desired-state.ts';
import type { DesiredObject } from '../../../src/core/objects/index.ts';
import { compile } from '../../../src/core/plan/compile.ts';
import type { Plan, ServicePort } from '../../../src/core/plan/plan.ts';
import { binding, build, externalService, gateway, kubernetesService, namespace, placesOf, planOf, policy, pool, state, trustDomain, warningsOf } from '../world.ts';

const eu = pool('eu', ['10.0.0.0/24']);
const both = pool('both', ['10.1.0.0/24', '2001:db8::/64']);
const gw = gateway('gw');
const bound = (owner: string, poolName = 'eu') => binding(`${owner}/b`, { subject: { namespace: owner }, pool: poolName });
const opens = (owner: string, ...services: string[]) => policy(`${owner}/p`, { subjects: [{ namespace: owner }], to: services.map((service) => ({ service })) });

function portOf(plan: Plan, id: string): ServicePort {
  const found = plan.servicePorts.find((servicePort) => servicePort.id === id);
  assert.ok(found, `${id} is not in the plan`);
  return found;
}

/** `subject policies <- address (binding)`, one a grant. */
function grantsOf(plan: Plan, id: string): string[] {
  return portOf(plan, id).grants.map(({ subject, policies, snat, binding: bindingKey }) => {
    const addresses = [snat?.ipv4?.address, snat?.ipv6?.address].filter((address) => address !== undefined);
    return `${subject.namespace}${subject.serviceAccount === undefined ? '' : `/${subject.serviceAccount}`} by ${policies.join(',')} from ${addresses.join(',') || 'nowhere'} ${bindingKey ?? '-'}`;
  });
}

describe('a compiled service port', () => {
  it('holds everything that a gateway needs', () => {
    const plan = planOf(
      gateway('gw', { listen: [{ address: '127.0.0.5', port: 15443 }] }),
      eu,
      externalService('shop/bank', { addresses: ['198.51.100.7', '198.51.100.8'], serverNames: ['bank.example'], ports: [{ name: 'api', port: 443, targetPort: 8443, listen: { port: 9443 } }] }),
      bound('shop'),
      opens('shop', 'bank'),
    );
    const hosts = ['bank.shop.svc.cluster.local', 'bank.shop.svc', 'bank.shop', 'bank.example'];
    assert.deepEqual(portOf(plan, 'shop/bank:api'), {
      id: 'shop/bank:api',
      service: { namespace: 'shop', name: 'bank' },
      portName: 'api',
      port: 443,
      protocol: 'TCP',
      gateway: 'gw',
      entrance: 'gw',
      hosts,
      serverNames: [...hosts.map((host) => `outbound_.443_._.${host}`), ...hosts],
      listen: { address: '127.0.0.5', port: 9443 },
      targets: [
        { kind: 'address', address: '198.51.100.7', port: 8443 },
        { kind: 'address', address: '198.51.100.8', port: 8443 },
      ],
      serverIdentities: ['spiffe://cluster.local/ns/sallyport-system/sa/gw'],
      agentListen: { address: '127.0.0.1', port: 443 },
      ftp: null,
      grants: [{ subject: { namespace: 'shop' }, policies: ['shop/p'], snat: { ipv4: { address: '10.0.0.0', ports: { first: 1024, last: 65535 } } }, binding: 'shop/b', connectAuthorities: null, ftp: null }],
    });
  });

  it('opens FTP data connections itself, unless told that the server does', () => {
    const plan = planOf(gw, externalService('shop/bank', { ports: [{ name: 'a', port: 21, protocol: 'FTP' }, { name: 'b', port: 2121, protocol: 'FTP', ftp: { dataMode: 'Active' } }] }));
    assert.deepEqual([portOf(plan, 'shop/bank:a').ftp, portOf(plan, 'shop/bank:b').ftp], [{ dataMode: 'Passive', recordDigest: false, tls: null }, { dataMode: 'Active', recordDigest: false, tls: null }]);
  });

  it('has plain host names only where the service has one port', () => {
    const plan = planOf(gw, externalService('shop/bank', { ports: [{ name: 'a', port: 443 }, { name: 'b', port: 444 }] }));
    assert.ok(portOf(plan, 'shop/bank:a').serverNames.every((name) => name.startsWith('outbound_.443_._.')));
  });

  it('answers to the hosts of the service, and connects to them', () => {
    const port = portOf(planOf(gw, externalService('shop/bank', { hosts: ['Bank.Example'] })), 'shop/bank:tcp-443');
    assert.ok(port.serverNames.includes('bank.example') && port.serverNames.includes('outbound_.443_._.bank.example'));
    assert.deepEqual(port.targets, [{ kind: 'host', host: 'bank.example', port: 443 }]);
  });

  it('has no short form of a name with a dot, which could be read as name and namespace', () => {
    assert.deepEqual(portOf(planOf(gw, externalService('shop/a.b')), 'shop/a.b:tcp-443').hosts, ['a.b.shop.svc.cluster.local']);
  });

  it('belongs to the only gateway, or to the one that it names', () => {
    const second = gateway('second', { identity: 'spiffe://cluster.local/ns/net/sa/gate' });
    assert.equal(portOf(planOf(gw, externalService('shop/bank')), 'shop/bank:tcp-443').gateway, 'gw');
    const named = portOf(planOf(gw, second, externalService('shop/bank', { gateway: 'second' })), 'shop/bank:tcp-443');
    assert.deepEqual([named.gateway, named.serverIdentities], ['second', ['spiffe://cluster.local/ns/net/sa/gate']]);
  });

  it('is in the plan without a gateway, with a warning, so that explain can speak of it', () => {
    const { compiled } = build(state(externalService('shop/bank')));
    assert.deepEqual(placesOf(warningsOf(compiled)), ['gateway-missing ExternalService shop/bank spec']);
    assert.ok(compiled.ok && compiled.plan.servicePorts[0]!.gateway === '' && compiled.plan.servicePorts[0]!.listen === null);
  });
});

describe('grants', () => {
  const service = externalService('shop/bank');
  const id = 'shop/bank:tcp-443';

  const cases: { name: string; objects: DesiredObject[]; grants: string[] }[] = [
    { name: 'a namespace', objects: [opens('shop', 'bank'), bound('shop')], grants: ['shop by shop/p from 10.0.0.0 shop/b'] },
    {
      name: 'every port of a service that a policy names whole, though it names a port of it too',
      objects: [policy('shop/p', { subjects: [{ namespace: 'shop' }], to: [{ service: 'bank' }, { service: 'bank', ports: [1] }] }), externalService('shop/bank', { ports: [{ port: 443 }, { port: 1 }] })],
      grants: ['shop by shop/p from nowhere -'],
    },
    { name: 'nothing to nobody', objects: [bound('shop')], grants: [] },
    { name: 'what has no binding, without an address', objects: [opens('shop', 'bank')], grants: ['shop by shop/p from nowhere -'] },
    {
      name: 'a service account, from its namespace’s address',
      objects: [policy('shop/p', { subjects: [{ namespace: 'shop', serviceAccount: 'till' }], to: [{ service: 'bank' }] }), bound('shop')],
      grants: ['shop/till by shop/p from 10.0.0.0 shop/b'],
    },
    {
      name: 'a service account its namespace’s policies beside its own',
      objects: [opens('shop', 'bank'), policy('shop/q', { subjects: [{ namespace: 'shop', serviceAccount: 'till' }], to: [{ service: 'bank' }] }), bound('shop')],
      grants: ['shop by shop/p from 10.0.0.0 shop/b', 'shop/till by shop/p,shop/q from 10.0.0.0 shop/b'],
    },
    {
      name: 'a service account with a binding of its own what its namespace has, from its own address',
      objects: [opens('shop', 'bank'), bound('shop'), binding('shop/own', { subject: { namespace: 'shop', serviceAccount: 'till' }, pool: 'eu' })],
      grants: ['shop by shop/p from 10.0.0.0 shop/b', 'shop/till by shop/p from 10.0.0.1 shop/own'],
    },
    {
      name: 'no grant of its own to an account whose binding is for other targets',
      objects: [opens('shop', 'bank'), bound('shop'), externalService('shop/other', { ports: [{ port: 9 }] }), binding('shop/own', { subject: { namespace: 'shop', serviceAccount: 'till' }, pool: 'eu', targets: [{ service: 'other' }] })],
      grants: ['shop by shop/p from 10.0.0.0 shop/b'],
    },
    {
      name: 'nothing to an account that only a binding speaks of',
      objects: [binding('shop/own', { subject: { namespace: 'shop', serviceAccount: 'till' }, pool: 'eu' })],
      grants: [],
    },
    {
      name: 'every namespace with the labels',
      objects: [namespace('a', { tier: 'web' }), namespace('b', { tier: 'web' }), namespace('c', { tier: 'db' }), policy('shop/p', { subjects: [{ namespaceSelector: { matchLabels: { tier: 'web' } } }], to: [{ service: 'bank' }] })],
      grants: ['a by shop/p from nowhere -', 'b by shop/p from nowhere -'],
    },
    {
      name: 'the service accounts behind a Kubernetes Service, one address for all of them',
      objects: [kubernetesService('shop/web', 'till, desk'), policy('shop/p', { subjects: [{ service: { name: 'web' } }], to: [{ service: 'bank' }] }), binding('shop/b', { subject: { service: { name: 'web' } }, pool: 'eu' })],
      grants: ['shop/desk by shop/p from 10.0.0.0 shop/b', 'shop/till by shop/p from 10.0.0.0 shop/b'],
    },
    {
      name: 'from the account’s binding before its Service’s before its namespace’s',
      objects: [
        kubernetesService('shop/web', 'till, desk'),
        opens('shop', 'bank'),
        binding('shop/1', { subject: { namespace: 'shop' }, pool: 'eu', targets: [{ service: 'bank', ports: [443] }] }),
        binding('shop/2', { subject: { service: { name: 'web' } }, pool: 'eu', targets: [{ service: 'bank' }] }),
        binding('shop/3', { subject: { namespace: 'shop', serviceAccount: 'till' }, pool: 'eu' }),
      ],
      grants: ['shop by shop/p from 10.0.0.0 shop/1', 'shop/desk by shop/p from 10.0.0.2 shop/2', 'shop/till by shop/p from 10.0.0.1 shop/3'],
    },
    {
      name: 'from the binding that names the port before the one that names the service before the one for all',
      objects: [
        opens('shop', 'bank'),
        binding('shop/1', { subject: { namespace: 'shop' }, addresses: ['10.0.0.1'] }),
        binding('shop/2', { subject: { namespace: 'shop' }, addresses: ['10.0.0.2'], targets: [{ service: 'bank' }] }),
        binding('shop/3', { subject: { namespace: 'shop' }, addresses: ['10.0.0.3'], targets: [{ service: 'bank', ports: ['tcp-443'] }] }),
      ],
      grants: ['shop by shop/p from 10.0.0.3 shop/3'],
    },
    {
      name: 'across namespaces, where policy and binding say so',
      objects: [policy('net/p', { subjects: [{ namespace: 'desk' }], to: [{ service: 'bank', namespace: 'shop' }] }), binding('net/b', { subject: { namespace: 'desk' }, pool: 'eu', targets: [{ service: 'bank', namespace: 'shop' }] })],
      grants: ['desk by net/p from 10.0.0.0 net/b'],
    },
    { name: 'both families of a pool that has both', objects: [opens('shop', 'bank'), both, bound('shop', 'both')], grants: ['shop by shop/p from 10.1.0.0,2001:db8:: shop/b'] },
  ];
  for (const { name, objects, grants } of cases) {
    it(`give ${name}`, () => {
      assert.deepEqual(grantsOf(planOf(gw, eu, service, ...objects), id), grants);
    });
  }

  it('give no address that was taken back, though the binding is there again and nobody has noted so yet', () => {
    const desired = state(gw, eu, service, opens('shop', 'bank'), bound('shop'));
    const released = build(desired).assignments.map((record) => ({ ...record, releasedAt: 1 }));
    const compiled = compile(desired, released, { trustDomain });
    assert.ok(compiled.ok);
    assert.deepEqual(grantsOf(compiled.plan, id), ['shop by shop/p from nowhere -']);
  });

  it('hold the authorities of all policies, and any authority as soon as one policy sets no limit', () => {
    const proxy = externalService('shop/proxy', { ports: [{ name: 'p', port: 3128, protocol: 'HTTPConnect' }] });
    const limited = (name: string, ...connectAuthorities: string[]) => policy(`shop/${name}`, { subjects: [{ namespace: 'shop' }], to: [{ service: 'proxy' }], constraints: { connectAuthorities } });
    const authorities = (...objects: DesiredObject[]) => portOf(planOf(gw, proxy, ...objects), 'shop/proxy:p').grants[0]!.connectAuthorities;
    assert.deepEqual(authorities(limited('a', 'B.example:443'), limited('b', '*.a.example:*', 'b.example:443')), ['*.a.example:*', 'b.example:443']);
    assert.equal(authorities(limited('a', 'b.example:443'), opens('shop', 'proxy')), null);
  });

  it('limit authorities on HTTPConnect only', () => {
    const mixed = externalService('shop/mixed', { ports: [{ name: 'proxy', port: 3128, protocol: 'HTTPConnect' }, { name: 'ftp', port: 21, protocol: 'FTP' }] });
    const plan = planOf(gw, mixed, policy('shop/p', { subjects: [{ namespace: 'shop' }], to: [{ service: 'mixed' }], constraints: { connectAuthorities: ['a.example:443'] } }));
    assert.deepEqual(['ftp', 'proxy'].map((port) => portOf(plan, `shop/mixed:${port}`).grants[0]!.connectAuthorities), [null, ['a.example:443']]);
  });
});

describe('the ftp rules of a grant', () => {
  const partner = externalService('shop/partner', { ports: [{ name: 'ftp', port: 21, protocol: 'FTP' }, { name: 'secure', port: 990, protocol: 'FTPS' }, { name: 'web', port: 443 }] });
  const limited = (name: string, ftp: NonNullable<NonNullable<Parameters<typeof policy>[1]['constraints']>['ftp']>) => policy(`shop/${name}`, { subjects: [{ namespace: 'shop' }], to: [{ service: 'partner' }], constraints: { ftp } });
  const rulesOf = (port: string, ...objects: DesiredObject[]) => portOf(planOf(gw, partner, ...objects), `shop/partner:${port}`).grants[0]!.ftp;
  const free = { readOnly: false, noDelete: false, paths: null, users: null, maxTransferBytes: null, maxBytesPerSecond: null, unknownCommands: 'Refuse' };

  it('are an alternative of each policy, each once, whatever their order', () => {
    const all = [limited('a', { readOnly: true }), limited('b', { paths: ['/out', '/in', '/out'], users: ['u'] }), limited('c', { readOnly: true })];
    const expected = [{ ...free, paths: ['/in', '/out'], users: ['u'] }, { ...free, readOnly: true }];
    assert.deepEqual(rulesOf('ftp', ...all), expected);
    assert.deepEqual(rulesOf('ftp', ...all.toReversed()), expected);
    assert.deepEqual(rulesOf('secure', ...all), expected);
  });

  it('are none as soon as one policy has none, and where no FTP is spoken', () => {
    assert.equal(rulesOf('ftp', limited('a', { readOnly: true }), opens('shop', 'partner')), null);
    assert.equal(rulesOf('web', limited('a', { readOnly: true })), null);
  });

  it('say Refuse of unknown commands unless a policy says Pass', () => {
    assert.deepEqual(rulesOf('ftp', limited('a', {})), [free]);
    assert.deepEqual(rulesOf('ftp', limited('a', { unknownCommands: 'Pass', noDelete: true, maxTransferBytes: 5, maxBytesPerSecond: 6 })), [{ ...free, unknownCommands: 'Pass', noDelete: true, maxTransferBytes: 5, maxBytesPerSecond: 6 }]);
  });
});

describe('compilation faults', () => {
  const bank = externalService('shop/bank');
  const sa = (name: string, serviceAccount: string, more: Partial<Parameters<typeof binding>[1]> = {}) => binding(name, { subject: { namespace: 'shop', serviceAccount }, pool: 'eu', ...more });

  const cases: { name: string; objects: DesiredObject[]; faults: string[]; says?: RegExp; hints?: RegExp }[] = [
    { name: 'a policy for an unknown service', objects: [gw, bank, opens('shop', 'bnak')], faults: ['policy-service-unknown EgressPolicy shop/p spec.to.0.service'], says: /no ExternalService "shop\/bnak"/ },
    { name: 'a policy for a service of another namespace', objects: [gw, bank, opens('desk', 'bank')], faults: ['policy-service-unknown EgressPolicy desk/p spec.to.0.service'], hints: /did you mean shop\/bank\?/ },
    { name: 'a policy for an unknown port', objects: [gw, bank, policy('shop/p', { subjects: [{ namespace: 'shop' }], to: [{ service: 'bank', ports: [443, 444, 'ftp'] }] })], faults: ['policy-port-unknown EgressPolicy shop/p spec.to.0.ports.1', 'policy-port-unknown EgressPolicy shop/p spec.to.0.ports.2'], hints: /tcp-443 \(443\)/ },
    { name: 'a binding for an unknown service or port', objects: [gw, eu, bank, binding('shop/b', { subject: { namespace: 'shop' }, pool: 'eu', targets: [{ service: 'nope' }, { service: 'bank', ports: [1] }] })], faults: ['binding-port-unknown SnatBinding shop/b spec.targets.1.ports.0', 'binding-service-unknown SnatBinding shop/b spec.targets.0.service'] },
    { name: 'a constraint that constrains nothing', objects: [gw, bank, policy('shop/p', { subjects: [{ namespace: 'shop' }], to: [{ service: 'bank' }], constraints: { connectAuthorities: ['a.example:443'] } })], faults: ['policy-constraint-misplaced EgressPolicy shop/p spec.constraints.connectAuthorities'] },
    { name: 'ftp rules where no FTP is spoken', objects: [gw, bank, policy('shop/p', { subjects: [{ namespace: 'shop' }], to: [{ service: 'bank' }], constraints: { ftp: { readOnly: true } } })], faults: ['policy-constraint-misplaced EgressPolicy shop/p spec.constraints.ftp'], says: /"ftp" constrains FTP or FTPS/, hints: /whose protocol is FTP or FTPS/ },
    { name: 'ftp rules for what no gateway can read', objects: [gw, externalService('shop/bank', { ports: [{ name: 'own', port: 21, protocol: 'FTPS', tls: { mode: 'PassThrough', dataPorts: { first: 30100, last: 30101 } } }] }), policy('shop/p', { subjects: [{ namespace: 'shop' }], to: [{ service: 'bank' }], constraints: { ftp: { readOnly: true } } })], faults: ['policy-constraint-unenforceable EgressPolicy shop/p spec.constraints.ftp'], says: /shop\/bank:own/, hints: /Originate/ },
    { name: 'an unknown gateway', objects: [gw, externalService('shop/bank', { gateway: 'gv' })], faults: ['gateway-unknown ExternalService shop/bank spec.gateway'], hints: /gw/ },
    { name: 'a choice of gateways', objects: [gw, gateway('hw'), bank], faults: ['gateway-ambiguous ExternalService shop/bank spec'], hints: /gw, hw/ },
    { name: 'two gateways of one identity', objects: [gw, gateway('hw', { identity: 'spiffe://cluster.local/ns/sallyport-system/sa/gw' })], faults: ['gateway-identity-conflict EgressGateway /hw spec.identity'] },
    { name: 'identities of another trust domain', objects: [gateway('gw', { identity: 'spiffe://other/ns/a/sa/b' }), externalService('shop/bank', { subjectAltNames: ['spiffe://other/x'] })], faults: ['gateway-identity-foreign EgressGateway /gw spec.identity', 'service-identity-foreign ExternalService shop/bank spec.subjectAltNames.0'] },
    { name: 'two bindings of a namespace', objects: [gw, eu, bank, sa('shop/x', 'till'), bound('shop'), binding('desk/c', { subject: { namespace: 'shop' }, pool: 'eu' })], faults: ['binding-conflict SnatBinding desk/c spec', 'binding-conflict SnatBinding shop/b spec'], says: /SnatBinding desk\/c and SnatBinding shop\/b are equally specific for ns\/shop and every target/ },
    { name: 'two bindings of an account for one port, one by name and one by number', objects: [gw, eu, bank, sa('shop/x', 'till', { targets: [{ service: 'bank', ports: [443] }] }), sa('shop/y', 'till', { targets: [{ service: 'bank', ports: ['tcp-443'] }] })], faults: ['binding-conflict SnatBinding shop/x spec', 'binding-conflict SnatBinding shop/y spec'] },
    { name: 'an account behind two Services that are bound', objects: [gw, eu, bank, kubernetesService('shop/a', 'till'), kubernetesService('shop/b', 'till,desk'), ...['a', 'b'].map((name) => binding(`shop/${name}`, { subject: { service: { name } }, pool: 'eu' }))], faults: ['binding-conflict SnatBinding shop/a spec', 'binding-conflict SnatBinding shop/b spec'], hints: /bind sa\/shop\/till itself/ },
    { name: 'an IPv6 service that would be reached from IPv4', objects: [gw, eu, externalService('shop/bank', { addresses: ['2001:db8::1', '2001:db8::2'] }), bound('shop'), opens('shop', 'bank')], faults: ['snat-family-mismatch SnatBinding shop/b spec'], says: /ns\/shop leaves from "10\.0\.0\.0", but ExternalService shop\/bank.* has only IPv6/ },
    { name: 'a host of two services', objects: [gw, externalService('a/one', { hosts: ['h.example'] }), externalService('b/two', { serverNames: ['x.example', 'h.example'] })], faults: ['server-name-conflict ExternalService b/two spec.serverNames.1'] },
    { name: 'one listener of two ports', objects: [gw, externalService('a/one', { ports: [{ port: 1, listen: { port: 9000 } }, { port: 2, listen: { port: 9000 } }] })], faults: ['listener-conflict ExternalService a/one spec.ports.1.listen'] },
    { name: 'a listener that a wildcard covers', objects: [gateway('gw', { listen: [{ address: '0.0.0.0', port: 15443 }] }), externalService('a/one', { ports: [{ port: 1, listen: { address: '127.0.0.9', port: 15443 } }] })], faults: ['listener-conflict ExternalService a/one spec.ports.0.listen'], says: /shared listener of EgressGateway gw/ },
    { name: 'two services on one agent listener for one identity', objects: [gw, eu, bank, externalService('shop/other'), bound('shop'), opens('shop', 'bank', 'other')], faults: ['agent-listener-conflict ExternalService shop/other spec.agentAddress'], hints: /127\.0\.0\.2/ },
    { name: 'an agent listener shared by a namespace and one of its accounts', objects: [gw, eu, bank, externalService('shop/other'), bound('shop'), opens('shop', 'bank'), policy('shop/q', { subjects: [{ namespace: 'shop', serviceAccount: 'till' }], to: [{ service: 'other' }] })], faults: ['agent-listener-conflict ExternalService shop/other spec.agentAddress'] },
    { name: 'an agent address that others could reach', objects: [gw, externalService('shop/bank', { agentAddress: '192.0.2.4' })], faults: ['agent-address-exposed ExternalService shop/bank spec.agentAddress'] },
  ];
  for (const { name, objects, faults, says, hints } of cases) {
    it(`name ${name}`, () => {
      const result = build(state(...objects));
      assert.deepEqual(placesOf(result.faults), faults);
      if (says !== undefined) assert.match(result.faults[0]!.message, says);
      if (hints !== undefined) assert.match(result.faults[0]!.hint ?? '', hints);
    });
  }

  const harmless: { name: string; objects: DesiredObject[] }[] = [
    { name: 'a Service tie that the account’s own binding settles', objects: [gw, eu, bank, kubernetesService('shop/a', 'till'), kubernetesService('shop/b', 'till'), ...['a', 'b'].map((name) => binding(`shop/${name}`, { subject: { service: { name } }, pool: 'eu' })), sa('shop/own', 'till')] },
    { name: 'one agent listener for identities that never meet', objects: [gw, eu, bank, externalService('desk/bank'), bound('shop'), bound('desk'), opens('shop', 'bank'), opens('desk', 'bank')] },
    { name: 'one agent listener where only one of the two services may be used', objects: [gw, eu, bank, externalService('shop/other'), binding('shop/b', { subject: { namespace: 'shop' }, pool: 'eu', targets: [{ service: 'bank' }] }), opens('shop', 'bank', 'other')] },
    { name: 'an IPv6 address beside an IPv4 one', objects: [gw, eu, externalService('shop/bank', { addresses: ['2001:db8::1', '198.51.100.7'] }), bound('shop'), opens('shop', 'bank')] },
    { name: 'one host at two gateways', objects: [gw, gateway('hw'), externalService('a/one', { hosts: ['h.example'], gateway: 'gw' }), externalService('b/two', { hosts: ['h.example'], gateway: 'hw' })] },
  ];
  for (const { name, objects } of harmless) {
    it(`do not name ${name}`, () => assert.deepEqual(build(state(...objects)).faults, []));
  }

  it('come all at once', () => {
    const result = build(state(gw, bank, opens('a', 'x'), opens('b', 'y'), bound('c', 'nope'), externalService('shop/other', { gateway: 'gv' })));
    assert.deepEqual(result.faults.map(({ code }) => code).sort(), ['gateway-unknown', 'policy-service-unknown', 'policy-service-unknown', 'pool-unknown']);
  });
});

describe('compilation warnings', () => {
  const bank = externalService('shop/bank');
  const to = [{ service: 'bank' }];
  const cases: { name: string; objects: DesiredObject[]; warnings: string[]; hints?: RegExp }[] = [
    { name: 'an unknown Kubernetes Service', objects: [policy('shop/p', { subjects: [{ service: { name: 'web' } }], to })], warnings: ['subject-service-unknown EgressPolicy shop/p spec.subjects.0'], hints: /alpha\.istio\.io\/kubernetes-serviceaccounts/ },
    { name: 'a binding of an unknown Kubernetes Service', objects: [eu, binding('shop/b', { subject: { service: { name: 'web' } }, pool: 'eu' })], warnings: ['subject-service-unknown SnatBinding shop/b spec.subject.service'] },
    { name: 'a Kubernetes Service without service accounts', objects: [kubernetesService('shop/web'), policy('shop/p', { subjects: [{ service: { name: 'web' } }], to })], warnings: ['subject-service-without-accounts EgressPolicy shop/p spec.subjects.0'] },
    { name: 'an impossible service account', objects: [kubernetesService('shop/web', 'Till/x'), policy('shop/p', { subjects: [{ service: { name: 'web' } }], to })], warnings: ['subject-account-invalid EgressPolicy shop/p spec.subjects.0', 'subject-service-without-accounts EgressPolicy shop/p spec.subjects.0'] },
    { name: 'a selector that selects nothing', objects: [namespace('a', { tier: 'db' }), policy('shop/p', { subjects: [{ namespaceSelector: { matchLabels: { tier: 'web' } } }], to })], warnings: ['subject-selector-empty EgressPolicy shop/p spec.subjects.0'] },
    { name: 'a gateway that workloads will not accept', objects: [externalService('desk/bank', { subjectAltNames: ['spiffe://cluster.local/ns/net/sa/bigip'] })], warnings: ['gateway-identity-unaccepted ExternalService desk/bank spec.subjectAltNames'] },
  ];
  for (const { name, objects, warnings, hints } of cases) {
    it(`speak of ${name}, and grant nobody anything`, () => {
      const { compiled, faults } = build(state(gw, bank, ...objects));
      assert.deepEqual(faults, []);
      assert.deepEqual(placesOf(warningsOf(compiled)), warnings);
      if (hints !== undefined) assert.match(warningsOf(compiled)[0]!.hint ?? '', hints);
      assert.ok(compiled.ok && compiled.plan.servicePorts.every(({ grants }) => grants.length === 0));
    });
  }
});

describe('compiling a change', () => {
  const bank = externalService('shop/bank');
  const web = policy('shop/p', { subjects: [{ service: { name: 'web' } }, { namespace: 'shop' }, { namespaceSelector: { matchLabels: { tier: 'web' } } }], to: [{ service: 'bank' }] });
  const webBinding = binding('shop/web', { subject: { service: { name: 'web' } }, pool: 'eu' });
  const targeted = binding('shop/t', { subject: { namespace: 'shop' }, pool: 'eu', targets: [{ service: 'bank', ports: [443] }] });
  const base = [gw, eu, bank, web, webBinding, targeted, bound('desk'), kubernetesService('shop/web', 'till'), namespace('desk', { tier: 'db' })];

  const changes: { name: string; change: DesiredObject }[] = [
    { name: 'a pool that gains a family', change: pool('eu', ['10.0.0.0/24', '2001:db8::/64']) },
    { name: 'the accounts behind a Kubernetes Service', change: kubernetesService('shop/web', 'till,desk') },
    { name: 'the labels of a namespace', change: namespace('desk', { tier: 'web' }) },
    { name: 'the gateway', change: gateway('gw', { identity: 'spiffe://cluster.local/ns/net/sa/gw' }) },
    { name: 'the name of a port that a binding names by number', change: externalService('shop/bank', { ports: [{ name: 'api', port: 443 }] }) },
    { name: 'a binding', change: binding('desk/b', { subject: { namespace: 'desk' }, addresses: ['10.0.0.99'] }) },
  ];
  for (const { name, change } of changes) {
    it(`sees ${name}, as compiling everything does`, () => {
      const desired = state(...base);
      const before = build(desired);
      assert.ok(before.compiled.ok);
      const next = applyChange(desired, { put: [change], remove: [] });
      const incremental = build(next, before.assignments, { previous: before.compiled.state });
      const full = build(next, before.assignments);
      assert.ok(incremental.compiled.ok && full.compiled.ok, JSON.stringify(full.faults));
      assert.deepEqual(incremental.compiled.plan, full.compiled.plan);
      if (change.kind !== 'SnatBinding') assert.notEqual(full.compiled.plan.revision, before.compiled.plan.revision);
    });
  }
});

describe('the revision', () => {
  const objects = [gw, eu, externalService('shop/bank'), bound('shop'), opens('shop', 'bank')];
  it('is a hash that every part of the content changes', () => {
    const revision = planOf(...objects).revision;
    assert.match(revision, /^[0-9a-f]{64}$/);
    for (const other of [gateway('gw', { limits: { connectionsPerIdentity: 7 } }), externalService('shop/bank', { addresses: ['198.51.100.9'] }), binding('shop/b', { subject: { namespace: 'shop' }, addresses: ['10.0.0.9'] }), policy('shop/p2', { subjects: [{ namespace: 'shop' }], to: [{ service: 'bank' }] })]) {
      assert.notEqual(planOf(...objects, other).revision, revision, other.kind);
    }
  });
  it('does not change with what is not in the plan', () => {
    assert.equal(planOf(...objects, bound('zoo'), namespace('x')).revision, planOf(...objects).revision);
  });
});

describe('the reference of faults', () => {
  const read = (path: string) => readFileSync(new URL(`../../../${path}`, import.meta.url), 'utf8');
  const codesIn = (heading: string) => [...(new RegExp(`^## ${heading}$(.*?)(?=^## |$(?![^]))`, 'ms').exec(read('docs/reference/faults.md'))?.[1] ?? '').matchAll(/^\| `([a-z-]+)` \|/gm)].map(([, code]) => code!);
  const raisedBy = (...files: string[]) => [
    ...new Set(files.flatMap((file) => [...read(`src/core/${file}.ts`).matchAll(/code: (?:quarantined \? '([a-z-]+)' : )?'([a-z-]+)'|code: `\$\{kind\}-([a-z-]+)`/g)].flatMap(([, first, second, suffix]) => (suffix === undefined ? [first, second] : [`policy-${suffix}`, `binding-${suffix}`])))),
  ].filter((code) => code !== undefined);

  it('explains every code of allocation, and no other', () => assert.deepEqual(codesIn('Allocation'), raisedBy('snat/allocate').sort()));
  it('explains every code of compilation, and no other', () => {
    assert.deepEqual(codesIn('Compilation').sort(), raisedBy('tenancy', ...['bindings', 'conflicts', 'gateways', 'policies', 'service-ports', 'subjects', 'targets', 'workload-addresses'].map((file) => `plan/${file}`)).sort());
  });
});
