import { once } from 'node:events';
import net from 'node:net';

export interface BreakingProxy {
  readonly port: number;
  /** Tears every connection that goes through it. */
  breakAll(): void;
  stop(): void;
}

/** A way to a port of loopback that can be torn at any moment. */
export async function startBreakingProxy(to: number): Promise<BreakingProxy> {
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    const onward = net.connect(to, '127.0.0.1');
    sockets.add(socket);
    for (const end of [socket, onward]) end.on('error', () => undefined); // either may be torn down
    socket.on('close', () => {
      sockets.delete(socket);
      onward.destroy();
    });
    onward.on('close', () => socket.destroy());
    socket.pipe(onward).pipe(socket);
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const breakAll = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    port: (server.address() as net.AddressInfo).port,
    breakAll,
    stop() {
      server.close();
      breakAll();
    },
  };
}
