/** The credentials of a BIG-IP: a folder with files, which is also what a mounted Secret is. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { SallyportError } from '../../core/errors.ts';

export interface BoxCredentials {
  readonly username: string;
  readonly password: string;
  /** PEM of the only authorities that its certificate may come from; undefined: those that Node.js trusts. */
  readonly ca: string | undefined;
}

/** Read anew for each login, for they are rotated. Throws `file-unreadable`. */
export async function readCredentials(directory: string, name: string): Promise<BoxCredentials> {
  const path = (file: string): string => join(directory, name, file);
  const [username, password, ca] = await Promise.all([read(path('username')), read(path('password')), readIfThere(path('ca.pem'))]);
  // Node.js passes over what is no PEM, and then says that the box's certificate has no issuer.
  if (ca?.includes('-----BEGIN CERTIFICATE-----') === false) throw new SallyportError('file-unreadable', `file "${path('ca.pem')}" has no certificate in PEM`, { place: path('ca.pem') });
  return { username: username.trim(), password: password.replace(/\r?\n$/, ''), ca };
}

async function read(path: string): Promise<string> {
  return await readFile(path, 'utf8').catch((cause: unknown) => {
    throw new SallyportError('file-unreadable', `file "${path}" cannot be read`, { place: path, cause });
  });
}

async function readIfThere(path: string): Promise<string | undefined> {
  return await readFile(path, 'utf8').catch((cause: unknown) => {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new SallyportError('file-unreadable', `file "${path}" cannot be read`, { place: path, cause });
  });
}
