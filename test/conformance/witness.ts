/** The external service of the conformance table. It speaks first, as FTP servers do, so that whoever is connected to it too early hears it. */
import { once } from 'node:events';
import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { createSecureContext } from 'node:tls';
import { waitFor } from '../../src/demo/processes.ts';
import { makePki } from '../support/pki.ts';
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

/**
 * Listens on one port at each of the addresses, by TCP and by UDP, and on another as a forward proxy that agrees to every CONNECT and
 * leads to itself.
 */
export async function startWitness(addresses: readonly string[]): Promise<ConformanceWitness> {
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

  function listenTo(serve: (socket: Socket) => void): Server {
    return createServer({ noDelay: true }, (socket) => {
      accepted += 1;
      keep(socket);
      serve(socket);
    });
  }

  function bearWitness(socket: Socket): void {
    socket.write(greet(endsOf(socket)));
    serveFtp(socket, { secureContext, listen: listenTo, file: (data) => greet(endsOf(data)) });
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

  async function listen(serve: (socket: Socket) => void, address: string, port: number): Promise<Closable & Bound> {
    const server = listenTo(serve);
    await once(server.listen(port, address), 'listening');
    return server as Closable & Bound;
  }

  /** Answers every datagram with a greeting. */
  async function listenByUdp(address: string, port: number): Promise<Closable & Bound> {
    const socket: UdpSocket = createSocket(address.includes(':') ? 'udp6' : 'udp4', (_payload, { address: from, port: fromPort }) => {
      accepted += 1;
      socket.send(greet({ from, fromPort, reached: address, reachedPort: port }), fromPort, from);
    });
    socket.bind(port, address);
    await once(socket, 'listening');
    return socket;
  }

  /** Listens in each of these ways at every address, on a port that is free at the first; where another has it in use, on another one. */
  async function listenEverywhere(ways: readonly ((address: string, port: number) => Promise<Closable & Bound>)[], triesLeft = portsTriedMax): Promise<number> {
    const listening: Closable[] = [];
    let port = 0;
    try {
      for (const address of addresses) {
        for (const way of ways) {
          const server = await way(address, port);
          listening.push(server);
          ({ port } = server.address());
        }
      }
    } catch (error) {
      for (const server of listening) server.close();
      if (triesLeft > 1) return await listenEverywhere(ways, triesLeft - 1);
      throw error;
    }
    servers.push(...listening);
    return port;
  }

  return {
    witnessPort: await listenEverywhere([(address, port) => listen(bearWitness, address, port), listenByUdp]),
    proxyPort: await listenEverywhere([(address, port) => listen(agreeFirst, address, port)]),
    caCertificates: pki.rootPem,
    get accepted() {
      return accepted;
    },
    async goTo({ address, port, from }) {
      await waitFor(`somebody who listens at ${address} port ${port}`, heardOutWithinMs, async () => {
        const socket = connect({ host: address, port, localAddress: from, noDelay: true });
        keep(socket);
        return await once(socket, 'connect').then(
          () => {
            bearWitness(socket);
            return true;
          },
          () => undefined,
        );
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
