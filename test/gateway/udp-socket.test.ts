import assert from 'node:assert/strict';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import type { IpAddress } from '../../src/core/ip-address.ts';
import type { Endpoint } from '../../src/core/plan/plan.ts';
import { datagrams, type UdpSocket } from '../../src/gateway/udp-socket.ts';

const at = (address: string, port: number): Endpoint => ({ address: address as IpAddress, port });

/** Sends to the place in `workerData` as fast as it can, until it is ended. */
const flood = `
const { createSocket } = require('node:dgram');
const { parentPort, workerData: { address, port } } = require('node:worker_threads');
const socket = createSocket('udp4');
socket.on('error', () => undefined);
const send = () => {
  for (let burst = 0; burst < 50; burst += 1) socket.send('forged', port, address, () => undefined);
  setImmediate(send);
};
send();
parentPort.postMessage('flooding');
`;

describe('a UDP socket of the gateway', () => {
  const closing: (() => unknown)[] = [];
  afterEach(async () => {
    for (const close of closing.splice(0)) await close();
  });

  async function openPeer(address: string): Promise<Socket> {
    const peer = createSocket(address.includes(':') ? 'udp6' : 'udp4');
    peer.on('message', (payload, { address: from, port }) => peer.send(payload, port, from));
    await new Promise<void>((resolve) => peer.bind(0, address, resolve));
    closing.push(() => peer.close());
    return peer;
  }

  async function connect(from: Endpoint, to: Endpoint): Promise<UdpSocket> {
    const outcome = await datagrams.attempt(from, to, 5_000, undefined);
    assert.ok(outcome.ok, JSON.stringify(outcome));
    closing.push(() => outcome.socket.destroy());
    return outcome.socket;
  }

  async function close(socket: UdpSocket): Promise<void> {
    const closed = new Promise<void>((resolve) => socket.once('close', resolve));
    socket.destroy();
    await closed;
  }

  async function freePort(address: string): Promise<number> {
    const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
    await new Promise<void>((resolve) => socket.bind(0, address, resolve));
    const { port } = socket.address();
    await new Promise<void>((resolve) => socket.close(resolve));
    return port;
  }

  it('hears nobody else, not even what came before it was connected', async function () {
    this.timeout(20_000);
    const peer = await openPeer('127.0.0.1');
    const from = at('127.0.1.21', await freePort('127.0.1.21'));
    const worker = new Worker(flood, { eval: true, workerData: from });
    closing.push(() => worker.terminate());
    await once(worker, 'message');
    const heard: string[] = [];
    for (let round = 0; round < 100; round += 1) {
      const socket = await connect(from, at('127.0.0.1', peer.address().port));
      const answered = new Promise<void>((resolve) => {
        socket.listen({
          message: (payload) => {
            heard.push(payload.toString());
            if (payload.toString() === `${round}`) resolve();
          },
          unreachable: () => undefined,
        });
      });
      socket.send(Buffer.from(`${round}`), () => undefined);
      await answered;
      await close(socket);
    }
    assert.deepEqual(heard, Array.from({ length: 100 }, (_, round) => `${round}`));
  });

  it('has its port to itself, wherever another would go', async () => {
    const [one, other] = [await openPeer('127.0.0.1'), await openPeer('127.0.0.1')];
    const from = at('127.0.1.21', await freePort('127.0.1.21'));
    const socket = await connect(from, at('127.0.0.1', one.address().port));
    const second = await datagrams.attempt(from, at('127.0.0.1', other.address().port), 5_000, undefined);
    assert.ok(!second.ok && 'portTaken' in second, JSON.stringify(second));
    await close(socket);
    await connect(from, at('127.0.0.1', other.address().port));
  });

  it('leaves by IPv6 too', async () => {
    const peer = await openPeer('::1');
    const socket = await connect(at('::1', await freePort('::1')), at('::1', peer.address().port));
    const heard = new Promise<string>((resolve) => socket.listen({ message: (payload) => resolve(payload.toString()), unreachable: () => undefined }));
    socket.send(Buffer.from('six'), () => undefined);
    assert.equal(await heard, 'six');
  });

  it('says when its address is not one of this host', async () => {
    const outcome = await datagrams.attempt(at('192.0.2.1', 40_000), at('127.0.0.1', 9), 5_000, undefined);
    assert.deepEqual(outcome, { ok: false, reason: 'connect-failed', detail: 'the source address 192.0.2.1 is not an address of this host' });
  });
});
