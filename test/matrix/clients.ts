/** Real FTP clients, and how each is told to do the operations of the matrix. */
import { fileURLToPath } from 'node:url';
import type { FtpDataMode } from '../../src/core/objects/index.ts';
import type { peers } from '../support/peers.ts';
import { reportKept, smallFiles, type Operation } from './operations.ts';

export interface Session {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  readonly mode: FtpDataMode;
  /** Where it may write, and finds `resumed.bin`, an upload that was broken off. */
  readonly directory: string;
  /** Whom it trusts, for a client that is to speak TLS itself; else null. */
  readonly caFile: string | null;
}

/** One run of the client's program. */
export interface Invocation {
  readonly args: readonly string[];
  readonly input?: string;
}

export interface OwnTls {
  /** Whether its data connections resume the TLS session of the control connection. */
  readonly resumesSession: boolean;
  /** Whether it connects to the address that a 227 names, rather than to where its control connection goes. */
  readonly believesAddress: boolean;
}

export interface Client {
  readonly name: string;
  /** Null: Node runs it. */
  readonly peer: keyof typeof peers | null;
  /** How it comes to both modes, or that it does not. */
  readonly modes: readonly FtpDataMode[];
  /** How it behaves where it speaks TLS with a server itself; null: it cannot. */
  readonly tls: OwnTls | null;
  /** What it has no way to do. */
  readonly unable: readonly Operation[];
  /** Prints everything that it can be told, where there is something that it cannot; `never` is in none of it. */
  readonly help?: { readonly args: readonly string[]; readonly never: RegExp };
  /** All else, in this order; what it lists it prints. */
  readonly operate: (session: Session) => readonly Invocation[];
  /** Gets `big.bin` and puts it back into the directory. */
  readonly carry: (session: Session) => Invocation;
}

const bothModes = ['Passive', 'Active'] as const;
const programFile = (name: string): string => fileURLToPath(new URL(`programs/${name}`, import.meta.url));
const urlOf = ({ host, port, user, password, caFile }: Session, tlsScheme: string): string => `${caFile === null ? 'ftp' : tlsScheme}://${user}:${encodeURIComponent(password)}@${host}:${port}`;

/** With TLS 1.3, curl 7.88 now and then resets a connection behind what it has uploaded, since it has not read the server's session tickets. */
const curlArgs = (session: Session, ...transfers: readonly (readonly string[])[]): Invocation => {
  const common = ['-v', '--no-progress-meter', '--max-time', '60', ...(session.mode === 'Active' ? ['--ftp-port', '-'] : []), ...(session.caFile === null ? [] : ['--ssl-reqd', '--cacert', session.caFile, '--tls-max', '1.2'])];
  return { args: ['-q', '--fail-early', ...transfers.flatMap((transfer, index) => [...(index === 0 ? [] : ['--next']), ...common, ...transfer])] };
};

const curl: Client = {
  name: 'curl',
  peer: 'curl',
  modes: bothModes,
  tls: { resumesSession: true, believesAddress: false },
  unable: [],
  operate(session) {
    const url = urlOf(session, 'ftp');
    const own = `${url}/${session.directory}`;
    return [
      curlArgs(
        session,
        ['-l', `${url}/`],
        ['-o', 'got.bin', `${url}/statement.bin`],
        ['-C', '-', '-o', 'resumed.bin', `${url}/statement.bin`],
        ['-T', 'report.bin', `${own}/report.bin`],
        ['-C', '-', '-T', 'report.bin', `${own}/resumed.bin`],
        ['-o', 'back/#1', `${url}/many/{${smallFiles.join(',')}}`],
        ['-T', `many/{${smallFiles.join(',')}}`, `${own}/many/`],
      ),
    ];
  },
  carry: (session) => curlArgs(session, ['-o', 'big.bin', `${urlOf(session, 'ftp')}/big.bin`], ['-T', 'big.bin', `${urlOf(session, 'ftp')}/${session.directory}/big.bin`]),
};

const lftpCommands = ({ host, port, user, password, mode, caFile }: Session, ...commands: readonly string[]): Invocation => {
  const settings = [
    `set net:timeout 20; set net:max-retries 1; set net:persist-retries 0; set net:reconnect-interval-base 1; set ftp:use-abor no; set cmd:fail-exit yes; set ftp:auto-passive-mode no; set ftp:passive-mode ${mode === 'Passive'}`,
    caFile === null ? 'set ftp:ssl-allow no' : `set ftp:ssl-force yes; set ftp:ssl-protect-data yes; set ssl:ca-file ${caFile}; set ssl:priority NORMAL:-VERS-TLS1.3; set ftp:prefer-epsv yes`,
  ];
  return { args: ['--norc', '-d', '-c', [...settings, `open -u "${user}","${password}" -p ${port} ${host}`, ...commands].join('; ')] };
};

const lftp: Client = {
  name: 'lftp',
  peer: 'lftp',
  modes: bothModes,
  tls: { resumesSession: true, believesAddress: false },
  unable: [],
  operate: (session) => [
    lftpCommands(
      session,
      'cls -1',
      'get statement.bin -o got.bin',
      'get -c statement.bin -o resumed.bin',
      `put report.bin -o ${session.directory}/report.bin`,
      `put -c report.bin -o ${session.directory}/resumed.bin`,
      'mirror many back',
      `mirror --reverse many ${session.directory}/many`,
    ),
  ],
  carry: (session) => lftpCommands(session, 'get big.bin', `put big.bin -o ${session.directory}/big.bin`),
};

