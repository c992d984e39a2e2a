import assert from 'node:assert/strict';
import { fromBinary, type MessageInitShape } from '@bufbuild/protobuf';
import { status } from '@grpc/grpc-js';
import { DeltaDiscoveryResponseSchema, type DeltaDiscoveryRequestSchema } from '../../src/proto/envoy/service/discovery/v3/discovery_pb.ts';
import { createSnapshotCache } from '../../src/xds/index.ts';
import { createQuietLog } from '../../src/xds/quiet-log.ts';
import { createStreamGate } from '../../src/xds/stream-gate.ts';
import { createLoopback, deltaRequest, grpcServers, NODE, until, type Listening } from './loopback.ts';
import { fruit, FRUIT } from './stream-play.ts';

const request = (id: string, more: MessageInitShape<typeof DeltaDiscoveryRequestSchema> = {}) => deltaRequest({ ...more, node: { id }, typeUrl: more.typeUrl ?? FRUIT } as MessageInitShape<typeof DeltaDiscoveryRequestSchema>);
/** Proxies that are told apart by certificate would have keys of their own; here the id says which. */
const byId = { authenticate: () => ({ nodeKey: (nodeId: string) => nodeId }) };

/*
 * The table of what clients may do that they should not. Each is bounded, logged once, told in the status, and without effect
 * on others. What a request can hold besides is in server.test.ts.
 */
