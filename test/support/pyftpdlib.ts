/** A real pyftpdlib on loopback, with one user of its own. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { announcedAddress, ftpUser, makeServerHome, type FtpServer, type FtpServerOptions } from './ftp-server.ts';
import { startServerProcess } from './server-process.ts';

const script = fileURLToPath(new URL('pyftpdlib-server.py', import.meta.url));

/** @param program path of a Python that has pyftpdlib, see `requirePeer` */
export async function startPyftpdlib(program: string, { dataMode, tls, passivePorts }: FtpServerOptions): Promise<FtpServer> {
  const home = await makeServerHome('pyftpdlib');
  const log = join(home.base, 'clients.log');
  await writeFile(log, '');
  const options = { port: home.port, directory: home.directory, user: ftpUser.name, password: ftpUser.password, log, announcedAddress, dataMode, tls, passivePorts: passivePorts ?? null };
  const { stop } = await startServerProcess(program, ['-W', 'ignore', script, JSON.stringify(options)], { directory: home.base, ready: home.port });
  return {
    port: home.port,
    directory: home.directory,
    clients: async () => [...new Set((await readFile(log, 'utf8')).split('\n').filter(Boolean))],
    stop,
  };
}
