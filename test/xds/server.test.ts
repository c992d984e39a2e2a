import assert from 'node:assert/strict';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { credentials, status } from '@grpc/grpc-js';
import http2 from 'node:http2';
import { DeltaDiscoveryResponseSchema, DiscoveryRequestSchema, DiscoveryResponseSchema } from '../../src/proto/envoy/service/discovery/v3/discovery_pb.ts';
import { createResource, createSnapshot } from '../../src/xds/index.ts';
import { makePki } from '../support/pki.ts';
import type { Issued } from '../support/pki.ts';
import { createLoopback, deltaRequest, grpcServers, NODE, until } from './loopback.ts';
import { fruit, FRUIT } from './stream-play.ts';

const everything = deltaRequest({ node: { id: NODE }, typeUrl: FRUIT });

for (const grpcServer of grpcServers) {
  describe(`the xDS server, over gRPC by ${grpcServer}`, () => {
    const loopback = createLoopback(grpcServer);
    afterEach(() => loopback.stopAll());

    it('speaks SotW as well', async () => {
      const { address, cache } = await loopback.listen();
      cache.setSnapshot(NODE, fruit('r1', { apple: '1' }));
      const stream = loopback.openRaw(address, 'envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources');
      const heard: unknown[] = [];
      stream.on('data', (bytes: Buffer) => {
        const { versionInfo, nonce, resources, typeUrl } = fromBinary(DiscoveryResponseSchema, bytes);
        heard.push([versionInfo, typeUrl, resources.map((any) => [any.typeUrl, Buffer.from(any.value).toString()])]);
        stream.write(toBinary(DiscoveryRequestSchema, create(DiscoveryRequestSchema, { typeUrl, versionInfo, responseNonce: nonce })));
      });
      stream.write(toBinary(DiscoveryRequestSchema, create(DiscoveryRequestSchema, { node: { id: NODE }, typeUrl: FRUIT })));
      await until(() => cache.status()[0]?.streams[0]?.types[0]?.state === 'SYNCED', 'the acknowledgement');
      assert.deepEqual(heard, [['r1', FRUIT, [[FRUIT, '1']]]]);
      assert.equal(cache.status()[0]?.streams[0]?.variant, 'sotw');
    });

    for (const [what, bytes, code, details] of [
      ['bytes that are no request', Uint8Array.of(0xff, 0xff), status.INVALID_ARGUMENT, 'a request cannot be decoded'],
      ['a first request without a node id', deltaRequest({ typeUrl: FRUIT }), status.INVALID_ARGUMENT, 'the first request names no node id'],
      ['a node id that is not that of the peer', deltaRequest({ node: { id: 'another' }, typeUrl: FRUIT }), status.PERMISSION_DENIED, `node id "another" is not the one of this identity, which is "${NODE}"`],
      ['a request without a type', deltaRequest({ node: { id: NODE } }), status.INVALID_ARGUMENT, 'a request names no type'],
      ['a request beyond its limit', deltaRequest({ node: { id: NODE }, typeUrl: FRUIT, resourceNamesSubscribe: ['x'.repeat(1_000)] }), status.RESOURCE_EXHAUSTED, /^a request of 1\d+ bytes, more than 500$/],
      ['more names than its limit', deltaRequest({ node: { id: NODE }, typeUrl: FRUIT, resourceNamesSubscribe: ['a', 'b', 'c'] }), status.RESOURCE_EXHAUSTED, 'more than 2 names on one stream'],
    ] as const) {
      it(`ends the stream of a client that sends ${what}, says why, and logs it once`, async () => {
        const { address, cache, logged, warnings } = await loopback.listen({ limits: { requestBytesMax: 500, namesPerStreamMax: 2 } });
        const stream = loopback.openRaw(address);
        stream.resume();
        stream.write(bytes);
        stream.write(bytes);
        await until(() => stream.ended.code !== undefined, 'the end of the stream');
        assert.equal(stream.ended.code, code);
        if (typeof details === 'string') assert.equal(stream.ended.details, details);
        else assert.match(stream.ended.details!, details);
        assert.equal(warnings().length, 1, JSON.stringify(logged));
        const [node, ...others] = cache.status();
        assert.deepEqual([node?.nodeKey, node?.streams, node?.trouble?.reason, node?.trouble?.count, others], [NODE, [], stream.ended.details, 1, []]);
      });
    }

    it('refuses whom authenticate refuses, with its reason', async () => {
      const { address, warnings } = await loopback.listen({ authenticate: () => ({ refuse: { code: status.UNAUTHENTICATED, details: 'who are you' } }) });
      const stream = loopback.openRaw(address);
      stream.resume();
      await until(() => stream.ended.code !== undefined, 'the refusal');
      assert.deepEqual(stream.ended, { code: status.UNAUTHENTICATED, details: 'who are you' });
      assert.deepEqual(warnings(), ['who are you']);
    });

    it('serves a node under its key where that is not its id, and another nothing of it', async () => {
      const { address, cache } = await loopback.listen({ authenticate: () => ({ nodeKey: 'shared', nodeId: NODE }) });
      cache.setSnapshot(NODE, fruit('other', { pear: '1' }));
      cache.setSnapshot('shared', fruit('r1', { apple: '1' }));
      const client = loopback.connect(address);
      await until(() => client.updates.length === 1, 'the update');
      assert.equal(client.updates[0]?.systemVersion, 'r1');
    });

    it('ends a stream that sends no request', async () => {
      const { address } = await loopback.listen({ limits: { firstRequestTimeoutMs: 20 } });
      const stream = loopback.openRaw(address);
      stream.resume();
      await until(() => stream.ended.code !== undefined, 'the end of the stream');
      assert.deepEqual(stream.ended, { code: status.INVALID_ARGUMENT, details: 'no request within 20 ms' });
    });

    it('ends the oldest of too many streams of one node', async () => {
      const { address, cache } = await loopback.listen({ limits: { streamsPerNodeMax: 2 } });
      cache.setSnapshot(NODE, fruit('r1', { apple: '1' }));
      const streams: ReturnType<typeof loopback.openRaw>[] = [];
      for (let count = 1; count <= 3; count += 1) {
        const stream = loopback.openRaw(address);
        let heard = false;
        stream.on('data', () => (heard = true));
        stream.write(everything);
        await until(() => heard, 'the response');
        streams.push(stream);
      }
      await until(() => streams[0]!.ended.code !== undefined, 'the end of the oldest');
      assert.deepEqual(streams.map(({ ended }) => ended.code), [status.RESOURCE_EXHAUSTED, undefined, undefined]);
      assert.equal(cache.status()[0]?.streams.length, 2);
    });

    it('drops a client that does not read, after one response, with the reason, and serves the others', async () => {
      const { address, cache, warnings } = await loopback.listen({ limits: { readTimeoutMs: 1_000 } });
      const large = (version: string) => createSnapshot(version, [createResource({ name: 'melon', typeUrl: FRUIT, value: Buffer.alloc(3_000_000, version) })]);
      cache.setSnapshot(NODE, large('1'));
      const slow = loopback.openUnread(address, everything);
      const client = loopback.connect(address);
      await until(() => client.updates.length === 1, 'the update of the other client');
      cache.setSnapshot(NODE, large('2'));
      cache.setSnapshot(NODE, large('3'));
      await until(() => warnings().length > 0, 'the slow client to be dropped');
      assert.deepEqual(warnings(), ['a response was not read within 1000 ms']);
      assert.equal(cache.status()[0]?.streams.length, 1);
      await until(() => slow.rstCode === http2.constants.NGHTTP2_CANCEL, 'the reset');
      await until(() => client.updates.at(-1)?.systemVersion === '3', 'the last update of the other client');
    });

    it('ends the streams of a node on demand, and when it closes takes no more', async () => {
      const { address, cache, xds } = await loopback.listen();
      const streams = [loopback.openRaw(address), loopback.openRaw(address)];
      for (const stream of streams) stream.resume().write(everything);
      await until(() => cache.status()[0]?.streams.length === 2, 'both streams');
      const reason = { code: status.PERMISSION_DENIED, details: 'the certificate was revoked' };
      xds.disconnect(NODE, reason);
      await until(() => streams.every(({ ended }) => ended.code !== undefined), 'the end of both');
      assert.deepEqual(streams.map(({ ended }) => ended), [reason, reason]);
      xds.close();
      const late = loopback.openRaw(address);
      late.resume();
      await until(() => late.ended.code !== undefined, 'the refusal');
      assert.deepEqual(late.ended, { code: status.UNAVAILABLE, details: 'the server is closing' });
    });

    it('lets the certificate of the peer say which node it serves', async () => {
      const pki = makePki();
      const identityOf = (issued: Issued) => ({ root: Buffer.from(pki.rootPem), key: Buffer.from(issued.privateKeyPem), chain: Buffer.from(issued.certificateChainPem) });
      const own = identityOf(pki.issue('spiffe://cluster.local/ns/a/sa/server'));
      const { address, cache } = await loopback.listen({
        tls: { key: own.key, cert: own.chain, ca: own.root },
        authenticate: (call) => ({ nodeKey: call.getAuthContext().sslPeerCertificate?.subjectaltname ?? '', nodeId: NODE }),
      });
      cache.setSnapshot('URI:spiffe://cluster.local/ns/a/sa/one', fruit('for one', { apple: '1' }));
      cache.setSnapshot('URI:spiffe://cluster.local/ns/a/sa/two', fruit('for two', { pear: '1' }));
      const clients = ['one', 'two'].map((account) => {
        const { root, key, chain } = identityOf(pki.issue(`spiffe://cluster.local/ns/a/sa/${account}`));
        // SPIFFE certificates name no host; whom the server is to be is the client's business, not this test's.
        const checked = credentials.createSsl(root, key, chain, { checkServerIdentity: () => undefined });
        return loopback.connect('', { connect: () => ({ address: `localhost:${address.split(':')[1]!}`, credentials: checked }) });
      });
      await until(() => clients.every(({ updates }) => updates.length === 1), 'the update of both');
      assert.deepEqual(clients.map(({ updates }) => updates[0]?.systemVersion), ['for one', 'for two']);
    });

    it('lets a client that is done go, and forgets it', async () => {
      const { address, cache, warnings } = await loopback.listen();
      const stream = loopback.openRaw(address);
      stream.resume().write(everything);
      await until(() => cache.status()[0]?.streams[0]?.types.length === 1, 'the request');
      stream.end();
      await until(() => stream.ended.code !== undefined, 'the end');
      assert.equal(stream.ended.code, status.OK);
      assert.deepEqual(cache.status(), []);
      assert.deepEqual(warnings(), []);
    });

    it('encodes what a standard decoder reads', async () => {
      const { address, cache } = await loopback.listen();
      cache.setSnapshot(NODE, fruit('r1', { apple: '1' }));
      const stream = loopback.openRaw(address);
      const heard: Buffer[] = [];
      stream.on('data', (bytes: Buffer) => heard.push(bytes));
      stream.write(deltaRequest({ node: { id: NODE }, typeUrl: FRUIT, initialResourceVersions: { plum: '1' } }));
      await until(() => heard.length === 1, 'the response');
      const { systemVersionInfo, typeUrl, nonce, resources, removedResources } = fromBinary(DeltaDiscoveryResponseSchema, heard[0]!);
      assert.deepEqual([systemVersionInfo, typeUrl, nonce, removedResources], ['r1', FRUIT, '1', ['plum']]);
      assert.deepEqual(resources.map(({ name, version, resource }) => [name, version, resource?.typeUrl, Buffer.from(resource!.value).toString()]), [['apple', '1', FRUIT, '1']]);
    });
  });
}