for (const grpcServer of grpcServers) {
  describe(`a client that misbehaves, served by ${grpcServer}`, () => {
    const loopback = createLoopback(grpcServer);
    afterEach(() => loopback.stopAll());

    const statusOf = ({ cache }: Listening, key: string) => cache.status().find(({ nodeKey }) => nodeKey === key);

    /** A server with a good client beside whatever comes, which must go on hearing of every change. */
    async function serve(options: Parameters<typeof loopback.listen>[0] = {}) {
      const server = await loopback.listen({ ...byId, ...options });
      for (const id of [NODE, 'bad', 'shared']) server.cache.setSnapshot(id, fruit('r1', { apple: '1' }));
      const good = loopback.connect(server.address);
      await until(() => good.updates.length === 1, 'the good client');
      let version = 1;
      const isUnharmed = async (): Promise<void> => {
        version += 1;
        server.cache.setSnapshot(NODE, fruit(`r${version}`, { apple: String(version) }));
        await until(() => good.updates.at(-1)?.systemVersion === `r${version}`, 'the next update of the good client');
        assert.equal(good.states.length, 2, 'the good client was disconnected');
      };
      return { server, isUnharmed, warned: (reason: RegExp) => server.logged.filter(({ level, fields }) => level === 'warn' && reason.test(String(fields['reason']))).length };
    }

    it('asks for 100,000 names', async () => {
      const { server, isUnharmed, warned } = await serve();
      const stream = loopback.openRaw(server.address);
      stream.resume().write(request('bad', { resourceNamesSubscribe: Array.from({ length: 100_000 }, (_, index) => `n${index}`) }));
      await until(() => stream.ended.code !== undefined, 'the end of the stream');
      assert.deepEqual(stream.ended, { code: status.RESOURCE_EXHAUSTED, details: 'more than 50000 names on one stream' });
      assert.deepEqual([statusOf(server, 'bad')?.trouble?.reason, statusOf(server, 'bad')?.trouble?.count, warned(/names/)], [stream.ended.details, 1, 1]);
      await isUnharmed();
    });

    it('asks for a type that nobody has heard of', async () => {
      const { server, isUnharmed } = await serve();
      const stream = loopback.openRaw(server.address);
      let heard: unknown;
      stream.on('data', (bytes: Buffer) => (heard = fromBinary(DeltaDiscoveryResponseSchema, bytes).resources));
      stream.write(request('bad', { typeUrl: 'unheard.of' }));
      await until(() => heard !== undefined, 'the answer');
      assert.deepEqual(heard, []);
      assert.deepEqual(statusOf(server, 'bad')?.streams[0]?.types.map(({ typeUrl, state }) => [typeUrl, state]), [['unheard.of', 'STALE']]);
      await isUnharmed();
    });

    it('opens and ends streams as fast as it can', async () => {
      const { server, isUnharmed, warned } = await serve({ limits: { streamsPerNodeMax: 2 } });
      const endings: (number | undefined)[] = [];
      for (let count = 0; count < 200; count += 1) {
        const stream = loopback.openRaw(server.address);
        stream.on('status', ({ code }: { code: number }) => endings.push(code));
        stream.resume().write(request('bad'));
        stream.end();
        if (count % 20 === 19) await until(() => endings.length === count + 1, 'the endings');
      }
      assert.ok(endings.filter((code) => code === status.RESOURCE_EXHAUSTED).length >= 180, 'all but the first are refused');
      const node = statusOf(server, 'bad');
      assert.ok(node!.streamsOpened <= 20);
      assert.match(node!.trouble!.reason, /^more than 20 streams opened by one node within 10000 ms$/);
      assert.ok(node!.trouble!.count >= 180);
      assert.equal(warned(/streams/), 1);
      assert.ok(server.logged.filter(({ message, fields }) => message === 'xds stream open' && fields['nodeKey'] === 'bad').length <= 1);
      await isUnharmed();
    });

    it('has the node id of another of its identity', async () => {
      const { server, isUnharmed } = await serve();
      const streams = ['bad', 'bad'].map((id) => {
        const stream = loopback.openRaw(server.address);
        stream.resume().write(request(id));
        return stream;
      });
      await until(() => statusOf(server, 'bad')?.streams.length === 2, 'both in the status');
      assert.deepEqual(streams.map(({ ended }) => ended.code), [undefined, undefined]);
      await isUnharmed();
    });

    it('has an id that its identity may not have, over and over', async () => {
      const { server, isUnharmed, warned } = await serve({ authenticate: () => ({ nodeKey: NODE, nodeId: (claimed) => claimed === NODE || claimed.startsWith(`${NODE}~`) }) });
      const instance = loopback.openRaw(server.address);
      instance.resume().write(request(`${NODE}~2`));
      await until(() => statusOf(server, NODE)?.streams.length === 2, 'another instance of the identity');
      assert.deepEqual(statusOf(server, NODE)?.streams.map(({ nodeId }) => nodeId).sort(), [NODE, `${NODE}~2`]);
      for (let count = 1; count <= 3; count += 1) {
        const stream = loopback.openRaw(server.address);
        stream.resume().write(request(`other-${count}`));
        await until(() => stream.ended.code !== undefined, 'the refusal');
        assert.deepEqual(stream.ended, { code: status.PERMISSION_DENIED, details: `node id "other-${count}" is not one of this identity` });
      }
      assert.deepEqual([statusOf(server, NODE)?.trouble?.count, warned(/is not one of this identity/)], [3, 1]);
      await isUnharmed();
    });

    it('becomes another node on the way', async () => {
      const { server, isUnharmed } = await serve();
      const stream = loopback.openRaw(server.address);
      stream.resume().write(request('bad'));
      stream.write(request(NODE));
      await until(() => stream.ended.code !== undefined, 'the end of the stream');
      assert.deepEqual(stream.ended, { code: status.PERMISSION_DENIED, details: `node id "${NODE}" on a stream of "bad"` });
      await isUnharmed();
    });

    it('rejects everything', async () => {
      const { server, isUnharmed } = await serve();
      const stream = loopback.openRaw(server.address);
      let responses = 0;
      stream.on('data', (bytes: Buffer) => {
        responses += 1;
        const { nonce } = fromBinary(DeltaDiscoveryResponseSchema, bytes);
        stream.write(request('bad', { responseNonce: nonce, errorDetail: { message: `I do not like apple number ${responses}` } }));
      });
      stream.write(request('bad'));
      for (let version = 2; version <= 20; version += 1) {
        await until(() => statusOf(server, 'bad')?.streams[0]?.types[0]?.state === 'NACKED', 'the rejection');
        server.cache.setSnapshot('bad', fruit(`r${version}`, { apple: String(version) }));
        await until(() => responses === version, 'the next response');
      }
      await until(() => statusOf(server, 'bad')?.streams[0]?.types[0]?.lastError?.version === 'r20', 'the last rejection');
      assert.deepEqual(statusOf(server, 'bad')?.streams[0]?.types[0]?.lastError?.resources, ['apple']);
      assert.equal(server.logged.filter(({ message }) => message === 'xds response rejected').length, 1);
      await isUnharmed();
    });

    it('never acknowledges', async () => {
      const { server, isUnharmed } = await serve();
      const stream = loopback.openRaw(server.address);
      let responses = 0;
      stream.on('data', () => (responses += 1));
      stream.write(request('bad'));
      await until(() => responses === 1, 'the first response');
      for (let version = 2; version <= 200; version += 1) server.cache.setSnapshot('bad', fruit(`r${version}`, { apple: String(version) }));
      await isUnharmed();
      assert.equal(responses, 1);
      const [type] = statusOf(server, 'bad')!.streams[0]!.types;
      assert.deepEqual([type?.state, type?.versionSent, type?.versionAcked], ['STALE', 'r1', undefined]);
      assert.ok(type!.unansweredSinceMs! <= Date.now());
    });

    it('is bounded by its own number of streams, not by that of others who share its snapshot', async () => {
      const { server } = await serve({ authenticate: () => ({ nodeKey: 'shared', nodeId: () => true }), limits: { streamsPerNodeMax: 1, streamsPerKeyMax: 4 } });
      const open = (id: string) => {
        const stream = loopback.openRaw(server.address);
        stream.resume().write(request(id));
        return stream;
      };
      const streams = ['a', 'b', 'c'].map(open);
      await until(() => statusOf(server, 'shared')?.streams.length === 4, 'all of them');
      assert.ok(streams.every(({ ended }) => ended.code === undefined));
      const fifth = open('d');
      await until(() => fifth.ended.code !== undefined, 'the refusal');
      assert.deepEqual(fifth.ended, { code: status.RESOURCE_EXHAUSTED, details: 'more than 4 streams for one snapshot' });
    });

    it('is provided on demand with what it asks for, or is told that it does not exist', async () => {
      const cache = createSnapshotCache();
      const demands: unknown[] = [];
      const { server } = await serve({
        cache,
        onDemand({ nodeKey, nodeId, typeUrl, names }) {
          demands.push([nodeKey, nodeId, typeUrl, names]);
          if (names.includes('broken')) throw new Error('the store is away');
          cache.setSnapshot(nodeKey, fruit('r2', { apple: '1', plum: '1' }));
          return names.filter((name) => name === 'unicorn');
        },
      });
      const heard: unknown[] = [];
      const stream = loopback.openRaw(server.address);
      stream.on('data', (bytes: Buffer) => {
        const { nonce, resources, removedResources } = fromBinary(DeltaDiscoveryResponseSchema, bytes);
        heard.push(...resources.map(({ name }) => name), ...removedResources.map((name) => `-${name}`));
        stream.write(request('bad', { responseNonce: nonce }));
      });
      stream.write(request('bad', { resourceNamesSubscribe: ['plum', 'unicorn'] }));
      await until(() => heard.length === 2, 'both answers');
      assert.deepEqual([heard, demands], [['plum', '-unicorn'], [['bad', 'bad', FRUIT, ['plum', 'unicorn']]]]);
      stream.write(request('bad', { resourceNamesSubscribe: ['broken'] }));
      await until(() => server.logged.some(({ message }) => message === 'xds resources could not be had on demand'), 'the warning');
      assert.equal(stream.ended.code, undefined);
    });
  });
}

