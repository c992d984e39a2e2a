/** An external service that bears witness: it tells each client, and the test, from which address the client came. */
import { createServer, type AddressInfo, type Socket } from 'node:net';

export interface Testimony {
  readonly address: string;
  readonly port: number;
  readonly time: Date;
  /** The first line that the client sent. */
  readonly line: string;
}

export interface Witness {
  readonly port: number;
  /** How many connections were accepted, whatever they sent. */
  readonly accepted: number;
  /** Those that have sent a line, in that order. */
  readonly seen: readonly Testimony[];
  close(): void;
}

const dripEveryMs = 10;

/** Listens on 127.0.0.1 and a port of its own by default. Answers a line with ADDRESS:PORT and echoes what follows; to a client whose line begins with `drip` it sends a byte now and then, for as long as it stays. */
export async function startWitness({ address: host = '127.0.0.1', port: listenPort = 0 }: { readonly address?: string; readonly port?: number } = {}): Promise<Witness> {
  const seen: Testimony[] = [];
  const open = new Set<Socket>();
  let accepted = 0;
  const server = createServer({ noDelay: true }, (socket) => {
    accepted += 1;
    open.add(socket);
    socket.on('error', () => socket.destroy());
    socket.once('close', () => open.delete(socket));
    const { remoteAddress: address = '', remotePort: port = 0 } = socket;
    let text = '';
    socket.on('data', function readLine(chunk: Buffer) {
      text += chunk.toString('latin1');
      const end = text.indexOf('\n');
      if (end === -1) return;
      socket.off('data', readLine);
      const line = text.slice(0, end);
      seen.push({ address, port, time: new Date(), line });
      socket.write(`${address}:${port}\n${text.slice(end + 1)}`);
      socket.on('data', (more: Buffer) => void socket.write(more));
      if (!line.startsWith('drip')) return;
      const drip = setInterval(() => socket.write('.'), dripEveryMs);
      socket.once('close', () => clearInterval(drip));
    });
  });
  await new Promise<void>((resolve) => server.listen(listenPort, host, resolve));
  return {
    port: (server.address() as AddressInfo).port,
    get accepted() {
      return accepted;
    },
    seen,
    close() {
      server.close();
      for (const socket of open) socket.destroy();
    },
  };
}
