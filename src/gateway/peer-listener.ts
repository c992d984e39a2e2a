import net from 'node:net';
import type { IpAddress } from '../core/ip-address.ts';
import { parseAddress } from '../core/ip-address.ts';
import type { PortRange } from '../core/plan/plan.ts';
import { reset } from '../relay/reset.ts';
import { keepAliveDelayMs } from './dial.ts';
import type { PeerListener, PeerListenerEvents } from './protocol.ts';
import type { TlsFront } from './tls-front.ts';

interface PeerListenerOptions {
  readonly front: TlsFront;
  readonly address: string;
  readonly ports: PortRange | null;
  readonly events: PeerListenerEvents;
  readonly random: () => number;
}

/** One session expects one connection; some more may knock before it does. */
const connectionsMax = 16;
const backlog = 16;
const portsTriedMax = 256;

/** See `ProtocolContext.listenForPeers`. The first port is a random one, so that it cannot be foreseen (RFC 2577 section 8). */
export async function listenForPeers({ front, address, ports, events, random }: PeerListenerOptions): Promise<PeerListener | undefined> {
  const size = ports === null ? 1 : ports.last - ports.first + 1;
  const start = Math.floor(random() * size);
  for (let tried = 0; tried < Math.min(size, portsTriedMax); tried++) {
    const server = await listen(address, ports === null ? 0 : ports.first + ((start + tried) % size));
    if (server !== undefined) return serve(server, front, parseAddress(address)!, events);
  }
  return undefined;
}

function serve(server: net.Server, front: TlsFront, address: IpAddress, events: PeerListenerEvents): PeerListener {
  let open = true;
  server.on('connection', (carrier) => {
    front.accept(carrier, {
      verified(socket, peer, client) {
        if (open) events.peer(socket, peer, client);
        else reset(socket);
      },
      refused({ reason, detail, client }) {
        if (open) events.refused(reason, detail, client);
      },
    });
  });
  return {
    address,
    port: (server.address() as net.AddressInfo).port,
    close() {
      open = false;
      server.close();
    },
  };
}

/** Undefined where the port is taken, or cannot be had. */
function listen(address: string, port: number): Promise<net.Server | undefined> {
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
