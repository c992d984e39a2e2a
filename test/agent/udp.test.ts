import assert from 'node:assert/strict';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { pino } from 'pino';
import { runAgent, type AgentLimits, type UpstreamStatus } from '../../src/agent/index.ts';
import type { TrustDomain } from '../../src/core/spiffe-id.ts';
import { createCapsuleDecoder, encodeDatagram, type Datagram } from '../../src/core/udp/capsule.ts';
import { trustDomainText } from '../identity/support/fake-control-plane.ts';
import { createOpensslCa, type OpensslCa } from '../identity/support/openssl-ca.ts';
import { until } from '../identity/support/waiting.ts';
import { startFakeGateway, startFakeMesh, upstreamMessage, type FakeGateway, type FakeMesh } from './support/fake-mesh.ts';
import { exchange, freePort } from './support/local-client.ts';

const workloadId = 'spiffe://cluster.local/ns/bookinfo/sa/productpage';
const service = 'bookinfo/dns:udp-53';

/** A program of the workload, with a UDP socket of its own. */
async function openClient(port: number) {
  const socket = createSocket('udp4');
  const heard: string[] = [];
  socket.on('message', (payload, { port: from }) => heard.push(`${payload.toString()}${from === port ? '' : ` from port ${from}`}`));
  await new Promise<void>((resolve) => socket.connect(port, '127.0.0.1', resolve));
  return {
    socket,
    heard,
    send: (text: string | Buffer) => new Promise<void>((resolve, reject) => socket.send(text, (error) => (error === null ? resolve() : reject(error)))),
  };
}

/** What of a gateway's connection is a stream of datagrams. */
function onDatagrams(gateway: TLSSocket, take: (datagram: Datagram) => void): void {
  const decoder = createCapsuleDecoder();
  gateway.on('data', (chunk: Buffer) => decoder.take(chunk).datagrams.forEach(take));
}

