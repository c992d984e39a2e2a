/**
 * Two Linux routers that are one gateway of class `kernel`, with the real keepalived and conntrackd, between workloads and a partner: hosts
 * are network namespaces, joined by cables, and by switches where several meet.
 *
 *     pods ── inner ═╦═ first ══╦═ outer ── partner
 *                    ║    │     ║
 *                    ╚═ second ═╝
 */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { renderConntrackd, renderKeepalived, renderKernelGateway, renderRetelling, type InterfaceAddress, type KernelRendering, type PairMember } from '../../src/backends/kernel/index.ts';
import { familyOf, parseAddress, type IpAddress } from '../../src/core/ip-address.ts';
import { waitFor } from '../../src/demo/processes.ts';
import { addressesOf, gatewayOf } from '../backends/kernel/example-world.ts';
import * as world from '../core/world.ts';
import { makeNetwork, type Network, type NetworkHost } from './network-namespaces.ts';
import { librariesOf } from './peers.ts';
import { startServerProcess, type ServerProcess } from './server-process.ts';

export type Router = 'first' | 'second';
export type PairHost = 'pods' | 'inner' | Router | 'outer' | 'partner';

/** Addresses as documents have them (RFC 5737, RFC 3849). */
export const pairAddresses = {
  ipv4: { pod: '192.0.2.10', nextHop: '192.0.2.1', snat: '198.51.100.11', partner: '198.51.100.20' },
  ipv6: { pod: '2001:db8:a::10', nextHop: '2001:db8:a::1', snat: '2001:db8:b::11', partner: '2001:db8:b::20' },
} as const;
/** Of the partner, that the workload may reach: an echo by TCP and UDP, and FTP. */
export const pairPorts = { echo: 7000, ftp: 2121 } as const;

const { ipv4, ipv6 } = pairAddresses;
const address = (text: string): IpAddress => parseAddress(text)!;
const nextHops: readonly [InterfaceAddress, InterfaceAddress] = [{ address: address(ipv4.nextHop), prefixLength: 24 }, { address: address(ipv6.nextHop), prefixLength: 64 }];
const linkOf = { first: { interface: 'second', own: '10.9.0.2', peer: '10.9.0.3' }, second: { interface: 'first', own: '10.9.0.3', peer: '10.9.0.2' } } as const;

/** Paths of the programs, see `requirePeer`. */
export interface PairPrograms {
  readonly keepalived: string;
  readonly conntrackd: string;
}

export interface PairRouter {
  /** Whether it has every address of the gateway. */
  readonly isInCharge: () => Promise<boolean>;
  /** Resolves once it waits, or is in charge if it is alone. */
  readonly start: () => Promise<void>;
  /** Its power is gone: it is cut off from everybody at once, and knows no connection any more. */
  readonly lose: () => Promise<void>;
  /** Its keepalived is stopped, as before maintenance; or started again. */
  readonly retire: () => Promise<void>;
  readonly employ: () => Promise<void>;
  /** Resolves once it has told the other of all connections that there were at this call. */
  readonly retell: () => Promise<void>;
  /** The process that tells, and is told. */
  readonly conntrackdPid: () => number;
  readonly stop: () => Promise<void>;
}

export interface KernelPair {
  readonly hosts: Network<PairHost>['hosts'];
  readonly routers: Readonly<Record<Router, PairRouter>>;
  /** Who is in charge: one, but for moments. */
  readonly inCharge: () => Promise<readonly Router[]>;
  /** Starts a program of test/support; it ends with the pair. */
  readonly startNode: (host: PairHost, file: string, args: readonly string[], ready: RegExp) => Promise<ServerProcess>;
  readonly close: () => Promise<void>;
}

