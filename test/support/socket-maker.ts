/** Makes sockets in the network that this process is in, for its parent, which is in another (sockets.ts). */
import { once } from 'node:events';
import { dial, ownSockets, type AnySocket, type SocketAnswer, type SocketRequest } from './sockets.ts';

process.on('message', ({ id, ...request }: SocketRequest & { readonly id: number }) => {
  const answer = (content: SocketAnswer, made?: AnySocket, done = (): void => undefined): void => void process.send!(content, made, {}, done);
  make(request).then(
    ({ made, done }) => answer({ id }, made, done),
    (error: unknown) => answer({ id, error: (error as NodeJS.ErrnoException).code ?? String(error) }),
  );
});
process.once('disconnect', () => process.exit());

/** With what is to be done once it is handed over: a connection has gone then, of what listens there are two. */
async function make(request: SocketRequest): Promise<{ readonly made: AnySocket; readonly done?: () => void }> {
  if (request.make === 'connect') {
    const made = dial(request.to, request.from).pause(); // what comes is for whoever has it then
    await once(made, 'connect');
    return { made };
  }
  const made = await ownSockets[request.make](request.at);
  return { made, done: () => void made.close() };
}
