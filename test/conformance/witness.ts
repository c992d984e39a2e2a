/** The external service of the conformance table. It speaks first, as FTP servers do, so that whoever is connected to it too early hears it. */
import type { AddressInfo, Server, Socket } from 'node:net';
import { createSecureContext } from 'node:tls';
import { waitFor } from '../../src/demo/processes.ts';
import { makePki } from '../support/pki.ts';
import { ownSockets, type Sockets } from '../support/sockets.ts';
import { serveFtp } from './ftp-server.ts';

export interface ConformanceWitness {
  /** By TCP and by UDP. */
  readonly witnessPort: number;
  readonly proxyPort: number;
  /** Who vouches for it, in PEM: where it is asked for TLS it shows the address that it is asked at, if that is IPv4. */
  readonly caCertificates: string;
  /** Connections and datagrams that have come so far, whatever became of them. */
  readonly accepted: number;
  /** Goes to somebody, from an address of its own, and bears witness there. It tries until somebody listens. */
  goTo(place: { readonly address: string; readonly port: number; readonly from: string }): Promise<void>;
  close(): void;
}

/** What it says first. */
export interface Greeting {
  /** From which address and port it was reached. */
  readonly from: string;
  readonly fromPort: number;
  /** At which. */
  readonly reached: string;
  readonly reachedPort: number;
}

/** As wide whatever the ports are, so that bytes can be compared. */
const greet = ({ from, fromPort, reached, reachedPort }: Greeting): string => `${`220 ${from} port ${fromPort} has reached ${reached} port ${reachedPort}`.padEnd(128)}\r\n`;

export const greetingPattern = /220 (\S+) port ([0-9]+) has reached (\S+) port ([0-9]+) *\r\n/;

/** The greeting in what a workload has heard so far. */
export function greetingIn(heard: string): Greeting | undefined {
  const [, from, fromPort, reached, reachedPort] = greetingPattern.exec(heard) ?? [];
  return from === undefined ? undefined : { from, fromPort: Number(fromPort), reached: reached!, reachedPort: Number(reachedPort) };
}

const portsTriedMax = 20;
const heardOutWithinMs = 5_000;

export interface WitnessOptions {
  /** Of the network that it is in. Default: this process's. */
  readonly sockets?: Sockets;
  /** From which port on it listens, and at how many. Default: at one that is free. */
  readonly ports?: { readonly witness: PortCount; readonly proxy: PortCount };
  /** Where its addresses are not those of the table. */
  readonly names?: AddressNames;
}

/** Between the addresses of the table and those of the network that it is played in. */
export interface AddressNames {
  /** Of a text, whatever addresses are in it. */
  readonly inTable: (text: string) => string;
  readonly inNetwork: (address: string) => string;
}

interface PortCount {
  readonly first: number;
  readonly count: number;
}

const anyPort: PortCount = { first: 0, count: 1 };
const sameNames: AddressNames = { inTable: (address) => address, inNetwork: (address) => address };

/**
 * Listens on one port at each of the addresses (of the table), by TCP and by UDP, and on another as a forward proxy that agrees to every CONNECT and
 * leads to itself; where it is told ports, on as many of each.
 */
export async function startWitness(addresses: readonly string[], { sockets = ownSockets, ports = { witness: anyPort, proxy: anyPort }, names: { inTable, inNetwork } = sameNames }: WitnessOptions = {}): Promise<ConformanceWitness> {
  const servers: Closable[] = [];
  const open = new Set<Socket>();
  let accepted = 0;
  const pki = makePki();
  const { certificateChainPem, privateKeyPem } = pki.issue('', { names: addresses.filter((address) => address.includes('.')).map((value) => ({ type: 'ip', value })) });
  const secureContext = createSecureContext({ cert: certificateChainPem, key: privateKeyPem });

  function keep(socket: Socket): void {
    open.add(socket);
    socket.on('error', () => socket.destroy());
    socket.once('close', () => open.delete(socket));
  }

  async function listen(serve: (socket: Socket) => void, address: string, port: number): Promise<Server & Bound> {
    const server = await sockets.listen({ address, port });
    server.on('connection', (socket) => {
      accepted += 1;
      keep(socket);
      serve(socket.setNoDelay(true));
    });
    return server as Server & Bound;
  }

  const greetingOf = (ends: Greeting): string => greet({ ...ends, from: inTable(ends.from), reached: inTable(ends.reached) });

  function bearWitness(socket: Socket): void {
    socket.write(greetingOf(endsOf(socket)));
    serveFtp(socket, { secureContext, listen: (address, onConnection) => listen(onConnection, address, 0), file: (data) => greetingOf(endsOf(data)) });
  }

  function agreeFirst(socket: Socket): void {
    let text = '';
    socket.on('data', function hear(chunk: Buffer) {
      text += chunk.toString('latin1');
      if (!text.endsWith('\r\n\r\n')) return;
      socket.off('data', hear);
      socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
      bearWitness(socket);
    });
  }

  /** Answers every datagram with a greeting. */
  async function listenByUdp(address: string, port: number): Promise<Closable & Bound> {
    const socket = await sockets.bind({ address, port });
    return socket.on('message', (_payload, { address: from, port: fromPort }) => {
      accepted += 1;
      socket.send(greetingOf({ from, fromPort, reached: address, reachedPort: port }), fromPort, from);
    });
  }

  type Way = (address: string, port: number) => Promise<Closable & Bound>;

  /** Listens in each of these ways at every address, on this port, or on one that is free at the first; where another has it in use, on another one. */
  async function listenEverywhere(ways: readonly Way[], wanted: number, triesLeft = portsTriedMax): Promise<number> {
    const listening: Closable[] = [];
    let port = wanted;
    try {
      for (const address of addresses.map(inNetwork)) {
        for (const way of ways) {
          const server = await way(address, port);
          listening.push(server);
          ({ port } = server.address());
        }
      }
    } catch (error) {
      for (const server of listening) server.close();
      if (wanted === 0 && triesLeft > 1) return await listenEverywhere(ways, wanted, triesLeft - 1);
      throw error;
    }
    servers.push(...listening);
    return port;
  }

  async function listenAt({ first, count }: PortCount, ways: readonly Way[]): Promise<number> {
    const found = await Promise.all(Array.from({ length: count }, (_, index) => listenEverywhere(ways, first === 0 ? 0 : first + index)));
    return found[0]!;
  }

  return {
    witnessPort: await listenAt(ports.witness, [(address, port) => listen(bearWitness, address, port), listenByUdp]),
    proxyPort: await listenAt(ports.proxy, [(address, port) => listen(agreeFirst, address, port)]),
    caCertificates: pki.rootPem,
    get accepted() {
      return accepted;
    },
    async goTo({ address, port, from }) {
      await waitFor(`somebody who listens at ${address} port ${port}`, heardOutWithinMs, async () => {
        const socket = await sockets.connect({ address: inNetwork(address), port }, { address: inNetwork(from), port: 0 }).catch(() => undefined);
        if (socket === undefined) return undefined;
        keep(socket);
        bearWitness(socket);
        return true;
      });
    },
    close() {
      for (const server of servers) server.close();
      for (const socket of open) socket.destroy();
    },
  };
}

interface Closable {
  close(): void;
}

interface Bound {
  address(): AddressInfo;
}

function endsOf({ remoteAddress: from = '', remotePort: fromPort = 0, localAddress: reached = '', localPort: reachedPort = 0 }: Socket): Greeting {
  return { from, fromPort, reached, reachedPort };
}
