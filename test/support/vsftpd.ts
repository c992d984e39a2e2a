/** A real vsftpd on loopback, as a plain process with files of its own. Anonymous users may read, and write below /upload. */
import { spawn } from 'node:child_process';
import { chmod, chown, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import net from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { FtpServer } from './ftp-server.ts';

export interface Vsftpd extends FtpServer {
  /** What vsftpd logged, its protocol log included. */
  log(): Promise<string>;
}

const readyWithinMs = 5_000;

/** Settings of a server that knows one mode only: whatever a client's is, the other way round must not be needed anywhere. */
export const modeOnly = {
  Passive: { port_enable: 'NO' },
  Active: { pasv_enable: 'NO', connect_from_port_20: 'NO' },
} as const;

/** Settings of a server that speaks nothing but TLS, with data connections that resume its session; certificate and key are files in PEM. */
export const tlsOnly = (certificateFile: string, keyFile: string): Readonly<Record<string, string>> => ({
  ssl_enable: 'YES',
  allow_anon_ssl: 'YES',
  force_anon_logins_ssl: 'YES',
  force_anon_data_ssl: 'YES',
  require_ssl_reuse: 'YES',
  ssl_ciphers: 'HIGH',
  rsa_cert_file: certificateFile,
  rsa_private_key_file: keyFile,
});

/** @param program path of vsftpd, see `requirePeer` */
export async function startVsftpd(program: string, settings: Readonly<Record<string, string>> = {}, address: '127.0.0.1' | '::1' = '127.0.0.1'): Promise<Vsftpd> {
  const base = await mkdtemp(join(tmpdir(), 'sallyport-vsftpd-'));
  const asRoot = process.getuid?.() === 0;
  const directory = join(base, 'files');
  const logFile = join(base, 'vsftpd.log');
  const configuration = join(base, 'vsftpd.conf');
  for (const path of [base, directory, join(base, 'empty')]) {
    await mkdir(path, { recursive: true });
    await chmod(path, 0o755); // vsftpd serves as another user, and refuses a writable root
  }
  await mkdir(join(directory, 'upload'), { mode: 0o777 });
  if (asRoot) {
    const ftpUser = /^ftp:[^:]*:([0-9]+):([0-9]+):/m.exec(await readFile('/etc/passwd', 'utf8'));
    if (ftpUser === null) throw new Error('there is no user "ftp" to serve anonymous users as');
    await chown(join(directory, 'upload'), Number(ftpUser[1]), Number(ftpUser[2]));
  }
  const port = await findFreePort(address);
  const options = {
    ...(address === '::1' ? { listen: 'NO', listen_ipv6: 'YES', listen_address6: address } : { listen: 'YES', listen_address: address }),
    listen_port: String(port),
    background: 'NO',
    anonymous_enable: 'YES',
    local_enable: 'NO',
    no_anon_password: 'YES',
    anon_root: directory,
    write_enable: 'YES',
    anon_upload_enable: 'YES',
    anon_mkdir_write_enable: 'YES',
    anon_other_write_enable: 'YES',
    anon_umask: '022',
    utf8_filesystem: 'YES',
    secure_chroot_dir: join(base, 'empty'),
    run_as_launching_user: asRoot ? 'NO' : 'YES',
    seccomp_sandbox: 'NO', // kills sessions on kernels newer than the package
    xferlog_enable: 'YES',
    xferlog_std_format: 'NO',
    log_ftp_protocol: 'YES',
    vsftpd_log_file: logFile,
    ...settings,
  } as Readonly<Record<string, string>>;
  await writeFile(configuration, Object.entries(options).map(([name, value]) => `${name}=${value}\n`).join(''));
  const child = spawn(program, [configuration], { stdio: ['ignore', 'pipe', 'pipe'], detached: true }); // a group of its own, for vsftpd forks for each session
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const killGroup = (): void => {
    if (child.exitCode !== null || child.pid === undefined) return;
    process.kill(-child.pid, 'SIGKILL');
  };
  process.once('exit', killGroup);

  async function stop(): Promise<void> {
    killGroup();
    process.off('exit', killGroup);
    await exited;
    await rm(base, { recursive: true, force: true });
  }

  const deadlineMs = performance.now() + readyWithinMs;
  const answers = options['implicit_ssl'] === 'YES' ? accepts : greets;
  while (!(await answers(port, address))) {
    if (child.exitCode !== null || performance.now() > deadlineMs) {
      await stop();
      throw new Error(`vsftpd did not start: ${output}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  await writeFile(logFile, ''); // without our own attempts
  const log = () => readFile(logFile, 'utf8');
  return {
    port,
    directory,
    log,
    clients: async () => [...new Set([...(await log()).matchAll(/CONNECT: Client "(?:::ffff:)?([^"]+)"/g)].map(([, address]) => address!))],
    stop,
  };
}

async function findFreePort(address: string): Promise<number> {
  const server = net.createServer().listen(0, address);
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Whether anybody listens: who awaits TLS gives no greeting. */
function accepts(port: number, address: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect(port, address, () => socket.destroy());
    socket.on('error', () => resolve(false));
    socket.on('close', (failed) => resolve(!failed));
  });
}

/** Whether an FTP server answers. Reads the greeting, so that the session is over before anything is counted. */
function greets(port: number, address: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect(port, address);
    let greeted = false;
    socket.on('error', () => resolve(false));
    socket.once('data', () => {
      greeted = true;
      socket.end('QUIT\r\n');
      socket.resume();
    });
    socket.on('close', () => resolve(greeted));
  });
}
