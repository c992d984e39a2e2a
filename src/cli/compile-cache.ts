import { existsSync } from 'node:fs';
import { enableCompileCache, flushCompileCache } from 'node:module';
import { join } from 'node:path';

/** For the start to be over, and its code known. */
const flushAfterMs = 5_000;

/**
 * Keeps compiled code beside the state of a process that goes on, so that its next start is faster by half of the time
 * that loading takes; in a directory that others can write to, the cache would be a way to give us their code. To be
 * called before the code is loaded. Does nothing before there is a state. Worker threads follow the environment variable.
 * https://nodejs.org/api/module.html#module-compile-cache
 */
export function keepCompiledCode(stateDirectory: string): void {
  if (!existsSync(stateDirectory) || process.env['NODE_COMPILE_CACHE'] !== undefined) return;
  const directory = join(stateDirectory, 'compile-cache');
  enableCompileCache(directory);
  process.env['NODE_COMPILE_CACHE'] = directory;
  setTimeout(flushCompileCache, flushAfterMs).unref(); // otherwise it is written at the end, which a crash has none of
}
