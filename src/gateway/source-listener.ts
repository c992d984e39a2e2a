/** Awaiting connections from outside at an identity's own address: what an FTP server in active mode opens. */
import net from 'node:net';
import { parseAddress } from '../core/ip-address.ts';
import type { Endpoint } from '../core/plan/plan.ts';
import type { SnatAddress, SnatPorts } from '../core/snat/snat-ports.ts';
import { keepAliveDelayMs } from './dial.ts';

export interface SourceListener extends Endpoint {
  /** Listens no more. The port is given back when what was accepted is closed too. */
  close(): void;
}

/** A connection from outside; half-open and not flowing. An error listener is there: watch `close`. */
export interface Arrival {
  readonly socket: net.Socket;
  readonly local: Endpoint;
  readonly remote: Endpoint;
}

/** Listens at `source`, on a port that nobody can foresee and nobody else gets. Undefined where none is free, or the address is not this host's. */
export type ListenAtSource = (source: SnatAddress, onArrival: (arrival: Arrival) => void) => Promise<SourceListener | undefined>;

/** One connection is expected; some more may knock before it does. */
const connectionsMax = 16;
const backlog = 16;
/** Ports that another thread listens on, tried before it is given up. */
const portsTriedMax = 16;

export function createListenAtSource({ ports, random }: { readonly ports: SnatPorts; readonly random: () => number }): ListenAtSource {
  return async function listenAtSource(source, onArrival) {
    for (let tried = 0; tried < portsTriedMax; tried++) {
      const port = ports.takeToListen(source, random());
      if (port === undefined) return undefined;
      const local = { address: source.address, port };
      const server = await listen(local);
      if (server !== undefined) return serve(server, local, onArrival, () => ports.releaseListening(source, port));
      ports.releaseListening(source, port);
    }
    return undefined;
  };
}

function serve(server: net.Server, local: Endpoint, onArrival: (arrival: Arrival) => void, release: () => void): SourceListener {
  server.on('connection', (socket) => {
    socket.on('error', () => undefined); // `close` follows
    const address = parseAddress(socket.remoteAddress ?? '');
    if (address === undefined) socket.destroy(); // gone already
    else onArrival({ socket, local, remote: { address, port: socket.remotePort! } });
  });
  server.once('close', release); // which waits for the connections that were accepted
  return { ...local, close: () => server.close() };
}

/** Undefined where the port is taken, or cannot be had. */
function listen({ address, port }: Endpoint): Promise<net.Server | undefined> {
  return new Promise((resolve) => {
    const server = net.createServer({ allowHalfOpen: true, noDelay: true, keepAlive: true, keepAliveInitialDelay: keepAliveDelayMs });
    server.maxConnections = connectionsMax;
    server.once('listening', () => resolve(server));
    server.on('error', () => {
      if (!server.listening) resolve(undefined);
    });
    server.listen({ host: address, port, backlog, exclusive: true });
  });
}
