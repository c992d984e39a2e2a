import assert from 'node:assert/strict';
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import net from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { IpAddress } from '../../src/core/ip-address.ts';
import type { Grant, Revision, Target } from '../../src/core/plan/plan.ts';
import { createCapsuleDecoder, encodeDatagram } from '../../src/core/udp/capsule.ts';
import { quietMs } from '../../src/core/udp/session.ts';
import { batch, grantTo, loopback, productpage, readAll, servicePort, startGateway, until, type TestGateway, type TestGatewayOptions } from '../support/gateway.ts';

interface Heard {
  readonly from: string;
  readonly text: string;
  readonly rinfo: RemoteInfo;
}

interface UdpServer {
  readonly port: number;
  readonly heard: Heard[];
  readonly socket: Socket;
  readonly stop: () => Promise<void>;
}

/** An external service that answers what it hears with its client's address, port and the same text; nothing to what begins with `quiet`. */
async function startUdpServer(address: string = loopback, port = 0): Promise<UdpServer> {
  const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
  const heard: Heard[] = [];
  socket.on('message', (payload, rinfo) => {
    const text = payload.toString();
    heard.push({ from: `${rinfo.address}:${rinfo.port}`, text, rinfo });
    if (!text.startsWith('quiet')) socket.send(`${rinfo.address}:${rinfo.port} ${text}`, rinfo.port, rinfo.address);
  });
  await new Promise<void>((resolve) => socket.bind(port, address, resolve));
  return {
    port: socket.address().port,
    heard,
    socket,
    stop: () => new Promise((resolve) => socket.close(resolve)),
  };
}

/** Not `once`, which rejects for the reset that comes first. */
const closed = (socket: net.Socket): Promise<void> => new Promise((resolve) => socket.once('close', () => resolve()));

/** The agent's end of a mesh connection. */
function speakCapsules(client: TLSSocket) {
  const decoder = createCapsuleDecoder();
  const received: { readonly contextId: number; readonly text: string }[] = [];
  client.on('data', (chunk: Buffer) => received.push(...decoder.take(chunk).datagrams.map(({ contextId, payload }) => ({ contextId, text: payload.toString() }))));
  return {
    client,
    received,
    send: (contextId: number, text: string | Buffer) => client.write(encodeDatagram({ contextId, payload: Buffer.from(text) })),
    /** The next reply to a context that has not been waited for. */
    reply: async (contextId: number): Promise<string> => {
      const find = () => received.findIndex((datagram) => datagram.contextId === contextId);
      await until(() => find() !== -1, () => `no reply to context ${contextId}, only ${JSON.stringify(received)}`);
      return received.splice(find(), 1)[0]!.text;
    },
  };
}

