import assert from 'node:assert/strict';
import fc from 'fast-check';
import { allocate } from '../../../src/core/snat/allocate.ts';
import type { Assignment, Assignments } from '../../../src/core/snat/assignments.ts';
import { applyChange, refOf, type DesiredState } from '../../../src/core/desired-state.ts';
import { addressToNumber } from '../../../src/core/ip-address.ts';
import type { DesiredObject } from '../../../src/core/objects/index.ts';
import { binding, placesOf, pool, state } from '../world.ts';

const hourMs = 3_600_000;
const dayMs = 24 * hourMs;

const bindNamespace = (name: string, poolName = 'eu') => binding(`${name}/b`, { subject: { namespace: name }, pool: poolName });
const shown = ({ holder, address, ports, releasedAt }: Assignment) =>
  `${holder} ${address}${ports.first === 1024 && ports.last === 65535 ? '' : `:${ports.first}-${ports.last}`}${releasedAt === null ? '' : ` released ${releasedAt}`}`;
const given = (assignments: Assignments) => assignments.map(shown);

/** Allocates and expects no fault. */
function allot(desired: DesiredState, before: Assignments = [], now = 0): Assignments {
  const { assignments, faults } = allocate(desired, before, now);
  assert.deepEqual(faults, []);
  return assignments;
}

