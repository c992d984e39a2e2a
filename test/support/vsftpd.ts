/** A real vsftpd, by default on loopback, as a plain process with files of its own. Anonymous users may read, and write below /upload. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { makeServerHome, type FtpServer } from './ftp-server.ts';
import { startServerProcess, type ServerProcessOptions } from './server-process.ts';

export interface Vsftpd extends FtpServer {
  /** What vsftpd logged, its protocol log included. */
  log(): Promise<string>;
}

export interface VsftpdPlace extends Pick<ServerProcessOptions, 'enter'> {
  /** Default 127.0.0.1. */
  readonly address?: string;
  /** Default: a free one. */
  readonly port?: number;
}

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
export async function startVsftpd(program: string, settings: Readonly<Record<string, string>> = {}, { address = '127.0.0.1', port, enter = [] }: VsftpdPlace = {}): Promise<Vsftpd> {
  const made = await makeServerHome('vsftpd');
  const home = { ...made, port: port ?? made.port };
  const file = (name: string): string => join(home.base, name);
  const logFile = file('vsftpd.log');
  await mkdir(file('empty'));
  await writeFile(logFile, '');
  const options = {
    ...(address.includes(':') ? { listen: 'NO', listen_ipv6: 'YES', listen_address6: address } : { listen: 'YES', listen_address: address }),
    listen_port: String(home.port),
    background: 'NO',
    anonymous_enable: 'YES',
    local_enable: 'NO',
    no_anon_password: 'YES',
    anon_root: home.directory,
    write_enable: 'YES',
    anon_upload_enable: 'YES',
    anon_mkdir_write_enable: 'YES',
    anon_other_write_enable: 'YES',
    anon_umask: '022',
    utf8_filesystem: 'YES',
    secure_chroot_dir: file('empty'),
    run_as_launching_user: process.getuid?.() === 0 ? 'NO' : 'YES',
    seccomp_sandbox: 'NO', // kills sessions on kernels newer than the package
    xferlog_enable: 'YES',
    xferlog_std_format: 'NO',
    log_ftp_protocol: 'YES',
    vsftpd_log_file: logFile,
    ...settings,
  } as Readonly<Record<string, string>>;
  await writeFile(file('vsftpd.conf'), Object.entries(options).map(([name, value]) => `${name}=${value}\n`).join(''));
  const { stop } = await startServerProcess(program, [file('vsftpd.conf')], { directory: home.base, ready: home.port, enter });
  const log = () => readFile(logFile, 'utf8');
  return {
    port: home.port,
    directory: home.directory,
    log,
    clients: async () => [...new Set([...(await log()).matchAll(/CONNECT: Client "(?:::ffff:)?([^"]+)"/g)].map(([, address]) => address!))],
    stop,
  };
}
