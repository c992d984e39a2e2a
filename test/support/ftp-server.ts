/** What tests need of a real FTP server, whichever it is, and where one keeps its files. */
import { chmod, chown, mkdir, mkdtemp, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findFreePorts } from '../../src/demo/processes.ts';
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
