/** A real ProFTPD on loopback, with one user of its own. */
import { execFileSync } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { announcedAddress, ftpUser, makeServerHome, type FtpServer, type FtpServerOptions } from './ftp-server.ts';
import { librariesOf } from './peers.ts';
import { startServerProcess } from './server-process.ts';

/** @param program path of proftpd, see `requirePeer` */
export async function startProftpd(program: string, { dataMode, tls, passivePorts }: FtpServerOptions): Promise<FtpServer> {
  const home = await makeServerHome('proftpd');
  const file = (name: string): string => join(home.base, name);
  const hash = execFileSync('openssl', ['passwd', '-6', ftpUser.password], { encoding: 'utf8' }).trim();
  await writeFile(file('users'), `${ftpUser.name}:${hash}:${home.uid}:${home.gid}::${home.directory}:/bin/false\n`, { mode: 0o600 });
  const lines = [
    'ServerType standalone',
    'DefaultAddress 127.0.0.1',
    'SocketBindTight on',
    'UseIPv6 off',
    'UseReverseDNS off',
    `Port ${home.port}`,
    `ModulePath ${join(program, '../../lib/proftpd')}`,
    'LoadModule mod_tls.c',
    ...(process.getuid?.() === 0 ? ['User ftp', 'Group ftp'] : []),
    'AuthOrder mod_auth_file.c',
    `AuthUserFile ${file('users')}`,
    'RequireValidShell off',
    ...(process.getuid?.() === 0 ? ['DefaultRoot ~'] : []),
    `PidFile ${file('pid')}`,
    `ScoreboardFile ${file('scoreboard')}`,
    `SystemLog ${file('system.log')}`,
    'WtmpLog off',
    'TransferLog none',
    'LogFormat client "%a %m"',
    `ExtendedLog ${file('clients.log')} AUTH client`,
    'DelayEngine off', // it answers logins late on purpose
    'AllowOverwrite on',
    'AllowStoreRestart on',
    `MasqueradeAddress ${announcedAddress}`,
    ...(passivePorts === undefined ? [] : [`PassivePorts ${passivePorts.first} ${passivePorts.last}`]),
    `<Limit ${dataMode === 'Passive' ? 'PORT EPRT' : 'PASV EPSV'}>`,
    'DenyAll',
    '</Limit>',
    ...(tls === null ? [] : ['TLSEngine on', 'TLSRequired on', `TLSLog ${file('tls.log')}`, `TLSECCertificateFile ${tls.certificateFile}`, `TLSCertificateChainFile ${tls.certificateFile}`, `TLSECCertificateKeyFile ${tls.keyFile}`]),
    ...(tls?.handshake === 'Implicit' ? ['TLSOptions UseImplicitSSL'] : []),
  ];
  await writeFile(file('clients.log'), '');
  await writeFile(file('proftpd.conf'), `${lines.join('\n')}\n`);
  const { stop } = await startServerProcess(program, ['-n', '-c', file('proftpd.conf')], { directory: home.base, ready: home.port, env: librariesOf(program) });
  return {
    port: home.port,
    directory: home.directory,
    clients: async () => [...new Set([...(await readFile(file('clients.log'), 'utf8')).matchAll(/^(\S+) /gm)].map(([, address]) => address!))],
    stop,
  };
}