/** Resolves once the first router is in charge, and the second waits. */
export async function startKernelPair(programs: PairPrograms): Promise<KernelPair> {
  const network = makePairNetwork();
  const { hosts } = network;
  const closing: (() => unknown)[] = [network.close];
  const close = async (): Promise<void> => {
    for (const each of closing.splice(0).reverse()) await each();
  };
  try {
    await connectSwitches(network);
    const rendering = renderPairGateway();
    const routers = { first: createRouter('first', hosts.first, rendering, programs), second: createRouter('second', hosts.second, rendering, programs) };
    for (const router of Object.values(routers)) {
      closing.push(router.stop);
      await router.start();
      await waitFor('the first router', 5_000, async () => (await routers.first.isInCharge()) || undefined);
    }
    return {
      hosts,
      routers,
      async inCharge() {
        const those = await Promise.all((['first', 'second'] as const).map(async (name) => ((await routers[name].isInCharge()) ? [name] : [])));
        return those.flat();
      },
      async startNode(host, file, args, ready) {
        const node = await startServerProcess(process.execPath, [join(import.meta.dirname, file), ...args], { directory: await mkdtemp(join(tmpdir(), 'sallyport-node-')), ready, enter: hosts[host].enter });
        closing.push(node.stop);
        return node;
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** As often as all is told until it is certain that all has been: one may have begun before, one is whole, one more shows that it has gone out. */
export const retellings = 3;

type Daemon = 'keepalived' | 'conntrackd' | 'retelling';

function createRouter(role: Router, host: NetworkHost, { ruleset, addresses }: KernelRendering, programs: PairPrograms): PairRouter {
  const link = { interface: linkOf[role].interface, own: address(linkOf[role].own), peer: address(linkOf[role].peer) };
  const member: PairMember = { role, link, inside: 'inner', nextHops, virtualRouterId: 51 };
  const held = [
    ...nextHops.map(({ address: nextHop, prefixLength }) => ({ device: 'inner', text: `${nextHop}/${prefixLength}` })),
    ...addresses.map((snat) => ({ device: 'outer', text: `${snat}/${familyOf(snat) === 'ipv4' ? 32 : 128}` })),
  ];
  const running = new Map<Daemon, ServerProcess>();

  async function succeed(command: string, input = ''): Promise<string> {
    const [program, ...args] = command.split(' ') as [string, ...string[]];
    const { status, stdout, stderr } = await host.run(program, args, { input });
    assert.equal(status, 0, `${role}: ${command}: ${stderr}`);
    return stdout;
  }

  /** Its files are in a directory of its own, which ends with it. */
  async function startDaemon(daemon: Daemon, program: string, text: (directory: string) => string, args: (file: string) => readonly string[], ready: RegExp): Promise<string> {
    const directory = await mkdtemp(join(tmpdir(), 'sallyport-pair-'));
    const file = join(directory, 'daemon.conf');
    await writeFile(file, text(directory), { mode: 0o600 });
    running.set(daemon, await startServerProcess(program, args(file), { directory, ready, enter: host.enter, env: librariesOf(programs[daemon === 'keepalived' ? daemon : 'conntrackd']) }));
    return file;
  }
  async function stopDaemon(daemon: Daemon): Promise<void> {
    await running.get(daemon)?.stop();
    running.delete(daemon);
  }
  async function stop(): Promise<void> {
    for (const daemon of [...running.keys()].reverse()) await stopDaemon(daemon);
  }

  let keepalivedFile = '';
  async function employ(): Promise<void> {
    const pidFiles = (file: string) => ['pid', 'vrrp_pid', 'checkers_pid'].flatMap((kind) => [`--${kind}`, `${file}.${kind}`]);
    keepalivedFile = await startDaemon('keepalived', programs.keepalived, () => renderKeepalived({ interface: 'outer', addresses }, member), (file) => ['--dont-fork', '--log-console', '--use-file', file, ...pidFiles(file)], /Entering BACKUP STATE/);
  }

  /** The link first where it is cut: nobody is to say farewell. */
  const setCables = async (state: 'up' | 'down'): Promise<void> => {
    for (const end of [link.interface, 'inner', 'outer']) await succeed(`ip link set ${end} ${state}`);
  };

  async function isInCharge(): Promise<boolean> {
    const listed = await succeed('ip address show');
    return held.every(({ text }) => listed.includes(` ${text} `));
  }

  return {
    isInCharge,
    async start() {
      await setCables('up');
      await succeed('nft --file -', ruleset);
      const file = await startDaemon('conntrackd', programs.conntrackd, (directory) => renderConntrackd(link).replace('Syslog yes', 'Syslog no').replace('/run/lock/', `${directory}/`).replace('/run/', `${directory}/`), (path) => ['-C', path], /resync requested/);
      const command = /^ExecStart=\/bin\/sh -c '(.*)'$/m.exec(renderRetelling(nextHops[0].address))![1]!.replace('sleep 10', 'echo round; sleep 0.5').replaceAll('conntrackd -', `${programs.conntrackd} -C ${file} -`);
      await startDaemon('retelling', 'sh', () => '', () => ['-c', command], /round/);
      await employ();
    },
    async lose() {
      await setCables('down');
      await stop();
      for (const { device, text } of held) await host.run('ip', ['address', 'del', text, 'dev', device]); // unless keepalived was faster
      await succeed('conntrack --flush');
    },
    async retire() {
      await succeed(`kill ${(await readFile(`${keepalivedFile}.pid`, 'utf8')).trim()}`);
      await waitFor('its farewell', 5_000, async () => !(await isInCharge()) || undefined);
      await stopDaemon('keepalived');
    },
    employ,
    conntrackdPid: () => running.get('conntrackd')!.pid,
    async retell() {
      const times = (): number => [...running.get('conntrackd')!.output().matchAll(/sending bulk update/g)].length;
      const before = times();
      await waitFor('the other router to be told', 10_000, () => (times() >= before + retellings ? true : undefined));
    },
    stop,
  };
}

function makePairNetwork(): Network<PairHost> {
  const cable = (host: PairHost, addresses: readonly string[], other: PairHost, others: readonly string[] = []) => [{ host, addresses }, { host: other, addresses: others }] as const;
  return makeNetwork<PairHost>({
    hosts: ['pods', 'inner', 'first', 'second', 'outer', 'partner'],
    links: [
      cable('pods', [`${ipv4.pod}/24`, `${ipv6.pod}/64`], 'inner'),
      cable('first', ['192.0.2.2/24', '2001:db8:a::2/64'], 'inner'),
      cable('second', ['192.0.2.3/24', '2001:db8:a::3/64'], 'inner'),
      cable('partner', [`${ipv4.partner}/24`, `${ipv6.partner}/64`], 'outer'),
      cable('first', ['198.51.100.2/24', '2001:db8:b::2/64'], 'outer'),
      cable('second', ['198.51.100.3/24', '2001:db8:b::3/64'], 'outer'),
      cable('first', [`${linkOf.first.own}/24`], 'second', [`${linkOf.second.own}/24`]),
    ],
    routes: { pods: [`default via ${ipv4.nextHop}`, `default via ${ipv6.nextHop}`] },
    routers: ['first', 'second'],
  });
}

async function connectSwitches({ hosts }: Network<PairHost>): Promise<void> {
  const run = async (host: PairHost, command: string): Promise<string> => {
    const { status, stdout, stderr } = await hosts[host].run('sh', ['-c', command]);
    assert.equal(status, 0, `${host}: ${command}: ${stderr}`);
    return stdout;
  };
  for (const [host, ends] of [['inner', ['pods', 'first', 'second']], ['outer', ['partner', 'first', 'second']]] as const) {
    await run(host, 'ip link add switch type bridge mcast_snooping 0 && ip link set switch up');
    for (const end of ends) await run(host, `ip link set ${end} master switch`);
  }
  for (const host of ['first', 'second'] as const) await run(host, 'sysctl -qw net.ipv6.conf.all.forwarding=1 net.ipv6.conf.all.keep_addr_on_down=1');
  for (const host of ['pods', 'first', 'second', 'partner'] as const) await waitFor(`addresses of ${host}`, 5_000, async () => ((await run(host, 'ip -6 address show tentative')) === '' ? true : undefined));
}

function renderPairGateway(): KernelRendering {
  const addresses = [ipv4.partner, ipv6.partner];
  const plan = world.planOf(
    world.gateway('router', { class: 'kernel', listen: [], kernel: { interface: 'outer' } }),
    world.pool('own', [ipv4.snat, ipv6.snat]),
    world.binding('shop/all', { subject: { namespace: 'shop' }, addresses: [ipv4.snat, ipv6.snat] }),
    world.externalService('shop/partner', { gateway: 'router', addresses, ports: [{ name: 'echo', port: pairPorts.echo }, { name: 'files', port: pairPorts.ftp, protocol: 'FTP' }] }),
    world.externalService('shop/datagrams', { gateway: 'router', agentAddress: '127.0.2.2', addresses, ports: [{ name: 'echo', port: pairPorts.echo, protocol: 'UDP' }] }),
    world.policy('shop/all', { subjects: [{ namespace: 'shop' }], to: [{ service: 'partner' }, { service: 'datagrams' }] }),
  );
  return renderKernelGateway(plan, gatewayOf(plan), addressesOf({ [ipv4.pod]: 'shop/till', [ipv6.pod]: 'shop/till' }));
}
