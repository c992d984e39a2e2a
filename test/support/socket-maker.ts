/** Makes sockets in the network that this process is in, for its parent, which is in another (sockets.ts). */
import { once } from 'node:events';
import { dial, ownSockets, type AnySocket, type SocketAnswer, type SocketRequest } from './sockets.ts';

process.on('message', ({ id, ...request }: SocketRequest & { readonly id: number }) => {
  const answer = (content: Omit<SocketAnswer, 'id'>, socket?: AnySocket, done = (): void => undefined): void => void process.send!({ id, ...content }, socket, {}, done);
  make(request).then(
    ({ made, letGo }) => answer({}, made, () => letGo(() => answer({ over: true }))),
    (error: unknown) => answer({ error: (error as NodeJS.ErrnoException).code ?? String(error) }),
  );
});
process.once('disconnect', () => process.exit());

/** With how it is let go once it is handed over: a connection has gone then, of what listens there are two. */
async function make(request: SocketRequest): Promise<{ readonly made: AnySocket; readonly letGo: (done: () => void) => void }> {
  if (request.make === 'connect') {
    const made = dial(request.to, request.from).pause(); // what comes is for whoever has it then
    await once(made, 'connect');
    return { made, letGo: (done) => done() };
  }
  const made = await ownSockets[request.make](request.at);
  return { made, letGo: (done) => void made.close(done) };
}
