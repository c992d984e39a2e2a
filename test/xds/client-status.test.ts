import assert from 'node:assert/strict';
import { create, fromBinary, toBinary, type MessageInitShape } from '@bufbuild/protobuf';
import { Client, credentials, status, type ServiceError } from '@grpc/grpc-js';
import { ClientStatusRequestSchema, ClientStatusResponseSchema, ConfigStatus, type ClientStatusResponse } from '../../src/proto/envoy/service/status/v3/csds_pb.ts';
import { createResource, createSnapshot, debugNodes, envoyTypes, type DebugNode } from '../../src/xds/index.ts';
import { createLoopback, deltaRequest, grpcServers, until } from './loopback.ts';
import { FRUIT, snapshotOf } from './stream-play.ts';

const SERVICE = 'envoy.service.status.v3.ClientStatusDiscoveryService';
type Question = MessageInitShape<typeof ClientStatusRequestSchema>;

const encode = (question: Question) => Buffer.from(toBinary(ClientStatusRequestSchema, create(ClientStatusRequestSchema, question)));
const nameOf = (value: number) => Object.entries(ConfigStatus).find(([, number]) => number === value)?.[0];
const said = ({ config }: ClientStatusResponse) => config.map(({ node, genericXdsConfigs }) => [node?.id, genericXdsConfigs.map(({ name, configStatus }) => `${name} ${nameOf(configStatus)}`).sort()]);
const idIs = (value: string) => ({ nodeId: { matchPattern: { case: 'exact' as const, value } } });

