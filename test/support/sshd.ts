/** A real OpenSSH server on loopback that does nothing but SFTP, as a process without privileges with files of its own. */
import { execFileSync } from 'node:child_process';
import { chmod, chown, copyFile, cp, mkdir, mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { findFreePorts } from '../../src/demo/processes.ts';
import { librariesOf } from './peers.ts';
import { startServerProcess } from './server-process.ts';

export interface Sshd {
  readonly port: number;
  /** Who may log in, by the key in `keyFile`. */
  readonly user: string;
  readonly keyFile: string;
  /** Where it is writable. */
  readonly directory: string;
  /** The addresses that logged in, as it logged them. */
  clients(): Promise<readonly string[]>;
  readonly stop: () => Promise<void>;
}

/** Somebody who is on every Debian: as root, OpenSSH wants a user that its package makes. */
const nobody = { name: 'nobody', uid: 65_534, gid: 65_534 };

/** @param program path of sshd, see `requirePeer` */
export async function startSshd(program: string): Promise<Sshd> {
  const base = await mkdtemp(join(tmpdir(), 'sallyport-sshd-'));
  const asRoot = process.getuid?.() === 0;
  const user = asRoot ? nobody.name : userInfo().username;
  const file = (name: string): string => join(base, name);
  const [port] = (await findFreePorts(1)) as [number];
  for (const name of ['host', 'client']) execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', file(name)]);
  await copyFile(file('client.pub'), file('authorized'));
  await mkdir(file('files'));
  const lines = [
    `ListenAddress 127.0.0.1:${port}`,
    `HostKey ${file('host')}`,
    `PidFile ${file('pid')}`,
    `AuthorizedKeysFile ${file('authorized')}`,
    'AuthenticationMethods publickey',
    'StrictModes no',
    'UsePAM yes',
    'Subsystem sftp internal-sftp',
    'ForceCommand internal-sftp',
  ];
  await writeFile(file('sshd_config'), `${lines.join('\n')}\n`);
  await cp(join(program, '../../..'), file('package'), { recursive: true }); // the cache may be where nobody may read
  if (asRoot) for (const name of ['', 'host', 'authorized', 'files', 'sshd_config']) await chown(file(name), nobody.uid, nobody.gid);
  await chmod(base, 0o755);
  const copy = file('package/usr/sbin/sshd');
  const server = await startServerProcess(copy, ['-D', '-e', '-f', file('sshd_config')], { directory: base, ready: port, env: librariesOf(copy), ...(asRoot ? { uid: nobody.uid, gid: nobody.gid } : {}) });
  return {
    port,
    user,
    keyFile: file('client'),
    directory: file('files'),
    clients: () => Promise.resolve([...new Set([...server.output().matchAll(/Accepted publickey for \S+ from (\S+)/g)].map(([, address]) => address!))]),
    stop: server.stop,
  };
}
