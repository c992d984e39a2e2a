import { readFile } from 'node:fs/promises';
import { SallyportError } from '../core/errors.ts';

/**
 * Reads a join token or a pod's token from a file at each call: undefined while there is no such file, so that it may come later. The file
 * is left alone, since it may lie on a read-only mount and a spent token opens nothing to another key. Throws SallyportError `file-unreadable`.
 */
export function tokenFile(path: string): () => Promise<string | undefined> {
  return async () => {
    try {
      return (await readFile(path, 'utf8')).trim();
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw new SallyportError('file-unreadable', `token file "${path}" cannot be read`, { place: path, cause: error });
    }
  };
}
