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

export interface Visit {
  /** When the witness has greeted; also when that will not be. */
  readonly greeted: Promise<void>;
  /** Lets the witness end it. */
  takeLeave(): void;
  readonly over: Promise<Conversation>;
}

const overWithinMs = 15_000;

/** Says `opening`, and listens. */
export function visit(socket: Socket, opening: string): Visit {
  let said = '';
  let heard = '';
  const greeted = Promise.withResolvers<undefined>();
  const over = Promise.withResolvers<Conversation>();
  const timer = setTimeout(() => over.reject(new Error(`a connection is not over within ${overWithinMs} ms; heard was ${JSON.stringify(heard)}`)), overWithinMs);
  const say = (text: string): void => {
    said += text;
    socket.write(text);
  };
  socket.on('data', (chunk: Buffer) => {
    heard += chunk.toString('latin1');
    if (greetingIn(heard) !== undefined) greeted.resolve(undefined);
  });
  socket.once('close', () => {
    clearTimeout(timer);
    greeted.resolve(undefined);
    over.resolve({ said, heard });
  });
  if (opening !== '') say(opening);
  return {
    greeted: greeted.promise,
    takeLeave() {
      if (socket.writable) say('QUIT\r\n');
    },
    over: over.promise,
  };
}
