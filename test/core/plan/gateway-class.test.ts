import assert from 'node:assert/strict';
import { agentView } from '../../../src/core/plan/agent-view.ts';
import { binding, build, externalService, gateway, identity, placesOf, planOf, policy, pool, state, warningsOf } from '../world.ts';

const envoy = (handOver?: string) => gateway('front', { class: 'envoy', ...(handOver === undefined ? {} : { handOver }) });
const classed = (gatewayClass: 'bigip' | 'kernel', bigip = {}) => gateway('front', gatewayClass === 'bigip' ? { class: 'bigip', bigip } : { class: 'kernel', listen: [], kernel: { interface: 'eth0' } });
/** A BIG-IP that may relay FTP all the same. */
const accepting = classed('bigip', { acceptRisks: ['UnprovenFtpData'] });
const embedded = gateway('beside', { listen: [{ address: '127.0.0.1', port: 16443 }] });
const proxy = externalService('shop/proxy', { ports: [{ port: 3128, protocol: 'HTTPConnect' }], gateway: 'front' });
const partner = externalService('shop/partner', { ports: [{ name: 'control', port: 21, protocol: 'FTP' }, { name: 'web', port: 443 }], gateway: 'front' });
const open = (connectAuthorities?: string[]) =>
  policy('shop/open', { subjects: [{ namespace: 'shop' }], to: [{ service: 'proxy' }, { service: 'partner' }], ...(connectAuthorities === undefined ? {} : { constraints: { connectAuthorities } }) });
const source = [pool('eu', ['127.0.1.11']), binding('shop/source', { subject: { namespace: 'shop' }, pool: 'eu' })];

const served = (plan: ReturnType<typeof planOf>) => plan.servicePorts.map(({ id, gateway: by, entrance, serverIdentities }) => `${id} by ${by} through ${entrance}, as ${serverIdentities.join()}`);
const as = (name: string) => identity(`sallyport-system/${name}`);

