/** The way back in a plan: who may be reached, where, and what cannot be. */
import assert from 'node:assert/strict';
import type { ServicePort } from '../../../src/core/plan/plan.ts';
import { binding, build, externalService, gateway, planOf, policy, pool, state, warningsOf } from '../world.ts';

const gw = gateway('gw');
const eu = pool('eu', ['10.0.0.0/24']);
const bound = binding('shop/b', { subject: { namespace: 'shop' }, pool: 'eu' });
const opens = (name: string, service: string, ports?: string[]) => policy(`shop/${name}`, { subjects: [{ namespace: 'shop' }], to: [{ service, ...(ports === undefined ? {} : { ports }) }] });
const bank = (name: string, reverse: object[], more = {}) => externalService(`shop/${name}`, { addresses: ['198.51.100.7'], ports: [{ name: 'api', port: 443 }], reverse: reverse as never, ...more });

describe('the way back', () => {
  it('is off by default', () => {
    const plan = planOf(gw, eu, bound, opens('p', 'bank'), externalService('shop/bank'));
    assert.deepEqual(plan.servicePorts.map(({ protocol }) => protocol), ['TCP']);
  });

  it('leads from the service to whoever may use any port of it, at the address that they leave from', () => {
    const plan = planOf(gw, eu, bound, opens('p', 'bank', ['api']), bank('bank', [{ name: 'callbacks', port: 8443, workloadPort: 8080 }], { agentAddress: '127.0.0.9' }));
    const found = plan.servicePorts.find(({ portName }) => portName === 'callbacks') as ServicePort;
    assert.deepEqual([found.protocol, found.port, found.agentListen, found.listen], ['Reverse', 8443, { address: '127.0.0.9', port: 8080 }, null]);
    assert.deepEqual(found.targets.map((target) => (target.kind === 'address' ? target.address : target.host)), ['198.51.100.7']);
    assert.ok(found.serverNames.every((name) => name.startsWith('reverse_.8443_._.')));
    assert.deepEqual(found.grants.map(({ subject, snat }) => [subject.namespace, snat?.ipv4?.address]), [['shop', '10.0.0.0']]);
  });

  it('leads to one service port at an address and port, and to others elsewhere', () => {
    const both = [gw, eu, bound, opens('p', 'one'), opens('q', 'two')];
    const conflicting = build(state(...both, bank('one', [{ port: 8443 }]), bank('two', [{ port: 8443 }], { agentAddress: '127.0.0.2' })));
    assert.deepEqual(conflicting.faults.map(({ code }) => code), ['reverse-port-conflict']);
    const apart = build(state(...both, bank('one', [{ port: 8443 }]), bank('two', [{ port: 8444 }], { agentAddress: '127.0.0.2' })));
    assert.deepEqual(apart.faults, []);
  });

  it('warns where the port is not among those that the identity holds of its address', () => {
    const shared = pool('shared', ['10.0.0.1'], { sharing: { mode: 'PortBlocks', blockSize: 1024 } });
    const { compiled, faults } = build(state(gw, shared, binding('shop/b', { subject: { namespace: 'shop' }, pool: 'shared' }), opens('p', 'bank'), bank('bank', [{ port: 60_000 }])));
    assert.deepEqual([faults, warningsOf(compiled).map(({ code }) => code)], [[], ['reverse-port-foreign']]);
  });

  it('says so where the class of the gateway has none', () => {
    const { compiled } = build(state(gateway('gw', { class: 'envoy' }), eu, bound, opens('p', 'bank'), bank('bank', [{ port: 8443 }])));
    assert.deepEqual(warningsOf(compiled).map(({ code, path }) => `${code} ${path!.join('.')}`), ['gateway-class-unable spec.reverse.0']);
  });

  it('has a name that no port of the service has', () => {
    assert.deepEqual(build(state(gw, bank('bank', [{ name: 'api', port: 8443 }]))).faults.map(({ code }) => code), ['reverse-name-taken']);
  });
});
