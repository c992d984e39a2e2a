import assert from 'node:assert/strict';
import fc from 'fast-check';
import { dataGroupsOf, isRefusal, servedPorts, type DataGroups } from '../../../src/backends/bigip/data-groups.ts';
import { pathOf, poolName, snatPoolName } from '../../../src/backends/bigip/names.ts';
import type { DesiredObject } from '../../../src/core/objects/index.ts';
import { decide } from '../../../src/core/plan/decide.ts';
import type { Plan } from '../../../src/core/plan/plan.ts';
import { workloadSpiffeId, type WorkloadName } from '../../../src/core/spiffe-id.ts';
import { everyone, ground, someObjects } from '../../core/plan/random-world.ts';
import * as world from '../../core/world.ts';
import { bigipOf, exampleWorld } from './example-world.ts';

const groupsOf = (plan: Plan): DataGroups => dataGroupsOf(plan, bigipOf(plan), 'T', servedPorts(plan, bigipOf(plan)).served, []);
const conditionsOf = (plan: Plan): readonly string[] => servedPorts(plan, bigipOf(plan)).conditions.map(({ code, object, message }) => `${code} ${object}: ${message}`);

/** What the iRule does with them: the service by its name, then the account's grant, else its namespace's. */
function lookUp({ services, grants }: DataGroups, place: string, { namespace, serviceAccount }: WorkloadName): string {
  const value = (records: DataGroups['grants'], key: string) => records.find((record) => record.key === key)?.value;
  const [id, pool] = value(services, place)?.split(' ') ?? [];
  if (id === undefined) return 'no-such-service';
  if (pool === '-') return 'no-gateway';
  const grant = value(grants, `${id} ${namespace}/${serviceAccount}`) ?? value(grants, `${id} ${namespace}`);
  if (grant === undefined) return 'no-policy';
  const [snatPool, policies, reason] = grant.split(' ');
  return snatPool === '-' ? reason! : `${id} ${pool} ${snatPool} ${policies}`;
}

const bigip = world.gateway('gw', { class: 'bigip', listen: [{ address: '10.0.0.1', port: 15443 }] });
const withBigip = (objects: readonly DesiredObject[]) => objects.map((object) => (object.kind === 'EgressGateway' ? bigip : object));