const tnftpCommands = ({ host, port, user, password, mode }: Session, ...commands: readonly string[]): Invocation => {
  const opening = [`user ${user} "${password}"`, 'binary', 'prompt off', `passive ${mode === 'Passive' ? 'on' : 'off'}`];
  return { args: ['-n', '-v', host, String(port)], input: [...opening, ...commands, 'quit', ''].join('\n') };
};

const tnftp: Client = {
  name: "Debian's ftp",
  peer: 'ftp',
  modes: bothModes,
  tls: null,
  unable: [],
  operate: (session) => [
    tnftpCommands(
      session,
      'ls',
      'get statement.bin got.bin',
      'reget statement.bin resumed.bin',
      `put report.bin ${session.directory}/report.bin`,
      `append report-rest.bin ${session.directory}/resumed.bin`,
      'lcd back',
      'cd many',
      ...smallFiles.map((name) => `get ${name}`), // `mget` asks for a list of each name, which pure-ftpd does not give of files
      'lcd ../many',
      `cd ../${session.directory}/many`,
      `mput ${smallFiles.join(' ')}`,
    ),
  ],
  carry: (session) => tnftpCommands(session, 'get big.bin', `put big.bin ${session.directory}/big.bin`),
};

const ncftpCommands = ({ host, port, user, password, mode }: Session, ...commands: readonly string[]): Invocation => ({
  args: ['-u', user, '-p', password, '-P', String(port), host],
  input: ['set progress-meter 0', `set passive ${mode === 'Passive' ? 'on' : 'off'}`, ...commands, 'quit', ''].join('\n'),
});

const ncftp: Client = {
  name: 'ncftp',
  peer: 'ncftp',
  modes: bothModes,
  tls: null,
  unable: [],
  operate: (session) => [
    ncftpCommands(
      session,
      'ls -1',
      'get -z statement.bin got.bin',
      'get -z statement.bin resumed.bin',
      `put -z report.bin ${session.directory}/report.bin`,
      `put -z report.bin ${session.directory}/resumed.bin`, // it goes on where the server's ends,
      'lcd back',
      'cd many',
      `get ${smallFiles.join(' ')}`,
      'lcd ../many',
      `cd ../${session.directory}/many`,
      `put ${smallFiles.join(' ')}`,
    ),
  ],
  carry: (session) => ncftpCommands(session, 'get big.bin', `put -z big.bin ${session.directory}/big.bin`),
};

const ftplibArgs = ({ host, port, user, password, mode, directory, caFile }: Session, ...command: readonly string[]): Invocation => ({
  args: [programFile('ftplib-client.py'), host, String(port), user, password, mode, directory, caFile ?? '', ...command],
});

const ftplib: Client = {
  name: "Python's ftplib",
  peer: 'python',
  modes: bothModes,
  tls: { resumesSession: false, believesAddress: false },
  unable: [],
  operate: (session) => [ftplibArgs(session, 'operate', String(reportKept), ...smallFiles)],
  carry: (session) => ftplibArgs(session, 'carry'),
};

const wgetArgs = ({ mode, caFile }: Session, ...args: readonly string[]): Invocation => ({
  args: ['--no-config', '--progress=dot:giga', '--server-response', '--timeout=20', '--tries=1', ...(mode === 'Active' ? ['--no-passive-ftp'] : []), ...(caFile === null ? [] : ['--ca-certificate', caFile]), ...args],
});

const wget: Client = {
  name: 'wget',
  peer: 'wget',
  modes: bothModes,
  tls: { resumesSession: true, believesAddress: true },
  unable: ['upload', 'resume an upload', 'upload 20 small files'],
  help: { args: ['--help'], never: /\bupload|\bput\b/i },
  operate(session) {
    const url = urlOf(session, 'ftps');
    return [
      wgetArgs(session, '-O', '-', `${url}/`),
      wgetArgs(session, '-O', 'got.bin', `${url}/statement.bin`),
      wgetArgs(session, '-c', '-O', 'resumed.bin', `${url}/statement.bin`),
      wgetArgs(session, '--recursive', '--no-host-directories', '--cut-dirs=1', '-P', 'back', `${url}/many/`), // by one session, other than for a list of names
    ];
  },
  carry: (session) => wgetArgs(session, `${urlOf(session, 'ftps')}/big.bin`),
};

const basicFtpArgs = ({ host, port, user, password, directory, caFile }: Session, ...command: readonly string[]): Invocation => ({
  args: [programFile('basic-ftp-client.ts'), host, String(port), user, password, directory, caFile ?? '', ...command],
});

const basicFtp: Client = {
  name: "Node's basic-ftp",
  peer: null,
  modes: ['Passive'],
  tls: { resumesSession: true, believesAddress: false },
  unable: [],
  help: { args: ['--input-type=module', '-e', 'import * as all from "basic-ftp"; console.log(Object.keys(all), Object.getOwnPropertyNames(all.Client.prototype))'], never: /active|eprt/i },
  operate: (session) => [basicFtpArgs(session, 'operate', String(reportKept), ...smallFiles)],
  carry: (session) => basicFtpArgs(session, 'carry'),
};

export const clients: readonly Client[] = [curl, lftp, tnftp, ncftp, ftplib, basicFtp, wget];
