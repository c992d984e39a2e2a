/** A real OpenSSH server on loopback that does nothing but SFTP, as a process without privileges with files of its own. */
import { execFileSync, spawn } from 'node:child_process';
import { chmod, chown, copyFile, cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { findFreePorts, waitFor } from '../../src/demo/processes.ts';
import { librariesOf } from './peers.ts';

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
  const child = spawn(copy, ['-D', '-e', '-f', file('sshd_config')], { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, ...librariesOf(copy) }, ...(asRoot ? { uid: nobody.uid, gid: nobody.gid } : {}) });
  let output = '';
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const kill = (): void => void child.kill('SIGKILL');
  process.once('exit', kill);

  async function stop(): Promise<void> {
    kill();
    process.off('exit', kill);
    await exited;
    await rm(base, { recursive: true, force: true });
  }

  try {
    await waitFor('sshd', 10_000, async () => {
      if (child.exitCode !== null) throw new Error(`sshd has ended: ${output}`);
      return (await greets(port)) ? true : undefined;
    });
  } catch (error) {
    await stop();
    throw error;
  }
  output = '';
  return {
    port,
    user,
    keyFile: file('client'),
    directory: file('files'),
    clients: () => Promise.resolve([...new Set([...output.matchAll(/Accepted publickey for \S+ from (\S+)/g)].map(([, address]) => address!))]),
    stop,
  };
}

function greets(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1');
    socket.once('data', (bytes: Buffer) => {
      resolve(bytes.toString().startsWith('SSH-2.0-'));
      socket.destroy();
    });
    socket.on('error', () => resolve(false));
  });
}
