/** The real programs that tests talk to. */
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

export interface Peer {
  readonly program: string;
  readonly debianPackage: string;
}

export const peers = {
  curl: { program: 'curl', debianPackage: 'curl' },
  ftp: { program: 'ftp', debianPackage: 'ftp' },
  keytool: { program: 'keytool', debianPackage: 'default-jre-headless' },
  lftp: { program: 'lftp', debianPackage: 'lftp' },
  openssl: { program: 'openssl', debianPackage: 'openssl' },
  tinyproxy: { program: 'tinyproxy', debianPackage: 'tinyproxy-bin' },
  vsftpd: { program: 'vsftpd', debianPackage: 'vsftpd' },
} as const satisfies Record<string, Peer>;

const searchPath = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/sbin'];

/** The program's path, or undefined where it is not installed. */
export function findProgram(program: string): string | undefined {
  for (const directory of searchPath) {
    const path = join(directory, program);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      continue;
    }
  }
  return undefined;
}

export function missingPeers(): readonly Peer[] {
  return Object.values(peers).filter((peer) => findProgram(peer.program) === undefined);
}

export function installCommand(missing: readonly Peer[]): string {
  return `apt-get install -y ${[...new Set(missing.map((peer) => peer.debianPackage))].join(' ')}`;
}

/** The path of a peer; where it is missing the test is skipped, or fails under CI=true. */
export function requirePeer(test: Mocha.Context, peer: keyof typeof peers): string {
  const path = findProgram(peers[peer].program);
  if (path !== undefined) return path;
  if (process.env['CI'] === 'true') throw new Error(`${peers[peer].program} is missing; ${installCommand([peers[peer]])}`);
  return test.skip();
}