describe('the data groups of a BIG-IP', () => {
  it('decide as the plan does, for anyone, at any place, in any world', () => {
    let decisions = 0;
    fc.assert(fc.property(someObjects, (objects) => {
      const { compiled } = world.build(world.state(...withBigip(ground), ...objects));
      fc.pre(compiled.ok);
      const { plan } = compiled;
      const groups = groupsOf(plan);
      const served = plan.servicePorts.filter(({ gateway }) => gateway === 'gw');
      for (const servicePort of served) {
        for (const who of everyone) {
          const decision = decide(servicePort, workloadSpiffeId(plan.trustDomain, who), plan.trustDomain);
          const wanted = decision.allowed ? `${servicePort.id} ${pathOf('T', poolName(servicePort))} ${pathOf('T', snatPoolName(decision.grant.snat))} ${decision.grant.policies.join(',')}` : decision.reason;
          for (const place of servicePort.serverNames) assert.equal(lookUp(groups, place, who), wanted);
          decisions += 1;
        }
      }
      const subjects = new Set(served.flatMap(({ id, grants }) => grants.map(({ subject: { namespace, serviceAccount } }) => `${id} ${namespace}${serviceAccount === undefined ? '' : `/${serviceAccount}`}`)));
      assert.deepEqual(new Set(groups.grants.map(({ key }) => key)), subjects, 'and nothing else');
      assert.deepEqual(new Set(groups.services.map(({ key }) => key)), new Set(served.flatMap(({ serverNames }) => serverNames)));
    }), { numRuns: 60 });
    assert.ok(decisions > 1_000);
  });

  it('are sorted, and have no key twice', () => {
    const { services, grants, settings } = groupsOf(exampleWorld());
    for (const records of [services, grants, settings]) {
      const keys = records.map(({ key }) => key);
      assert.deepEqual(keys, [...new Set(keys)].sort());
    }
  });

  it('know FTP by its own listener only, which has the profile for it, and by SNI too what is a stream', () => {
    const { services } = groupsOf(exampleWorld());
    const keysOf = (id: string) => services.filter(({ value }) => value.startsWith(`${id} `)).map(({ key }) => key);
    assert.deepEqual(keysOf('data/files:ftp-21'), ['listener:10.4.0.10:21']);
    assert.deepEqual(keysOf('data/sealed-files:ftps-21').filter((key) => !key.startsWith('outbound')), ['listener:10.4.0.10:2121', 'sealed-files.data', 'sealed-files.data.svc', 'sealed-files.data.svc.cluster.local']);
  });

  it('name the certificates that are revoked by serial number, and whose they were', () => {
    const plan = exampleWorld();
    const revoked = ['0b', '0a'].map((serialNumber) => ({ serialNumber, spiffeId: workloadSpiffeId(plan.trustDomain, { namespace: 'data', serviceAccount: serialNumber }) }));
    const groups = dataGroupsOf(plan, bigipOf(plan), 'T', servedPorts(plan, bigipOf(plan)).served, revoked);
    assert.deepEqual(groups.revoked, ['0a', '0b'].map((key) => ({ key, value: `- spiffe://cluster.local/ns/data/sa/${key}` })));
    assert.ok(groups.revoked.every(({ value }) => isRefusal(value)), 'so that a box has them before it gives anybody more');
    assert.deepEqual({ ...groups, revoked: [] }, groupsOf(plan), 'and nothing else is another');
  });

  it('say the revision, so that each line of the log can', () => {
    const plan = exampleWorld();
    assert.deepEqual(groupsOf(plan).settings, [{ key: 'gateway', value: 'edge' }, { key: 'revision', value: plan.revision }, { key: 'trust-domain', value: 'cluster.local' }]);
  });

  it('refuse both of two that would be one object, and say so', () => {
    const plan = exampleWorld();
    const { served, conditions } = servedPorts(plan, bigipOf(plan), ({ service, portName }) => (service.name === 'proxy' || service.name === 'files' ? 'pool_same' : `pool_${portName}`));
    const groups = dataGroupsOf(plan, bigipOf(plan), 'T', served, []);
    assert.equal(lookUp(groups, 'proxy.data', { namespace: 'data', serviceAccount: 'any' }), 'no-gateway');
    assert.equal(lookUp(groups, 'listener:10.4.0.10:21', { namespace: 'data', serviceAccount: 'any' }), 'no-gateway');
    assert.ok(lookUp(groups, 'warehouse.data', { namespace: 'data', serviceAccount: 'any' }).startsWith('data/warehouse:sql '));
    assert.deepEqual(conditions.filter(({ code }) => code === 'name-taken').map(({ object, message }) => `${object} ${message}`), [
      'data/files:ftp-21 on a BIG-IP it would have the same name as data/proxy:httpconnect-3128',
      'data/proxy:httpconnect-3128 on a BIG-IP it would have the same name as data/files:ftp-21',
    ]);
  });

  it('are the same whatever they were made for before', () => {
    const plan = exampleWorld();
    const made = (of: Plan, partition: string, nameOf?: () => string) => dataGroupsOf(of, bigipOf(of), partition, servedPorts(of, bigipOf(of), nameOf).served, []);
    const same = () => 'pool_same';
    const asked = [['A'], ['B'], ['A', same], ['A']] as const;
    assert.deepEqual(asked.map(([partition, nameOf]) => made(plan, partition, nameOf)), asked.map(([partition, nameOf]) => made(structuredClone(plan), partition, nameOf)));
    const [one, two] = [servedPorts(plan, bigipOf(plan)), servedPorts(plan, bigipOf(plan))];
    assert.ok(one.served.every((served, index) => served === two.served[index]), 'and not made again');
  });

  it('tell refusals from what lets somebody through', () => {
    assert.deepEqual(['- a/b no-snat-binding', '- spiffe://cluster.local/ns/a/sa/b', 'a/s:p -', '/T/shared/snat_1 a/b', 'a/s:p /T/shared/pool'].map(isRefusal), [true, true, true, false, false]);
  });
});

