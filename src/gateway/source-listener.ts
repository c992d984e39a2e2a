/** Awaiting connections from outside at an identity's own address: what an FTP server in active mode opens. */
import net from 'node:net';
import { parseAddress } from '../core/ip-address.ts';
import type { Endpoint } from '../core/plan/plan.ts';
import type { SnatPorts } from '../core/snat/snat-ports.ts';
import type { SnatAddress } from '../core/snat/snat-source.ts';
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
  let listening = true;
  let connections = 0;
  function releaseUnused(): void {
    if (!listening && connections === 0) release();
  }
  server.on('connection', (socket) => {
    connections += 1;
    socket.on('error', () => undefined); // `close` follows
    socket.once('close', () => {
      connections -= 1;
      releaseUnused();
    });
    const address = parseAddress(socket.remoteAddress ?? '');
    if (!listening || address === undefined) socket.destroy(); // too late, or gone already
    else onArrival({ socket, local, remote: { address, port: socket.remotePort! } });
  });
  return {
    ...local,
    close() {
      if (!listening) return;
      listening = false;
      server.close(); // the kernel has the port back when this returns
      releaseUnused();
    },
  };
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
