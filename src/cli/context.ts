/** What every command is given: where to print, what to read, and where things are kept. */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { SallyportError } from '../core/errors.ts';

export interface CliContext {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdin: AsyncIterable<Buffer>;
  /** Data. */
  out(line: string): void;
  /** Talk. */
  say(line: string): void;
  /** The exit status of a command that answered "no" or found differences. */
  setExitStatus(status: number): void;
  /** Aborted by SIGINT and SIGTERM from the first call on; a command that does not ask ends by them, as programs do. */
  interruption(): AbortSignal;
}

/** Where `serve`, `gateway` and `agent` keep what must survive them. */
export function defaultStateDirectory(env: CliContext['env'], part: string): string {
  const base = env['SALLYPORT_STATE'] ?? (process.getuid?.() === 0 ? '/var/lib/sallyport' : join(env['XDG_STATE_HOME'] ?? join(homedir(), '.local', 'state'), 'sallyport'));
  return join(base, part);
}

export function defaultSocketPath(env: CliContext['env']): string {
  return env['SALLYPORT_SOCKET'] ?? join(defaultStateDirectory(env, 'control'), 'admin.sock');
}

/** Whether it is run as `kubectl sallyport`. */
export function isKubectlPlugin(env: CliContext['env']): boolean {
  return env['SALLYPORT_KUBERNETES'] === 'true';
}

/** Reads a file, or says which one could not be read and why. */
export function readBytes(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new SallyportError('file-unreadable', `${JSON.stringify(path)} cannot be read (${errorCodeOf(cause)})`, { place: path, cause });
  }
}

export function readFile(path: string): string {
  return readBytes(path).toString('utf8');
}

/** The first line of a file that holds nothing else. */
export function readPassphrase(path: string): string {
  return readFile(path).replace(/\r?\n$/, '');
}

/** Writes a file that only its owner may read. One that is there already is replaced, not written into: it may be open to others. */
export function writeFile(path: string, content: string | Buffer): void {
  try {
    rmSync(path, { force: true });
    writeFileSync(path, content, { mode: 0o600, flag: 'wx' });
  } catch (cause) {
    throw new SallyportError('usage', `${JSON.stringify(path)} cannot be written (${errorCodeOf(cause)})`, { place: path, cause });
  }
}

/** `ENOENT` and the like. */
export function errorCodeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : 'error';
}
