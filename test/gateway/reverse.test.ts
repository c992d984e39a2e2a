/** The way back at the gateway: who waits, who may come, and what becomes of both. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import type { TLSSocket } from 'node:tls';
import { startDialogue, type Dialogue } from '../../src/demo/clients.ts';
import { findFreePorts } from '../../src/demo/processes.ts';
import type { IpAddress } from '../../src/core/ip-address.ts';
import type { Revision, ServicePort } from '../../src/core/plan/plan.ts';
import { createReversePorts, type Waiting } from '../../src/gateway/reverse-ports.ts';
import { grantTo, loopback, productpage, servicePort, startGateway, type TestGateway } from '../support/gateway.ts';

const held = '127.0.1.77' as IpAddress;
const revisionTwo = '2'.repeat(64) as Revision;

describe('the way back at the gateway', () => {
  const open = new Set<net.Socket>();
  let gateway: TestGateway;
  let port: number;
  let shape: ServicePort;

  beforeEach(async () => {
    [port] = (await findFreePorts(1)) as [number];
    shape = { ...servicePort({ protocol: 'Reverse', targetPort: port, grants: [grantTo('bookinfo', held)] }), port };
    gateway = await startGateway({ servicePorts: [shape] });
  });
  afterEach(async () => {
    for (const socket of open) socket.destroy();
    open.clear();
    await gateway.stop();
  });

  /** As an agent does: connects, and waits. */
  async function wait(): Promise<{ readonly socket: TLSSocket; readonly dialogue: Dialogue }> {
    const socket = gateway.connect(gateway.pki.issue(productpage));
    open.add(socket);
    const dialogue = startDialogue(socket);
    await once(socket, 'secureConnect');
    return { socket, dialogue };
  }

  /** As the service does, from an address of its own; the listener may only just be opening. */
  async function come(): Promise<Dialogue> {
    for (let tries = 0; ; tries += 1) {
      const socket = net.connect({ host: held, port, localAddress: loopback });
      open.add(socket);
      const dialogue = startDialogue(socket);
      try {
        await once(socket, 'connect');
        return dialogue;
      } catch (error) {
        if (tries === 100) throw error;
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    }
  }

  it('joins who comes with who has waited longest, and says who it is', async () => {
    const [first, second] = [await wait(), await wait()];
    const outside = await come();
    const [, localPort] = new RegExp(`^PROXY TCP4 ${loopback} ${held} ([0-9]+) ${port}\r\n$`).exec(await first.dialogue.readUntil('\r\n'))!;
    first.dialogue.write('hello\n');
    assert.equal(await outside.readUntil('\n'), 'hello\n');
    outside.write('good day\n');
    assert.equal(await first.dialogue.readUntil('\n'), 'good day\n');
    outside.socket.end();
    first.socket.end();
    const closed = await gateway.record('connection-closed');
    assert.deepEqual([closed.spiffeId, closed.snatAddress, closed.snatPort, closed.target, closed.bytesSent, closed.bytesReceived, closed.reason], [productpage, held, port, `${loopback}:${localPort}`, 6, 9, 'finished']);
    await come();
    assert.match(await second.dialogue.readUntil('\r\n'), /^PROXY /);
  });

  it('lets who comes wait for a moment, until somebody waits again', async () => {
    const first = await wait();
    await come();
    await first.dialogue.readUntil('\r\n');
    const early = await come();
    early.write('early\n');
    const second = await wait();
    await second.dialogue.readUntil('\r\n');
    assert.equal(await second.dialogue.readUntil('\n'), 'early\n');
  });

  it('turns away whoever is not the service, and who waits goes on waiting', async () => {
    const { dialogue } = await wait();
    let heard = '';
    while (gateway.records.length === 0) {
      const stranger = net.connect({ host: held, port, localAddress: '127.0.0.66' });
      stranger.on('error', () => undefined).on('data', (bytes: Buffer) => (heard += bytes.toString()));
      await new Promise((resolve) => stranger.once('close', resolve));
    }
    assert.equal(heard, '');
    assert.match((await gateway.record('connection-denied')).detail, /^127\.0\.0\.66:[0-9]+ is not an address of egress\/partner:main$/);
    await come();
    await dialogue.readUntil('\r\n');
  });

  it('ends what has come from an address that is the service\'s no more', async () => {
    const { dialogue } = await wait();
    const outside = await come();
    await dialogue.readUntil('\r\n');
    const ended = new Promise((resolve) => outside.socket.once('close', resolve));
    await gateway.dataPlane.update({ revision: revisionTwo, servicePorts: [{ ...shape, targets: [{ kind: 'address', address: '127.0.0.9' as IpAddress, port }] }] });
    await ended;
    assert.equal((await gateway.record('connection-closed')).reason, 'target-removed');
  });

  it('ends who speaks before anybody has come', async () => {
    const { socket } = await wait();
    const ended = new Promise((resolve) => socket.once('close', resolve));
    socket.write('hello\n');
    await ended;
  });

  it('says so where the port is another program\'s', async () => {
    const occupied = net.createServer().listen(port, held);
    await once(occupied, 'listening');
    try {
      const { socket } = await wait();
      await new Promise((resolve) => socket.once('close', resolve));
      assert.deepEqual([(await gateway.record('connection-denied')).reason], ['reverse-port-unavailable']);
    } finally {
      occupied.close();
    }
  });

  it('says so where the port is not among the holder\'s', async () => {
    const { snat, ...grant } = grantTo('bookinfo', held);
    await gateway.dataPlane.update({ revision: revisionTwo, servicePorts: [{ ...shape, grants: [{ ...grant, snat: { ipv4: { address: snat!.ipv4!.address, ports: { first: port + 1, last: port + 8 } } } }] }] });
    const { socket } = await wait();
    await new Promise((resolve) => socket.once('close', resolve));
    assert.match((await gateway.record('connection-denied')).detail, /is not among those that the identity holds/);
  });

  it('knows a place that another thread has', async () => {
    const waiting: Waiting = { targets: () => [], take: () => undefined, refused: () => undefined };
    const [one, two] = [true, true].map((shared) => createReversePorts({ lookup: () => Promise.resolve({ ok: true, addresses: [] }), shared }));
    try {
      const place = { address: held, port };
      assert.deepEqual([(await one!.wait(place, waiting)).outcome, (await two!.wait(place, waiting)).outcome], ['waiting', 'elsewhere']);
    } finally {
      one!.close();
      two!.close();
    }
  });
});