describe('a log that clients cannot fill', () => {
  it('writes the first line of a kind, and with the next one how many there were between', () => {
    let nowMs = 0;
    const lines: unknown[] = [];
    const write = createQuietLog({ info: (fields, message) => lines.push(['info', fields, message]), warn: (fields, message) => lines.push(['warn', fields, message]) }, () => nowMs);
    for (const subject of ['one', 'two', 'one', 'one']) write('warn', { subject, event: 'ended' }, { subject }, 'ended');
    write('info', { subject: 'one', event: 'open' }, {}, 'open');
    nowMs = 59_999;
    write('warn', { subject: 'one', event: 'ended' }, {}, 'ended');
    nowMs = 60_000;
    write('warn', { subject: 'one', event: 'ended' }, { subject: 'one' }, 'ended');
    assert.deepEqual(lines, [
      ['warn', { subject: 'one' }, 'ended'],
      ['warn', { subject: 'two' }, 'ended'],
      ['info', {}, 'open'],
      ['warn', { subject: 'one', unwritten: 3 }, 'ended'],
    ]);
  });

  it('remembers a bounded number of kinds', () => {
    let lines = 0;
    const write = createQuietLog({ info: () => undefined, warn: () => (lines += 1) }, () => 0);
    for (let round = 0; round < 2; round += 1) for (let subject = 0; subject < 10_001; subject += 1) write('warn', { subject: String(subject), event: 'ended' }, {}, 'ended');
    assert.ok(lines > 10_001);
  });
});

