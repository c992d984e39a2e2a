import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { assignMarks } from '../../../src/backends/kernel/marks.ts';
import { differenceOf, renderChange, renderKernelGateway, setNames, type KernelRendering } from '../../../src/backends/kernel/index.ts';
import { decide } from '../../../src/core/plan/decide.ts';
import { parseAddress } from '../../../src/core/ip-address.ts';
import type { DesiredObject } from '../../../src/core/objects/index.ts';
import type { Plan } from '../../../src/core/plan/plan.ts';
import * as world from '../../core/world.ts';
import { addressesOf, exampleWorld, gatewayOf, router, servicesAtRouter } from './example-world.ts';
import { everyonesAddresses, someKernelWorld } from './random-world.ts';

const rendered = ({ plan, workloads } = exampleWorld()): KernelRendering => renderKernelGateway(plan, gatewayOf(plan), workloads);

/** What the chain `leaving` says of a first packet, by the elements alone: the reason, or the grant's source address. */
function answerOf({ table: { elements } }: KernelRendering, source: string, destination: string): string {
  const family = destination.includes(':') ? '6' : '4';
  const identity = elements[`identities${family}`].get(source);
  if (identity === undefined) return 'not-a-workload';
  const mark = elements[`access${family}`].get(`${identity} . ${destination}`);
  if (mark !== undefined) {
    assert.ok(elements[`live${family}`].has(`${source} . ${mark} . ${destination.split(' ')[0]!}`) && elements.grants.has(mark), 'what is let out is in force');
    return elements[`sources${family}`].get(mark)!.split(' . ')[0]!;
  }
  const reasons: Readonly<Record<string, string>> = { 'goto refuse_no_binding': 'no-snat-binding', 'goto refuse_family': 'snat-family-mismatch' };
  const refusal = elements[`refusals${family}`].get(`${identity} . ${destination}`);
  if (refusal !== undefined) return reasons[refusal]!;
  return elements[`services${family}`].has(destination) ? 'no-policy' : 'no-such-service';
}

