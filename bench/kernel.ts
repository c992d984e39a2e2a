/**
 * A gateway of class `kernel` at full size, on hosts that are network namespaces (needs root): 10,000 grants, each of an identity with a
 * workload and a SNAT address of its own; what the table costs to load, change and read back, in time and memory; and what it adds to a round
 * trip and to a new connection at 10 grants and at 10,000, beside the same router without a table, in turns: of these the least of the rounds'
 * medians, for whoever else is busy only adds to them.
 *
 *   node bench/kernel.ts [--rounds 5] [--nft PATH]
 */
import { spawn, spawnSync } from 'node:child_process';
import { mkdtemp } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { renderChange, renderKernelGateway, type KernelRendering } from '../src/backends/kernel/index.ts';
import { numberToAddress, type IpAddress } from '../src/core/ip-address.ts';
import type { Grant, Plan, PlannedGateway, Revision, ServicePort } from '../src/core/plan/plan.ts';
import { snatPorts } from '../src/core/snat/address-space.ts';
import { createKernelDriver } from '../src/kernel/index.ts';
import { gatewayOf } from '../test/backends/kernel/example-world.ts';
import * as world from '../test/core/world.ts';
import { makeNetwork, type Network } from '../test/support/network-namespaces.ts';
import { startServerProcess } from '../test/support/server-process.ts';

const { values: options } = parseArgs({ options: { as: { type: 'string' }, rounds: { type: 'string', default: '5' }, nft: { type: 'string', default: '/usr/sbin/nft' } } });
const rounds = Number(options.rounds);
const sizes = [10, 10_000] as const;
const servicesEach = 50;
const roundTrips = 4_000;
const connections = 400;

type Host = 'pod' | 'router' | 'partner';
const partner = '198.51.100.100';
const port = 7000;

/** Grants as the compiler gives them, without the objects that would say so. The last is that of the pod that is measured. */
function worldOf(count: number): Parameters<typeof renderKernelGateway> {
  const template = world.planOf(world.gateway('router', { class: 'kernel', listen: [], kernel: { interface: 'partner' } }), world.externalService('out/service', { addresses: [partner], ports: [{ port }], gateway: 'router' }));
  const [gateway, servicePort] = [gatewayOf(template), template.servicePorts[0]!] as [PlannedGateway, ServicePort];
  const identities = Array.from({ length: count }, (_, index) => ({ namespace: `n${Math.floor(index / 10)}`, serviceAccount: `a${index % 10}` }));
  const servicePorts = Array.from({ length: Math.min(servicesEach, count) }, (_, service): ServicePort => {
    const own = identities.flatMap((subject, index): Grant[] => (index % Math.min(servicesEach, count) === service ? [{ subject, policies: ['out/p'], binding: 'out/b', snat: { ipv4: { address: numberToAddress('ipv4', 0x0a_40_00_00n + BigInt(index)), ports: snatPorts } }, connectAuthorities: null, ftp: null }] : []));
    return { ...servicePort, id: `out/s${service}:tcp` as ServicePort['id'], targets: [{ kind: 'address', address: partner as IpAddress, port: port + Math.min(servicesEach, count) - 1 - service }], grants: own };
  });
  const plan: Plan = { ...template, revision: count.toString(16).padStart(64, '0') as Revision, servicePorts };
  return [plan, gateway, new Map(identities.map((who, index) => [numberToAddress('ipv4', (index === count - 1 ? 0xc0_00_02_02n : 0x0a_00_00_00n + BigInt(index))), who]))];
}

const renderingOf = (count: number): KernelRendering => renderKernelGateway(...worldOf(count));

const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!;
const least = (values: readonly number[]): number => Math.min(...values);
const print = (what: string, values: readonly number[], unit: string, digits = 0, of = median): void => console.log(`${what.padEnd(58)}${of(values).toFixed(digits)} ${unit}   (${values.map((value) => value.toFixed(digits)).join(', ')})`);

async function timed(run: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await run();
  return performance.now() - started;
}

/** Kernel memory of slabs and of what sets are allocated beside them, in KB. */
function kernelMemory(): number {
  const { stdout } = spawnSync('awk', ['/^(Slab|VmallocUsed|Percpu):/ { sum += $2 } END { print sum }', '/proc/meminfo'], { encoding: 'utf8' });
  return Number(stdout);
}

