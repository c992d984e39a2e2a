import assert from 'node:assert/strict';
import fc from 'fast-check';
import { composeSnapshots, createSnapshotCache, resourcesOf } from '../../src/xds/index.ts';
import type { ResourceMap } from '../../src/xds/index.ts';
import { changedNames } from '../../src/xds/snapshot-diff.ts';
import { fruit, FRUIT, play, snapshotOf } from './stream-play.ts';

const named = fc.dictionary(fc.constantFrom('a', 'b', 'c', 'd', 'e'), fc.constantFrom('1', '2'));
const versions = (map: ResourceMap) => Object.fromEntries([...map].map(([name, { version }]) => [name, version]));

describe('a composed snapshot', () => {
  it('reads as one map in which the later part counts', () => {
    fc.assert(
      fc.property(fc.array(named, { maxLength: 4 }), (parts) => {
        const expected = Object.assign({}, ...parts) as Record<string, string>;
        const map = resourcesOf(composeSnapshots('r', parts.map((part) => fruit('p', part))), FRUIT);
        assert.deepEqual(versions(map), expected);
        assert.equal(map.size, Object.keys(expected).length);
        assert.deepEqual(new Set(map.keys()), new Set(Object.keys(expected)));
        assert.deepEqual([...map.values()].map(({ name, version }) => [name, version]), [...map.entries()].map(([name, { version }]) => [name, version]));
        for (const name of 'abcdef') assert.deepEqual([map.has(name), map.get(name)?.version], [name in expected, expected[name]]);
        const seen: string[] = [];
        map.forEach((_, name) => seen.push(name));
        assert.deepEqual(seen, [...map.keys()]);
      }),
      { numRuns: 100 },
    );
  });

  it('differs from another in what differs, whichever of the two are composed', () => {
    fc.assert(
      fc.property(fc.array(named, { maxLength: 3 }), fc.array(named, { maxLength: 3 }), (one, other) => {
        const [before, after] = [one, other].map((parts) => resourcesOf(composeSnapshots('r', parts.map((part) => fruit('p', part))), FRUIT));
        const [old, now] = [Object.assign({}, ...one), Object.assign({}, ...other)] as [Record<string, string>, Record<string, string>];
        const expected = new Set([...Object.keys(old), ...Object.keys(now)].filter((name) => old[name] !== now[name]));
        assert.deepEqual(new Set(changedNames(before!, after!)), expected);
      }),
      { numRuns: 200 },
    );
  });

  it('keeps the very map of a type that one part alone has, or whose parts are the same', () => {
    const [shared, own] = [snapshotOf('s', { [FRUIT]: { apple: '1' }, other: { leek: '1' } }), fruit('o', { pear: '1' })];
    const [first, second] = ['1', '2'].map((version) => composeSnapshots(version, [shared, own]));
    assert.equal(first!.types.get('other'), shared.types.get('other'));
    assert.equal(first!.types.get(FRUIT), second!.types.get(FRUIT));
  });

  it('costs a node of thousands what is its own, not what it shares', () => {
    const large = (changed: string) => fruit(changed, Object.fromEntries(Array.from({ length: 20_000 }, (_, index) => [`shared-${index}`, index === 7 ? changed : '1'])));
    const [before, after] = [large('1'), large('2')];
    let read = 0;
    const counted = (map: ResourceMap): ResourceMap => new Proxy(map, { get: (target, key) => {
      const value: unknown = Reflect.get(target, key);
      if (key === Symbol.iterator || key === 'keys' || key === 'entries' || key === 'values') read += 1;
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    } });
    const [shared, sharedNext] = [before, after].map(({ version, types }) => ({ version, types: new Map([...types].map(([typeUrl, map]) => [typeUrl, counted(map)])) }));
    for (let node = 0; node < 1_000; node += 1) {
      const own = fruit('own', { [`own-${node}`]: '1' });
      const [old, now] = [composeSnapshots('1', [shared!, own]), composeSnapshots('2', [sharedNext!, own])];
      assert.deepEqual(changedNames(resourcesOf(old, FRUIT), resourcesOf(now, FRUIT)), ['shared-7']);
    }
    assert.ok(read < 5, `the shared part was gone through ${read} times`);
  });

  it('serves many nodes from one part, and each its own', () => {
    const cache = createSnapshotCache();
    const streams = ['one', 'two'].map((node) => {
      const stream = play('delta', composeSnapshots('1', [fruit('s', { apple: '1' }), fruit('o', { [node]: '1' })]));
      cache.attach(node, { nodeId: node, userAgent: { name: '', version: '' }, variant: 'delta', connectedSinceMs: 0, onSnapshot: (snapshot) => said.push(stream.snapshot(snapshot)?.says), status: () => [], resources: () => [] });
      stream.delta({ responseNonce: stream.delta({ subscribe: ['*'] })!.nonce });
      return stream;
    });
    const said: unknown[] = [];
    const shared = fruit('s', { apple: '2' });
    for (const node of ['one', 'two']) cache.setSnapshot(node, composeSnapshots('2', [shared, fruit('o', { [node]: '1' })]));
    assert.deepEqual(said, [['apple@2'], ['apple@2']]);
    assert.equal(streams.length, 2);
  });
});