describe('datagrams through the gateway', () => {
  const closing: (() => unknown)[] = [];
  let server: UdpServer;

  beforeEach(async () => {
    server = await startUdpServer();
    closing.push(server.stop);
  });
  afterEach(async () => {
    for (const close of closing.splice(0).reverse()) await close();
  });

  const dns = (grants: readonly Grant[], targets?: readonly Target[]) => {
    const port = servicePort({ protocol: 'UDP', targetPort: server.port, grants });
    return targets === undefined ? port : { ...port, targets };
  };

  async function start(options: Partial<TestGatewayOptions> = {}): Promise<TestGateway> {
    const gateway = await startGateway({ servicePorts: [dns([grantTo('bookinfo', '127.0.1.11'), grantTo('reports', '127.0.1.12')])], ...options });
    closing.push(() => gateway.stop());
    return gateway;
  }

  const open = (gateway: TestGateway, spiffeId: string = productpage) => speakCapsules(gateway.connect(gateway.pki.issue(spiffeId)));
  const closedRecords = (gateway: TestGateway) => gateway.records.filter((record) => record.type === 'connection-closed');

  it('leave from the address of their identity, two at the same moment, and a port for each flow', async () => {
    const gateway = await start();
    const [one, other] = [open(gateway), open(gateway, batch)];
    for (let round = 0; round < 20; round += 1) {
      for (const contextId of [0, 2]) {
        one.send(contextId, `one ${contextId} ${round}`);
        other.send(contextId, `other ${contextId} ${round}`);
      }
    }
    const ports = new Map<string, Set<string>>();
    for (let round = 0; round < 20; round += 1) {
      for (const [name, client, address] of [['one', one, '127.0.1.11'], ['other', other, '127.0.1.12']] as const) {
        for (const contextId of [0, 2]) {
          const [from = '', ...text] = (await client.reply(contextId)).split(' ');
          assert.deepEqual([from.split(':')[0], text.join(' ')], [address, `${name} ${contextId} ${round}`]);
          ports.set(`${name} ${contextId}`, (ports.get(`${name} ${contextId}`) ?? new Set()).add(from));
        }
      }
    }
    assert.deepEqual([...ports.values()].map(({ size }) => size), [1, 1, 1, 1], 'a flow keeps its port');
    assert.equal(new Set([...ports.values()].flatMap((set) => [...set])).size, 4, 'and has it alone');
  });

  it('are in the ledger as one opening and one closing for each flow, with bytes and datagrams', async () => {
    const gateway = await start({ limits: { udpIdleTimeoutMs: 100 } });
    const { send, reply } = open(gateway);
    send(4, 'question');
    const answer = await reply(4);
    send(4, 'quiet');
    const { type, time, ...fields } = await gateway.record('connection-closed');
    const opened = await gateway.record('connection-opened');
    assert.deepEqual([type, Number.isNaN(Date.parse(time))], ['connection-closed', false]);
    assert.deepEqual(
      { ...fields, durationMs: 0 },
      {
        origin: 'gate',
        connectionId: opened.connectionId,
        parentId: opened.parentId,
        revision: '1'.repeat(64),
        client: opened.client,
        spiffeId: productpage,
        service: 'egress/partner:main',
        policies: ['bookinfo/egress'],
        snatAddress: '127.0.1.11',
        snatPort: server.heard[0]!.rinfo.port,
        target: `127.0.0.1:${server.port}`,
        reason: 'idle-timeout',
        bytesSent: 'question'.length + 'quiet'.length,
        bytesReceived: answer.length,
        datagramsSent: 2,
        datagramsReceived: 1,
        datagramsDropped: 0,
        durationMs: 0,
      },
    );
    assert.equal(opened.channel, 'udp');
    assert.notEqual(opened.parentId, undefined);
  });

  it('reach nobody but the target, and only the target\'s replies come back', async () => {
    const gateway = await start();
    const stranger = await startUdpServer('127.0.0.2', server.port);
    const neighbour = await startUdpServer();
    closing.push(stranger.stop, neighbour.stop);
    const { send, reply, received } = open(gateway);
    send(0, 'hello');
    await reply(0);
    const [{ rinfo }] = server.heard as [Heard];
    for (const other of [stranger, neighbour]) await new Promise((resolve) => other.socket.send('forged', rinfo.port, rinfo.address, resolve));
    send(0, 'again');
    assert.match(await reply(0), /again$/, 'what was forged came before it');
    assert.deepEqual([received.length, stranger.heard.length, neighbour.heard.length], [0, 0, 0]);
  });

  it('may be as large as the kernel takes, and empty', async () => {
    const gateway = await start();
    const { send, reply } = open(gateway);
    send(0, '');
    assert.match(await reply(0), /^127\.0\.1\.11:[0-9]+ $/);
    send(0, Buffer.alloc(65_507, 'quiet'));
    send(0, Buffer.alloc(65_508, 'x')); // more than IPv4 can carry (RFC 9298 section 5 counts by UDP's own field)
    send(0, 'last');
    await reply(0);
    assert.deepEqual(server.heard.map(({ text }) => text.length), [0, 65_507, 4]);
    await gateway.stop();
    assert.deepEqual(closedRecords(gateway).map(({ datagramsSent, datagramsDropped, bytesSent }) => [datagramsSent, datagramsDropped, bytesSent]), [[3, 1, 65_511]]);
  });

  it('of who is not allowed do not leave', async () => {
    const gateway = await start();
    const refused = speakCapsules(gateway.connect(gateway.pki.issue('spiffe://cluster.local/ns/elsewhere/sa/nobody')));
    refused.send(0, 'let me out');
    await readAll(refused.client);
    assert.equal((await gateway.record('connection-denied')).reason, 'no-policy');
    const allowed = open(gateway);
    allowed.send(0, 'x');
    await allowed.reply(0);
    assert.deepEqual(server.heard.map(({ text }) => text), ['x']);
  });

  it('end within a second when their grant is revoked, and leave no port behind', async () => {
    const gateway = await start();
    const { client, send, reply } = open(gateway);
    for (const contextId of [0, 2, 4]) {
      send(contextId, 'x');
      await reply(contextId);
    }
    const revokedAt = performance.now();
    await gateway.dataPlane.update({ revision: '2'.repeat(64) as Revision, servicePorts: [dns([grantTo('reports', '127.0.1.12')])] });
    await closed(client);
    assert.ok(performance.now() - revokedAt < 1_000);
    assert.deepEqual(closedRecords(gateway).map(({ reason }) => reason), ['policy-revoked', 'policy-revoked', 'policy-revoked']);
    await until(() => gateway.dataPlane.connections === 0);
    for (const { rinfo } of server.heard) {
      const socket = createSocket('udp4');
      await new Promise<void>((resolve, reject) => socket.once('error', reject).bind({ address: rinfo.address, port: rinfo.port, exclusive: true }, resolve));
      socket.close();
    }
  });

  it('end when the certificate that they came by is revoked', async () => {
    const gateway = await start();
    const identity = gateway.pki.issue(productpage);
    const { client, send, reply } = speakCapsules(gateway.connect(identity));
    send(0, 'x');
    await reply(0);
    await gateway.dataPlane.update({ revision: '2'.repeat(64) as Revision, revokedSerialNumbers: [identity.serialNumber] });
    await closed(client);
    assert.deepEqual(closedRecords(gateway).map(({ reason }) => reason), ['certificate-revoked']);
  });

  it('end when their target is taken out of the service', async () => {
    const gateway = await start();
    const { client, send, reply } = open(gateway);
    send(0, 'x');
    await reply(0);
    await gateway.dataPlane.update({ revision: '2'.repeat(64) as Revision, servicePorts: [dns([grantTo('bookinfo', '127.0.1.11')], [{ kind: 'address', address: '127.0.0.9' as IpAddress, port: 53 }])] });
    await closed(client);
    assert.deepEqual(closedRecords(gateway).map(({ reason }) => reason), ['target-removed']);
  });

  it('end with their mesh connection', async () => {
    const gateway = await start();
    const { client, send, reply } = open(gateway);
    send(0, 'x');
    await reply(0);
    client.destroy();
    await until(() => closedRecords(gateway).length === 1);
    assert.match(closedRecords(gateway)[0]!.reason, /^(client-closed|finished)$/);
    await until(() => gateway.dataPlane.connections === 0);
  });

  it('outlast an ICMP error, which the ledger tells of where nothing follows', async () => {
    const gateway = await start({ limits: { udpIdleTimeoutMs: 400 } });
    const { send, reply } = open(gateway);
    send(0, 'x');
    await reply(0);
    const { port } = server;
    await server.stop();
    closing.splice(0, 1);
    for (let round = 0; round < 3; round += 1) send(0, 'quiet, while nobody listens');
    await new Promise((resolve) => setImmediate(resolve));
    const again = await startUdpServer(loopback, port);
    closing.push(again.stop);
    await until(() => {
      send(0, 'there again?');
      return again.heard.length > 0;
    });
    await reply(0);
    assert.equal(again.heard[0]!.from.split(':')[0], '127.0.1.11');
    send(2, 'another');
    await reply(2);
    await again.stop();
    closing.pop();
    send(2, 'into the void');
    const { snatPort } = await gateway.record('connection-opened', ({ snatPort: candidate }) => candidate !== again.heard[0]!.rinfo.port);
    assert.equal((await gateway.record('connection-closed', (record) => record.snatPort === snatPort)).reason, 'udp-target-unreachable');
  });

  it('find the port of another flow free when theirs are used up: the quietest flow makes room', async () => {
    let nowMs = Date.now();
    const address = `127.1.${(process.pid >> 8) & 255}.${(process.pid & 255) || 1}` as IpAddress; // nobody else's, for its ports are few
    const block = { ipv4: { address, ports: { first: 30_000, last: 30_001 } } };
    const gateway = await start({ servicePorts: [dns([grantTo('bookinfo', address, { snat: block })])], now: () => nowMs });
    const { send, reply } = open(gateway);
    for (const contextId of [0, 2]) {
      send(contextId, 'x');
      await reply(contextId);
    }
    send(4, 'too soon');
    assert.equal((await gateway.record('connection-denied')).reason, 'snat-ports-exhausted');
    nowMs += quietMs;
    send(6, 'a second later');
    const [from] = (await reply(6)).split(' ');
    assert.equal(from, server.heard[0]!.from, 'the port of the flow that was used longest ago');
    assert.deepEqual(closedRecords(gateway).map(({ reason, snatPort }) => [reason, snatPort]), [['udp-flow-displaced', server.heard[0]!.rinfo.port]]);
  });

  it('are bounded for each identity over all its connections', async () => {
    const gateway = await start({ limits: { udpFlowsPerIdentity: 3 } });
    const [first, second, stranger] = [open(gateway), open(gateway), open(gateway, batch)];
    for (const [client, contextId] of [[first, 0], [first, 2], [second, 0]] as const) {
      client.send(contextId, 'x');
      await client.reply(contextId);
    }
    second.send(2, 'one too many');
    assert.equal((await gateway.record('connection-denied')).reason, 'limit-exceeded');
    stranger.send(0, 'x');
    await stranger.reply(0);
    first.client.destroy();
    await until(() => closedRecords(gateway).length === 2);
    await until(() => {
      second.send(4, 'now');
      return second.received.length > 0;
    });
    assert.equal(gateway.records.filter(({ type }) => type === 'connection-denied').length < 4, true, 'refusals are not recorded datagram by datagram');
  });

  it('do not leave while records cannot be kept, though their connection is there', async () => {
    const gateway = await start();
    const { send, reply } = open(gateway);
    send(0, 'x');
    await reply(0);
    gateway.sink.accepting = false;
    send(2, 'unrecorded');
    assert.equal((await gateway.record('connection-denied')).reason, 'ledger-unavailable');
    send(0, 'y');
    await reply(0);
    assert.deepEqual(server.heard.map(({ text }) => text), ['x', 'y']);
  });

  it('wait for the target\'s name to be looked up, and go to its first address of a family that the identity has', async () => {
    const lookup = Promise.withResolvers<undefined>();
    const gateway = await start({
      servicePorts: [dns([grantTo('bookinfo', '127.0.1.11')], [{ kind: 'host', host: 'resolver.example', port: server.port }])],
      lookup: async () => {
        await lookup.promise;
        return { ok: true, addresses: ['::1' as IpAddress, loopback] };
      },
    });
    const { send, reply } = open(gateway);
    for (const text of ['a', 'b', 'c']) send(0, text);
    lookup.resolve(undefined);
    for (const text of ['a', 'b', 'c']) assert.match(await reply(0), new RegExp(`^127\\.0\\.1\\.11:[0-9]+ ${text}$`));
  });

  it('are dropped for a client that does not read', async () => {
    const gateway = await start({ limits: { udpIdleTimeoutMs: 1_000 } });
    const carrier = net.connect(gateway.port, loopback);
    const client = gateway.connect(gateway.pki.issue(productpage), { socket: carrier });
    client.write(encodeDatagram({ contextId: 0, payload: Buffer.from('x') }));
    await gateway.record('connection-opened');
    carrier.pause();
    client.pause();
    await until(() => server.heard.length > 0);
    const [{ rinfo }] = server.heard as [Heard];
    const payload = Buffer.alloc(8_192);
    for (let sent = 0; sent < 4_000; sent += 1)
      await new Promise((resolve) => server.socket.send(payload, rinfo.port, rinfo.address, () => setImmediate(resolve))); // in a turn of its own, for the gateway to read it
    client.destroy();
    const { datagramsDropped = 0, datagramsReceived = 0 } = await gateway.record('connection-closed');
    assert.ok(datagramsDropped > 2_000, `${datagramsDropped} of ${datagramsDropped + datagramsReceived} were dropped`);
  });

  it('end their connection when what comes is no capsules', async () => {
    const gateway = await start();
    const { client, send, reply } = open(gateway);
    send(0, 'x');
    await reply(0);
    client.write(Buffer.from([0x00, 0x00]));
    await closed(client);
    assert.equal((await gateway.record('connection-denied')).reason, 'udp-capsule-invalid');
    assert.deepEqual(closedRecords(gateway).map(({ reason }) => reason), ['udp-capsule-invalid']);
  });
});
