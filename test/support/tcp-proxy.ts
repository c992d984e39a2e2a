/** A TCP proxy on loopback whose connections can be cut, as a network does. */
import net, { type AddressInfo, type Socket } from 'node:net';

export interface TcpProxy {
  /** `127.0.0.1:PORT`. */
  readonly address: string;
  /** Resets every connection there is, on both sides. New ones pass, unless they are refused. */
  cut(): void;
  /** Whether new connections are reset. */
  refuses: boolean;
  close(): void;
}

export async function startTcpProxy(targetPort: number): Promise<TcpProxy> {
  const open = new Set<Socket>();
  const server = net.createServer((client) => {
    if (proxy.refuses) {
      client.on('error', () => undefined).resetAndDestroy();
      return;
    }
    const target = net.connect(targetPort, '127.0.0.1');
    for (const [socket, other] of [[client, target], [target, client]] as const) {
      open.add(socket);
      socket.on('error', () => undefined);
      socket.once('close', () => {
        open.delete(socket);
        other.destroy();
      });
      socket.pipe(other);
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const cut = (): void => {
    for (const socket of open) socket.resetAndDestroy();
  };
  const proxy: TcpProxy = {
    refuses: false,
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    cut,
    close() {
      server.close();
      cut();
    },
  };
  return proxy;
}