describe('agent with datagrams', () => {
  let ca: OpensslCa;
  let control: FakeMesh;
  let listenPort: number;
  let upstreams: () => readonly UpstreamStatus[];
  const closers: (() => unknown)[] = [];

  before(async () => {
    ca = await createOpensslCa();
  });
  after(() => ca.remove());
  beforeEach(async () => {
    upstreams = () => [];
    listenPort = await freePort();
    control = await startFakeMesh(workloadId, { ca, tokens: new Map([['token', workloadId]]) });
    closers.push(() => control.stop());
  });
  afterEach(async () => {
    for (const close of closers.splice(0).reverse()) await close();
  });

  async function start(gatewayPorts: readonly number[], limits: Partial<AgentLimits> = {}, more: Parameters<FakeMesh['publish']>[0] = {}): Promise<void> {
    control.publish({ [service]: upstreamMessage(listenPort, gatewayPorts, { protocol: 'UDP' }), ...more });
    const agent = await runAgent({
      trustDomain: trustDomainText as TrustDomain,
      enrolmentAddress: control.enrolmentAddress,
      controlAddress: control.identityAddress,
      trustBundle: () => ca.rootPem,
      joinToken: () => Promise.resolve('token'),
      version: 'test',
      now: Date.now,
      random: () => 0,
      limits: { listenBackoffBaseMs: 20, ...limits },
      log: pino({ level: 'silent' }),
    });
    upstreams = () => agent.status().upstreams;
    closers.push(() => agent.stop());
    await until('the listeners', () => upstreams().length > 0 && upstreams().every(({ listener }) => listener.listening));
  }

  async function gatewayThat(serve: (socket: TLSSocket) => void, port = 0): Promise<FakeGateway> {
    const gateway = await startFakeGateway(ca, serve, { port });
    closers.push(() => gateway.stop());
    return gateway;
  }

  async function client() {
    const opened = await openClient(listenPort);
    closers.push(() => new Promise<void>((resolve) => opened.socket.close(resolve)));
    return opened;
  }

  const echo = (socket: TLSSocket): void => onDatagrams(socket, ({ contextId, payload }) => socket.write(encodeDatagram({ contextId, payload: Buffer.from(`${payload.toString()} for ${contextId}`) })));

  it('carries those of all clients over one connection, and each has its own replies, from the port that it sent to', async () => {
    const gateway = await gatewayThat(echo);
    await start([gateway.port]);
    assert.equal(gateway.seen.length, 0, 'nothing is dialled before there is something to carry');
    const [one, other] = [await client(), await client()];
    for (const round of [1, 2, 3]) {
      await one.send(`one ${round}`);
      await other.send(`other ${round}`);
    }
    await until('all replies', () => one.heard.length === 3 && other.heard.length === 3);
    const contexts = [one, other].map(({ heard }) => heard[0]!.split(' for ')[1]!);
    assert.deepEqual(one.heard, [1, 2, 3].map((round) => `one ${round} for ${contexts[0]}`));
    assert.deepEqual(other.heard, [1, 2, 3].map((round) => `other ${round} for ${contexts[1]}`));
    assert.deepEqual([...contexts].sort(), ['0', '2']);
    assert.equal(gateway.seen.length, 1);
    assert.equal(upstreams()[0]!.connections, 1);
  });

  it('drops a reply to a context that no client has, and goes on', async () => {
    const gateway = await gatewayThat((socket) => {
      for (const contextId of [1, 8, 4_000]) socket.write(encodeDatagram({ contextId, payload: Buffer.from('whose?') }));
      echo(socket);
    });
    await start([gateway.port]);
    const { heard, send } = await client();
    await send('mine');
    await until('the reply', () => heard.length > 0);
    assert.deepEqual(heard, ['mine for 0']);
  });

  it('connects again when its connection was lost, and clients keep their contexts', async () => {
    const gateway = await gatewayThat(echo);
    await start([gateway.port]);
    const [first, second] = [await client(), await client()];
    await first.send('a');
    await until('a reply', () => first.heard.length === 1);
    await second.send('b');
    await until('a reply', () => second.heard.length === 1);
    gateway.reset();
    await until('the end of the connection', () => upstreams()[0]!.connections === 0);
    await second.send('c');
    await until('a reply', () => second.heard.length === 2);
    assert.deepEqual([first.heard, second.heard], [['a for 0'], ['b for 2', 'c for 2']]);
    assert.equal(gateway.seen.length, 2);
  });

  it('turns to another gateway when one cannot be reached', async () => {
    const [nowhere, gateway] = [await freePort(), await gatewayThat(echo)];
    await start([nowhere, gateway.port]);
    const { heard, send } = await client();
    await send('x');
    await until('the reply', () => heard.length === 1);
  });

  it('does not ask a gateway that refuses it for each datagram: the pauses grow', async () => {
    const gateway = await gatewayThat((socket) => {
      socket.resume();
      setImmediate(() => gateway.reset());
    });
    await start([gateway.port], { listenBackoffBaseMs: 50, listenBackoffMaxMs: 60_000 });
    const { send } = await client();
    const began = performance.now();
    while (performance.now() - began < 600) {
      await send('x');
      await new Promise((resolve) => setImmediate(resolve));
    }
    assert.ok(gateway.seen.length >= 2 && gateway.seen.length <= 5, `${gateway.seen.length} connections, and pauses of 50, 100, 200 and 400 ms`);
  });

  it('holds what comes while it connects, in order and up to a bound', async () => {
    const port = await freePort();
    await start([port], { datagramBytesHeldMax: 10, listenBackoffBaseMs: 1, dialTimeoutMs: 5_000 });
    const heard: string[] = [];
    // A gateway that accepts and says nothing until it is told: the TLS handshake waits in its backlog.
    const gate = Promise.withResolvers<undefined>();
    const proxy = createServer((socket) => {
      void gate.promise.then(() => {
        const through = connect(real.port, '127.0.0.1');
        socket.pipe(through).pipe(socket);
        for (const end of [socket, through]) end.on('error', () => socket.destroy());
      });
    });
    const real = await gatewayThat((socket) => onDatagrams(socket, ({ payload }) => heard.push(payload.toString())));
    await new Promise<void>((resolve) => proxy.listen(port, '127.0.0.1', resolve));
    closers.push(() => proxy.close());
    const { send } = await client();
    for (const text of ['1234', '5678', 'abcd', '90']) await send(text);
    await until('the connection', async () => {
      const { promise, resolve } = Promise.withResolvers<number>();
      proxy.getConnections((_error, count) => resolve(count));
      return (await promise) > 0;
    });
    gate.resolve(undefined);
    await until('what was held', () => heard.length === 3);
    await send('new');
    await until('what came after', () => heard.length === 4);
    assert.deepEqual(heard, ['1234', '5678', '90', 'new']);
  });

  it('drops what a gateway does not take, instead of keeping it', async () => {
    let resume = (): void => undefined;
    const gateway = await gatewayThat((socket) => {
      socket.pause();
      resume = () => echo(socket.resume());
    });
    await start([gateway.port]);
    const { heard, send } = await client();
    const payload = Buffer.alloc(32_768);
    await send(payload);
    await until('the connection', () => upstreams()[0]!.connections === 1);
    const datagrams = 2_000;
    for (let sent = 0; sent < datagrams; sent += 1) {
      await send(payload);
      await new Promise((resolve) => setImmediate(resolve)); // for the agent to read it
    }
    resume();
    await until('what comes after', async () => {
      await send('after');
      return heard.some((text) => text.startsWith('after'));
    });
    const { bytes } = gateway.seen[0]!;
    assert.ok(bytes < (datagrams * payload.length) / 2, `${bytes} bytes had waited for the gateway`);
  });

  it('ends with an upstream that is no longer offered, within a second', async () => {
    const gateway = await gatewayThat(echo);
    await start([gateway.port]);
    const { heard, send, socket } = await client();
    await send('x');
    await until('the reply', () => heard.length === 1);
    const withdrawn = performance.now();
    control.publish({});
    await until('the end', () => upstreams().length === 0);
    const refused = once(socket, 'error') as Promise<[NodeJS.ErrnoException]>;
    await until('an ICMP error', async () => {
      await send('y').catch(() => undefined);
      return await Promise.race([refused.then(() => true), new Promise<false>((resolve) => setImmediate(() => resolve(false)))]);
    });
    assert.equal((await refused)[0].code, 'ECONNREFUSED');
    await until('the end of the connection', () => gateway.open === 0);
    assert.ok(performance.now() - withdrawn < 1_000);
    assert.equal(gateway.seen.length, 1);
  });

  it('moves to another port when it is told to, and leaves nothing behind', async () => {
    const gateway = await gatewayThat(echo);
    await start([gateway.port]);
    const before = await client();
    await before.send('x');
    await until('the reply', () => before.heard.length === 1);
    listenPort = await freePort();
    control.publish({ [service]: upstreamMessage(listenPort, [gateway.port], { protocol: 'UDP' }) });
    await until('the new port', () => upstreams()[0]?.listen.endsWith(`:${listenPort}`) === true && upstreams()[0]!.listener.listening);
    const after = await client();
    await after.send('y');
    await until('the reply', () => after.heard.length === 1);
    assert.deepEqual(after.heard, ['y for 0']);
    await until('the end of the first connection', () => gateway.open === 1);
    assert.equal(gateway.seen.length, 2);
  });

  it('listens beside a stream on the same port', async () => {
    const [gateway, streams] = [await gatewayThat(echo), await gatewayThat((socket) => socket.pipe(socket))];
    await start([gateway.port], {}, { 'bookinfo/dns:tcp-53': upstreamMessage(listenPort, [streams.port]) });
    const { heard, send } = await client();
    await send('datagram');
    await until('the reply', () => heard.length === 1);
    assert.equal(String(await exchange(listenPort, 'stream')), 'stream');
  });

  it('opens its port as soon as another program leaves it', async () => {
    const gateway = await gatewayThat(echo);
    const rival: Socket = createSocket('udp4');
    await new Promise<void>((resolve) => rival.bind(listenPort, '127.0.0.1', resolve));
    const starting = start([gateway.port]);
    await until('the fault', () => upstreams()[0]?.listener.listening === false);
    assert.deepEqual(upstreams()[0]!.listener, { listening: false, reason: 'the port is in use by another program' });
    rival.close();
    await starting;
    const { heard, send } = await client();
    await send('x');
    await until('the reply', () => heard.length === 1);
  });
});