describe('allocation', () => {
  it('gives each holder an address of its own, by holder name, lowest first', () => {
    const desired = state(pool('eu', ['10.0.0.8/29'], { exclude: ['10.0.0.8'] }), bindNamespace('b'), bindNamespace('a'), binding('x/sa', { subject: { namespace: 'a', serviceAccount: 'web' }, pool: 'eu' }), binding('x/svc', { subject: { service: { namespace: 'a', name: 'web' } }, pool: 'eu' }));
    assert.deepEqual(given(allot(desired)), ['ns/a 10.0.0.9', 'ns/b 10.0.0.10', 'sa/a/web 10.0.0.11', 'svc/a/web 10.0.0.12']);
  });

  it('gives one address of each family that the pool has', () => {
    const desired = state(pool('eu', ['10.0.0.1', '2001:db8::/32']), bindNamespace('a'));
    assert.deepEqual(given(allot(desired)), ['ns/a 10.0.0.1', 'ns/a 2001:db8::']);
  });

  it('gives a holder one address a pool, however many bindings it has', () => {
    const bindings = ['one', 'two'].map((name) => binding(`z/${name}`, { subject: { namespace: 'a' }, pool: 'eu' }));
    assert.deepEqual(given(allot(state(pool('eu', ['10.0.0.1-10.0.0.4']), ...bindings))), ['ns/a 10.0.0.1']);
  });

  it('takes a service subject to be of the binding’s own namespace unless it says otherwise', () => {
    const desired = state(pool('eu', ['10.0.0.1']), binding('shop/b', { subject: { service: { name: 'web' } }, pool: 'eu' }));
    assert.deepEqual(given(allot(desired)), ['svc/shop/web 10.0.0.1']);
  });

  it('shares an address by port blocks, and goes on to the next address when it is full', () => {
    const desired = state(pool('eu', ['10.0.0.1-10.0.0.2'], { sharing: { mode: 'PortBlocks', blockSize: 32_256 } }), ...['a', 'b', 'c'].map((name) => bindNamespace(name)));
    assert.deepEqual(given(allot(desired)), ['ns/a 10.0.0.1:1024-33279', 'ns/b 10.0.0.1:33280-65535', 'ns/c 10.0.0.2:1024-33279']);
  });

  it('leaves no room for a block that would end above port 65535', () => {
    const desired = state(pool('eu', ['10.0.0.1'], { sharing: { mode: 'PortBlocks', blockSize: 32_000 } }), ...['a', 'b', 'c'].map((name) => bindNamespace(name)));
    assert.deepEqual(placesOf(allocate(desired, [], 0).faults), ['pool-exhausted SnatBinding c/b spec.pool']);
  });

  it('places a fixed address before it gives that address to anyone else', () => {
    const desired = state(pool('eu', ['10.0.0.1-10.0.0.3']), bindNamespace('a'), binding('z/b', { subject: { namespace: 'z' }, addresses: ['10.0.0.1'] }));
    assert.deepEqual(given(allot(desired)), ['ns/a 10.0.0.2', 'ns/z 10.0.0.1']);
  });

  it('gives a fixed address of a shared pool by its first free block', () => {
    const sharing = { mode: 'PortBlocks' as const, blockSize: 1000 };
    const before = allot(state(pool('eu', ['10.0.0.1'], { sharing }), bindNamespace('a')));
    const after = allot(state(pool('eu', ['10.0.0.1'], { sharing }), bindNamespace('a'), binding('z/b', { subject: { namespace: 'z' }, addresses: ['10.0.0.1'] })), before);
    assert.deepEqual(given(after), ['ns/a 10.0.0.1:1024-2023', 'ns/z 10.0.0.1:2024-3023']);
  });

  it('keeps what a holder has when lower addresses become free or pools grow', () => {
    const before = allot(state(pool('eu', ['10.0.0.5-10.0.0.9']), bindNamespace('b'), bindNamespace('c')));
    const after = allot(state(pool('eu', ['10.0.0.1-10.0.0.9']), bindNamespace('a'), bindNamespace('c')), before, dayMs * 5);
    assert.deepEqual(given(after), ['ns/a 10.0.0.1', `ns/b 10.0.0.5 released ${dayMs * 5}`, 'ns/c 10.0.0.6']);
  });

  it('keeps a released address from others until its quarantine is over', () => {
    const small = pool('eu', ['10.0.0.1'], { quarantine: '1h' });
    const first = allot(state(small, bindNamespace('a')));
    const released = allot(state(small), first, 1000);
    assert.deepEqual(given(released), ['ns/a 10.0.0.1 released 1000']);
    const early = allocate(state(small, bindNamespace('b')), released, 1000 + hourMs - 1);
    assert.deepEqual(placesOf(early.faults), ['pool-exhausted SnatBinding b/b spec.pool']);
    assert.match(early.faults[0]!.message, /10\.0\.0\.1 ns\/a \(in quarantine until 1970-01-01T01:00:01\.000Z\)/);
    assert.deepEqual(given(allot(state(small, bindNamespace('b')), released, 1000 + hourMs)), ['ns/b 10.0.0.1']);
  });

  it('gives a released address back to the holder that had it, at once', () => {
    const small = pool('eu', ['10.0.0.1-10.0.0.2']);
    const released = allot(state(small, bindNamespace('b')), allot(state(small, bindNamespace('a'), bindNamespace('b'))), 1000);
    assert.deepEqual(given(allot(state(small, bindNamespace('a'), bindNamespace('b')), released, 2000)), ['ns/a 10.0.0.1', 'ns/b 10.0.0.2']);
  });

  it('drops a released address that nobody wants once its quarantine is over', () => {
    const small = pool('eu', ['10.0.0.1'], { quarantine: '1h' });
    const empty = state(small);
    const released = allot(empty, allot(state(small, bindNamespace('a'))), 0);
    assert.equal(allot(empty, released, hourMs - 1), released);
    assert.deepEqual(allot(empty, released, hourMs), []);
  });

  it('keeps the quarantine of an address whose pool was replaced by another', () => {
    const before = allot(state(pool('eu', ['10.0.0.1'], { quarantine: '2h' }), bindNamespace('a')));
    const desired = state(pool('renamed', ['10.0.0.1'], { quarantine: '2h' }), bindNamespace('b', 'renamed'));
    assert.deepEqual(placesOf(allocate(desired, before, hourMs).faults), ['pool-exhausted SnatBinding b/b spec.pool']);
  });

  it('keeps a holder’s address when its pool gets another name', () => {
    const before = allot(state(pool('eu', ['10.0.0.1-10.0.0.9']), bindNamespace('a'), bindNamespace('b')));
    const after = allot(state(pool('renamed', ['10.0.0.1-10.0.0.9']), bindNamespace('b', 'renamed')), before, 7);
    assert.deepEqual(given(after), ['ns/a 10.0.0.1 released 7', 'ns/b 10.0.0.2']);
  });

  it('keeps a holder’s address when its binding names it instead of the pool, and the other way round', () => {
    const addresses = pool('eu', ['10.0.0.1-10.0.0.9']);
    const fixed = (address: string) => binding('b/b', { subject: { namespace: 'b' }, addresses: [address] });
    const leased = allot(state(addresses, bindNamespace('a'), bindNamespace('b')));
    const named = allot(state(addresses, fixed('10.0.0.2')), leased, 1);
    assert.deepEqual(given(named), ['ns/a 10.0.0.1 released 1', 'ns/b 10.0.0.2']);
    const again = allot(state(addresses, bindNamespace('b')), allot(state(addresses, fixed('10.0.0.7')), [], 0), 1);
    assert.deepEqual(given(again), ['ns/b 10.0.0.7']);
  });

  it('keeps the address that pool bindings leave from, whatever addresses other bindings name', () => {
    const addresses = pool('eu', ['10.0.0.1-10.0.0.9']);
    const fixed = (last: number) => binding(`a/fixed-${last}`, { subject: { namespace: 'a' }, addresses: [`10.0.0.${last}`] });
    const leaves = (assignments: Assignments) => assignments.filter(({ fixed: named, releasedAt }) => named === undefined && releasedAt === null).map(({ address }) => address);
    const named = allot(state(addresses, fixed(5), bindNamespace('a')));
    assert.deepEqual(given(named), ['ns/a 10.0.0.5'], 'one address serves both where nothing was promised before');
    const more = allot(state(addresses, fixed(2), fixed(5), bindNamespace('a')), named, 1);
    assert.deepEqual([given(more), leaves(more)], [['ns/a 10.0.0.2', 'ns/a 10.0.0.5'], ['10.0.0.5']]);
    const unpinned = allot(state(addresses, fixed(2), bindNamespace('a')), more, 2);
    assert.deepEqual([given(unpinned), leaves(unpinned)], [['ns/a 10.0.0.2', 'ns/a 10.0.0.5'], ['10.0.0.5']]);
  });

  it('keeps port blocks as they are when the block size changes', () => {
    const blocks = (blockSize: number) => pool('eu', ['10.0.0.1'], { sharing: { mode: 'PortBlocks', blockSize } });
    const before = allot(state(blocks(1000), bindNamespace('a'), bindNamespace('b')));
    assert.deepEqual(given(allot(state(blocks(600), bindNamespace('a'), bindNamespace('b'), bindNamespace('c')), before)), ['ns/a 10.0.0.1:1024-2023', 'ns/b 10.0.0.1:2024-3023', 'ns/c 10.0.0.1:3424-4023']);
  });

  it('does not enumerate a huge range', () => {
    const desired = state(pool('wide', ['2001:db8::/32'], { exclude: ['2001:db8::', '2001:db8::2'] }), ...['a', 'b'].map((name) => bindNamespace(name, 'wide')));
    assert.deepEqual(given(allot(desired)), ['ns/a 2001:db8::1', 'ns/b 2001:db8::3']);
  });

  it('returns the very same array where nothing changes', () => {
    const desired = state(pool('eu', ['10.0.0.1-10.0.0.9']), bindNamespace('a'), bindNamespace('b'));
    const before = allot(desired);
    assert.equal(allot(desired, before, 5), before);
  });
});

