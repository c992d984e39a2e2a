/** What tests need of a real FTP server, whichever it is, and how one is run on loopback as a plain process with files of its own. */
import { spawn } from 'node:child_process';
import { chmod, chown, mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findFreePorts, waitFor } from '../../src/demo/processes.ts';
import type { FtpDataMode } from '../../src/core/objects/index.ts';

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
  readonly tls: { readonly certificateFile: string; readonly keyFile: string } | null;
}

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

/** Runs a server until it greets. @returns what ends it, and removes its home */
export async function runServer(program: string, args: readonly string[], { base, port }: ServerHome, env: Readonly<Record<string, string>> = {}): Promise<() => Promise<void>> {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], detached: true, env: { ...process.env, ...env } }); // a group of its own, for servers fork for each session
  const exited = new Promise<void>((resolve) => child.once('close', () => resolve()));
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const killGroup = (): void => {
    if (child.exitCode === null && child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
  };
  process.once('exit', killGroup);

  async function stop(): Promise<void> {
    killGroup();
    process.off('exit', killGroup);
    await exited;
    await rm(base, { recursive: true, force: true });
  }

  try {
    await waitFor(program, 10_000, async () => {
      if (child.exitCode !== null) throw new Error(`${program} has ended: ${output}`);
      return (await greets(port)) ? true : undefined;
    });
  } catch (error) {
    await stop();
    throw error;
  }
  return stop;
}

function greets(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1');
    socket.on('error', () => resolve(false));
    socket.once('data', (bytes: Buffer) => {
      resolve(bytes.toString().startsWith('220'));
      socket.destroy();
    });
    socket.on('close', () => resolve(false));
  });
}
