import assert from 'node:assert/strict';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { status } from '@grpc/grpc-js';
import { DeltaDiscoveryResponseSchema, DiscoveryRequestSchema, DiscoveryResponseSchema } from '../../src/proto/envoy/service/discovery/v3/discovery_pb.ts';
import { envoyDiscoveryServices, envoyTypes } from '../../src/xds/index.ts';
import { createLoopback, deltaRequest, grpcServers, NODE, until } from './loopback.ts';
import { fruit, FRUIT, play, snapshotOf } from './stream-play.ts';

const node = { id: NODE };

describe('a stream for one type', () => {
  it('need not name its type', () => {
    assert.deepEqual(play('delta', fruit('r1', { apple: '1' }), {}, FRUIT).delta({ typeUrl: '', subscribe: ['*'] })?.says, ['apple@1']);
  });

  it('is refused any other', () => {
    const stream = play('delta', fruit('r1', { apple: '1' }), {}, FRUIT);
    stream.delta({ typeUrl: 'test.Secret', subscribe: ['*'] });
    assert.deepEqual(stream.effects(), [{ kind: 'refuse', fault: 'malformed', reason: `a request for type "test.Secret" on a stream of type "${FRUIT}"` }]);
  });

  for (const grpcServer of grpcServers) {
    describe(`by ${grpcServer}`, () => {
      const loopback = createLoopback(grpcServer);
      afterEach(() => loopback.stopAll());

      for (const { service, methods, typeUrl } of envoyDiscoveryServices) {
        it(`serves ${service} in both variants, and nothing else over it`, async () => {
          const { address, cache } = await loopback.listen();
          cache.setSnapshot(NODE, snapshotOf('r1', { [typeUrl]: { own: '1' }, [FRUIT]: { apple: '1' } }));
          const heard: unknown[] = [];
          const delta = loopback.openRaw(address, `${service}/${methods.delta}`);
          delta.on('data', (bytes: Buffer) => heard.push(fromBinary(DeltaDiscoveryResponseSchema, bytes).resources.map(({ name }) => name)));
          delta.write(deltaRequest({ node, resourceNamesSubscribe: ['*'] }));
          const sotw = loopback.openRaw(address, `${service}/${methods.sotw}`);
          sotw.on('data', (bytes: Buffer) => heard.push(fromBinary(DiscoveryResponseSchema, bytes).resources.map((any) => any.typeUrl)));
          sotw.write(toBinary(DiscoveryRequestSchema, create(DiscoveryRequestSchema, { node })));
          await until(() => heard.length === 2, 'both responses');
          assert.deepEqual(new Set(heard), new Set([['own'], [typeUrl]]));

          delta.write(deltaRequest({ typeUrl: FRUIT }));
          await until(() => delta.ended.code !== undefined, 'the end of the stream');
          assert.deepEqual(delta.ended, { code: status.INVALID_ARGUMENT, details: `a request for type "${FRUIT}" on a stream of type "${typeUrl}"` });
        });
      }

      it('serves a type that the library has never heard of, by a service of its own', async () => {
        const { address, cache } = await loopback.listen({ services: [{ service: 'test.FruitDiscoveryService', methods: { delta: 'DeltaFruit' }, typeUrl: FRUIT }] });
        cache.setSnapshot(NODE, fruit('r1', { apple: '1' }));
        let heard = 0;
        const stream = loopback.openRaw(address, 'test.FruitDiscoveryService/DeltaFruit');
        stream.on('data', () => (heard += 1));
        stream.write(deltaRequest({ node }));
        await until(() => heard === 1, 'the response');
        const clusters = loopback.openRaw(address, 'envoy.service.cluster.v3.ClusterDiscoveryService/DeltaClusters');
        clusters.resume().write(deltaRequest({ node, typeUrl: envoyTypes.cluster }));
        await until(() => clusters.ended.code === status.UNIMPLEMENTED, 'the refusal of a service that is not offered');
      });
    });
  }
});
