/** Sockets of this process in a network of its choice: its own, or that of a host of network-namespaces.ts. */
import { spawn } from 'node:child_process';
import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import type { NetworkHost } from './network-namespaces.ts';

export interface SocketPlace {
  readonly address: string;
  /** 0 for one that is free. */
  readonly port: number;
}

export interface Sockets {
  /** A TCP connection. Rejects with the error's code as its message. */
  connect(to: SocketPlace, from: SocketPlace): Promise<Socket>;
  /** A TCP listener. */
  listen(at: SocketPlace): Promise<Server>;
  /** A UDP socket. */
  bind(at: SocketPlace): Promise<UdpSocket>;
}

/** A connection that is being made. */
export const dial = ({ address: host, port }: SocketPlace, { address: localAddress, port: localPort }: SocketPlace): Socket => connect({ host, port, localAddress, localPort, noDelay: true });

export const ownSockets: Sockets = {
  async connect(to, from) {
    const socket = dial(to, from);
    await once(socket, 'connect');
    return socket;
  },
  async listen({ address, port }) {
    const server = createServer({ noDelay: true });
    await once(server.listen(port, address), 'listening');
    return server;
  },
  async bind({ address, port }) {
    const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
    socket.bind(port, address);
    await once(socket, 'listening');
    return socket;
  },
};

export type SocketRequest = { readonly make: 'connect'; readonly to: SocketPlace; readonly from: SocketPlace } | { readonly make: 'listen' | 'bind'; readonly at: SocketPlace };
/** First the socket or why there is none, then that the maker has nothing of it any more: of what listens it would take what is the other's. */
export type SocketAnswer = { readonly id: number; readonly error?: string; readonly over?: true };
export type AnySocket = Socket | Server | UdpSocket;

/** Sockets stay in the network in which they were made: a process there makes them, and hands them over. */
export function socketsOn({ enter: [program, ...args] }: NetworkHost): Sockets & { close(): Promise<void> } {
  const maker = spawn(program, [...args, process.execPath, fileURLToPath(new URL('socket-maker.ts', import.meta.url))], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  const awaited = new Map<number, PromiseWithResolvers<AnySocket>>();
  const made = new Map<number, AnySocket>();
  let requests = 0;
  maker.on('message', ({ id, error, over }: SocketAnswer, socket: unknown) => {
    if (over === undefined && error === undefined) {
      made.set(id, socket as AnySocket);
      return;
    }
    const { resolve, reject } = awaited.get(id)!;
    awaited.delete(id);
    if (error === undefined) resolve(made.get(id)!);
    else reject(new Error(error));
    made.delete(id);
  });
  const exited = once(maker, 'exit');

  async function ask<Made extends AnySocket>(request: SocketRequest): Promise<Made> {
    const id = (requests += 1);
    const answer = Promise.withResolvers<AnySocket>();
    awaited.set(id, answer);
    maker.send({ id, ...request });
    return (await answer.promise) as Made;
  }

  return {
    connect: async (to, from) => (await ask<Socket>({ make: 'connect', to, from })).setNoDelay(true),
    listen: (at) => ask<Server>({ make: 'listen', at }),
    bind: (at) => ask<UdpSocket>({ make: 'bind', at }),
    async close() {
      maker.disconnect();
      await exited;
    },
  };
}
