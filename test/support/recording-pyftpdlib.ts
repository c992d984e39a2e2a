/** A real pyftpdlib on loopback, with one user of its own, that tells more than other servers: the client's address and port of every connection. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ftpUser, makeServerHome, type FtpServer } from './ftp-server.ts';
import { startServerProcess } from './server-process.ts';

/** What the server says of itself. `session` tells its sessions apart, `peer` is the client's end, `address:port`, `transfer` is `RETR` or `STOR` and a path. */
export type FtpServerEvent =
  | { readonly event: 'session'; readonly session: number; readonly peer: string }
  | { readonly event: 'command'; readonly session: number; readonly transfer: string }
  /** Of a data connection that is over. No peer: it was reset before it was looked at; `dialled`: the server has made it; no transfer: nothing was asked for over it. */
  | { readonly event: 'data'; readonly session: number; readonly peer: string | null; readonly dialled: boolean; readonly transfer: string | null; readonly received: number; readonly sent: number };

export interface RecordingFtpServer extends FtpServer {
  /** In the order in which it happened. */
  events(): Promise<readonly FtpServerEvent[]>;
}

const script = fileURLToPath(new URL('./recording-pyftpdlib.py', import.meta.url));

/** @param program path of a Python that has pyftpdlib, see `requirePeer` */
export async function startRecordingPyftpdlib(program: string): Promise<RecordingFtpServer> {
  const home = await makeServerHome('pyftpdlib');
  const log = join(home.base, 'events.log');
  const { stop } = await startServerProcess(program, ['-W', 'ignore', script, String(home.port), home.directory, ftpUser.name, ftpUser.password, log], { directory: home.base, ready: home.port });
  await writeFile(log, ''); // without our own attempts
  const events = async () => (await readFile(log, 'utf8')).split('\n').filter(Boolean).map((line) => JSON.parse(line) as FtpServerEvent);
  return {
    port: home.port,
    directory: home.directory,
    events,
    clients: async () => [...new Set((await events()).flatMap((event) => (event.event === 'session' ? [event.peer.replace(/:\d+$/, '')] : [])))],
    stop,
  };
}