describe('the gate before the streams', () => {
  const limits = { streamsPerNodeMax: 2, perTypeStreamsPerNodeMax: 5, streamsPerKeyMax: 100, flapWindowMs: 1_000 };
  const entrant = (stream: number, isAggregated = true) => ({ nodeKey: 'key', nodeId: 'id', isAggregated, stream });

  it('gives the place of the oldest to the newest', () => {
    const gate = createStreamGate<number>(limits, () => 0);
    const admissions = [1, 2, 3].map((stream) => gate.enter(entrant(stream)));
    assert.deepEqual(admissions.map((admission) => 'displaced' in admission && admission.displaced), [undefined, undefined, 1]);
  });

  it('bounds streams for one type apart, since clients open one for each secret', () => {
    const gate = createStreamGate<number>(limits, () => 0);
    for (let stream = 0; stream < 5; stream += 1) assert.equal((gate.enter(entrant(stream, false)) as { displaced?: number }).displaced, undefined);
    assert.equal((gate.enter(entrant(9, false)) as { displaced?: number }).displaced, 0);
    assert.equal((gate.enter(entrant(10)) as { displaced?: number }).displaced, undefined);
  });

  it('lets a node in again after a while, and forgets who has left', () => {
    let nowMs = 0;
    const gate = createStreamGate<number>(limits, () => nowMs);
    const come = () => gate.enter(entrant(1));
    for (let count = 0; count < 20; count += 1) {
      const admission = come();
      assert.ok('leave' in admission);
      admission.leave();
      admission.leave();
    }
    assert.ok('refused' in come());
    nowMs = 1_000;
    assert.ok('leave' in come());
  });
});

describe('the troubles of nodes', () => {
  it('are kept for a bounded number of those of which nothing else is known', () => {
    const cache = createSnapshotCache();
    cache.setSnapshot('served', fruit('r1', {}));
    for (let node = 0; node < 1_100; node += 1) cache.noteTrouble(`n${node}`, 'no', node);
    cache.noteTrouble('served', 'once', 1);
    cache.noteTrouble('served', 'twice', 2);
    assert.equal(cache.status().length, 1_001);
    assert.deepEqual(cache.status().find(({ nodeKey }) => nodeKey === 'served')?.trouble, { reason: 'twice', atMs: 2, count: 2 });
    assert.deepEqual(cache.status().at(-1)?.nodeKey, 'n1099');
  });
});
