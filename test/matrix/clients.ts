/** Real FTP clients, and how each is told to do the operations of the matrix. */
import type { FtpDataMode } from '../../src/core/objects/index.ts';
import type { peers } from '../support/peers.ts';
import { smallFiles, type Operation } from './operations.ts';

export interface Session {
  readonly port: number;
  readonly user: string;
  readonly password: string;
  readonly mode: FtpDataMode;
}

/** One run of the client's program. */
export interface Invocation {
  readonly args: readonly string[];
  readonly input?: string;
}

export interface Client {
  readonly name: string;
  readonly peer: keyof typeof peers;
  /** What the client itself has no way to do, and why. */
  readonly unable: Partial<Readonly<Record<Operation, string>>>;
  /** A fault of its own that comes and goes: the test runs it again. */
  readonly fault?: { readonly modes: readonly FtpDataMode[]; readonly says: RegExp; readonly reason: string };
  /** Everything else, in this order; what it lists it prints. */
  readonly invocations: (session: Session) => readonly Invocation[];
}

const urlOf = ({ port, user, password }: Session): string => `ftp://${user}:${encodeURIComponent(password)}@127.0.0.1:${port}`;

const curl: Client = {
  name: 'curl',
  peer: 'curl',
  unable: {},
  fault: {
    modes: ['Active'],
    says: /sa_addr inet_ntop\(\) failed/,
    reason: 'curl 7.88 fails now and then with `sa_addr inet_ntop() failed`, as it does also directly at ProFTPD over TLS; the test then runs it again',
  },
  invocations(session) {
    const url = urlOf(session);
    const common = ['-q', '-sS', '--fail-early', '--max-time', '30', ...(session.mode === 'Active' ? ['--ftp-port', '-'] : [])];
    return [
      { args: [...common, '-l', `${url}/`] },
      { args: [...common, '-o', 'got.bin', `${url}/statement.bin`] },
      { args: [...common, '-C', '-', '-o', 'rest.bin', `${url}/statement.bin`] },
      { args: [...common, '-T', 'report.bin', `${url}/upload/report.bin`] },
      { args: [...common, '-o', 'back/#1', `${url}/many/{${smallFiles.join(',')}}`] },
      { args: [...common, '-T', `many/{${smallFiles.join(',')}}`, `${url}/upload/many/`] },
    ];
  },
};

const lftp: Client = {
  name: 'lftp',
  peer: 'lftp',
  unable: {},
  invocations({ port, user, password, mode }) {
    const commands = [
      `set net:timeout 20; set net:max-retries 1; set cmd:fail-exit yes; set ftp:ssl-allow no; set ftp:passive-mode ${mode === 'Passive'}`,
      `open -u "${user}","${password}" -p ${port} 127.0.0.1`,
      'cls -1',
      'get statement.bin -o got.bin',
      'get -c statement.bin -o rest.bin',
      'put report.bin -o upload/report.bin',
      'mirror many back',
      'mirror --reverse many upload/many',
    ];
    return [{ args: ['--norc', '-c', commands.join('; ')] }];
  },
};

const tnftp: Client = {
  name: "Debian's ftp",
  peer: 'ftp',
  unable: {},
  invocations({ port, user, password, mode }) {
    const commands = [
      `user ${user} "${password}"`,
      'binary',
      'prompt off',
      `passive ${mode === 'Passive' ? 'on' : 'off'}`,
      'ls',
      'get statement.bin got.bin',
      'reget statement.bin rest.bin',
      'put report.bin upload/report.bin',
      'lcd back',
      'cd many',
      ...smallFiles.map((name) => `get ${name}`), // `mget` asks for a list of each name, which pure-ftpd does not give of files
      'lcd ../many',
      'cd ../upload/many',
      `mput ${smallFiles.join(' ')}`,
      'quit',
      '',
    ];
    return [{ args: ['-n', '-v', '127.0.0.1', String(port)], input: commands.join('\n') }];
  },
};

const ftplibScript = `
import ftplib, os, sys
port, user, password, passive, *names = sys.argv[1:]
with ftplib.FTP(timeout=20) as ftp:
    ftp.connect('127.0.0.1', int(port))
    ftp.login(user, password)
    ftp.set_pasv(passive == 'Passive')
    print('\\n'.join(ftp.nlst()))
    def get(name, to, rest=None):
        with open(to, 'ab' if rest else 'wb') as file: ftp.retrbinary('RETR ' + name, file.write, rest=rest)
    def put(name, to):
        with open(name, 'rb') as file: ftp.storbinary('STOR ' + to, file)
    get('statement.bin', 'got.bin')
    get('statement.bin', 'rest.bin', os.path.getsize('rest.bin'))
    put('report.bin', 'upload/report.bin')
    for name in names: get('many/' + name, 'back/' + name)
    for name in names: put('many/' + name, 'upload/many/' + name)
`;

const ftplib: Client = {
  name: "Python's ftplib",
  peer: 'python',
  unable: {},
  invocations: ({ port, user, password, mode }) => [{ args: ['-c', ftplibScript, String(port), user, password, mode, ...smallFiles] }],
};

const wget: Client = {
  name: 'wget',
  peer: 'wget',
  unable: { upload: 'wget does not upload', 'upload 30 small files': 'wget does not upload' },
  invocations(session) {
    const url = urlOf(session);
    const common = ['--no-config', '-nv', '--timeout=20', '--tries=1', ...(session.mode === 'Active' ? ['--no-passive-ftp'] : [])];
    return [
      { args: [...common, '-O', '-', `${url}/`] },
      { args: [...common, '-O', 'got.bin', `${url}/statement.bin`] },
      { args: [...common, '-c', '-O', 'rest.bin', `${url}/statement.bin`] },
      { args: [...common, '-P', 'back', ...smallFiles.map((name) => `${url}/many/${name}`)] },
    ];
  },
};

export const clients: readonly Client[] = [curl, lftp, tnftp, ftplib, wget];
