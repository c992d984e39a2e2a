import assert from 'node:assert/strict';
import { fromBinary } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { DeltaDiscoveryResponseSchema } from '../../src/proto/envoy/service/discovery/v3/discovery_pb.ts';
import { ClusterLoadAssignmentSchema } from '../../src/proto/envoy/config/endpoint/v3/endpoint_pb.ts';
import { SecretSchema } from '../../src/proto/envoy/extensions/transport_sockets/tls/v3/secret_pb.ts';
import { createResource, createSnapshot, createSnapshotCache, encodeResource, envoyTypes } from '../../src/xds/index.ts';
import type { Resource, Snapshot } from '../../src/xds/index.ts';
import { changedNames } from '../../src/xds/snapshot-diff.ts';
import { encodeResponse } from '../../src/xds/wire.ts';
import { fruit, FRUIT, snapshotOf } from './stream-play.ts';

const resource = (name: string, version: string): Resource => createResource({ name, version, typeUrl: FRUIT, value: Buffer.from(version) });

describe('a resource', () => {
  it('has a hash of its value for a version where none is given', () => {
    const [one, same, other] = ['a', 'a', 'b'].map((value) => createResource({ name: 'apple', typeUrl: FRUIT, value: Buffer.from(value) }).version);
    assert.match(one!, /^[0-9a-f]{16}$/);
    assert.equal(one, same);
    assert.notEqual(one, other);
  });

  it('is encoded once, whatever number of responses it goes into', () => {
    let reads = 0;
    const counted: Resource = { ...resource('apple', '1'), get value() { reads += 1; return Uint8Array.of(1); } };
    const response = { typeUrl: FRUIT, version: 'r1', resources: [counted], removed: [], refreshed: [] };
    const [first, second] = ['1', '2'].map((nonce) => Buffer.concat(encodeResponse('delta', { ...response, nonce })));
    assert.notDeepEqual(first, second);
    assert.equal(reads, 1);
  });

  it('goes into the responses of many streams as the very same bytes, and of no others (istio: a cache keyed by less than all its inputs)', () => {
    const large = [resource('apple', '1'), createResource({ name: 'melon', typeUrl: FRUIT, value: Buffer.alloc(10_000) })];
    const response = { typeUrl: FRUIT, version: 'r1', removed: [], refreshed: [] };
    const [first, second, other] = [large, [...large], large.toReversed()].map((resources, index) => encodeResponse('delta', { ...response, resources, nonce: String(index) }));
    assert.equal(first!.at(-1), second!.at(-1));
    assert.notEqual(first!.at(-1), other!.at(-1));
    assert.notDeepEqual(first![0], second![0]);
    for (const parts of [second!, other!]) assert.equal(fromBinary(DeltaDiscoveryResponseSchema, Buffer.concat(parts)).resources.length, 2);
  });
});

describe('a message', () => {
  it('is made a resource of its type and name', () => {
    const { typeUrl, name, value, ttlMs } = encodeResource(ClusterLoadAssignmentSchema, { clusterName: 'web' }, { ttlMs: 1_000 });
    assert.deepEqual([typeUrl, name, ttlMs, fromBinary(ClusterLoadAssignmentSchema, value).clusterName], [envoyTypes.endpoint, 'web', 1_000, 'web']);
    assert.equal(encodeResource(SecretSchema, { name: 'own' }).name, 'own');
    assert.deepEqual([encodeResource(SecretSchema, { name: 'own' }, { name: 'other', version: '7' })].map((made) => [made.name, made.version]), [['other', '7']]);
    assert.throws(() => encodeResource(SecretSchema, {}), new RangeError('a resource of type "envoy.extensions.transport_sockets.tls.v3.Secret" has no name'));
  });
});

describe('a snapshot', () => {
  it('takes what is unchanged from the one before, and the whole map of a type that is', () => {
    const before = createSnapshot('1', [resource('apple', '1'), resource('pear', '1'), { ...resource('leek', '1'), typeUrl: 'test.Vegetable' }]);
    const after = createSnapshot('2', [resource('apple', '1'), resource('pear', '2'), { ...resource('leek', '1'), typeUrl: 'test.Vegetable' }], before);
    assert.equal(after.types.get('test.Vegetable'), before.types.get('test.Vegetable'));
    assert.equal(after.types.get(FRUIT)?.get('apple'), before.types.get(FRUIT)?.get('apple'));
    assert.notEqual(after.types.get(FRUIT), before.types.get(FRUIT));
  });

  it('has one resource of a name and type', () => {
    assert.throws(() => createSnapshot('1', [resource('apple', '1'), resource('apple', '2')]), new RangeError(`two resources of type "${FRUIT}" are named "apple"`));
  });

  it('differs from another in exactly the names that are new, gone or of another version', () => {
    const named = fc.dictionary(fc.constantFrom('a', 'b', 'c', 'd', 'e', '__proto__'), fc.constantFrom('1', '2'));
    fc.assert(
      fc.property(named, named, (one, other) => {
        const [before, after] = [fruit('1', one), fruit('2', other)].map((snapshot) => snapshot.types.get(FRUIT) ?? new Map<string, Resource>());
        const expected = new Set([...Object.keys(one), ...Object.keys(other)].filter((name) => before!.get(name)?.version !== after!.get(name)?.version));
        assert.deepEqual(new Set(changedNames(before!, after!)), expected);
        assert.equal(changedNames(before!, after!), changedNames(before!, after!), 'reckoned once for a pair');
      }),
      { numRuns: 100 },
    );
  });
});

describe('the snapshot cache', () => {
  const userAgent = { name: 'envoy', version: '1.40.0' };
  const attached = (heard: (Snapshot | undefined)[]) => ({ nodeId: 'two~1', userAgent, variant: 'delta' as const, connectedSinceMs: 7, onSnapshot: (snapshot: Snapshot | undefined) => void heard.push(snapshot), status: () => [], resources: () => [] });

  it('tells the streams of a node, and no others, of its snapshots', () => {
    const cache = createSnapshotCache();
    const heard: (Snapshot | undefined)[] = [];
    const detach = cache.attach('one', attached(heard));
    const first = snapshotOf('1', {});
    cache.setSnapshot('one', first);
    cache.setSnapshot('two', snapshotOf('2', {}));
    cache.clearSnapshot('one');
    detach();
    cache.setSnapshot('one', first);
    assert.deepEqual(heard, [first, undefined]);
  });

  it('tells of each node that has a snapshot or a stream, and forgets one that has neither', () => {
    const cache = createSnapshotCache();
    cache.setSnapshot('one', snapshotOf('r1', {}));
    const detach = cache.attach('two', attached([]));
    assert.deepEqual(cache.status(), [
      { nodeKey: 'one', snapshotVersion: 'r1', streams: [], streamsOpened: 0, trouble: undefined },
      { nodeKey: 'two', snapshotVersion: undefined, streams: [{ nodeId: 'two~1', userAgent, variant: 'delta', connectedSinceMs: 7, types: [] }], streamsOpened: 1, trouble: undefined },
    ]);
    detach();
    cache.clearSnapshot('one');
    assert.deepEqual(cache.status(), []);
  });
});