describe('the plan as nftables', () => {
  it('is as its golden file has it', () => {
    const file = join(import.meta.dirname, 'golden', 'ruleset.nft');
    const { ruleset } = rendered();
    if (process.env['UPDATE_GOLDEN'] === '1') writeFileSync(file, ruleset);
    assert.equal(ruleset, readFileSync(file, 'utf8'), 'UPDATE_GOLDEN=1 writes it again');
  });

  it('is the same in whatever order addresses come', () => {
    const { plan, workloads } = exampleWorld();
    assert.equal(rendered({ plan, workloads: new Map([...workloads].reverse()) }).ruleset, rendered().ruleset);
  });

  it('answers each identity and service as the plan decides', () => {
    fc.assert(
      fc.property(someKernelWorld, ({ plan, services }) => {
        const rendering = renderKernelGateway(plan, gatewayOf(plan), everyonesAddresses);
        for (const [address, who] of everyonesAddresses) {
          for (const { id, destinations } of services) {
            const servicePort = plan.servicePorts.find((each) => each.id === id && each.gateway === 'router');
            for (const destination of destinations.filter((each) => each.includes(':') === address.includes(':'))) {
              const decision = decide(servicePort, world.identity(`${who.namespace}/${who.serviceAccount}`), plan.trustDomain);
              const expected = decision.allowed ? (decision.grant.snat[address.includes(':') ? 'ipv6' : 'ipv4']?.address ?? 'snat-family-mismatch') : decision.reason;
              assert.equal(answerOf(rendering, address, destination), expected, `${address} to ${id}`);
            }
          }
        }
      }),
      { numRuns: 100 },
    );
  });

  it('makes of one table exactly the other by a change', () => {
    fc.assert(
      fc.property(someKernelWorld, someKernelWorld, (one, other) => {
        const tableOf = ({ plan }: typeof one) => renderKernelGateway(plan, gatewayOf(plan), everyonesAddresses).table;
        const [before, after] = [tableOf(one), tableOf(other)];
        const change = renderChange(before, after)!;
        for (const name of setNames) {
          const elements = new Map(before.elements[name]);
          const lines = (verb: string) => new RegExp(`^${verb} element inet sallyport ${name} \\{\\n([^}]*)\\}$`, 'm').exec(change)?.[1]?.trim().split(',\n').map((line) => line.trim().replace(/,$/, '')) ?? [];
          for (const key of lines('delete')) assert.ok(elements.delete(key), `${name} has ${key}`);
          for (const line of lines('add')) {
            const { key, data, comment } = /^(?<key>.*?)(?: : (?<data>.*)| comment "(?<comment>.*)")?$/.exec(line)!.groups as { readonly key: string; readonly data?: string; readonly comment?: string };
            assert.ok(!elements.has(key), `${name} has no ${key} yet`);
            elements.set(key, data ?? comment ?? '');
          }
          assert.deepEqual(elements, after.elements[name]);
        }
      }),
      { numRuns: 50 },
    );
  });

  it('leads to another grant by a change where a binding gives another address', () => {
    const tableOf = (address: string) => {
      const plan = world.planOf(router, world.pool('own', ['203.0.113.8', '203.0.113.9']), world.binding('shop/all', { subject: { namespace: 'shop' }, addresses: [address] }), servicesAtRouter()('shop/one'), world.policy('shop/p', { subjects: [{ namespace: 'shop' }], to: [{ service: 'one' }] }));
      return renderKernelGateway(plan, gatewayOf(plan), addressesOf({ '10.1.0.2': 'shop/till' })).table;
    };
    const [before, after] = [tableOf('203.0.113.8'), tableOf('203.0.113.9')];
    const [[key, mark]] = [...after.elements.access4] as [[string, string]];
    const change = renderChange(before, after)!;
    assert.ok(change.includes(`delete element inet sallyport access4 {\n  ${key},\n}`) && change.includes(`add element inet sallyport access4 {\n  ${key} : ${mark},\n}`), change);
    assert.notEqual(before.elements.access4.get(key), mark);
  });

  it('replaces the table where its chains change', () => {
    const { table } = rendered();
    assert.equal(renderChange(table, { ...table, settings: { ...table.settings, interface: 'other' } }), undefined);
  });

  it('sends nothing where nothing changes', () => {
    assert.equal(renderChange(rendered().table, rendered().table), '');
  });

  it('tells the grants in force by mark, with whom and as whom', () => {
    const { grants, table } = rendered();
    assert.deepEqual([...grants.keys()].map(String).sort(), [...table.elements.grants.keys()].sort());
    const files = [...grants.values()].filter(({ servicePort }) => servicePort === 'data/files:ftp-21');
    assert.deepEqual(files.map(({ identity, snat }) => `${identity} ${snat.ipv4!.address}`), ['data/reader 203.0.113.8', 'data/writer 203.0.113.8']);
  });

  it('says what it refuses, and what it cannot prove', () => {
    const { conditions, caveats } = rendered();
    assert.deepEqual(conditions.map(({ code, object, message }) => [code, object, message.split(':')[0]]), [['port-block-unusable', 'data/files:ftp-21', 'shop/till is refused']]);
    assert.deepEqual(caveats.map(({ code, object }) => [code, object]), [
      ['identity-by-address', null],
      ['port-of-service', 'data/files:ftp-21'],
      ['reverse-to-one', 'data/warehouse:push'],
    ]);
  });

  it('refuses IPv6 from a block of source ports, and IPv4 it does not', () => {
    const plan = world.planOf(router, world.pool('shared', ['203.0.113.20', '2001:db8:1::20'], { sharing: { mode: 'PortBlocks', blockSize: 4096 } }), world.binding('shop/till', { subject: { namespace: 'shop' }, pool: 'shared' }), servicesAtRouter()('shop/both', { addresses: ['198.51.100.7', '2001:db8::7'] }), world.policy('shop/p', { subjects: [{ namespace: 'shop' }], to: [{ service: 'both' }] }));
    const both = renderKernelGateway(plan, gatewayOf(plan), addressesOf({ '10.1.0.2': 'shop/till', '2001:db8:2::2': 'shop/till' }));
    const sides = plan.servicePorts[0]!.grants[0]!.snat!;
    const expected = [sides.ipv4?.address ?? 'snat-family-mismatch', sides.ipv6 === undefined ? 'snat-family-mismatch' : 'no-snat-binding'];
    assert.deepEqual([answerOf(both, '10.1.0.2', '198.51.100.7 . tcp . 443'), answerOf(both, '2001:db8:2::2', '2001:db8::7 . tcp . 443')], expected);
    assert.equal(both.conditions.length, sides.ipv6 === undefined ? 0 : 1);
  });

  it('takes two services at one address and port for the first, and says so where it matters', () => {
    const of = (...more: readonly DesiredObject[]) => {
      const service = servicesAtRouter();
      const plan = world.planOf(router, world.pool('own', ['203.0.113.8', '203.0.113.9']), world.binding('shop/all', { subject: { namespace: 'shop' }, addresses: ['203.0.113.8'] }), service('shop/one'), service('shop/two'), world.policy('shop/p', { subjects: [{ namespace: 'shop' }], to: [{ service: 'one' }, { service: 'two' }] }), ...more);
      const rendering = renderKernelGateway(plan, gatewayOf(plan), addressesOf({ '10.1.0.2': 'shop/till' }));
      return [answerOf(rendering, '10.1.0.2', '198.51.100.7 . tcp . 443'), rendering.caveats.slice(1).map(({ code, object }) => `${code} ${object!}`)];
    };
    assert.deepEqual(of(), ['203.0.113.8', []]);
    assert.deepEqual(of(world.binding('shop/two', { subject: { namespace: 'shop' }, addresses: ['203.0.113.9'], targets: [{ service: 'two' }] })), ['203.0.113.8', ['destination-shared shop/two:tcp-443']]);
  });
});

