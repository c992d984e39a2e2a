import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { reset } from '../../src/relay/reset.ts';

/** Both ends of a connection on loopback. */
async function connectPair(): Promise<{ readonly near: Socket; readonly far: Socket }> {
  const server = net.createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const far = net.connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1', allowHalfOpen: true });
  const [[near]] = (await Promise.all([once(server, 'connection'), once(far, 'connect')])) as [[Socket], unknown];
  server.close();
  near.on('error', () => undefined);
  return { near, far };
}

/** What a peer sees of a connection in the end. */
async function outcome(far: Socket): Promise<{ readonly bytes: number; readonly end: string }> {
  let bytes = 0;
  let end = 'closed';
  far.on('data', (chunk: Buffer) => (bytes += chunk.length));
  far.once('end', () => {
    end = 'ended';
    far.end();
  });
  far.on('error', ({ code }: NodeJS.ErrnoException) => (end = code ?? 'error'));
  await new Promise((resolve) => far.once('close', resolve));
  return { bytes, end };
}

describe('a reset', () => {
  it('is seen as one, also where an end was to follow what has not gone out yet', async () => {
    for (const end of [() => undefined, (socket: Socket) => socket.end(Buffer.alloc(10_000_000))]) {
      const { near, far } = await connectPair();
      end(near);
      const closed = new Promise((resolve) => near.once('close', resolve));
      reset(near);
      await closed;
      const { bytes, end: seen } = await outcome(far);
      assert.equal(seen, 'ECONNRESET');
      assert.ok(bytes < 10_000_000);
    }
  });

  it('closes a connection whose end is just going out, which then is an orderly one', async () => {
    const { near, far } = await connectPair();
    const closed = new Promise((resolve) => near.once('close', resolve));
    near.end('bye');
    reset(near);
    await closed;
    assert.deepEqual(await outcome(far), { bytes: 3, end: 'ended' });
  });
});