for (const grpcServer of grpcServers) {
  describe(`the client status discovery service, by ${grpcServer}`, () => {
    const loopback = createLoopback(grpcServer);
    const clients: Client[] = [];
    afterEach(() => {
      for (const client of clients.splice(0)) client.close();
      loopback.stopAll();
    });

    function ask(address: string, question: Question = {}): Promise<ClientStatusResponse> {
      const client = new Client(address, credentials.createInsecure());
      clients.push(client);
      return new Promise((resolve, reject) => {
        client.makeUnaryRequest(`/${SERVICE}/FetchClientStatus`, encode, (bytes) => fromBinary(ClientStatusResponseSchema, bytes), question, (error, response) => (error === null ? resolve(response!) : reject(error)));
      });
    }

    /** Two proxies of one identity: the first accepts everything, the second nothing but fruit. */
    async function serve(limits = {}) {
      const server = await loopback.listen({ mayReadStatus: () => true, authenticate: () => ({ nodeKey: 'id', nodeId: (claimed) => claimed.startsWith('id~') }), limits });
      server.cache.setSnapshot('id', snapshotOf('r1', { [FRUIT]: { apple: '1' }, [envoyTypes.secret]: { key: '1' } }));
      const subscriptions = [{ typeUrl: FRUIT, names: '*' }, { typeUrl: envoyTypes.secret, names: '*' }] as const;
      loopback.connect(server.address, { node: { id: 'id~1' }, subscriptions });
      loopback.connect(server.address, {
        node: { id: 'id~2' },
        subscriptions,
        onUpdate({ typeUrl }) {
          if (typeUrl !== FRUIT) throw new Error('key is of no use');
        },
      });
      const states = () => server.cache.status().flatMap(({ streams }) => streams.flatMap(({ types }) => types.map(({ state }) => state)));
      await until(() => states().filter((state) => state === 'SYNCED').length === 3 && states().includes('NACKED'), 'the answers of both');
      return server;
    }

    it('says of each client what it holds, and why it rejected what it did not take', async () => {
      const { address, cache } = await serve();
      const answer = await ask(address);
      assert.deepEqual(said(answer).sort(), [['id~1', ['apple SYNCED', 'key SYNCED']], ['id~2', ['apple SYNCED', 'key ERROR']]]);
      const key = answer.config.find(({ node }) => node?.id === 'id~2')!.genericXdsConfigs.find(({ name }) => name === 'key')!;
      assert.deepEqual([key.errorState?.details, key.errorState?.versionInfo], ['key is of no use', 'r1']);
      assert.ok(key.errorState!.lastUpdateAttempt!.seconds > 0n);

      // One that is not answered, and one behind it that is not sent.
      const silent = loopback.openRaw(address);
      silent.resume().write(deltaRequest({ node: { id: 'id~3' }, typeUrl: FRUIT }));
      await until(() => cache.status()[0]?.streams.length === 3, 'the third client');
      cache.setSnapshot('id', snapshotOf('r2', { [FRUIT]: { apple: '1', pear: '1' }, [envoyTypes.secret]: { key: '1' } }));
      assert.deepEqual(said(await ask(address, { nodeMatchers: [idIs('id~3')] })), [['id~3', ['apple STALE', 'pear NOT_SENT']]]);
    });

    it('tells the content of resources unless it is not wanted, and never of secrets', async () => {
      const { address } = await serve();
      const contents = async (question: Question) => (await ask(address, question)).config[0]!.genericXdsConfigs.map(({ name, xdsConfig }) => [name, xdsConfig === undefined ? '' : Buffer.from(xdsConfig.value).toString()]);
      assert.deepEqual((await contents({ nodeMatchers: [idIs('id~1')] })).sort(), [['apple', '1'], ['key', '']]);
      assert.deepEqual((await contents({ nodeMatchers: [idIs('id~1')], excludeResourceContents: true })).sort(), [['apple', ''], ['key', '']]);
    });

    for (const [matchPattern, ignoreCase, expected] of [
      [{ case: 'exact', value: 'id~1' }, false, ['id~1']],
      [{ case: 'exact', value: 'ID~1' }, false, []],
      [{ case: 'exact', value: 'ID~1' }, true, ['id~1']],
      [{ case: 'prefix', value: 'id' }, false, ['id~1', 'id~2']],
      [{ case: 'suffix', value: '2' }, false, ['id~2']],
      [{ case: 'contains', value: '~' }, false, ['id~1', 'id~2']],
    ] as const) {
      it(`is asked by node id: ${matchPattern.case} "${matchPattern.value}"${ignoreCase ? ' in any case' : ''}`, async () => {
        const { address } = await serve();
        const { config } = await ask(address, { nodeMatchers: [{ nodeId: { matchPattern, ignoreCase } }] });
        assert.deepEqual(config.map(({ node }) => node?.id).sort(), expected);
      });
    }

    for (const [what, nodeMatchers] of [
      ['a regular expression', [{ nodeId: { matchPattern: { case: 'safeRegex', value: { regex: '(a+)+$' } } } }]],
      ['metadata', [{ ...idIs('id~1'), nodeMetadatas: [{}] }]],
      ['nothing at all', [{}]],
    ] as const) {
      it(`does not answer a question by ${what}`, async () => {
        const { address } = await serve();
        await assert.rejects(ask(address, { nodeMatchers: nodeMatchers as unknown as NonNullable<Question['nodeMatchers']> }), ({ code }: ServiceError) => code === status.UNIMPLEMENTED);
      });
    }

    it('answers nobody whom the owner has not allowed, and by default nobody', async () => {
      const { address } = await loopback.listen();
      await assert.rejects(ask(address), ({ code, details }: ServiceError) => code === status.PERMISSION_DENIED && details === 'this caller may not ask for the status of clients');
    });

    it('does not answer for more clients at once than its limit', async () => {
      const { address } = await serve({ statusNodesMax: 1 });
      await assert.rejects(ask(address), ({ code }: ServiceError) => code === status.RESOURCE_EXHAUSTED);
      assert.equal((await ask(address, { nodeMatchers: [idIs('id~1')] })).config.length, 1);
    });

    it('answers over a stream, question by question', async () => {
      const { address } = await serve();
      const stream = loopback.openRaw(address, `${SERVICE}/StreamClientStatus`);
      const heard: unknown[] = [];
      stream.on('data', (bytes: Buffer) => heard.push(fromBinary(ClientStatusResponseSchema, bytes).config.map(({ node }) => node?.id)));
      stream.write(encode({ nodeMatchers: [idIs('id~1')] }));
      stream.write(encode({ nodeMatchers: [idIs('id~2')] }));
      await until(() => heard.length === 2, 'both answers');
      assert.deepEqual(heard, [['id~1'], ['id~2']]);
      stream.end();
      await until(() => stream.ended.code === status.OK, 'the end');
    });

    it('has the same in plain JSON, without any content', async () => {
      const { cache } = await serve();
      const page = JSON.parse(JSON.stringify([...debugNodes(cache)])) as DebugNode[];
      const [node] = page;
      assert.deepEqual([page.length, node?.nodeKey, node?.snapshotVersion, node?.streamsOpened], [1, 'id', 'r1', 2]);
      const second = node!.streams.find(({ nodeId }) => nodeId === 'id~2')!;
      assert.deepEqual(second.resources.map(({ name, state }) => [name, state]).sort(), [['apple', 'SYNCED'], ['key', 'ERROR']]);
      assert.equal(second.types.find(({ typeUrl }) => typeUrl === envoyTypes.secret)?.lastError?.message, 'key is of no use');
      const secret = createResource({ name: 'key', typeUrl: envoyTypes.secret, value: Buffer.from('hush') });
      cache.setSnapshot('id', createSnapshot('r2', [secret]));
      assert.ok(!JSON.stringify([...debugNodes(cache)]).includes('hush'));
    });
  });
}
