import type { Server } from 'node:net';
import { SallyportError } from '../core/errors.ts';

/** Starts a server and waits until it listens. Throws `unavailable` where the operating system refuses the address. */
export async function listening(server: Server, place: string, listen: () => void): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const refused = (cause: NodeJS.ErrnoException) =>
      reject(new SallyportError('unavailable', `cannot listen on ${JSON.stringify(place)} (${cause.code ?? 'error'})`, { place, cause, hint: 'another process may have it; choose another address, then start again' }));
    server.once('error', refused);
    server.once('listening', () => {
      server.off('error', refused);
      resolve();
    });
    listen();
  });
}
