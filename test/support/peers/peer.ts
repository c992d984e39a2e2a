/** What a peer is: a real program that tests talk to, and how it comes to a machine that lacks it. */
import { spawnSync } from 'node:child_process';
import { accessSync, constants, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';

export interface Peer {
  readonly program: string;
  /** Its path, or undefined where it is not there. */
  find(): string | undefined;
  /** Debian's packages that it is in, or that are needed to make it. */
  readonly debianPackages: readonly string[];
  /** The command that makes it, where a package alone does not. */
  readonly command?: string;
  /** As `command`. Throws where it fails. */
  readonly make?: () => void;
}

/** Outside of every checkout; each folder in it is named by what it holds and the version of that. */
export const cache = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'sallyport');

const searchPath = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/sbin', '/usr/local/go/bin'];

export function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** The path of an installed program, or undefined. */
export function findProgram(program: string): string | undefined {
  return searchPath.map((directory) => join(directory, program)).find(isProgram);
}

/** Fills a folder whole or not at all: what was broken off would be taken for there. */
export function fill(folder: string, into: (partial: string) => void): void {
  mkdirSync(dirname(folder), { recursive: true });
  const partial = mkdtempSync(`${folder}-`);
  try {
    into(partial);
    rmSync(folder, { recursive: true, force: true });
    renameSync(partial, folder);
  } finally {
    rmSync(partial, { recursive: true, force: true });
  }
}

export interface RunOptions {
  readonly directory?: string;
  readonly environment?: Readonly<Record<string, string>>;
}

/** Runs a command to its end, its output among what is said of the run. Throws where it fails. */
export function run([program, ...args]: readonly [string, ...string[]], { directory = process.cwd(), environment = {} }: RunOptions = {}): void {
  const { status } = spawnSync(program, args, { cwd: directory, stdio: ['ignore', 2, 2], env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive', ...environment } });
  if (status !== 0) throw new Error(`${program} ${args.join(' ')} failed with status ${status}`);
}
