import assert from 'node:assert/strict';
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { NodeSchema } from '../../src/proto/envoy/config/core/v3/base_pb.ts';
import { userAgentOf } from '../../src/xds/user-agent.ts';
import { createLoopback, deltaRequest, NODE, until } from './loopback.ts';
import { fruit, FRUIT } from './stream-play.ts';

const inWords = (value: string) => ({ userAgentVersionType: { case: 'userAgentVersion' as const, value } });

describe('which program a client says that it is', () => {
  const cases: readonly (readonly [string, MessageInitShape<typeof NodeSchema>, string, string])[] = [
    ['with its version in numbers, as Envoy says it', { userAgentName: 'envoy', userAgentVersionType: { case: 'userAgentBuildVersion', value: { version: { majorNumber: 1, minorNumber: 40, patch: 0 } } } }, 'envoy', '1.40.0'],
    ['with its version in words, as others do', { userAgentName: 'gRPC Go', ...inWords('1.80.0-dev') }, 'gRPC Go', '1.80.0-dev'],
    ['not at all', {}, '', ''],
    ['with a build of no version', { userAgentName: 'envoy', userAgentVersionType: { case: 'userAgentBuildVersion', value: {} } }, 'envoy', ''],
    ['at length', { userAgentName: 'n'.repeat(100_000), ...inWords('v'.repeat(100_000)) }, 'n'.repeat(64), 'v'.repeat(64)],
    ['in what does not print', { userAgentName: 'en\u001b[2Jvoy\n', ...inWords('1\u202e2\u0000é') }, 'en?[2Jvoy?', '1?2??'],
  ];
  for (const [how, node, name, version] of cases) it(`is read ${how}`, () => assert.deepEqual(userAgentOf(create(NodeSchema, node)), { name, version }));

  describe('on a stream', () => {
    const loopback = createLoopback();
    afterEach(() => loopback.stopAll());

    it('stands in the status, as our own client says it and as anybody else does', async () => {
      const { address, cache } = await loopback.listen();
      cache.setSnapshot(NODE, fruit('r1', { apple: '1' }));
      loopback.connect(address, { node: { id: NODE, userAgentName: 'sallyport-agent', userAgentVersion: '0.1.0' } });
      await until(() => cache.status()[0]?.streams.length === 1, 'our client');
      loopback.openRaw(address).resume().write(deltaRequest({ node: { id: NODE, userAgentName: 'rogue\u001b', ...inWords('9'.repeat(1_000)) }, typeUrl: FRUIT }));
      await until(() => cache.status()[0]?.streams.length === 2, 'the other one');
      assert.deepEqual(cache.status()[0]?.streams.map(({ userAgent }) => userAgent), [{ name: 'sallyport-agent', version: '0.1.0' }, { name: 'rogue?', version: '9'.repeat(64) }]);
    });
  });
});
