/** A way out of a network of namespaces, for what is to reach a server of this machine: a control plane beside an API server. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, type Server, type Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import type { NetworkHost } from './network-namespaces.ts';

/** Leads a port of 127.0.0.1 on the host to the same port of 127.0.0.1 here. */
export async function leadOut(host: NetworkHost, port: number): Promise<{ close(): void }> {
  const [first, ...others] = [...host.enter, process.execPath, fileURLToPath(new URL('listen-for-parent.ts', import.meta.url)), String(port)] as [string, ...string[]];
  const child = spawn(first, others, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  const [, listener] = (await once(child, 'message')) as [unknown, Server];
  child.kill('SIGKILL');
  const sockets = new Set<Socket>();
  listener.on('connection', (client: Socket) => {
    const server = connect(port, '127.0.0.1');
    for (const [socket, other] of [[client, server], [server, client]] as const) {
      sockets.add(socket);
      socket.on('error', () => undefined).once('close', () => {
        sockets.delete(socket);
        other.destroy();
      });
      socket.pipe(other);
    }
  });
  return {
    close() {
      listener.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}
