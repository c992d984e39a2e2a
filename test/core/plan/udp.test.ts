import assert from 'node:assert/strict';
import { agentView } from '../../../src/core/plan/agent-view.ts';
import type { DesiredObject } from '../../../src/core/objects/index.ts';
import { findServicePorts } from '../../../src/core/plan/service-lookup.ts';
import { binding, build, externalService, gateway, identity, placesOf, planOf, policy, pool, state, warningsOf } from '../world.ts';

const gw = gateway('gw');
const both = externalService('shop/dns', { ports: [{ port: 53, protocol: 'UDP' }, { port: 53 }] });
const opens = (ports?: (string | number)[]) => policy('shop/p', { subjects: [{ namespace: 'shop' }], to: [{ service: 'dns', ...(ports === undefined ? {} : { ports }) }] });
const source = [pool('eu', ['10.0.0.0/24']), binding('shop/b', { subject: { namespace: 'shop' }, pool: 'eu' })];
const hosts = ['dns.shop.svc.cluster.local', 'dns.shop.svc', 'dns.shop'];
const idsFor = (...objects: DesiredObject[]) => agentView(planOf(...objects), identity('shop/any')).map(({ id }) => id);

describe('a UDP port', () => {
  const plan = planOf(gw, both, opens(), ...source);

  it('may have the number of a TCP port of the same service, also at the agent', () => {
    assert.deepEqual(
      agentView(plan, identity('shop/any')).map(({ id, listen, protocol }) => ({ id, listen, protocol })),
      [
        { id: 'shop/dns:tcp-53', listen: { address: '127.0.0.1', port: 53 }, protocol: 'TCP' },
        { id: 'shop/dns:udp-53', listen: { address: '127.0.0.1', port: 53 }, protocol: 'UDP' },
      ],
    );
  });

  it('has server names of its own, and leaves the plain host to the only TCP port', () => {
    assert.deepEqual(
      plan.servicePorts.map(({ serverNames }) => serverNames),
      [
        [...hosts.map((host) => `outbound_.53_._.${host}`), ...hosts],
        hosts.map((host) => `outbound_.53_.udp_.${host}`),
      ],
    );
  });

  it('is meant together with the TCP port by their number, and alone by its name', () => {
    assert.deepEqual(idsFor(gw, both, opens([53]), ...source), ['shop/dns:tcp-53', 'shop/dns:udp-53']);
    assert.deepEqual(idsFor(gw, both, opens(['udp-53']), ...source), ['shop/dns:udp-53']);
    assert.deepEqual(findServicePorts(plan, 'dns:53').map(({ id }) => id), ['shop/dns:tcp-53', 'shop/dns:udp-53']);
    assert.deepEqual(findServicePorts(plan, 'outbound_.53_.udp_.dns.shop').map(({ id }) => id), ['shop/dns:udp-53']);
  });

  it('conflicts with another UDP port on one agent listener, and with no TCP port there', () => {
    const allows = policy('shop/q', { subjects: [{ namespace: 'shop' }], to: [{ service: 'other' }] });
    const faultsBeside = (protocol: 'TCP' | 'UDP') => placesOf(build(state(gw, externalService('shop/dns', { ports: [{ port: 53, protocol: 'UDP' }] }), externalService('shop/other', { ports: [{ port: 53, protocol }] }), opens(), allows, ...source)).faults);
    assert.deepEqual(faultsBeside('TCP'), []);
    assert.deepEqual(faultsBeside('UDP'), ['agent-listener-conflict ExternalService shop/other spec.agentAddress']);
  });

  it('of two services for one host is a conflict that names the host', () => {
    const named = (name: string, protocol: 'TCP' | 'UDP') => externalService(name, { ports: [{ port: 53, protocol }], serverNames: ['ns.example'] });
    assert.deepEqual(placesOf(build(state(gw, named('a/one', 'UDP'), named('b/two', 'UDP'))).faults), ['server-name-conflict ExternalService b/two spec.serverNames.0']);
    assert.deepEqual(placesOf(build(state(gw, named('a/one', 'UDP'), named('b/two', 'TCP'))).faults), []);
  });

  it('is handed over by a gateway that cannot serve it, or is nobody\'s', () => {
    const front = (handOver?: string) => gateway('front', { class: 'envoy', ...(handOver === undefined ? {} : { handOver }) });
    const { servicePorts } = planOf(front('gw'), gw, both, opens(), ...source);
    assert.deepEqual(servicePorts.map(({ id, gateway: by, entrance }) => `${id} by ${by} through ${entrance}`), ['shop/dns:tcp-53 by front through front', 'shop/dns:udp-53 by gw through front']);
    const { compiled } = build(state(front(), both, opens(), ...source));
    assert.deepEqual(placesOf(warningsOf(compiled)), ['gateway-class-unable ExternalService shop/dns spec.ports.0.protocol']);
  });
});
