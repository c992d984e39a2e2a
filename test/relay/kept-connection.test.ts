import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import net from 'node:net';
import type { Duplex } from 'node:stream';
import { text as read } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { beginFrame } from '../../src/core/ftp/index.ts';
import { keepConnection, type KeptConnection } from '../../src/relay/kept-connection.ts';
import { until } from '../support/gateway.ts';

describe('a kept connection', () => {
  const opened: net.Socket[] = [];
  let server: net.Server;

  beforeEach(async () => {
    server = net.createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1');
    await once(server, 'listening');
  });
  afterEach(() => {
    for (const socket of opened.splice(0)) socket.destroy();
    server.close();
  });

  async function connection(): Promise<readonly [net.Socket, net.Socket]> {
    const near = net.connect({ port: (server.address() as net.AddressInfo).port, host: '127.0.0.1', allowHalfOpen: true });
    const [[far]] = (await Promise.all([once(server, 'connection'), once(near, 'connect')])) as unknown as [[net.Socket]];
    for (const socket of [near, far]) socket.on('error', () => undefined);
    opened.push(near, far);
    return [near, far];
  }

  interface Ends {
    readonly agent: KeptConnection;
    readonly gateway: KeptConnection;
    readonly near: net.Socket;
    readonly far: net.Socket;
    /** How often either was idle again. */
    readonly idle: { agent: number; gateway: number };
  }

  async function open(): Promise<Ends> {
    const [near, far] = await connection();
    const idle = { agent: 0, gateway: 0 };
    return { near, far, idle, agent: keepConnection(near, () => (idle.agent += 1)), gateway: keepConnection(far, () => (idle.gateway += 1)) };
  }

  async function begin({ agent, gateway }: Ends): Promise<readonly [Duplex, Duplex]> {
    const next = gateway.next();
    const transfer = agent.begin();
    const other = await next;
    assert.ok(other !== undefined);
    return [transfer, other];
  }

  const closed = (stream: Duplex): Promise<void> => new Promise((resolve) => (stream.closed ? resolve() : stream.once('close', resolve)));

  it('carries one transfer after the other, each both ways and to its own end', async () => {
    const ends = await open();
    for (const bytes of [0, 1, 1_000, 300_000]) {
      const [a, b] = await begin(ends);
      assert.deepEqual([ends.agent.isIdle, ends.gateway.isIdle], [false, false]);
      const [there, back] = [randomBytes(bytes).toString('hex'), randomBytes(bytes).toString('hex')];
      const both = Promise.all([read(a), read(b)]);
      a.end(there);
      b.end(back);
      assert.deepEqual(await both, [back, there]);
      await until(() => ends.agent.isIdle && ends.gateway.isIdle);
    }
    assert.deepEqual(ends.idle, { agent: 4, gateway: 4 });
    assert.ok(!ends.near.destroyed && !ends.far.destroyed);
  });

  it('passes a half-close on, and goes on the other way', async () => {
    const ends = await open();
    const [a, b] = await begin(ends);
    a.end('request');
    assert.equal(await read(b), 'request');
    assert.ok(!ends.agent.isIdle);
    b.end('answer');
    assert.equal(await read(a), 'answer');
  });

  it('slows the sender where nobody reads, and goes on when somebody does', async () => {
    const ends = await open();
    const [a, b] = await begin(ends);
    const chunks = Array.from({ length: 64 }, () => Buffer.alloc(1 << 20, 'x'));
    const sent = pipeline(chunks, a);
    await until(() => ends.far.isPaused() && a.writableNeedDrain);
    assert.ok(b.readableLength <= 1 << 20, `${b.readableLength} bytes are held`);
    b.end();
    assert.equal((await read(b)).length, 64 << 20);
    a.resume();
    await sent;
  });

  it('is ready for the next transfer though the last one is still to be read', async () => {
    const ends = await open();
    const [a, b] = await begin(ends);
    b.end();
    a.write('x'.repeat(40_000));
    await until(() => b.readableLength === 40_000);
    ends.near.cork();
    a.end('y'.repeat(40_000));
    ends.near.uncork();
    await until(() => ends.gateway.isIdle);
    const [, next] = await begin(ends);
    assert.ok(next !== b);
    assert.equal((await read(b)).length, 80_000);
  });

  it('is reset with a transfer that is broken off, which ends at the other end too', async () => {
    const ends = await open();
    const [a, b] = await begin(ends);
    a.write('half of it');
    a.destroy();
    await Promise.all([closed(b), ends.agent.closed, ends.gateway.closed]);
    assert.ok(!b.readableEnded, 'as if complete');
  });

  it('ends a transfer when the connection is lost', async () => {
    const ends = await open();
    const [a, b] = await begin(ends);
    ends.near.resetAndDestroy();
    await Promise.all([closed(a), closed(b)]);
    assert.ok(!a.readableEnded && !b.readableEnded);
  });

  it('closes in order while it is idle, and then no transfer comes', async () => {
    const ends = await open();
    const next = ends.gateway.next();
    ends.agent.close();
    assert.equal(await next, undefined);
    await Promise.all([ends.agent.closed, ends.gateway.closed]);
    assert.equal(await ends.gateway.next(), undefined);
  });

  const strange = Buffer.from('no frames');
  for (const [what, bytes, isAwaited] of [['a transfer that nobody awaits', beginFrame, false], ['a second one before the first', Buffer.concat([beginFrame, beginFrame]), true], ['what is no frame', strange, true]] as const) {
    it(`is reset for ${what}`, async () => {
      const [near, far] = await connection();
      const gateway = keepConnection(far);
      if (isAwaited) void gateway.next();
      near.write(bytes);
      await gateway.closed;
      await closed(near.resume());
      assert.ok(!near.readableEnded, 'as if in order');
    });
  }
});
