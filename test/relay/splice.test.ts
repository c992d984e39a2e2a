import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { connectInPlace, takeInPlace } from '../../src/relay/in-place-reads.ts';
import { splice, type Splice, type SpliceWatch } from '../../src/relay/splice.ts';
import { until } from '../support/gateway.ts';

/** Two connections on loopback, `client`-`a` and `b`-`server`, with a splice of a and b between them. */
interface Spliced {
  readonly client: net.Socket;
  readonly server: net.Socket;
  readonly a: net.Socket;
  readonly b: net.Socket;
  readonly splice: Splice<'policy-revoked'>;
}

describe('a splice', () => {
  const opened: net.Socket[] = [];
  const servers: net.Server[] = [];

  async function connection(connect: (options: net.TcpNetConnectOpts) => net.Socket = net.connect): Promise<readonly [net.Socket, net.Socket]> {
    const server = net.createServer({ allowHalfOpen: true });
    servers.push(server);
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const near = connect({ port: (server.address() as net.AddressInfo).port, host: '127.0.0.1', allowHalfOpen: true });
    const [[far]] = (await Promise.all([once(server, 'connection'), once(near, 'connect')])) as unknown as [[net.Socket]];
    for (const socket of [near, far]) socket.on('error', () => undefined);
    opened.push(near, far);
    return [near, far];
  }

  async function open(idleTimeoutMs = 10_000, watch?: SpliceWatch): Promise<Spliced> {
    const [client, a] = await connection();
    const [b, server] = await connection();
    return { client, server, a, b, splice: splice<'policy-revoked'>(a, b, { idleTimeoutMs, ...(watch === undefined ? {} : { watch }) }) };
  }

  afterEach(() => {
    for (const socket of opened.splice(0)) socket.destroy();
    for (const server of servers.splice(0)) server.close();
  });

  it('passes bytes both ways and counts them', async () => {
    const { client, server, splice: spliced } = await open();
    client.end('hello');
    assert.equal(String((await once(server, 'data'))[0]), 'hello');
    server.end('good day');
    assert.equal(String((await once(client, 'data'))[0]), 'good day');
    assert.deepEqual(await spliced.done, { reason: 'finished', bytesAtoB: 5, bytesBtoA: 8 });
  });

  it('shows its watch each chunk before it is passed on, and each end', async () => {
    const seen: string[] = [];
    const { client, server, splice: spliced } = await open(10_000, { chunk: (chunk, from) => (seen.push(`${from} ${chunk.toString()}`), 0), end: (from) => void seen.push(`${from} ended`) });
    server.resume();
    client.resume();
    client.end('hello');
    await once(server, 'end');
    server.end('bye');
    await spliced.done;
    assert.deepEqual(seen, ['a hello', 'a ended', 'b bye', 'b ended']);
  });

  it('reads no more from an end for as long as its watch says, and counts that as no idleness', async () => {
    const times: number[] = [];
    const { client, server, splice: spliced } = await open(60, { chunk: (_chunk, from) => (from === 'a' ? (times.push(performance.now()), 150) : 0), end: () => undefined });
    server.resume();
    client.resume();
    client.write('1');
    await once(server, 'data');
    client.end('2');
    await once(server, 'end');
    server.end();
    assert.deepEqual(await spliced.done, { reason: 'finished', bytesAtoB: 2, bytesBtoA: 0 });
    assert.ok(times.length === 2 && times[1]! - times[0]! >= 140, `${times[1]! - times[0]!} ms passed`);
  });

  it('drops the chunk by which its watch ends it', async () => {
    const watch = { chunk: (chunk: Buffer): number => (chunk.toString() === 'bad' ? (spliced.splice.destroy('policy-revoked'), 0) : 0), end: () => undefined };
    const spliced = await open(10_000, watch);
    const seen: string[] = [];
    spliced.server.on('data', (chunk: Buffer) => seen.push(chunk.toString()));
    spliced.client.write('good');
    await until(() => seen.length === 1);
    spliced.client.write('bad');
    assert.equal((await spliced.splice.done).reason, 'policy-revoked');
    await until(() => spliced.server.closed || spliced.server.destroyed);
    assert.deepEqual(seen, ['good']);
  });

  it('passes a half-close on, and the answer after it', async () => {
    const { client, server, splice: spliced } = await open();
    server.resume();
    client.resume();
    client.end();
    await once(server, 'end');
    server.write('late');
    assert.equal(String((await once(client, 'data'))[0]), 'late');
    server.end();
    assert.equal((await spliced.done).reason, 'finished');
  });

  it('passes on a half-close that came before it began', async () => {
    const [client, a] = await connection();
    const [b, server] = await connection();
    client.end();
    await once(a, 'end');
    const spliced = splice(a, b, { idleTimeoutMs: 10_000 });
    server.resume();
    client.resume();
    await once(server, 'end');
    server.end();
    assert.equal((await spliced.done).reason, 'finished');
  });

  it('passes a reset on as a reset, in both directions', async () => {
    for (const broken of ['client', 'server'] as const) {
      const ends = await open();
      const [from, to] = broken === 'client' ? [ends.client, ends.server] : [ends.server, ends.client];
      to.resume();
      const failed = once(to, 'error'); // a plain end would be `end`, without an error
      from.resetAndDestroy();
      const [error] = (await failed) as [NodeJS.ErrnoException];
      assert.equal(error.code, 'ECONNRESET');
      assert.equal((await ends.splice.done).reason, broken === 'client' ? 'a-broken' : 'b-broken');
    }
  });

  it('holds a bounded amount for a slow reader, and goes on when it reads', async () => {
    const { client, server, a, b, splice: spliced } = await open();
    server.pause();
    const total = 32 << 20;
    const chunk = Buffer.alloc(1 << 16, 'x');
    let written = 0;
    let drained = true;
    client.on('drain', () => (drained = true));
    let quietSinceMs = performance.now();
    await until(() => {
      while (drained && written < total) {
        drained = client.write(chunk);
        written += chunk.length;
        quietSinceMs = performance.now();
      }
      return performance.now() - quietSinceMs > 200;
    });
    assert.ok(written < total, 'the writer was never slowed');
    assert.ok(b.writableLength + a.readableLength < 1 << 20, `${b.writableLength + a.readableLength} bytes are held`);
    let received = 0;
    server.on('data', (bytes: Buffer) => (received += bytes.length));
    server.resume();
    client.end();
    await once(server, 'end');
    assert.equal(received, written);
    server.end();
    client.resume();
    assert.equal((await spliced.done).bytesAtoB, written);
  });

  describe('with an end that is read in place', () => {
    /** Bytes that tell where they stand, whatever pieces they come in. */
    const content = Buffer.alloc(24 << 20, Buffer.from(Uint32Array.from({ length: 65_537 }, (_, index) => index * 2_654_435_761).buffer));

    async function openInPlace(banner = '', watch?: SpliceWatch): Promise<Spliced> {
      const [client, a] = await connection();
      const [b, server] = await connection(connectInPlace);
      if (banner !== '') {
        server.write(banner);
        await until(() => b.readableLength === banner.length);
      }
      return { client, server, a, b, splice: splice<'policy-revoked'>(a, b, { idleTimeoutMs: 10_000, ...(watch === undefined ? {} : { watch }) }) };
    }

    it('passes on in order what came before it began, messages and bulk, to a reader that takes its time', async () => {
      const { client, server, splice: spliced } = await openInPlace('220 ready');
      const received: Buffer[] = [];
      client.on('data', (bytes: Buffer) => {
        received.push(bytes);
        client.pause();
        setImmediate(() => client.resume());
      });
      for (let at = 0, bytes = 1; at < content.length; at += bytes, bytes = Math.min(bytes * 3, 1 << 20, content.length - at)) {
        if (!server.write(content.subarray(at, at + bytes))) await once(server, 'drain');
      }
      server.end();
      await once(client, 'end');
      client.end();
      assert.ok(Buffer.concat(received).equals(Buffer.concat([Buffer.from('220 ready'), content])), 'the bytes are others, or in another order');
      assert.deepEqual(await spliced.done, { reason: 'finished', bytesAtoB: 0, bytesBtoA: '220 ready'.length + content.length });
    });

    it('passes on whole what its watch holds back for less time than a write takes, or more', async () => {
      for (const holdMs of [1, 8]) {
        const { client, server, a, splice: spliced } = await openInPlace('', { chunk: (chunk) => (chunk.length > 64 << 10 ? holdMs : 0), end: () => undefined });
        const received: Buffer[] = [];
        server.end(content);
        await until(() => a.writableLength > 0); // nobody reads, so the write is not done when the hold is over
        await new Promise((resolve) => setTimeout(resolve, 2 * holdMs));
        client.on('data', (bytes: Buffer) => received.push(bytes));
        await once(client, 'end');
        client.end();
        assert.ok(Buffer.concat(received).equals(content), `held back for ${holdMs} ms, the bytes are others`);
        await spliced.done;
      }
    });

    it('overtakes nothing that the stream still holds', async () => {
      const [b, server] = await connection(connectInPlace);
      server.write('220 ready');
      await until(() => b.readableLength > 0);
      takeInPlace(b, () => assert.fail('it was overtaken'));
      server.end(content.subarray(0, 32 << 10));
      await until(() => b.readableLength === 9 + (32 << 10));
      assert.equal(String(b.read(9)), '220 ready');
    });

    it('holds a bounded amount for a slow reader, and ends with a reset when it is told to', async () => {
      const { client, server, a, b, splice: spliced } = await openInPlace();
      client.pause();
      server.write(content);
      await until(() => a.writableLength > 0);
      const { bytesRead } = b;
      await assert.rejects(until(() => b.bytesRead > bytesRead, undefined, 200));
      assert.ok(a.writableLength + b.readableLength <= 256 << 10, `${a.writableLength + b.readableLength} bytes are held`);
      const failed = once(server, 'error');
      spliced.destroy('policy-revoked');
      await failed;
      assert.equal((await spliced.done).reason, 'policy-revoked');
    });
  });

  it('ends when nothing moves for the idle timeout, and not while something does', async () => {
    const { client, server, splice: spliced } = await open(150);
    client.resume();
    server.resume();
    const startedAtMs = performance.now();
    const pulse = setInterval(() => client.write('.'), 40);
    await new Promise((resolve) => setTimeout(resolve, 400));
    clearInterval(pulse);
    const { reason } = await spliced.done;
    assert.equal(reason, 'idle-timeout');
    assert.ok(performance.now() - startedAtMs >= 400 + 100);
  });

  it('ends both ends with a reset when it is told to', async () => {
    const { client, server, splice: spliced } = await open();
    const failed = Promise.all([once(client, 'error'), once(server, 'error')]);
    for (const socket of [client, server]) socket.resume();
    spliced.destroy('policy-revoked');
    await failed;
    assert.equal((await spliced.done).reason, 'policy-revoked');
  });

  it('is over at once where an end is gone already', async () => {
    const [client, a] = await connection();
    const [b, server] = await connection();
    server.resume();
    a.destroy();
    client.destroy();
    const { reason } = await splice(a, b, { idleTimeoutMs: 10_000 }).done;
    assert.equal(reason, 'a-broken');
    await until(() => server.closed || server.destroyed || server.readableEnded);
  });
});
