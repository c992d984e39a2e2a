/** What tests need of a real FTP server, whichever it is, and how one is run on loopback as a plain process with files of its own. */
import { spawn } from 'node:child_process';
import { chmod, chown, mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findFreePorts, waitFor } from '../../src/demo/processes.ts';
import type { FtpDataMode, FtpsHandshake } from '../../src/core/objects/index.ts';

export interface FtpServer {
  readonly port: number;
  /** Served as `/`; `upload` in it is writable. */
  readonly directory: string;
  /** The addresses of clients, each once, as the server logged them. */
  clients(): Promise<readonly string[]>;
  readonly stop: () => Promise<void>;
}

export interface FtpServerOptions {
  /** The only one that the server takes part in. */
  readonly dataMode: FtpDataMode;
  /** Files in PEM; with them the server speaks nothing but TLS. */
  readonly tls: { readonly handshake: FtpsHandshake; readonly certificateFile: string; readonly keyFile: string } | null;
  /** Where it awaits data connections. Default: anywhere. */
  readonly passivePorts?: { readonly first: number; readonly last: number };
}

/** What servers name in a 227, like one that does not know how it is reached: nobody listens there. */
export const announcedAddress = '127.0.3.1';

/** Who may log in where a server has users of its own. */
export const ftpUser = { name: 'workload', password: 'open sesame' } as const;

/** Where a server keeps what it serves and what it writes, and on whose behalf it serves. */
export interface ServerHome {
  readonly base: string;
  readonly directory: string;
  readonly port: number;
  /** Whom files belong to: Debian's user `ftp` for root, else whoever runs the test. */
  readonly uid: number;
  readonly gid: number;
}

export async function makeServerHome(name: string): Promise<ServerHome> {
  const base = await mkdtemp(join(tmpdir(), `sallyport-${name}-`));
  const directory = join(base, 'files');
  await chmod(base, 0o755); // servers serve as another user
  await mkdir(join(directory, 'upload'), { recursive: true });
  const { uid, gid } = process.getuid?.() === 0 ? await idsOfFtp() : { uid: process.getuid!(), gid: process.getgid!() };
  await chown(join(directory, 'upload'), uid, gid);
  const [port] = (await findFreePorts(1)) as [number];
  return { base, directory, port, uid, gid };
}

async function idsOfFtp(): Promise<{ readonly uid: number; readonly gid: number }> {
  const found = /^ftp:[^:]*:([0-9]+):([0-9]+):/m.exec(await readFile('/etc/passwd', 'utf8'));
  if (found === null) throw new Error('there is no user "ftp" to serve as');
  return { uid: Number(found[1]), gid: Number(found[2]) };
}

export interface ServerPlace extends Pick<ServerHome, 'base' | 'port'> {
  /** What stands before the server's command where it is to run on another host. */
  readonly enter?: readonly string[];
}

/** What ends the servers that run: they do not outlive the tests. */
const running = new Set<() => void>();
process.once('exit', () => running.forEach((kill) => kill()));

/** Runs a server until it listens. @returns what ends it, and removes its home */
export async function runServer(program: string, args: readonly string[], { base, port, enter = [] }: ServerPlace, env: Readonly<Record<string, string>> = {}): Promise<() => Promise<void>> {
  const [first, ...others] = [...enter, program, ...args] as [string, ...string[]];
  const child = spawn(first, others, { stdio: ['ignore', 'pipe', 'pipe'], detached: true, env: { ...process.env, ...env } }); // a group of its own, for servers fork for each session
  const exited = new Promise<void>((resolve) => child.once('close', () => resolve()));
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const killGroup = (): void => {
    if (child.exitCode === null && child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
  };
  running.add(killGroup);

  async function stop(): Promise<void> {
    killGroup();
    running.delete(killGroup);
    await exited;
    await rm(base, { recursive: true, force: true });
  }

  try {
    await waitFor(program, 10_000, async () => {
      if (child.exitCode !== null) throw new Error(`${program} has ended: ${output}`);
      return (await isListening(child.pid!, port)) ? true : undefined;
    });
  } catch (error) {
    await stop();
    throw error;
  }
  return stop;
}

/**
 * Whether somebody listens at a TCP port in the network that a process is in, which need not be ours. It is the kernel that says so: a
 * server that is asked itself has had a client more.
 */
async function isListening(pid: number, port: number): Promise<boolean> {
  const listener = new RegExp(`^ *\\d+: [0-9A-F]+:${port.toString(16).toUpperCase().padStart(4, '0')} [0-9A-F]+:0000 0A `, 'm');
  const tables = await Promise.all(['tcp', 'tcp6'].map((table) => readFile(`/proc/${pid}/net/${table}`, 'latin1').catch(() => ''))); // no IPv6, or the process has just ended
  return tables.some((table) => listener.test(table));
}