describe('what a class of gateway cannot serve', () => {
  it('is served by the one beside it, which is reached through the same entrance and has its own identity', () => {
    const plan = planOf(envoy('beside'), embedded, proxy, partner, open(), ...source);
    assert.deepEqual(served(plan), [
      `shop/partner:control by beside through front, as ${as('beside')}`,
      `shop/partner:web by front through front, as ${as('front')}`,
      `shop/proxy:httpconnect-3128 by front through front, as ${as('front')}`,
    ]);
    const upstream = agentView(plan, identity('shop/any')).find(({ id }) => id === 'shop/partner:control');
    assert.deepEqual(upstream?.gateways, [{ address: '127.0.0.1', port: 15443 }], 'a workload connects to the entrance');
  });

  it('is also a limit on CONNECT that a policy sets', () => {
    const plan = planOf(envoy('beside'), embedded, proxy, partner, open(['*.example.com:443']), ...source);
    assert.deepEqual(served(plan).slice(2), [`shop/proxy:httpconnect-3128 by beside through front, as ${as('beside')}`]);
  });

  it('is refused to everybody where there is none beside it, and the service says why', () => {
    const { compiled } = build(state(envoy(), proxy, partner, open(), ...source));
    assert.ok(compiled.ok);
    assert.deepEqual(served(compiled.plan)[0], 'shop/partner:control by  through , as ');
    assert.deepEqual(placesOf(warningsOf(compiled)), ['gateway-class-unable ExternalService shop/partner spec.ports.0.protocol']);
    assert.deepEqual(agentView(compiled.plan, identity('shop/any')).map(({ id }) => id), ['shop/partner:web', 'shop/proxy:httpconnect-3128']);
  });

  const ftp = { name: 'control', port: 21, protocol: 'FTP' } as const;
  const cases = [
    ['bigip', 'TCP', { port: 443 }, undefined],
    ['bigip', 'UDP', { port: 53, protocol: 'UDP' }, 'cannot relay UDP'],
    ['bigip', 'FTP', { ...ftp, listen: { port: 2121 } }, 'relays FTP by data connections that prove nothing'],
    ['bigip', 'FTP whose TLS is the workload\'s own', { ...ftp, protocol: 'FTPS', tls: { mode: 'PassThrough', dataPorts: { first: 30_100, last: 30_101 } } }, undefined],
    ['bigip', 'a listener at every address', { port: 443, listen: { address: '0.0.0.0', port: 2443 } }, 'cannot tell connections to a listener at every address (0.0.0.0:2443) from those that only pass through it'],
    ['bigip', 'a listener at every address of IPv6', { port: 443, listen: { address: '0::0', port: 2443 } }, 'cannot tell connections to a listener at every address ([::]:2443) from those that only pass through it'],
    ['bigip', 'FTP secured towards the server', { ...ftp, protocol: 'FTPS', listen: { port: 2121 } }, 'cannot secure FTP towards the server'],
    ['kernel', 'UDP', { port: 53, protocol: 'UDP' }, undefined],
    ['kernel', 'FTP', ftp, undefined],
    ['kernel', 'FTP that the server is to be active in', { ...ftp, ftp: { dataMode: 'Active' } }, 'cannot change who opens the data connections of FTP'],
    ['kernel', 'digests of transfers', { ...ftp, ftp: { recordDigest: true } }, 'cannot record the digest of a transfer'],
  ] as const;
  for (const [gatewayClass, what, port, expected] of cases) {
    it(`of class ${gatewayClass}: ${what} ${expected === undefined ? 'is served' : 'is not'}`, () => {
      const { compiled } = build(state(classed(gatewayClass), externalService('shop/partner', { ports: [port], gateway: 'front' }), policy('shop/open', { subjects: [{ namespace: 'shop' }], to: [{ service: 'partner' }] }), ...source));
      assert.ok(compiled.ok);
      assert.equal(compiled.plan.servicePorts[0]!.gateway, expected === undefined ? 'front' : '');
      assert.deepEqual(warningsOf(compiled).map(({ message }) => message), expected === undefined ? [] : [`gateway "front" of class ${gatewayClass} ${expected}, so nobody can use ${compiled.plan.servicePorts[0]!.id}`]);
    });
  }

  describe('of class bigip, where whoever runs it accepts what FTP is there', () => {
    const allowed = (port: object) => {
      const { compiled } = build(state(accepting, externalService('shop/partner', { ports: [{ ...ftp, ...port }], gateway: 'front' }), policy('shop/open', { subjects: [{ namespace: 'shop' }], to: [{ service: 'partner' }] }), ...source));
      assert.ok(compiled.ok);
      return { plan: compiled.plan, faults: warningsOf(compiled) };
    };

    it('is FTP but at a listener of its own', () => {
      const { plan, faults } = allowed({});
      assert.equal(plan.servicePorts[0]!.gateway, '');
      assert.deepEqual(faults.map(({ message, hint }) => [message, hint]), [['gateway "front" of class bigip relays FTP at a listener of its own only, so nobody can use shop/partner:control', 'give the port a "listen", or name a gateway of class sallyport in the service\'s "gateway"']]);
    });

    it('is FTP at every address', () => {
      const { plan, faults } = allowed({ listen: { address: '0.0.0.0', port: 2121 } });
      assert.equal(plan.servicePorts[0]!.gateway, '');
      assert.deepEqual(placesOf(faults), ['gateway-class-unable ExternalService shop/partner spec.ports.0.listen']);
      assert.equal(faults[0]!.hint, 'name an address of the BIG-IP in "listen" of the port, or name a gateway of class sallyport in the service\'s "gateway"');
    });

    it('is not FTP at a listener of its own: it is served, with a warning, and agents do not offer it', () => {
      const { plan, faults } = allowed({ listen: { port: 2121 } });
      assert.equal(plan.servicePorts[0]!.gateway, 'front');
      assert.deepEqual(placesOf(faults), ['ftp-data-unproven ExternalService shop/partner spec.ports.0.protocol']);
      assert.deepEqual(agentView(plan, identity('shop/any')), [], 'they would send their data connections to where nobody proves anything');
    });
  });

  it('of class bigip is not FTP whose TLS is the workload\'s own, which agents carry as a stream, as its data connections', () => {
    const sealed = externalService('shop/sealed', { ports: [{ name: 'control', port: 21, protocol: 'FTPS', tls: { mode: 'PassThrough', dataPorts: { first: 30_100, last: 30_100 } } }], gateway: 'front' });
    const plan = planOf(classed('bigip'), sealed, policy('shop/open', { subjects: [{ namespace: 'shop' }], to: [{ service: 'sealed' }] }), ...source);
    assert.deepEqual(agentView(plan, identity('shop/any')).map(({ id, protocol, gateways }) => [id, protocol, gateways]), ['shop/sealed:control', 'shop/sealed:control-30100'].map((id) => [id, 'TCP', [{ address: '127.0.0.1', port: 15443 }]]));
  });

  it('of class bigip is not a TCP port at a listener of its own, which agents find at the shared one', () => {
    const own = externalService('shop/own', { ports: [{ port: 443, listen: { port: 2443 } }], gateway: 'front' });
    const [upstream] = agentView(planOf(classed('bigip'), own, policy('shop/open', { subjects: [{ namespace: 'shop' }], to: [{ service: 'own' }] }), ...source), identity('shop/any'));
    assert.deepEqual([upstream?.gateways, upstream?.serverName], [[{ address: '127.0.0.1', port: 15443 }], 'outbound_.443_._.own.shop.svc.cluster.local']);
  });

  it('of classes bigip and kernel are limits within FTP and on CONNECT, and of class kernel what has a name only', () => {
    const unable = (gatewayClass: 'bigip' | 'kernel', port: object, more: object, constraints = {}) => {
      const { compiled } = build(state(classed(gatewayClass), externalService('shop/partner', { ports: [port as { port: number }], gateway: 'front', ...more }), policy('shop/open', { subjects: [{ namespace: 'shop' }], to: [{ service: 'partner' }], constraints }), ...source));
      return warningsOf(compiled).map(({ message }) => /cannot [^,]*|knows [^,]*/.exec(message)?.[0]);
    };
    for (const gatewayClass of ['bigip', 'kernel'] as const) {
      assert.deepEqual(unable(gatewayClass, { ...ftp, listen: { address: '127.0.0.1', port: 2121 } }, {}, { ftp: { readOnly: true } }), ['cannot limit what FTP sessions may do']);
      assert.deepEqual(unable(gatewayClass, { port: 3128, protocol: 'HTTPConnect' }, {}, { connectAuthorities: ['a.example:443'] }), ['cannot limit the authorities of CONNECT']);
    }
    assert.deepEqual(unable('kernel', { port: 443 }, { addresses: undefined, hosts: ['partner.example'] }), ['knows services by their addresses only']);
    assert.deepEqual(unable('bigip', { port: 443 }, { addresses: undefined, hosts: ['partner.example'] }), []);
  });

  it('has agents offer nothing of a gateway that they cannot connect to', () => {
    const plan = planOf(classed('kernel'), proxy, partner, open(), ...source);
    assert.deepEqual(agentView(plan, identity('shop/any')), []);
  });

  it('follows a change of the gateways as it would from scratch', () => {
    const rest = [envoy('beside'), proxy, partner, open(), ...source];
    const before = build(state(embedded, ...rest));
    assert.ok(before.compiled.ok);
    const next = state(gateway('beside', { identity: 'spiffe://cluster.local/ns/dmz/sa/ftp' }), ...rest);
    const { compiled } = build(next, before.assignments, { previous: before.compiled.state });
    const { compiled: afresh } = build(next, before.assignments);
    assert.ok(compiled.ok && afresh.ok);
    assert.deepEqual(compiled.plan, afresh.plan);
  });
});

describe('the gateway that another hands over to', () => {
  it('is not meant by services that name none', () => {
    const plan = planOf(envoy('beside'), embedded, externalService('shop/unnamed'));
    assert.deepEqual(plan.servicePorts.map(({ entrance }) => entrance), ['front']);
  });

  it('must be there, and of class sallyport', () => {
    const place = ['hand-over-invalid EgressGateway /front spec.handOver'];
    assert.deepEqual(placesOf(build(state(envoy('nowhere'))).faults), place);
    assert.deepEqual(placesOf(build(state(envoy('front'))).faults), place);
    assert.deepEqual(placesOf(build(state(gateway('front', { handOver: 'beside' }), embedded)).faults), place);
  });

  it('may not know a host by which another service is meant at the entrance', () => {
    const other = externalService('shop/other', { serverNames: ['partner.example'], gateway: 'front' });
    const named = externalService('shop/partner', { ports: [{ port: 21, protocol: 'FTP' }], serverNames: ['partner.example'], gateway: 'front' });
    assert.deepEqual(placesOf(build(state(envoy('beside'), embedded, other, named, ...source)).faults), ['server-name-conflict ExternalService shop/partner spec.serverNames.0']);
  });
});
