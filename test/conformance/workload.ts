/** A workload's side of a connection, as a sidecar would make it. */
import { once } from 'node:events';
import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls, type ConnectionOptions } from 'node:tls';
import { formatEndpoint } from '../../src/core/ip-address.ts';
import { waitFor } from '../../src/demo/processes.ts';
import type { WorkloadConnection } from './data-plane.ts';
import { greetingIn } from './witness.ts';

interface WorkloadConnectionOptions {
  /** The workload's own. */
  readonly address: string;
  /** Of the gateway. */
  readonly port: number;
  readonly serverName: string | undefined;
  /** What it says of itself in TLS; undefined for no TLS. */
  readonly dress: ConnectionOptions | undefined;
}

export async function connectAsWorkload({ address, port, serverName, dress }: WorkloadConnectionOptions): Promise<WorkloadConnection> {
  const carrier = await reach(port, address);
  const client = formatEndpoint({ address: carrier.localAddress!, port: carrier.localPort! });
  if (dress === undefined) return { socket: carrier, client };
  // The table is about what gateways let out; that workloads check who the gateway is has tests of its own.
  const socket = connectTls({ socket: carrier, ...dress, ...(serverName === undefined ? {} : { servername: serverName }), ALPNProtocols: ['istio'], rejectUnauthorized: false });
  socket.on('error', ignore);
  return { socket, client };
}

/** Tries until somebody listens: a listener may open a moment after its resource was acknowledged. */
async function reach(port: number, localAddress: string): Promise<Socket> {
  return await waitFor('the listener', 5_000, async () => {
    const socket = connectTcp({ port, host: '127.0.0.1', localAddress, noDelay: true });
    socket.on('error', ignore);
    return await once(socket, 'connect').then(
      () => socket,
      () => undefined,
    );
  });
}

const ignore = (): void => undefined; // `close` follows

/** What a connection came to: what was said, to the end. */
export interface Conversation {
  readonly said: string;
  readonly heard: string;
}

const overWithinMs = 15_000;

/** Says `opening`, waits to be greeted by the witness, takes leave, and hears the connection out. */
export async function converse(socket: Socket, opening: string): Promise<Conversation> {
  let said = '';
  let heard = '';
  const say = (text: string): void => {
    said += text;
    socket.write(text);
  };
  socket.on('data', (chunk: Buffer) => {
    const wasGreeted = greetingIn(heard) !== undefined;
    heard += chunk.toString('latin1');
    if (!wasGreeted && greetingIn(heard) !== undefined) say('QUIT\r\n');
  });
  if (opening !== '') say(opening);
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`a connection is not over within ${overWithinMs} ms; heard was ${JSON.stringify(heard)}`)), overWithinMs);
    socket.once('close', () => {
      clearTimeout(timer);
      resolve();
    });
  });
  return { said, heard };
}
