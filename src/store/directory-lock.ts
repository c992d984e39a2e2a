import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { DatabaseSync } from 'node:sqlite';
import { SallyportError } from '../core/errors.ts';

export interface DirectoryLock {
  release(): void;
}

const sqliteBusy = 5; // https://www.sqlite.org/rescode.html#busy
const retryMs = 50;

/**
 * Makes this process the only one to use a directory, until it releases the lock or dies however it dies: the kernel
 * holds the lock, so a stale one cannot be. Waits up to `waitMs` for a predecessor that is just ending, then fails with
 * `journal-locked`.
 *
 * Node has neither flock nor fcntl; SQLite, which is part of it, takes an fcntl lock on a file of ours that stays empty.
 * Unlike a pid file or an abstract socket that also holds between containers that share a volume.
 */
export async function lockDirectory(directory: string, { waitMs = 2_000 }: { readonly waitMs?: number } = {}): Promise<DirectoryLock> {
  for (let waitedMs = 0; ; waitedMs += retryMs) {
    const database = tryLock(join(directory, 'lock'));
    if (database !== undefined) return { release: () => database.close() };
    if (waitedMs >= waitMs) {
      throw new SallyportError('journal-locked', `${JSON.stringify(directory)} is in use by another process`, { place: directory, hint: 'stop the other process, or give this one a directory of its own' });
    }
    await delay(retryMs);
  }
}

function tryLock(path: string): DatabaseSync | undefined {
  const database = new DatabaseSync(path);
  try {
    database.exec('PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE');
    return database;
  } catch (error) {
    database.close();
    if (error instanceof Error && 'errcode' in error && error.errcode === sqliteBusy) return undefined;
    throw new SallyportError('store-failed', `${JSON.stringify(path)} cannot be locked`, { place: path, hint: 'check that the directory is on a file system with POSIX locks and is writable', cause: error });
  }
}
