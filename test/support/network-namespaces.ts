/**
 * A small network of hosts for tests: network namespaces joined by veth pairs. Nothing of it is on this machine's own network, and no
 * address outside it can be reached from it. Needs root.
 */
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { runProgram, type ProgramOptions, type ProgramResult } from '../e2e/support/programs.ts';
import { requireAbility, requirePeer } from './peers.ts';

export interface NetworkHost {
  /** What stands before a command and starts it on this host; the process id stays that of the command. */
  readonly enter: readonly [string, ...string[]];
  /** The same by nsenter, which leaves the file systems as they are: `ip netns exec` hides control groups. */
  readonly enterNetwork: readonly [string, ...string[]];
  /** Runs a program on this host to its end, whatever that is. */
  readonly run: (program: string, args: readonly string[], options?: ProgramOptions) => Promise<ProgramResult>;
  /** `fetch` from this host, by curl: this process itself cannot be in two networks. Rejects where no answer comes in time. */
  readonly fetch: (url: string, timeoutMs: number) => Promise<Response>;
}

export interface Network<Host extends string> {
  readonly hosts: Readonly<Record<Host, NetworkHost>>;
  /** Removes all of it. Processes that still run on its hosts keep what they use until they end. */
  readonly close: () => void;
}

export interface NetworkShape<Host extends string> {
  readonly hosts: readonly Host[];
  /** Each joins two hosts by a cable; the interface on a host is named after the other end. With an end come its addresses there, `ADDRESS/PREFIX`. */
  readonly links: readonly Link<Host>[];
  /** As `ip route add` has them. */
  readonly routes?: Partial<Readonly<Record<Host, readonly string[]>>>;
  /** Those that pass on what is meant for others. */
  readonly routers?: readonly Host[];
}

export type Link<Host extends string> = readonly [LinkEnd<Host>, LinkEnd<Host>];
export interface LinkEnd<Host extends string> {
  readonly host: Host;
  readonly addresses: readonly string[];
}

/** Skips the test, or fails it under CI=true, where no network of namespaces can be made. */
export function requireNetwork(test: Mocha.Context): void {
  for (const peer of ['ip', 'curl'] as const) requirePeer(test, peer);
  const tried = spawnSync('unshare', ['--net', 'ip', 'link', 'add', 'here', 'type', 'veth', 'peer', 'name', 'there'], { encoding: 'utf8' });
  requireAbility(test, tried.status === 0, `network namespaces and veth pairs, which only root can make: ${tried.stderr}`);
}

export function makeNetwork<Host extends string>({ hosts, links, routes = {}, routers = [] }: NetworkShape<Host>): Network<Host> {
  const unique = `sallyport-${randomBytes(4).toString('hex')}`;
  const nameOf = (host: Host) => `${unique}-${host}`;
  const made: Host[] = [];
  const close = (): void => {
    process.off('exit', close);
    for (const host of made.splice(0)) ip('netns', 'delete', nameOf(host));
  };
  process.once('exit', close);
  try {
    for (const host of hosts) {
      ip('netns', 'add', nameOf(host));
      made.push(host);
      ip('-n', nameOf(host), 'link', 'set', 'lo', 'up');
    }
    for (const [one, other] of links) {
      ip('link', 'add', other.host, 'netns', nameOf(one.host), 'type', 'veth', 'peer', 'name', one.host, 'netns', nameOf(other.host));
      for (const [{ host, addresses }, end] of [[one, other.host], [other, one.host]] as const) {
        for (const address of addresses) ip('-n', nameOf(host), 'address', 'add', address, 'dev', end);
        ip('-n', nameOf(host), 'link', 'set', end, 'up');
      }
    }
    for (const host of hosts) for (const route of routes[host] ?? []) ip('-n', nameOf(host), 'route', 'add', ...route.split(' '));
    for (const host of routers) execute('ip', 'netns', 'exec', nameOf(host), 'sh', '-c', 'echo 1 > /proc/sys/net/ipv4/ip_forward');
  } catch (error) {
    close();
    throw error;
  }
  return { hosts: Object.fromEntries(hosts.map((host) => [host, networkHost(nameOf(host))])) as Record<Host, NetworkHost>, close };
}

function networkHost(namespace: string): NetworkHost {
  const enter = ['ip', 'netns', 'exec', namespace] as const;
  const run: NetworkHost['run'] = (program, args, options) => runProgram(enter[0], [...enter.slice(1), program, ...args], options);
  return {
    enter,
    enterNetwork: ['nsenter', `--net=/run/netns/${namespace}`],
    run,
    async fetch(url, timeoutMs) {
      const { status, stdout, stderr } = await run('curl', ['-q', '-sS', '--max-time', String(timeoutMs / 1_000), '-w', '\n%{http_code}', url]);
      if (status !== 0) throw new Error(stderr);
      const end = stdout.lastIndexOf('\n');
      return new Response(stdout.slice(0, end), { status: Number(stdout.slice(end + 1)) });
    },
  };
}

const ip = (...args: readonly string[]): void => execute('ip', ...args);

function execute(program: string, ...args: readonly string[]): void {
  const { status, stderr, error } = spawnSync(program, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${error?.message ?? stderr}`);
}
