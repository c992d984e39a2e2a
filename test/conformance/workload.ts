/** A workload's side of a connection, as a sidecar would make it. */
import { once } from 'node:events';
import { connect as connectTcp, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { connect as connectTls, type ConnectionOptions } from 'node:tls';
import { formatEndpoint } from '../../src/core/ip-address.ts';
import { waitFor } from '../../src/demo/processes.ts';
import type { WorkloadConnection } from './data-plane.ts';

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

/** What a connection came to: what was said on it, to the end. */
export interface Conversation {
  readonly said: string;
  readonly heard: string;
}

/** A connection of a workload's, as it goes on. */
export interface Talk {
  say(text: string): void;
  /** When this has been heard; null when it will not be. */
  hears(pattern: RegExp): Promise<RegExpExecArray | null>;
  readonly over: Promise<Conversation>;
}

const overWithinMs = 15_000;

/** Takes down what is said on a socket, each byte a character. */
export function talkOver(socket: Duplex): Talk {
  let said = '';
  let heard = '';
  const over = Promise.withResolvers<Conversation>();
  const timer = setTimeout(() => over.reject(new Error(`a connection is not over within ${overWithinMs} ms; heard was ${JSON.stringify(heard)}`)), overWithinMs);
  const listeners = new Set<() => void>();
  const tell = (): void => {
    for (const listener of listeners) listener();
  };
  let isOver = false;
  socket.on('data', (chunk: Buffer) => {
    heard += chunk.toString('latin1');
    tell();
  });
  socket.once('close', () => {
    clearTimeout(timer);
    isOver = true;
    tell();
    over.resolve({ said, heard });
  });
  return {
    say(text) {
      if (!socket.writable) return;
      said += text;
      socket.write(text, 'latin1');
    },
    hears: (pattern) =>
      new Promise((resolve) => {
        const look = (): void => {
          const found = pattern.exec(heard);
          if (found === null && !isOver) return;
          listeners.delete(look);
          resolve(found);
        };
        listeners.add(look);
        look();
      }),
    over: over.promise,
  };
}
