/** Leads connections to a listener, which the parent has opened in its own network and hands over, to an address of the network that this process is in. */
import { connect, type Server, type Socket } from 'node:net';

const [host, port] = process.argv.slice(2) as [string, string];

process.on('message', (_message, listener) => {
  (listener as Server).on('connection', (client: Socket) => {
    const target = connect(Number(port), host);
    for (const [socket, other] of [[client, target], [target, client]] as const) {
      socket.on('error', () => undefined).once('close', () => other.destroy());
      socket.pipe(other);
    }
  });
});
process.once('disconnect', () => process.exit()); // it does not outlive its parent
