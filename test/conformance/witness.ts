/** The external service of the conformance table. It speaks first, as FTP servers do, so that whoever is connected to it too early hears it. */
import { once } from 'node:events';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';

export interface ConformanceWitness {
  readonly witnessPort: number;
  readonly proxyPort: number;
  /** Connections so far, whatever became of them. */
  readonly accepted: number;
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

/** The greeting in what a workload has heard so far. */
export function greetingIn(heard: string): Greeting | undefined {
  const [, from, fromPort, reached, reachedPort] = /220 (\S+) port ([0-9]+) has reached (\S+) port ([0-9]+) *\r\n/.exec(heard) ?? [];
  return from === undefined ? undefined : { from, fromPort: Number(fromPort), reached: reached!, reachedPort: Number(reachedPort) };
}

const portsTriedMax = 20;

/** Listens on one port at each of the addresses, and on another as a forward proxy that agrees to every CONNECT and leads to itself. */
export async function startWitness(addresses: readonly string[]): Promise<ConformanceWitness> {
  const servers: Server[] = [];
  const open = new Set<Socket>();
  let accepted = 0;

  /** On a port that is free at the first address; where another has it in use, on another one. */
  async function listenEverywhere(serve: (socket: Socket) => void, triesLeft = portsTriedMax): Promise<number> {
    const listening: Server[] = [];
    let port = 0;
    try {
      for (const address of addresses) {
        const server = createServer({ noDelay: true }, (socket) => {
          accepted += 1;
          open.add(socket);
          socket.on('error', () => socket.destroy());
          socket.once('close', () => open.delete(socket));
          serve(socket);
        });
        await once(server.listen(port, address), 'listening');
        listening.push(server);
        ({ port } = server.address() as AddressInfo);
      }
    } catch (error) {
      for (const server of listening) server.close();
      if (triesLeft > 1) return await listenEverywhere(serve, triesLeft - 1);
      throw error;
    }
    servers.push(...listening);
    return port;
  }

  return {
    witnessPort: await listenEverywhere(bearWitness),
    proxyPort: await listenEverywhere(agreeFirst),
    get accepted() {
      return accepted;
    },
    close() {
      for (const server of servers) server.close();
      for (const socket of open) socket.destroy();
    },
  };
}

function bearWitness(socket: Socket): void {
  const { remoteAddress: from = '', remotePort: fromPort = 0, localAddress: reached = '', localPort: reachedPort = 0 } = socket;
  socket.write(greet({ from, fromPort, reached, reachedPort }));
  onText(socket, 'QUIT\r\n', () => socket.end('221 bye\r\n'));
}

function agreeFirst(socket: Socket): void {
  onText(socket, '\r\n\r\n', () => {
    socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
    bearWitness(socket);
  });
}

/** Once, when everything that was said since ends like this. */
function onText(socket: Socket, ending: string, then: () => void): void {
  let text = '';
  socket.on('data', function hear(chunk: Buffer) {
    text += chunk.toString('latin1');
    if (!text.endsWith(ending)) return;
    socket.off('data', hear);
    then();
  });
}
