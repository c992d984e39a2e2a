import assert from 'node:assert/strict';
import { agentView } from '../../../src/core/plan/agent-view.ts';
import { binding, build, externalService, gateway, identity, placesOf, planOf, policy, pool, state, warningsOf } from '../world.ts';

const envoy = (handOver?: string) => gateway('front', { class: 'envoy', ...(handOver === undefined ? {} : { handOver }) });
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
