import assert from 'node:assert/strict';
import type { JsonValue } from '@bufbuild/protobuf';
import { once } from 'node:events';
import net from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { findFreePorts, waitFor } from '../../src/demo/processes.ts';
import { createResource, createSnapshot, envoyTypes, type Resource } from '../../src/xds/index.ts';
import { startEnvoy, type Envoy } from '../support/envoy.ts';
import { requirePeer } from '../support/peers.ts';
import { startBreakingProxy } from './breaking-proxy.ts';
import { edsCluster, endpoints, field, staticCluster, tcpListener } from './envoy-messages.ts';
import { createLoopback, NODE, until, type Listening } from './loopback.ts';

/** How Envoy is told to speak: by which variant, over one aggregated stream or over one for each type. */
const manners = [
  { variant: 'delta', isAggregated: true },
  { variant: 'sotw', isAggregated: true },
  { variant: 'delta', isAggregated: false },
  { variant: 'sotw', isAggregated: false },
] as const;
type Manner = (typeof manners)[number];

const bootstrap = ({ variant, isAggregated }: Manner, xdsPort: number) => (adminSocketPath: string): JsonValue => {
  const source = { api_type: variant === 'delta' ? 'DELTA_GRPC' : 'GRPC', transport_api_version: 'V3', grpc_services: [{ envoy_grpc: { cluster_name: 'xds' } }] };
  const from = { resource_api_version: 'V3', ...(isAggregated ? { ads: {} } : { api_config_source: source }) };
  const http2 = { '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions', explicit_http_config: { http2_protocol_options: {} } };
  const address = { socket_address: { address: '127.0.0.1', port_value: xdsPort } };
  return {
    node: { id: NODE, cluster: 'test' },
    admin: { address: { pipe: { path: adminSocketPath } } },
    dynamic_resources: { cds_config: from, lds_config: from, ...(isAggregated ? { ads_config: source } : {}) },
    static_resources: {
      clusters: [{ name: 'xds', type: 'STATIC', typed_extension_protocol_options: { 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': http2 }, load_assignment: { cluster_name: 'xds', endpoints: [{ lb_endpoints: [{ endpoint: { address } }] }] } }],
    },
  };
};

/** A server that says its name to whoever connects. */
async function startUpstream(says: string, stops: (() => void)[]): Promise<number> {
  const server = net.createServer((socket) => {
    socket.on('error', () => undefined); // who has heard the name may be gone
    socket.end(says);
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  stops.push(() => server.close());
  return (server.address() as net.AddressInfo).port;
}

/** What is said at the other end of a connection to `port`; an empty text where it is closed without a word. */
async function ask(port: number): Promise<string> {
  const socket = net.connect(port, '127.0.0.1');
  let heard = '';
  socket.setEncoding('utf8').on('data', (part: string) => (heard += part));
  return await new Promise((resolve) => {
    socket.on('error', () => resolve('')); // refused, or reset
    socket.on('close', () => resolve(heard));
  });
}

describe('a real Envoy', function () {
  this.timeout(60_000);
  const loopback = createLoopback();
  const stops: (() => void)[] = [];
  let envoy: Envoy | undefined;

  afterEach(async () => {
    await envoy?.stop();
    envoy = undefined;
    loopback.stopAll();
    for (const stop of stops.splice(0)) stop();
  });

  const states = ({ cache }: Listening) => cache.status().flatMap(({ streams }) => streams.flatMap(({ types }) => types.map(({ state }) => state)));
  const isSynced = (server: Listening) => states(server).length > 0 && states(server).every((state) => state === 'SYNCED');
  const publish = ({ cache }: Listening, version: string, resources: readonly Resource[]) => cache.setSnapshot(NODE, createSnapshot(version, resources, cache.getSnapshot(NODE)));

  const untilSaid = (port: number, expected: string) => waitFor(`"${expected}" on port ${port}`, 15_000, async () => ((await ask(port)) === expected ? true : undefined));

  for (const manner of manners) {
    const { variant, isAggregated } = manner;
    describe(`that speaks ${variant} ${isAggregated ? 'over one aggregated stream' : 'over a stream for each type'}`, () => {
      /** Static clusters where the endpoints could not come over the same source. */
      const cluster = (name: string, port: number): readonly Resource[] => (isAggregated ? [edsCluster(name), endpoints(name, port)] : [staticCluster(name, port)]);

      it('takes what it is served, follows changes without losing a connection, and holds nothing that is gone', async function () {
        const program = requirePeer(this, 'envoy');
        const [port] = (await findFreePorts(1)) as [number];
        const server = await loopback.listen();
        const upstreams = [await startUpstream('one', stops), await startUpstream('two', stops)];
        const round = (number: number): readonly Resource[] => [...cluster(`c${number}`, upstreams[number % 2]!), tcpListener('front', port, `c${number}`)];
        publish(server, '0', round(0));
        envoy = await startEnvoy(program, bootstrap(manner, server.port));
        await untilSaid(port, 'one');

        const answers: string[] = [];
        const over = new AbortController();
        const asking = (async () => {
          while (!over.signal.aborted) answers.push(await ask(port));
        })();
        for (let number = 1; number <= 20; number += 1) {
          publish(server, String(number), round(number));
          await until(() => isSynced(server), `round ${number} to be taken`, 15_000);
        }
        over.abort();
        await asking;
        await untilSaid(port, 'one');
        assert.deepEqual(new Set(answers.filter((answer) => answer !== '')), new Set(['one', 'two']));
        // Over streams of their own nothing orders clusters before listeners.
        if (isAggregated) assert.deepEqual(answers.filter((answer) => answer === ''), []);
        const clusters = (await envoy.admin('/clusters')).match(/^c[0-9]+(?=::default_priority::max_connections)/gm);
        assert.deepEqual(clusters, ['c20']);
        assert.deepEqual(server.warnings(), []);
      });

      it('tells in its own words what it rejects, keeps what it has, and takes what is mended', async function () {
        const program = requirePeer(this, 'envoy');
        const [port] = (await findFreePorts(1)) as [number];
        const server = await loopback.listen();
        const upstream = await startUpstream('still here', stops);
        publish(server, 'good', [...cluster('c', upstream), tcpListener('front', port, 'c')]);
        envoy = await startEnvoy(program, bootstrap(manner, server.port));
        await untilSaid(port, 'still here');

        const withoutAddress = createResource({ name: 'broken', typeUrl: envoyTypes.listener, value: field(1, 'broken') });
        publish(server, 'bad', [...cluster('c', upstream), tcpListener('front', port, 'c'), withoutAddress]);
        const listeners = () => server.cache.status().flatMap(({ streams }) => streams.flatMap(({ types }) => types.filter(({ typeUrl }) => typeUrl === envoyTypes.listener)))[0];
        await until(() => listeners()?.state === 'NACKED', 'the rejection', 15_000);
        assert.match(listeners()!.lastError!.message, /broken/);
        assert.deepEqual(listeners()!.lastError!.resources, ['broken']);
        assert.equal(server.logged.filter(({ message }) => message === 'xds response rejected').length, 1);
        assert.equal(await ask(port), 'still here');

        publish(server, 'mended', [...cluster('c', upstream), tcpListener('front', port, 'c')]);
        await until(() => isSynced(server), 'the mended snapshot', 15_000);
        assert.equal(await ask(port), 'still here');
      });

      it('goes on while its server is away, and comes back to another without a change', async function () {
        const program = requirePeer(this, 'envoy');
        const [port] = (await findFreePorts(1)) as [number];
        const upstream = await startUpstream('here', stops);
        const resources = [...cluster('c', upstream), tcpListener('front', port, 'c')];
        const first = await loopback.listen();
        publish(first, '1', resources);
        envoy = await startEnvoy(program, bootstrap(manner, first.port));
        await untilSaid(port, 'here');
        first.stop();
        assert.equal(await ask(port), 'here');
        const second = await loopback.listen({ port: first.port });
        publish(second, '1', resources);
        await until(() => isSynced(second) && states(second).length >= (isAggregated ? 3 : 2), 'Envoy to come back', 30_000);
        const sent = second.cache.status().flatMap(({ streams }) => streams.flatMap(({ types }) => types.map(({ versionSent }) => versionSent)));
        if (variant === 'delta') assert.deepEqual(new Set(sent), new Set([undefined]), 'what it holds it is not sent');
        assert.equal(await ask(port), 'here');
      });
    });
  }

  for (const variant of ['delta', 'sotw'] as const) {
    it(`keeps resources with a time to live for as long as a ${variant} server is there`, async function () {
      const program = requirePeer(this, 'envoy');
      const [port] = (await findFreePorts(1)) as [number];
      const server = await loopback.listen();
      const upstream = await startUpstream('alive', stops);
      const forTwoSeconds = ({ name, typeUrl, value }: Resource) => createResource({ name, typeUrl, value, ttlMs: 2_000 });
      publish(server, '1', [edsCluster('c'), endpoints('c', upstream), tcpListener('front', port, 'c')].map(forTwoSeconds));
      envoy = await startEnvoy(program, bootstrap({ variant, isAggregated: true }, server.port));
      await untilSaid(port, 'alive');
      for (let count = 0; count < 50; count += 1) {
        assert.equal(await ask(port), 'alive');
        await pause(100);
      }
      assert.match(await envoy.admin('/ready'), /^LIVE/);
      assert.deepEqual(server.warnings(), []);
      assert.ok(isSynced(server) || states(server).includes('STALE'));
    });

    it(`holds in the end what it should, though its ${variant} connection breaks at random moments`, async function () {
      const program = requirePeer(this, 'envoy');
      const [port] = (await findFreePorts(1)) as [number];
      const server = await loopback.listen();
      const upstream = await startUpstream('x', stops);
      const proxy = await startBreakingProxy(server.port);
      stops.push(() => proxy.stop());
      const world = (version: number): readonly Resource[] => {
        const names = [0, 1, 2, 3].map((index) => `c${(version * 7 + index * 3) % 10}`);
        return [...new Set(names)].flatMap((name) => [edsCluster(name), endpoints(name, upstream)]).concat(tcpListener('front', port, names[0]!));
      };
      publish(server, '0', world(0));
      envoy = await startEnvoy(program, bootstrap({ variant, isAggregated: true }, proxy.port));
      await untilSaid(port, 'x');
      for (let version = 1; version <= 30; version += 1) {
        publish(server, String(version), world(version));
        await pause(Math.random() * 60);
        if (version % 3 === 0) proxy.breakAll();
      }
      await until(() => isSynced(server) && states(server).length === 3, 'the last snapshot', 30_000);
      const expected = world(30).filter(({ typeUrl }) => typeUrl === envoyTypes.cluster).map(({ name }) => name).sort();
      const held = (await envoy.admin('/clusters')).match(/^c[0-9]+(?=::default_priority::max_connections)/gm)!.sort();
      assert.deepEqual(held, expected);
      await untilSaid(port, 'x');
    });
  }
});