async function measureLoading({ hosts }: Network<Host>): Promise<void> {
  /** Milliseconds of processor time, its own and the kernel's. */
  const nft = async (ruleset: string): Promise<number> => {
    const { status, stdout, stderr } = await hosts.router.run('sh', ['-c', `${options.nft} --file - && times`], { input: ruleset });
    if (status !== 0) throw new Error(stderr);
    return [...stdout.trim().split('\n')[1]!.matchAll(/(\d+)m([\d.]+)s/g)].reduce((sum, [, minutes, seconds]) => sum + Number(minutes) * 60_000 + Number(seconds) * 1_000, 0);
  };
  const remove = () => nft('table inet sallyport\ndelete table inet sallyport\n');
  const full = renderingOf(10_000);
  const [gone, ...kept] = full.table.elements.access4;
  const fewer = { ...full.table, elements: { ...full.table.elements, access4: new Map(kept) } };
  const [without, again] = [renderChange(full.table, fewer)!, renderChange(fewer, full.table)!];
  console.log(`10,000 grants: ${(full.ruleset.length / 2 ** 20).toFixed(1)} MB of text; taking one away: ${without.length} bytes (${gone![0]})`);
  const [rendering, loading, work, replacing, changing, reading, memory]: number[][] = [[], [], [], [], [], [], []];
  const asked = worldOf(10_000);
  for (let round = 0; round < rounds; round++) {
    rendering!.push(await timed(() => Promise.resolve(renderKernelGateway(...asked))));
    const before = kernelMemory();
    loading!.push(await timed(async () => work!.push(await nft(full.ruleset))));
    memory!.push((kernelMemory() - before) / 1_024);
    replacing!.push(await timed(() => nft(full.ruleset)));
    changing!.push(await timed(() => nft(without)), await timed(() => nft(again)));
    const driver = createKernelDriver({ run: (program, args, input = '') => hosts.router.run(program, args, { input }), holdsAddresses: false });
    await driver.apply(full);
    reading!.push(await timed(() => driver.drift()));
    await remove();
  }
  print('plan to ruleset', rendering!, 'ms');
  print('loaded where there was none', loading!, 'ms');
  print('  of which processor time', work!, 'ms');
  print('loaded in the place of itself', replacing!, 'ms');
  print('a change of one grant', changing!, 'ms');
  print('read back and compared', reading!, 'ms');
  print('kernel memory', memory!, 'MB', 1);
}

/** A process on the pod's host, since this one cannot be in two networks. Prints microseconds: a round trip, and a new connection with its first byte. */
async function measureFrom({ enter: [program, ...args] }: Network<Host>['hosts']['pod']): Promise<readonly [number, number]> {
  const { promise, resolve, reject } = Promise.withResolvers<readonly [number, number]>();
  const child = spawn(program, [...args, process.execPath, import.meta.filename, '--as', 'client'], { stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
  child.once('close', (status) => (status === 0 ? resolve(JSON.parse(output) as [number, number]) : reject(new Error(`the client has ended with ${status}`))));
  return promise;
}

const opened = (): Promise<Socket> =>
  new Promise((resolve, reject) => {
    const socket = connect({ host: partner, port, noDelay: true }, () => resolve(socket)).once('error', reject);
  });
const answered = (socket: Socket): Promise<void> =>
  new Promise((resolve) => {
    socket.once('data', () => resolve());
    socket.write('.');
  });

async function runClient(): Promise<void> {
  const socket = await opened();
  for (let index = 0; index < 500; index++) await answered(socket);
  const trips: number[] = [];
  for (let index = 0; index < roundTrips; index++) trips.push(await timed(() => answered(socket)));
  socket.destroy();
  const made: number[] = [];
  for (let index = 0; index < connections; index++) {
    made.push(
      await timed(async () => {
        const each = await opened();
        await answered(each);
        each.destroy();
      }),
    );
  }
  console.log(JSON.stringify([median(trips) * 1_000, median(made) * 1_000]));
}

function runServer(): void {
  createServer({ noDelay: true }, (socket) => socket.on('error', () => socket.destroy()).pipe(socket)).listen(port, partner, () => console.log('ready'));
}

async function measureLatency({ hosts }: Network<Host>): Promise<void> {
  const driver = createKernelDriver({ run: (program, args, input = '') => hosts.router.run(program, args, { input }), holdsAddresses: false });
  const ways = ['no table', ...sizes.map((size) => `${size.toLocaleString('en')} grants`)];
  const renderings = sizes.map(renderingOf);
  const figures = ways.map(() => [[], []] as [number[], number[]]);
  for (let round = 0; round < rounds; round++) {
    for (const [way, [trips, made]] of figures.entries()) {
      await (way === 0 ? driver.remove() : driver.apply(renderings[way - 1]!));
      const [trip, connection] = await measureFrom(hosts.pod);
      trips.push(trip);
      made.push(connection);
      await driver.remove();
    }
  }
  for (const [index, what] of ['round trip', 'new connection and its first byte'].entries()) for (const [way, name] of ways.entries()) print(`${what}, ${name}`, figures[way]![index]!, 'us', 1, least);
}

async function run(): Promise<void> {
  const network = makeNetwork<Host>({
    hosts: ['pod', 'router', 'partner'],
    links: [
      [{ host: 'pod', addresses: ['192.0.2.2/24'] }, { host: 'router', addresses: ['192.0.2.1/24'] }],
      [{ host: 'router', addresses: ['198.51.100.1/24'] }, { host: 'partner', addresses: [`${partner}/24`] }],
    ],
    routes: { pod: ['default via 192.0.2.1'], partner: ['default via 198.51.100.1'] },
    routers: ['router'],
  });
  try {
    await measureLoading(network);
    const server = await startServerProcess(process.execPath, [import.meta.filename, '--as', 'server'], { directory: await mkdtemp(join(tmpdir(), 'sallyport-bench-')), ready: /ready/, enter: network.hosts.partner.enter });
    try {
      await measureLatency(network);
    } finally {
      await server.stop();
    }
  } finally {
    network.close();
  }
}

if (options.as === 'client') await runClient();
else if (options.as === 'server') runServer();
else await run();
