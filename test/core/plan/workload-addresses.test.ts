import assert from 'node:assert/strict';
import fc from 'fast-check';
import { emptyDesiredState } from '../../../src/core/desired-state.ts';
import type { IpAddress } from '../../../src/core/ip-address.ts';
import type { DesiredObject } from '../../../src/core/objects/index.ts';
import { build } from '../../../src/core/plan/build.ts';
import { workloadAddresses, type AddressedPod } from '../../../src/core/plan/workload-addresses.ts';
import { state, trustDomain, workloadEntry } from '../world.ts';

const pod = (name: string, addresses: readonly string[], serviceAccount = 'default'): AddressedPod => {
  const [namespace, own] = name.split('/') as [string, string];
  return { namespace, name: own, serviceAccount, addresses: addresses as readonly IpAddress[] };
};

/** `ADDRESS NAMESPACE/ACCOUNT` of each, and what is told. */
function found(entries: readonly DesiredObject[], pods: readonly AddressedPod[] = []) {
  const { addresses, faults } = workloadAddresses(state(...entries).WorkloadEntry, pods);
  return { whose: [...addresses].map(([address, { namespace, serviceAccount }]) => `${address} ${namespace}/${serviceAccount}`).sort(), told: faults.map(({ object, path, message }) => `${object.kind} ${object.namespace}/${object.name} ${path?.join('.')}: ${message}`) };
}

describe('which address is whose', () => {
  it('is what entries and pods say', () => {
    const entries = [workloadEntry('shop/till', ['10.0.0.9', '2001:DB8::9']), workloadEntry('root/host', ['10.0.0.7'], { namespace: 'bank', serviceAccount: 'batch' })];
    const pods = [pod('zoo/lion-0', ['10.0.0.8', '2001:db8::8'], 'lion')];
    assert.deepEqual(found(entries, pods), { whose: ['10.0.0.7 bank/batch', '10.0.0.8 zoo/lion', '10.0.0.9 shop/default', '2001:db8::8 zoo/lion', '2001:db8::9 shop/default'], told: [] });
  });

  it('is nobody, where two entries claim it, whichever comes first and whatever they say', () => {
    const [one, two] = [workloadEntry('shop/a', ['10.0.0.1', '10.0.0.2']), workloadEntry('shop/b', ['10.0.0.3', '10.0.0.1'])];
    const expected = {
      whose: ['10.0.0.2 shop/default', '10.0.0.3 shop/default'],
      told: [
        "WorkloadEntry shop/a spec.addresses.0: address 10.0.0.1 is claimed by WorkloadEntry shop/a, WorkloadEntry shop/b, so it is nobody's, and whoever sends from it is refused",
        "WorkloadEntry shop/b spec.addresses.1: address 10.0.0.1 is claimed by WorkloadEntry shop/a, WorkloadEntry shop/b, so it is nobody's, and whoever sends from it is refused",
      ],
    };
    assert.deepEqual(found([one, two]), expected);
    assert.deepEqual(found([two, one]), expected);
  });

  it('is nobody, where an entry and a pod claim it, or two pods', () => {
    const { whose, told } = found([workloadEntry('shop/a', ['10.0.0.1'])], [pod('zoo/x', ['10.0.0.1', '10.0.0.2']), pod('zoo/y', ['10.0.0.2', '10.0.0.3'])]);
    assert.deepEqual(whose, ['10.0.0.3 zoo/default']);
    assert.deepEqual(
      told.map((each) => each.replace(/, so it.*/, '')),
      [
        'Pod zoo/x status.podIPs: address 10.0.0.1 is claimed by Pod zoo/x, WorkloadEntry shop/a',
        'WorkloadEntry shop/a spec.addresses.0: address 10.0.0.1 is claimed by Pod zoo/x, WorkloadEntry shop/a',
        'Pod zoo/x status.podIPs: address 10.0.0.2 is claimed by Pod zoo/x, Pod zoo/y',
        'Pod zoo/y status.podIPs: address 10.0.0.2 is claimed by Pod zoo/x, Pod zoo/y',
      ],
    );
  });

  it('is one claim, where one entry names it twice', () => {
    assert.deepEqual(found([workloadEntry('shop/a', ['10.0.0.1', '10.0.0.1'])]), { whose: ['10.0.0.1 shop/default'], told: [] });
  });

  const someAddresses = fc.uniqueArray(fc.integer({ min: 1, max: 12 }).map((last) => `10.0.0.${last}`), { minLength: 1, maxLength: 3 });
  const someEntries = fc.uniqueArray(fc.record({ key: fc.integer({ min: 0, max: 5 }), addresses: someAddresses }), { selector: ({ key }) => key, maxLength: 5 }).map((all) => all.map(({ key, addresses }) => workloadEntry(`shop/e${key}`, addresses)));
  const somePods = fc.uniqueArray(fc.record({ key: fc.integer({ min: 0, max: 5 }), addresses: someAddresses }), { selector: ({ key }) => key, maxLength: 5 }).map((all) => all.map(({ key, addresses }) => pod(`zoo/p${key}`, addresses)));

  it('has each address once that has one claim, a fault on each claim of the others, and is the same in any order', () => {
    fc.assert(
      fc.property(someEntries, somePods, (entries, pods) => {
        const claims = [...entries.flatMap((entry) => (entry.kind === 'WorkloadEntry' ? entry.spec.addresses : [])), ...pods.flatMap(({ addresses }) => addresses)];
        const claimsOf = (address: string): number => claims.filter((each) => each === address).length;
        const { addresses, faults } = workloadAddresses(state(...entries).WorkloadEntry, pods);
        assert.deepEqual([...addresses.keys()].sort(), [...new Set(claims)].filter((address) => claimsOf(address) === 1).sort());
        assert.equal(faults.length, claims.filter((address) => claimsOf(address) > 1).length);
        assert.deepEqual(workloadAddresses(state(...entries.toReversed()).WorkloadEntry, pods.toReversed()), { addresses, faults });
      }),
    );
  });

  it('is not part of the plan: its revision stays', () => {
    const built = [state(), state(workloadEntry('shop/a', ['10.0.0.1']))].map((desired) => build(desired, [], { now: 0, trustDomain }));
    assert.deepEqual(built.map((each) => each.ok && each.plan.revision), Array(2).fill(built[0]!.ok && built[0]!.plan.revision));
    assert.equal(workloadAddresses(emptyDesiredState.WorkloadEntry, []).addresses.size, 0);
  });
});
