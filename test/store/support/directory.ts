import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Runs a test in a directory of its own, and removes that whatever happens. */
export async function inDirectory(test: (directory: string) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'sallyport-store-'));
  try {
    await test(directory);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** For `assert.rejects` and `assert.throws`: an error with this code, and with this place if one is given. */
export function hasCode(code: string, place?: string | RegExp): (error: unknown) => boolean {
  return (error) => {
    if (!(error instanceof Error) || !('code' in error) || error.code !== code) return false;
    const found = 'place' in error ? String(error.place) : '';
    return place === undefined || (typeof place === 'string' ? found === place : place.test(found));
  };
}

/** For callbacks that a test does not expect to be called. */
export function unexpected(found: unknown): never {
  throw new Error('was called unexpectedly', { cause: found });
}
