/** The organisation's forward proxy, as small as the demo needs it: CONNECT only, and a log of who came from which address. */
import { createServer, connect, type AddressInfo, type Socket } from 'node:net';

export interface SeenConnection {
  readonly address: string;
  readonly port: number;
  readonly time: Date;
}

export interface ForwardProxy {
  readonly port: number;
  /** Every connection that was accepted, in order. */
  readonly seen: readonly SeenConnection[];
  close(): void;
}

const headBytesMax = 8192;

/** Listens on a free port of 127.0.0.1. */
export async function startForwardProxy(): Promise<ForwardProxy> {
  const seen: SeenConnection[] = [];
  const open = new Set<Socket>();
  const server = createServer((client) => {
    seen.push({ address: client.remoteAddress ?? '', port: client.remotePort ?? 0, time: new Date() });
    track(client);
    let head = '';
    client.on('error', () => client.destroy());
    client.setTimeout(30_000, () => client.destroy());
    client.on('data', function readHead(chunk: Buffer) {
      head += chunk.toString('latin1');
      const end = head.indexOf('\r\n\r\n');
      if (end === -1 && head.length < headBytesMax) return;
      client.off('data', readHead);
      const match = /^CONNECT 127\.0\.0\.1:([0-9]{1,5}) HTTP\/1\.[01]\r\n/.exec(head);
      if (match === null) {
        client.end('HTTP/1.1 405 Method Not Allowed\r\n\r\n');
        return;
      }
      const origin = connect(Number(match[1]), '127.0.0.1', () => {
        client.write('HTTP/1.1 200 Connection established\r\n\r\n');
        client.pipe(origin).pipe(client);
      });
      track(origin);
      origin.on('error', () => client.destroy());
    });
  });
  function track(socket: Socket): void {
    open.add(socket);
    socket.once('close', () => open.delete(socket));
  }
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    seen,
    close() {
      server.close();
      for (const socket of open) socket.destroy();
    },
  };
}