describe('what a connection leaves a BIG-IP from', () => {
  const bindings: Readonly<Record<string, readonly string[]>> = { both: ['203.0.113.1', '2001:db8:1::1'], four: ['203.0.113.2'], six: ['2001:db8:1::3'] };
  const worldOf = (addresses: readonly string[], ...namespaces: readonly string[]): Plan =>
    world.planOf(
      bigip,
      world.pool('own', ['203.0.113.0/28', '2001:db8:1::/124']),
      ...namespaces.map((namespace) => world.binding(`${namespace}/b`, { subject: { namespace }, addresses: [...bindings[namespace]!] })),
      world.externalService('out/s', { addresses: [...addresses], ports: [{ port: 443 }] }),
      world.policy('out/p', { subjects: namespaces.map((namespace) => ({ namespace })), to: [{ service: 's' }] }),
    );
  const familiesOf = (plan: Plan) => servedPorts(plan, bigipOf(plan)).served[0]!.departures.families;
  const dual = ['198.51.100.1', '2001:db8::1'];

  it('is one of the families of its servers, and servers are of those that everyone reaches', () => {
    assert.deepEqual(familiesOf(worldOf(dual, 'both')), ['ipv4', 'ipv6']);
    assert.deepEqual(familiesOf(worldOf(dual, 'both', 'four')), ['ipv4']);
    assert.deepEqual(familiesOf(worldOf(dual, 'both', 'six')), ['ipv6']);
    assert.deepEqual(familiesOf(worldOf(['2001:db8::1'], 'both')), ['ipv6']);
    assert.deepEqual(conditionsOf(worldOf(dual, 'both', 'four')), []);
  });

  it('is nothing where no family is common to all: then who has IPv6 only is refused', () => {
    const plan = worldOf(dual, 'four', 'six');
    assert.deepEqual(familiesOf(plan), ['ipv4']);
    assert.deepEqual(conditionsOf(plan), ['snat-family-mismatch out/s:tcp-443: 2001:db8:1::3 is of another family than the servers that its pool can have']);
    assert.equal(lookUp(groupsOf(plan), 's.out', { namespace: 'six', serviceAccount: 'any' }), 'snat-family-mismatch', 'and it says why');
    assert.ok(lookUp(groupsOf(plan), 's.out', { namespace: 'four', serviceAccount: 'any' }).includes('/snat_203.0.113.2 '));
  });

  it('is never an address whose ports are shared: a SNAT pool would take those of others', () => {
    const plan = world.planOf(
      bigip,
      world.pool('own', ['203.0.113.1']),
      world.pool('shared', ['203.0.113.20'], { sharing: { mode: 'PortBlocks', blockSize: 1024 } }),
      world.binding('shop/shop', { subject: { namespace: 'shop' }, addresses: ['203.0.113.1'] }),
      world.binding('shop/till', { subject: { namespace: 'shop', serviceAccount: 'till' }, pool: 'shared' }),
      world.externalService('out/s'),
      world.policy('out/p', { subjects: [{ namespace: 'shop' }], to: [{ service: 's' }] }),
    );
    assert.deepEqual(conditionsOf(plan), ['port-block-unusable out/s:tcp-443: a BIG-IP cannot keep to ports 1024-2047 of 203.0.113.20: a SNAT pool takes any port of its addresses']);
    assert.equal(lookUp(groupsOf(plan), 's.out', { namespace: 'shop', serviceAccount: 'till' }), 'no-snat-binding', 'nor does it leave as its namespace');
    assert.ok(lookUp(groupsOf(plan), 's.out', { namespace: 'shop', serviceAccount: 'other' }).includes('/snat_203.0.113.1 '));
  });
});
