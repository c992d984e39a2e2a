import type { Server } from 'node:net';
import { SallyportError } from '../core/errors.ts';

const hints: Readonly<Record<string, string>> = {
  EADDRINUSE: 'another process has it; choose another address, then start again',
  EADDRNOTAVAIL: 'this host has no such address; choose one that it has, then start again',
  EACCES: 'a port below 1024 may need a right of its own; choose another, then start again',
  ENOTFOUND: 'no address is known for that name; choose an address, then start again',
};

/** Starts a server and waits until it listens. Throws `unavailable` where the operating system refuses the address. */
export async function listening(server: Server, place: string, listen: () => void): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const refused = (cause: NodeJS.ErrnoException) =>
      reject(new SallyportError('unavailable', `cannot listen on ${JSON.stringify(place)} (${cause.code ?? 'error'})`, { place, cause, hint: hints[cause.code ?? ''] ?? 'choose another address, then start again' }));
    server.once('error', refused);
    server.once('listening', () => {
      server.off('error', refused);
      resolve();
    });
    listen();
  });
}
