import assert from 'node:assert/strict';
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { Client, credentials, Server, ServerCredentials, type sendUnaryData, type ServerUnaryCall, type ServiceError } from '@grpc/grpc-js';
import { register } from '@grpc/grpc-js-xds';
import { setTimeout as pause } from 'node:timers/promises';
import { waitFor } from '../../src/demo/processes.ts';
import { createResource, createSnapshot, envoyTypes, type Resource } from '../../src/xds/index.ts';
import { startBreakingProxy } from './breaking-proxy.ts';
import { field, fromAds } from './envoy-messages.ts';
import { createLoopback, NODE, until, type Listening } from './loopback.ts';

/* gRPC's own xDS client, which knows Envoy's messages from definitions of its own and speaks SotW. */

const path = '/test.Who/Ask';
const message = (...fields: readonly Uint8Array[]): Uint8Array => Buffer.concat(fields);
const varint = (number: number, value: number): Uint8Array => new BinaryWriter().tag(number, WireType.Varint).uint32(value).finish();
const any = (type: string, value: Uint8Array): Uint8Array => message(field(1, `type.googleapis.com/${type}`), field(2, value));

/** A listener as a gRPC client takes it: routes by name, within a connection manager that has nothing but the router. */
function apiListener(name: string, route: string): Resource {
  const router = message(field(1, 'router'), field(4, any('envoy.extensions.filters.http.router.v3.Router', new Uint8Array())));
  const manager = message(field(3, message(field(1, fromAds), field(2, route))), field(5, router));
  const value = message(field(1, name), field(19, field(1, any('envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager', manager))));
  return createResource({ name, typeUrl: envoyTypes.listener, value });
}

function route(name: string, host: string, cluster: string): Resource {
  const toCluster = message(field(1, field(1, '')), field(2, field(1, cluster)));
  return createResource({ name, typeUrl: envoyTypes.route, value: message(field(1, name), field(2, message(field(1, 'all'), field(2, host), field(3, toCluster)))) });
}

function cluster(name: string): Resource {
  return createResource({ name, typeUrl: envoyTypes.cluster, value: message(field(1, name), varint(2, 3), field(3, field(1, fromAds))) });
}

function endpoints(name: string, port: number): Resource {
  const address = field(1, field(1, message(field(2, '127.0.0.1'), varint(3, port))));
  const locality = message(field(1, field(3, 'here')), field(2, field(1, address)), field(3, varint(1, 1)));
  return createResource({ name, typeUrl: envoyTypes.endpoint, value: message(field(1, name), field(2, locality)) });
}

const world = (number: number, port: number): readonly Resource[] => [apiListener('who', 'routes'), route('routes', 'who', `c${number}`), cluster(`c${number}`), endpoints(`c${number}`, port)];

async function startBackend(says: string, stops: (() => void)[]): Promise<number> {
  const asItIs = (bytes: Buffer): Buffer => bytes;
  const server = new Server();
  server.addService(
    { Ask: { path, requestStream: false, responseStream: false, requestSerialize: asItIs, requestDeserialize: asItIs, responseSerialize: asItIs, responseDeserialize: asItIs } },
    { Ask: (_call: ServerUnaryCall<Buffer, Buffer>, callback: sendUnaryData<Buffer>) => callback(null, Buffer.from(says)) },
  );
  stops.push(() => server.forceShutdown());
  return await new Promise((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) => (error === null ? resolve(port) : reject(error)));
  });
}

describe("gRPC's own xDS client", function () {
  this.timeout(60_000);
  const loopback = createLoopback();
  const stops: (() => void)[] = [];
  let server: Listening;
  let client: Client;
  let proxy: Awaited<ReturnType<typeof startBreakingProxy>>;

  before(async () => {
    server = await loopback.listen();
    proxy = await startBreakingProxy(server.port);
    stops.push(() => proxy.stop());
    const bootstrap = { node: { id: NODE, cluster: 'test', locality: {} }, xds_servers: [{ server_uri: `127.0.0.1:${proxy.port}`, channel_creds: [{ type: 'insecure' }], server_features: ['xds_v3'] }] };
    register();
    client = new Client('xds:///who', credentials.createInsecure(), { 'grpc.TEST_ONLY_DO_NOT_USE_IN_PROD.xds_bootstrap_config': JSON.stringify(bootstrap) });
    stops.push(() => client.close());
  });
  after(() => {
    for (const stop of stops.reverse()) stop();
    loopback.stopAll();
  });

  const publish = (version: string, resources: readonly Resource[]) => server.cache.setSnapshot(NODE, createSnapshot(version, resources, server.cache.getSnapshot(NODE)));
  const types = () => server.cache.status().flatMap(({ streams }) => streams.flatMap((stream) => stream.types));
  const ask = () =>
    new Promise<string>((resolve, reject) => {
      const done = (error: ServiceError | null, answer?: Buffer) => (error === null ? resolve(String(answer)) : reject(error));
      client.makeUnaryRequest(path, (bytes: Buffer) => bytes, (bytes) => bytes, Buffer.alloc(0), { deadline: Date.now() + 20_000 }, done);
    });

  it('follows from listener to endpoints, and calls go where the latest snapshot says', async () => {
    const [one, two] = [await startBackend('one', stops), await startBackend('two', stops)];
    publish('1', world(1, one));
    assert.equal(await ask(), 'one');
    await until(() => types().length === 4 && types().every(({ state }) => state === 'SYNCED'), 'the first snapshot', 10_000);
    publish('2', world(2, two));
    await waitFor('the other backend', 10_000, async () => ((await ask()) === 'two' ? true : undefined));
    assert.deepEqual(server.warnings(), []);
  });

  it('says what it rejects, and is not sent it again', async () => {
    const backend = await startBackend('good', stops);
    publish('3', world(3, backend));
    await waitFor('the good backend', 10_000, async () => ((await ask()) === 'good' ? true : undefined));
    const withoutRoutes = createResource({ name: 'who', typeUrl: envoyTypes.listener, value: field(1, 'who') });
    publish('bad', [withoutRoutes, ...world(3, backend).slice(1)]);
    const listeners = () => types().find(({ typeUrl }) => typeUrl === envoyTypes.listener);
    await until(() => listeners()?.state === 'NACKED', 'the rejection', 10_000);
    assert.deepEqual(listeners()?.lastError?.resources, ['who']);
    publish('mended', world(3, backend));
    await until(() => listeners()?.state === 'SYNCED', 'the mended listener', 10_000);
    await waitFor('the good backend again', 10_000, async () => ((await ask().catch(() => '')) === 'good' ? true : undefined));
    assert.equal(server.logged.filter(({ message: line }) => line === 'xds response rejected').length, 1);
  });

  it('holds in the end what it should, though its connection breaks at random moments', async () => {
    const backends = [await startBackend('even', stops), await startBackend('odd', stops)];
    for (let number = 10; number <= 25; number += 1) {
      publish(String(number), world(number, backends[number % 2]!));
      await pause(Math.random() * 60);
      if (number % 4 === 0) proxy.breakAll();
    }
    await waitFor('the last backend', 30_000, async () => ((await ask().catch(() => '')) === 'odd' ? true : undefined));
    await until(() => types().length === 4 && types().every(({ state }) => state === 'SYNCED'), 'the last snapshot', 20_000);
  });
});