describe('allocation faults', () => {
  const four = pool('eu', ['10.0.0.1-10.0.0.4'], { exclude: ['10.0.0.2'] });
  const fixed = (owner: string, ...addresses: string[]) => binding(`${owner}/b`, { subject: { namespace: owner }, addresses });

  const cases: { name: string; objects: DesiredObject[]; before?: DesiredObject[]; now?: number; faults: string[]; says?: RegExp }[] = [
    { name: 'an unknown pool', objects: [four, bindNamespace('a', 'us')], faults: ['pool-unknown SnatBinding a/b spec.pool'], says: /no SnatPool "us"/ },
    { name: 'an address outside every pool', objects: [four, fixed('a', '10.0.0.9')], faults: ['address-outside-pools SnatBinding a/b spec.addresses.0'], says: /"10\.0\.0\.9"/ },
    { name: 'an excluded address', objects: [four, fixed('a', '10.0.0.2')], faults: ['address-excluded SnatBinding a/b spec.addresses.0'] },
    { name: 'an address that two holders name', objects: [four, fixed('a', '10.0.0.1'), fixed('b', '10.0.0.1')], faults: ['address-held SnatBinding b/b spec.addresses.0'], says: /10\.0\.0\.1 ns\/a/ },
    { name: 'an address that another holder has', before: [four, bindNamespace('a')], objects: [four, bindNamespace('a'), fixed('b', '10.0.0.1')], faults: ['address-held SnatBinding b/b spec.addresses.0'] },
    { name: 'an address in another’s quarantine', before: [four, bindNamespace('a')], now: dayMs, objects: [four, fixed('b', '10.0.0.1')], faults: ['address-in-quarantine SnatBinding b/b spec.addresses.0'], says: /until 1970-01-03T00:00:00\.000Z/ },
    { name: 'pools that overlap', objects: [four, pool('us', ['10.9.0.0/16', '10.0.0.4-10.0.0.20'])], faults: ['pools-overlap SnatPool /us spec.addresses.1'], says: /"10\.0\.0\.4-10\.0\.0\.20" overlaps "10\.0\.0\.1-10\.0\.0\.4" of SnatPool eu/ },
    { name: 'a range within a range of another pool', objects: [pool('eu', ['10.0.0.0/8', '10.0.0.0/30']), pool('us', ['10.200.0.1'])], faults: ['pools-overlap SnatPool /us spec.addresses.0'] },
    { name: 'a pool shrunk under a live assignment', before: [four, bindNamespace('a')], objects: [pool('eu', ['10.0.0.3-10.0.0.4']), bindNamespace('a')], faults: ['assignment-outside-pool SnatBinding a/b spec.pool'], says: /ns\/a leaves from "10\.0\.0\.1"/ },
    { name: 'an exclusion of a live assignment', before: [pool('eu', ['10.0.0.1-10.0.0.4']), bindNamespace('a')], objects: [pool('eu', ['10.0.0.1-10.0.0.4'], { exclude: ['10.0.0.1'] }), bindNamespace('a')], faults: ['assignment-outside-pool SnatBinding a/b spec.pool'] },
    { name: 'a pool with too few addresses', objects: [four, ...['a', 'b', 'c', 'd', 'e'].map((name) => bindNamespace(name))], faults: ['pool-exhausted SnatBinding d/b spec.pool'], says: /no free IPv4 address for ns\/d, ns\/e; all 3 are taken: 10\.0\.0\.1 ns\/a, 10\.0\.0\.3 ns\/b, 10\.0\.0\.4 ns\/c$/ },
    { name: 'several at once', objects: [four, bindNamespace('a', 'us'), fixed('c', '10.0.0.9')], faults: ['address-outside-pools SnatBinding c/b spec.addresses.0', 'pool-unknown SnatBinding a/b spec.pool'] },
  ];
  for (const { name, objects, before, now = 0, faults, says } of cases) {
    it(`names ${name}`, () => {
      const held = before === undefined ? [] : allot(state(...before));
      const result = allocate(state(...objects), held, now);
      assert.deepEqual(placesOf(result.faults), faults);
      if (says !== undefined) assert.match(result.faults[0]!.message, says);
    });
  }

  it('bounds the list of holders', () => {
    const objects = Array.from({ length: 40 }, (_, index) => bindNamespace(`n${String(index).padStart(2, '0')}`));
    const { faults } = allocate(state(pool('eu', ['10.0.0.0-10.0.0.29']), ...objects), [], 0);
    assert.match(faults[0]!.message, /and 2 more; all 30 are taken: .*10\.0\.0\.7 ns\/n07 and 22 more$/);
  });

  it('lets an address outside its pool go once its binding has gone', () => {
    const before = allot(state(four, bindNamespace('a')));
    const shrunk = pool('eu', ['10.0.0.3-10.0.0.4']);
    const released = allot(state(shrunk), before, 1);
    assert.deepEqual(given(allot(state(shrunk, bindNamespace('a')), released, 2)), ['ns/a 10.0.0.1 released 1', 'ns/a 10.0.0.3']);
  });
});

