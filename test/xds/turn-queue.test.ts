import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import assert from 'node:assert/strict';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { DeltaDiscoveryRequestSchema, DeltaDiscoveryResponseSchema } from '../../src/proto/envoy/service/discovery/v3/discovery_pb.ts';
import type { DeltaDiscoveryResponse } from '../../src/proto/envoy/service/discovery/v3/discovery_pb.ts';
import { createResource, createSnapshot } from '../../src/xds/index.ts';
import type { OnDemand } from '../../src/xds/index.ts';
import { createTurnQueue } from '../../src/xds/turn-queue.ts';
import { createLoopback, NODE, until } from './loopback.ts';
import { FRUIT } from './stream-play.ts';

describe('a turn queue', () => {
  it('runs as many tasks at once as it may in a turn, and the others turn by turn in their order', async () => {
    const ran: number[] = [];
    const inTurn = createTurnQueue(2);
    for (const task of [1, 2, 3, 4, 5]) inTurn(() => ran.push(task));
    const after: number[][] = [[...ran]];
    for (let turn = 0; turn < 2; turn++) {
      await nextTurn();
      after.push([...ran]);
    }
    assert.deepEqual(after, [[1, 2], [1, 2, 3, 4], [1, 2, 3, 4, 5]]);
  });

  it('lets no task pass those that wait', async () => {
    const ran: string[] = [];
    const inTurn = createTurnQueue(2);
    const note = (task: string) => () => void ran.push(task);
    for (const task of ['first', 'second']) inTurn(note(task));
    inTurn(() => {
      ran.push('third');
      inTurn(note('last'));
    });
    inTurn(note('fourth'));
    await nextTurn();
    await nextTurn();
    assert.deepEqual(ran, ['first', 'second', 'third', 'fourth', 'last']);
  });

  it('does not take a task that waits already, and takes it again once it has run', async () => {
    let count = 0;
    const task = (): void => void (count += 1);
    const inTurn = createTurnQueue(1);
    inTurn(() => undefined);
    inTurn(task);
    inTurn(task);
    await nextTurn();
    await nextTurn();
    assert.equal(count, 1);
    inTurn(task);
    assert.equal(count, 2);
  });
});

describe('a snapshot for more streams than are told of it in one turn', () => {
  const loopback = createLoopback();
  afterEach(() => loopback.stopAll());

  const fruit = (version: string) => createSnapshot(version, [createResource({ name: 'apple', typeUrl: FRUIT, value: Buffer.from(version) })]);

  /** A server with so many clients, each of which has been sent the first snapshot. */
  async function serve(count: number, onDemand?: OnDemand) {
    const { address, cache } = await loopback.listen({ authenticate: () => ({ nodeKey: NODE, nodeId: () => true }), ...(onDemand === undefined ? {} : { onDemand }) });
    cache.setSnapshot(NODE, fruit('1'));
    const clients = Array.from({ length: count }, (_, index) => loopback.connect(address, { node: { id: `node-${index}` } }));
    await until(() => clients.every(({ updates }) => updates.length === 1), 'the first update of each');
    await until(() => cache.status()[0]!.streams.every(({ types }) => types[0]?.state === 'SYNCED'), 'all acknowledgements');
    return { address, cache, clients };
  }

  it('reaches all of them, and those whose turn comes later skip what has been replaced meanwhile', async () => {
    const { cache, clients } = await serve(70);
    cache.setSnapshot(NODE, fruit('2'));
    cache.setSnapshot(NODE, fruit('3'));
    await until(() => clients.every(({ updates }) => updates.at(-1)?.systemVersion === '3'), 'the last update of each');
    const versions = clients.map(({ updates }) => updates.map(({ systemVersion }) => systemVersion).join());
    assert.deepEqual([versions.filter((seen) => seen === '1,2,3').length, versions.filter((seen) => seen === '1,3').length], [64, 6]);
  });

  it('is there before its turn for a stream that has asked for what it brings', async () => {
    const withPear = createSnapshot('2', [createResource({ name: 'pear', typeUrl: FRUIT, value: Buffer.from('2') })]);
    const { cache, address } = await serve(70, () => {
      cache.setSnapshot(NODE, withPear);
      return [];
    });
    const asking = loopback.openRaw(address);
    const responses: DeltaDiscoveryResponse[] = [];
    asking.on('data', (bytes: Buffer) => responses.push(fromBinary(DeltaDiscoveryResponseSchema, bytes)));
    asking.write(toBinary(DeltaDiscoveryRequestSchema, create(DeltaDiscoveryRequestSchema, { node: { id: 'asking' }, typeUrl: FRUIT, resourceNamesSubscribe: ['pear'], initialResourceVersions: { pear: '1' } })));
    await until(() => responses.length > 0, 'a response');
    assert.deepEqual(responses.map(({ resources, removedResources }) => [resources.map(({ name }) => name), removedResources]), [[['pear'], []]]);
  });
});