describe('connection marks', () => {
  it('are of the key alone, whatever others there are', () => {
    const few = assignMarks(['a', 'b']);
    const many = assignMarks(['b', 'c', 'a', ...Array.from({ length: 1_000 }, (_, index) => `x${index}`)]);
    assert.deepEqual([many.get('a'), many.get('b')], [few.get('a'), few.get('b')]);
  });

  it('are unique, and never 0, also where keys hash alike', () => {
    const marks = assignMarks(['a', 'b', 'c', 'd'], (text) => text.length - 1);
    assert.deepEqual(new Set(marks.values()).size, 4);
    assert.ok(!new Set(marks.values()).has(0));
  });
});

describe('a change of who has an address', () => {
  const addresses = (plan: Plan, names: Readonly<Record<string, string>>) => renderKernelGateway(plan, gatewayOf(plan), addressesOf(names)).table;

  it('takes away the pairs of what the one before him was granted, and leaves others alone', () => {
    const { plan } = exampleWorld();
    const [before, after] = [addresses(plan, { '10.1.0.2': 'data/reader', '10.1.0.4': 'data/writer' }), addresses(plan, { '10.1.0.2': 'shop/window', '10.1.0.4': 'data/writer' })];
    const { removed, added } = differenceOf(before.elements.live4, after.elements.live4);
    assert.ok(removed.length > 0 && removed.every(([key]) => key.startsWith(`${parseAddress('10.1.0.2')!} `)));
    assert.deepEqual(added, []);
  });
});

describe('an address that is taken from a service', () => {
  it('is all that is in force no longer: the others keep the marks of their connections', () => {
    const tableWith = (...targets: string[]) => {
      const plan = world.planOf(
        router,
        world.pool('own', ['192.0.2.1']),
        world.binding('shop/all', { subject: { namespace: 'shop' }, addresses: ['192.0.2.1'] }),
        world.externalService('shop/bank', { gateway: 'router', addresses: targets }),
        world.policy('shop/all', { subjects: [{ namespace: 'shop' }], to: [{ service: 'bank' }] }),
      );
      return renderKernelGateway(plan, gatewayOf(plan), addressesOf({ '10.1.0.2': 'shop/till' })).table;
    };
    const [before, after] = [tableWith('198.51.100.7', '198.51.100.8'), tableWith('198.51.100.7')];
    const [mark] = before.elements.grants.keys();
    assert.deepEqual(differenceOf(before.elements.live4, after.elements.live4), { removed: [[`10.1.0.2 . ${mark!} . 198.51.100.8`, '']], added: [] });
    assert.deepEqual(before.elements.grants, after.elements.grants);
  });
});
