import assert from 'node:assert/strict';
import { agentView } from '../../../src/core/plan/agent-view.ts';
import type { SpiffeId } from '../../../src/core/spiffe-id.ts';
import { binding, build, externalService, gateway, identity, planOf, policy, pool, state } from '../world.ts';

const gw = gateway('gw', { listen: [{ address: '0.0.0.0', port: 15443 }], advertise: [{ address: '10.4.0.2', port: 15443 }, { address: '10.4.0.3', port: 15443 }] });
const objects = [
  gw,
  pool('eu', ['10.0.0.0/24']),
  externalService('shop/bank', { agentAddress: '127.0.0.9', ports: [{ name: 'api', port: 443, protocol: 'HTTPConnect' }] }),
  externalService('shop/ftp', { ports: [{ name: 'ftp', port: 21, protocol: 'FTP' }] }),
  policy('shop/p', { subjects: [{ namespace: 'shop' }, { namespace: 'poor' }], to: [{ service: 'bank' }] }),
  policy('shop/q', { subjects: [{ namespace: 'shop', serviceAccount: 'till' }], to: [{ service: 'ftp' }] }),
  binding('shop/b', { subject: { namespace: 'shop' }, pool: 'eu' }),
];
const plan = planOf(...objects);
const idsFor = (who: SpiffeId) => agentView(plan, who).map(({ id }) => id);

describe('the view of an agent', () => {
  it('tells where to listen, where the gateways are, and whom to expect there', () => {
    assert.deepEqual(agentView(plan, identity('shop/desk')), [
      {
        id: 'shop/bank:api',
        service: { namespace: 'shop', name: 'bank' },
        portName: 'api',
        protocol: 'HTTPConnect',
        listen: { address: '127.0.0.9', port: 443 },
        gateways: [{ address: '10.4.0.2', port: 15443 }, { address: '10.4.0.3', port: 15443 }],
        serverName: 'outbound_.443_._.bank.shop.svc.cluster.local',
        serverIdentities: ['spiffe://cluster.local/ns/sallyport-system/sa/gw'],
      },
    ]);
  });

  it('holds what the namespace and the account may use', () => assert.deepEqual(idsFor(identity('shop/till')), ['shop/bank:api', 'shop/ftp:ftp']));
  it('is empty for who has no address', () => assert.deepEqual(idsFor(identity('poor/x')), []));
  it('is empty for who is named nowhere', () => assert.deepEqual(idsFor(identity('other/x')), []));
  it('is empty for another trust domain, and for what is no workload', () => {
    assert.deepEqual(idsFor('spiffe://other/ns/shop/sa/till' as SpiffeId), []);
    assert.deepEqual(idsFor('spiffe://cluster.local/shop' as SpiffeId), []);
  });

  it('leaves out what no gateway serves', () => {
    const { compiled } = build(state(...objects.filter((object) => object !== gw)));
    assert.ok(compiled.ok);
    assert.deepEqual(agentView(compiled.plan, identity('shop/till')), []);
  });

  it('gives the same objects to all, also of the next plan, until gateway or service change', () => {
    const first = build(state(...objects));
    assert.ok(first.compiled.ok);
    const next = build(state(...objects, externalService('shop/third', { ports: [{ port: 5 }] })), first.assignments, { previous: first.compiled.state });
    const moved = build(state(...objects, gateway('gw', { listen: [{ address: '127.0.0.1', port: 1 }] })), first.assignments, { previous: first.compiled.state });
    assert.ok(next.compiled.ok && moved.compiled.ok);
    const [upstream] = agentView(first.compiled.plan, identity('shop/till'));
    assert.equal(agentView(first.compiled.plan, identity('shop/desk'))[0], upstream);
    assert.equal(agentView(next.compiled.plan, identity('shop/till'))[0], upstream);
    assert.deepEqual(agentView(moved.compiled.plan, identity('shop/till'))[0]!.gateways, [{ address: '127.0.0.1', port: 1 }]);
  });
});
