/** A real pure-ftpd on loopback, with one user of its own. */
import { execFileSync } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { announcedAddress, ftpUser, makeServerHome, type FtpServer, type FtpServerOptions } from './ftp-server.ts';
import { startServerProcess } from './server-process.ts';

/** @param program path of pure-ftpd, see `requirePeer` */
export async function startPureFtpd(program: string, { dataMode, tls, passivePorts }: FtpServerOptions): Promise<FtpServer> {
  const home = await makeServerHome('pure-ftpd');
  const file = (name: string): string => join(home.base, name);
  const hash = execFileSync('openssl', ['passwd', '-6', ftpUser.password], { encoding: 'utf8' }).trim(); // pure-pw itself takes seconds for each login
  await writeFile(file('users'), `${ftpUser.name}:${hash}:${home.uid}:${home.gid}::${home.directory}/./::::::::::::\n`, { mode: 0o600 });
  execFileSync(join(program, '../../bin/pure-pw'), ['mkdb', file('users.pdb'), '-f', file('users')]);
  await writeFile(file('transfers.log'), '');
  if (tls !== null) await writeFile(file('server.pem'), `${await readFile(tls.keyFile, 'utf8')}${await readFile(tls.certificateFile, 'utf8')}`, { mode: 0o600 });
  const args = [
    ...['-S', `127.0.0.1,${home.port}`, '-l', `puredb:${file('users.pdb')}`, '-E', '-H', '-g', file('pid'), '-O', `clf:${file('transfers.log')}`],
    ...(dataMode === 'Active' ? ['-N'] : ['-P', announcedAddress]), // "force active mode"; there is no way to force the other
    ...(passivePorts === undefined ? [] : ['-p', `${passivePorts.first}:${passivePorts.last}`]),
    ...(tls === null ? [] : ['-Y', '3', '-2', file('server.pem')]),
  ];
  const { stop } = await startServerProcess(program, args, { directory: home.base, ready: home.port });
  return {
    port: home.port,
    directory: home.directory,
    clients: async () => [...new Set([...(await readFile(file('transfers.log'), 'utf8')).matchAll(/^(\S+) - /gm)].map(([, address]) => address!))],
    stop,
  };
}