describe('allocation, whatever happens', () => {
  const namespaceName = fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f');
  type Spec = Parameters<typeof binding>[1];
  const subject: fc.Arbitrary<Spec['subject']> = fc.oneof(
    namespaceName.map((name) => ({ namespace: name })),
    fc.tuple(namespaceName, fc.constantFrom('x', 'y')).map(([name, serviceAccount]) => ({ namespace: name, serviceAccount })),
    fc.tuple(namespaceName, fc.constantFrom('x', 'y')).map(([name, service]) => ({ service: { namespace: name, name: service } })),
  );
  const source: fc.Arbitrary<Pick<Spec, 'pool' | 'addresses'>> = fc.oneof(
    { weight: 3, arbitrary: fc.constantFrom('exclusive', 'shared', 'six').map((poolName) => ({ pool: poolName })) },
    { weight: 1, arbitrary: fc.integer({ min: 1, max: 12 }).map((last) => ({ addresses: [`10.0.0.${last}`] })) },
    { weight: 1, arbitrary: fc.constant('10.1.0.1').map((address) => ({ addresses: [address] })) },
  );
  const bindings = fc.uniqueArray(
    fc.record({ key: fc.integer({ min: 0, max: 30 }), subject, source }).map(({ key, subject: who, source: from }) => binding(`z/b${key}`, { subject: who, ...from })),
    { selector: ({ metadata }) => metadata.name, maxLength: 12 },
  );
  const pools = [
    pool('exclusive', ['10.0.0.1-10.0.0.40'], { exclude: ['10.0.0.3'], quarantine: '1h' }),
    pool('shared', ['10.1.0.1-10.1.0.2'], { quarantine: '2h', sharing: { mode: 'PortBlocks', blockSize: 4096 } }),
    pool('six', ['2001:db8::/64', '10.2.0.0/24'], { quarantine: '30m' }),
  ];
  const quarantineMs: Record<string, number> = { exclusive: hourMs, shared: 2 * hourMs, six: hourMs / 2 };

  /** Steps that have no fault, each from the result of the one before; what has a fault is not kept, as in the control plane. */
  function* history(steps: readonly { bindings: readonly DesiredObject[]; elapsedMs: number }[]) {
    let assignments: Assignments = [];
    let now = 0;
    for (const step of steps) {
      now += step.elapsedMs;
      const desired = state(...pools, ...step.bindings);
      const result = allocate(desired, assignments, now);
      if (result.faults.length > 0) continue;
      yield { desired, before: assignments, after: result.assignments, now };
      assignments = result.assignments;
    }
  }
  const steps = fc.array(fc.record({ bindings, elapsedMs: fc.constantFrom(0, 1, hourMs / 2, hourMs, 3 * hourMs) }), { maxLength: 8 });

  it('never lets two holders share an address and port', () => {
    fc.assert(
      fc.property(steps, (all) => {
        for (const { after } of history(all)) {
          for (const [index, one] of after.entries()) {
            for (const other of after.slice(index + 1)) {
              const overlap = one.address === other.address && one.ports.first <= other.ports.last && other.ports.first <= one.ports.last;
              assert.ok(!overlap, `${shown(one)} and ${shown(other)}`);
            }
          }
        }
      }),
      { numRuns: 150 },
    );
  });

  it('moves nobody, and gives nobody what another had less than a quarantine ago', () => {
    fc.assert(
      fc.property(steps, (all) => {
        for (const { before, after, now } of history(all)) {
          for (const record of before) {
            const still = after.find((other) => other.holder === record.holder && other.address === record.address);
            if (record.releasedAt === null || now - record.releasedAt < quarantineMs[record.pool]!) assert.deepEqual(still?.ports, record.ports, shown(record));
          }
        }
      }),
      { numRuns: 150 },
    );
  });

  it('gives every binding its addresses', () => {
    fc.assert(
      fc.property(steps, (all) => {
        for (const { desired, after } of history(all)) {
          for (const { spec, metadata } of desired.SnatBinding.values()) {
            const { subject: who } = spec;
            const holder = 'service' in who ? `svc/${who.service.namespace ?? metadata.namespace}/${who.service.name}` : who.serviceAccount === undefined ? `ns/${who.namespace}` : `sa/${who.namespace}/${who.serviceAccount}`;
            const live = after.filter((record) => record.holder === holder && record.releasedAt === null);
            for (const address of spec.addresses ?? []) assert.ok(live.some((record) => record.address === address));
            if (spec.pool !== undefined) assert.equal(live.filter((record) => record.pool === spec.pool && record.fixed === undefined).length, spec.pool === 'six' ? 2 : 1);
          }
          for (const record of after.filter(({ releasedAt }) => releasedAt === null)) {
            assert.ok(record.pool === 'six' || record.family === 'ipv4');
            assert.notEqual(record.address, '10.0.0.3');
          }
        }
      }),
      { numRuns: 150 },
    );
  });

  it('is a fixpoint: what was assigned is assigned again after a restart', () => {
    fc.assert(
      fc.property(steps, (all) => {
        for (const { desired, after, now } of history(all)) {
          assert.equal(allocate(desired, after, now).assignments, after);
          assert.deepEqual(allocate(desired, structuredClone(after), now).assignments, after);
        }
      }),
      { numRuns: 100 },
    );
  });

  it('does not depend on the order of the input', () => {
    fc.assert(
      fc.property(steps, fc.infiniteStream(fc.nat()), (all, numbers) => {
        for (const { desired, before, after, now } of history(all)) {
          const objects = [...pools, ...desired.SnatBinding.values()];
          const shuffled = objects.map((object) => ({ object, rank: numbers.next().value as number })).sort((a, b) => a.rank - b.rank).map(({ object }) => object);
          assert.deepEqual(allocate(state(...shuffled), before, now).assignments, after);
        }
      }),
      { numRuns: 100 },
    );
  });

  it('changes no address when an unrelated binding comes or goes', () => {
    fc.assert(
      fc.property(steps, bindings, (all, more) => {
        for (const { desired, after, now } of history(all)) {
          const added = more.filter((object) => !desired.SnatBinding.has(`z/${object.metadata.name}`));
          const next = allocate(applyChange(desired, { put: added, remove: [] }), after, now);
          if (next.faults.length > 0) continue;
          const kept = (assignments: Assignments) => after.filter(({ releasedAt }) => releasedAt === null).map((record) => assignments.find((other) => other.holder === record.holder && other.address === record.address)?.releasedAt);
          assert.ok(kept(next.assignments).every((releasedAt) => releasedAt === null));
          const removed = allocate(applyChange(applyChange(desired, { put: added, remove: [] }), { put: [], remove: added.map(refOf) }), next.assignments, now);
          assert.ok(kept(removed.assignments).every((releasedAt) => releasedAt === null));
        }
      }),
      { numRuns: 100 },
    );
  });

  it('gives the lowest free address to a new holder', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.integer({ min: 0, max: 200 }), { maxLength: 40 }), (lasts) => {
        const wide = pool('eu', ['10.0.0.0/24'], { exclude: lasts.map((last) => `10.0.0.${last}`) });
        const [record] = allot(state(wide, bindNamespace('a')));
        let lowest = 0;
        while (lasts.includes(lowest)) lowest += 1;
        assert.equal(addressToNumber(record!.address), addressToNumber('10.0.0.0' as Assignment['address']) + BigInt(lowest));
      }),
      { numRuns: 100 },
    );
  });
});
