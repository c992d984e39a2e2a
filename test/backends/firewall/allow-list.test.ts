import assert from 'node:assert/strict';
import { allowList, describeEnd, describeNeeds, differenceOf, flowKey } from '../../../src/backends/firewall/index.ts';
import type { DesiredObject } from '../../../src/core/objects/index.ts';
import { decide } from '../../../src/core/plan/decide.ts';
import * as world from '../../core/world.ts';
import { exampleWorld, service } from './example-world.ts';

const base = [world.gateway('egress-1'), world.pool('own', ['203.0.113.8', '203.0.113.9']), world.binding('shop/shop', { subject: { namespace: 'shop' }, addresses: ['203.0.113.8'] })];
const toAll = (name: string, ...names: readonly string[]): DesiredObject => world.policy(name, { subjects: [{ namespace: 'shop' }], to: names.map((each) => ({ service: each, namespace: 'out' })) });
const linesOf = (...objects: readonly DesiredObject[]): readonly string[] => allowList(world.planOf(...base, ...objects)).flows.map(({ needs, ...flow }) => `${flowKey(flow)}: ${describeNeeds(needs)}`);

describe('an allow list', () => {
  const cases: readonly (readonly [what: string, objects: readonly DesiredObject[], lines: readonly string[]])[] = [
    ['is empty where no policy grants anything', [service('out/a')], []],
    ['has what is granted, from the address of who it is granted to', [service('out/a', { addresses: ['198.51.100.7'], ports: [{ port: 443, targetPort: 8443 }] }), toAll('out/p', 'a')], ['out tcp 203.0.113.8:1024-65535 198.51.100.7:8443: out/a:tcp-443 for shop by out/p from shop/shop']],
    ['has datagrams as such', [service('out/dns', { ports: [{ port: 53, protocol: 'UDP' }] }), toAll('out/p', 'dns')], ['out udp 203.0.113.8:1024-65535 198.51.100.7:53: out/dns:udp-53 for shop by out/p from shop/shop']],
    ['has every target, hosts by their names', [service('out/a', { hosts: ['a.example', 'b.example'] }), toAll('out/p', 'a')], ['out tcp 203.0.113.8:1024-65535 a.example:443: out/a:tcp-443 for shop by out/p from shop/shop', 'out tcp 203.0.113.8:1024-65535 b.example:443: out/a:tcp-443 for shop by out/p from shop/shop']],
    [
      'has what FTP opens for data, whoever opens it',
      [service('out/passive', { ports: [{ port: 21, protocol: 'FTP' }] }), service('out/active', { addresses: ['198.51.100.8'], ports: [{ port: 21, protocol: 'FTP', ftp: { dataMode: 'Active' } }] }), toAll('out/p', 'passive', 'active')],
      [
        'in tcp 198.51.100.8:1-65535 203.0.113.8:1024-65535: out/active:ftp-21 (ftp-data) for shop by out/p from shop/shop',
        'out tcp 203.0.113.8:1024-65535 198.51.100.7:1024-65535: out/passive:ftp-21 (ftp-data) for shop by out/p from shop/shop',
        'out tcp 203.0.113.8:1024-65535 198.51.100.7:21: out/passive:ftp-21 for shop by out/p from shop/shop',
        'out tcp 203.0.113.8:1024-65535 198.51.100.8:21: out/active:ftp-21 for shop by out/p from shop/shop',
      ],
    ],
    ['has the way back', [service('out/a', { reverse: [{ name: 'back', port: 9000 }] }), toAll('out/p', 'a')], ['in tcp 198.51.100.7:1-65535 203.0.113.8:9000: out/a:back (reverse) for shop by out/p from shop/shop', 'out tcp 203.0.113.8:1024-65535 198.51.100.7:443: out/a:tcp-443 for shop by out/p from shop/shop']],
    ['leaves out whom no binding gives an address', [service('out/a'), world.policy('out/p', { subjects: [{ namespace: 'stranger' }], to: [{ service: 'a' }] })], []],
    ['leaves out a target of another family than the address', [service('out/a', { addresses: ['198.51.100.7', '2001:db8::7'] }), toAll('out/p', 'a')], ['out tcp 203.0.113.8:1024-65535 198.51.100.7:443: out/a:tcp-443 for shop by out/p from shop/shop']],
    [
      'has one line for what several need',
      [service('out/a'), service('out/b', { ports: [{ name: 'other', port: 443 }] }), toAll('out/p', 'a', 'b'), toAll('out/q', 'a')],
      ['out tcp 203.0.113.8:1024-65535 198.51.100.7:443: out/a:tcp-443, out/b:other for shop by out/p, out/q from shop/shop'],
    ],
    [
      'has the ports of a shared address that are the holder\'s own',
      [world.pool('shared', ['203.0.113.20'], { sharing: { mode: 'PortBlocks', blockSize: 1024 } }), world.binding('shop/till', { subject: { namespace: 'shop', serviceAccount: 'till' }, pool: 'shared' }), service('out/a'), world.policy('out/p', { subjects: [{ namespace: 'shop', serviceAccount: 'till' }], to: [{ service: 'a' }] })],
      ['out tcp 203.0.113.20:1024-2047 198.51.100.7:443: out/a:tcp-443 for shop/till by out/p from shop/till'],
    ],
  ];
  for (const [what, objects, lines] of cases) it(what, () => assert.deepEqual(linesOf(...objects), lines));

  it('leaves out what no gateway serves', () => {
    const [, ...withoutGateway] = base;
    assert.deepEqual(allowList(world.planOf(...withoutGateway, service('out/a'), toAll('out/p', 'a'))).flows, []);
  });

  it('is the same in whatever order the objects come', () => {
    const objects = [...base, service('out/a'), service('out/b'), toAll('out/p', 'a', 'b')];
    assert.deepEqual(allowList(world.planOf(...objects)), allowList(world.planOf(...objects.toReversed())));
  });

  it('has a line for exactly those decisions that allow', () => {
    const plan = exampleWorld();
    const listed = new Set(allowList(plan).flows.flatMap(({ needs, source }) => needs.filter(({ use }) => use === 'service').map(({ service, subject }) => `${service} ${subject} ${source.host}`)));
    const allowed = plan.servicePorts
      .filter(({ protocol }) => protocol !== 'Reverse')
      .flatMap((servicePort) => servicePort.grants.flatMap(({ subject: { namespace, serviceAccount = 'anyone' } }) => ({ servicePort, namespace, serviceAccount })))
      .flatMap(({ servicePort, namespace, serviceAccount }) => {
        const decision = decide(servicePort, world.identity(`${namespace}/${serviceAccount}`), world.trustDomain);
        if (!decision.allowed) return [];
        const { subject, snat } = decision.grant;
        const families = new Set(servicePort.targets.flatMap((target) => (target.kind === 'host' ? ['ipv4', 'ipv6'] : [target.address.includes(':') ? 'ipv6' : 'ipv4'])));
        return [snat.ipv4, snat.ipv6].flatMap((source, index) => (source !== undefined && families.has(index === 0 ? 'ipv4' : 'ipv6') ? [`${servicePort.id} ${[subject.namespace, ...(subject.serviceAccount === undefined ? [] : [subject.serviceAccount])].join('/')} ${source.address}`] : []));
      });
    assert.ok(allowed.length >= 4);
    assert.deepEqual([...listed].sort(), [...new Set(allowed)].sort());
  });
});

describe('the difference of two allow lists', () => {
  const one = allowList(world.planOf(...base, service('out/a'), service('out/b', { addresses: ['198.51.100.9'] }), toAll('out/p', 'a', 'b')));
  const other = allowList(world.planOf(...base, service('out/a'), service('out/c', { addresses: ['198.51.100.10'] }), toAll('out/q', 'a', 'c')));

  it('says what to add, what to remove, and what is there for another reason', () => {
    const { added, removed, otherwiseNeeded } = differenceOf(one, other);
    assert.deepEqual(added.map(({ destination }) => describeEnd(destination)), ['198.51.100.10:443']);
    assert.deepEqual(removed.map(({ destination }) => describeEnd(destination)), ['198.51.100.9:443']);
    assert.deepEqual(otherwiseNeeded.map(({ before, after }) => [describeNeeds(before.needs), describeNeeds(after.needs)]), [['out/a:tcp-443 for shop by out/p from shop/shop', 'out/a:tcp-443 for shop by out/q from shop/shop']]);
  });

  it('is empty between a list and itself', () => {
    assert.deepEqual(differenceOf(one, one), { added: [], removed: [], otherwiseNeeded: [] });
  });
});
