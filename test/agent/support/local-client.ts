/** The workload's side: plain connections to an agent's listener. */
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';

export function connectTo(port: number): Socket {
  return connect({ host: '127.0.0.1', port, allowHalfOpen: true });
}

/** Sends `text`, then a half-close; everything that comes back until the other side ends. Rejects when it was reset. */
export async function exchange(port: number, text: string | Buffer): Promise<Buffer> {
  const socket = connectTo(port);
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  const closed = new Promise((resolve) => socket.once('close', resolve)); // not once(): that rejects for an error too, which nobody waits for here
  const failed = once(socket, 'end').then(() => undefined, (error: unknown) => error as Error);
  socket.end(text);
  const error = await failed;
  if (error !== undefined) throw error;
  await closed;
  return Buffer.concat(chunks);
}

/** A connection that has said `ping` and heard it. */
export async function openEcho(port: number): Promise<Socket> {
  const socket = connectTo(port);
  await once(socket, 'connect');
  await ping(socket);
  return socket;
}

export async function ping(socket: Socket): Promise<void> {
  socket.write('ping');
  const [chunk] = (await once(socket, 'data')) as [Buffer];
  if (chunk.toString() !== 'ping') throw new Error(`heard ${JSON.stringify(chunk.toString())}`);
}

export async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
