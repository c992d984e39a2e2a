/**
 * src/xds beside go-control-plane, as servers of Delta ADS: N streams with 100 clusters each, one of them or all updated, and the
 * first full push. Over src/grpc and over grpc-js; go-control-plane with its snapshot cache and its linear cache.
 *
 *   node bench/xds.ts [--streams 100,1000,5000] [--per-connection 1] [--rounds 3] [--tls] [--only ours,linear] [--cpu-prof DIRECTORY]
 *
 * Needs go 1.26, and builds what is in bench/xds into a cache folder outside the checkout. One client program, over grpc-go, for
 * all servers; each stream has a connection of its own, as each Envoy's has, unless told otherwise. All nodes share one snapshot, which is what costs
 * go-control-plane's snapshot cache least. The servers stand side by side and are measured in turns, update by update, so that
 * ratios hold on a machine that does other things too; processor time is the server process's own.
 */
import { fromJson, toBinary } from '@bufbuild/protobuf';
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { homedir, loadavg } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { ClusterSchema } from '../src/proto/envoy/config/cluster/v3/cluster_pb.ts';
import { makePki } from '../test/support/pki.ts';
import { quantile } from './large-world.ts';
import type { Answer, EncodedResource, Order, TlsIdentity } from './xds/orders.ts';

const { values: options } = parseArgs({
  options: { streams: { type: 'string', default: '100,1000,5000' }, 'per-connection': { type: 'string', default: '1' }, rounds: { type: 'string', default: '3' }, tls: { type: 'boolean', default: false }, only: { type: 'string' }, 'cpu-prof': { type: 'string' } },
});

const perConnection = Number(options['per-connection']);

/** What bin/sallyport.js gives to Node for `serve`. */
const serveOptions = ['--max-semi-space-size=4'];

const clusters = 100;
const endpointsPerCluster = 10; // some 400 bytes a cluster
const settleMs = 20;
/** Before anything is measured: often, so that V8 has compiled what is hot, but few streams at once, so that no heap has grown. */
const warmUp = { crowds: 20, streams: 10, updates: 10 };

/** How many updates are measured at this many streams: enough for a quantile, in minutes. */
const updatesOf = (streams: number): number => Math.min(100, Math.max(10, Math.round(30_000 / streams)));

const kinds = ['snapshot', 'linear', 'ours', 'grpc-js'] as const;
type Kind = (typeof kinds)[number];

const kindNames: Readonly<Record<Kind, string>> = {
  snapshot: 'go-control-plane, snapshot cache',
  linear: 'go-control-plane, linear cache',
  ours: 'src/xds over src/grpc',
  'grpc-js': 'src/xds over grpc-js',
};

// ---- processes

interface Obedient {
  readonly pid: number;
  order(order: Order): Promise<Answer>;
  end(): Promise<void>;
}

/** A process that answers each order. It ends with its input, and so with us, however we end. */
function start(command: string, args: readonly string[]): Obedient {
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  child.stdin.on('error', () => undefined); // it has exited, which is what the missing answer says
  const answers = createInterface(child.stdout)[Symbol.asyncIterator]();
  return {
    pid: child.pid!,
    async order(order) {
      child.stdin.write(`${JSON.stringify(order)}\n`);
      const { value, done } = await answers.next();
      if (done === true) throw new Error(`${command} ${args.join(' ')} has ended before it answered to "${order.op}"`);
      return JSON.parse(value) as Answer;
    },
    async end() {
      child.stdin.end();
      const forced = setTimeout(() => child.kill('SIGKILL'), 10_000);
      await exited;
      clearTimeout(forced);
    },
  };
}

/** Builds the Go half, where that is not done yet, and gives the program's path. */
function buildHarness(): string {
  const cache = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'sallyport');
  mkdirSync(cache, { recursive: true });
  const program = join(cache, 'bench-xds');
  const { status, error } = spawnSync('go', ['build', '-o', program, '.'], { cwd: join(import.meta.dirname, 'xds'), stdio: 'inherit' });
  if (status !== 0) throw new Error('bench/xds cannot be built: is there go 1.26?', { cause: error });
  return program;
}

/** Memory that is resident now, in bytes. */
async function residentBytes({ pid }: Obedient): Promise<number> {
  return Number(/VmRSS:\s+(\d+) kB/.exec(await readFile(`/proc/${pid}/status`, 'utf8'))![1]) * 1024;
}

// ---- what is served

function encodedCluster(index: number, version: number): EncodedResource {
  const name = `outbound|443||service-${index}.example.svc.cluster.local`;
  const lbEndpoints = Array.from({ length: endpointsPerCluster }, (_, host) => ({ endpoint: { address: { socketAddress: { address: `10.${index}.0.${100 + host}`, portValue: 8443 } } } }));
  const cluster = fromJson(ClusterSchema, { name, type: 'STATIC', connectTimeout: `${1 + version}s`, loadAssignment: { clusterName: name, endpoints: [{ lbEndpoints }] } });
  return { name, value: Buffer.from(toBinary(ClusterSchema, cluster)).toString('base64') };
}

/** The first `count` clusters, as they are in that version. */
const encodedClusters = (count: number, version: number): readonly EncodedResource[] => Array.from({ length: count }, (_, index) => encodedCluster(index, version));

// ---- one server and its clients

interface Push {
  readonly cpuUs: number;
  readonly lastMs: number;
}

interface Contestant {
  readonly kind: Kind;
  readonly residentBytes: () => Promise<number>;
  /** Opens connections for so many streams, and returns the server's processor time a stream. */
  readonly connect: (streams: number) => Promise<number>;
  /** Opens a stream on each, until every one has been sent everything and has acknowledged it. */
  readonly subscribe: () => Promise<Push>;
  /** Gives so many clusters a new version, until every stream has been sent them and has acknowledged them. */
  readonly update: (count: number) => Promise<Push>;
  readonly disconnect: () => Promise<void>;
  readonly end: () => Promise<void>;
}

const serverOf = (kind: Kind, harness: string): Obedient =>
  kind === 'snapshot' || kind === 'linear' ? start(harness, [kind]) : start(process.execPath, [...serveOptions, ...profiling(kind), join(import.meta.dirname, 'xds/server.ts'), kind]);

const profiling = (kind: Kind): readonly string[] => (options['cpu-prof'] === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${options['cpu-prof']}`, `--cpu-prof-name=${kind}-${Date.now()}.cpuprofile`]);

async function createContestant(kind: Kind, harness: string, identities: { readonly server: TlsIdentity; readonly client: TlsIdentity } | undefined): Promise<Contestant> {
  const server = serverOf(kind, harness);
  const client = start(harness, ['client']);
  const { port } = await server.order({ op: 'listen', tls: identities?.server });
  let version = 0;
  let streams = 0;
  let requests = 0;
  let crowd = 0;
  await server.order({ op: 'set', resources: encodedClusters(clusters, version) });

  /** Processor time of the server, once it has had so many requests more and has come to rest. */
  async function usedUs(moreRequests: number): Promise<number> {
    requests += moreRequests;
    await server.order({ op: 'usage', requests });
    await pause(settleMs);
    return (await server.order({ op: 'usage', requests })).cpuUs!;
  }

  return {
    kind,
    residentBytes: () => residentBytes(server),
    async connect(count) {
      streams = count;
      crowd += 1;
      const before = await usedUs(0);
      await client.order({ op: 'connect', address: `127.0.0.1:${port}`, connections: Math.ceil(streams / perConnection), tls: identities?.client });
      return ((await usedUs(0)) - before) / streams;
    },
    async subscribe() {
      const before = await usedUs(0);
      const { startedNs } = await client.order({ op: 'subscribe', streams, names: `crowd-${crowd}`, expected: clusters });
      const { lastNs } = await client.order({ op: 'await' });
      return { cpuUs: ((await usedUs(2 * streams)) - before) / streams, lastMs: (lastNs! - startedNs!) / 1e6 };
    },
    async update(count) {
      version += 1;
      await client.order({ op: 'expect', expected: count });
      const resources = encodedClusters(count, version);
      const before = await usedUs(0);
      const { atNs } = await server.order({ op: 'set', resources });
      const { lastNs } = await client.order({ op: 'await' });
      return { cpuUs: ((await usedUs(streams)) - before) / streams, lastMs: (lastNs! - atNs!) / 1e6 };
    },
    async disconnect() {
      await client.order({ op: 'close' });
      await usedUs(0);
    },
    async end() {
      await client.end(); // first: a stream that its server ends is a fault to the client
      await server.end();
    },
  };
}

// ---- a round

/** What was measured of one server in one round; processor time in microseconds a stream or a response. */
interface Measured {
  connectUs: number;
  first: Push;
  readonly one: Push[];
  readonly all: Push[];
  baseBytes: number;
  bytesPerStream: number;
}

async function measureRound(streams: number, round: number, harness: string): Promise<ReadonlyMap<Kind, Measured>> {
  const contestants: Contestant[] = [];
  const measured = new Map<Kind, Measured>();
  const turns = (turn: number): readonly Contestant[] => [...contestants.slice(turn % contestants.length), ...contestants.slice(0, turn % contestants.length)];
  try {
    for (const kind of chosen) contestants.push(await createContestant(kind, harness, identities));
    for (const contestant of turns(round)) {
      for (let crowd = 0; crowd < warmUp.crowds; crowd++) {
        await contestant.connect(warmUp.streams);
        await contestant.subscribe();
        for (let count = 0; count < warmUp.updates; count++) await contestant.update(count % 2 === 0 ? 1 : clusters);
        await contestant.disconnect();
      }
    }
    for (const contestant of turns(round)) {
      const baseBytes = await contestant.residentBytes();
      const connectUs = await contestant.connect(streams);
      measured.set(contestant.kind, { connectUs, first: await contestant.subscribe(), one: [], all: [], baseBytes, bytesPerStream: 0 });
    }
    for (let turn = 0; turn < updatesOf(streams); turn++) for (const contestant of turns(turn)) measured.get(contestant.kind)!.one.push(await contestant.update(1));
    for (let turn = 0; turn < updatesOf(streams) / 5; turn++) for (const contestant of turns(turn)) measured.get(contestant.kind)!.all.push(await contestant.update(clusters));
    for (const contestant of contestants) {
      const ofKind = measured.get(contestant.kind)!;
      ofKind.bytesPerStream = ((await contestant.residentBytes()) - ofKind.baseBytes) / streams;
    }
  } finally {
    await Promise.all(contestants.map((contestant) => contestant.end()));
  }
  return measured;
}

// ---- figures

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
const cpuOf = (pushes: readonly Push[]): number => mean(pushes.map(({ cpuUs }) => cpuUs));

interface Column {
  readonly title: string;
  readonly digits: number;
  /** One figure for each round. */
  readonly ofRound: (measured: Measured) => number;
}

const columns: readonly Column[] = [
  { title: 'connect, us CPU', digits: 0, ofRound: ({ connectUs }) => connectUs },
  { title: 'first push, us CPU', digits: 0, ofRound: ({ first }) => first.cpuUs },
  { title: 'until last, ms', digits: 0, ofRound: ({ first }) => first.lastMs },
  { title: 'one updated, us CPU', digits: 1, ofRound: ({ one }) => cpuOf(one) },
  { title: 'p50 ms', digits: 1, ofRound: ({ one }) => quantile(one.map(({ lastMs }) => lastMs), 0.5) },
  { title: 'p99 ms', digits: 1, ofRound: ({ one }) => quantile(one.map(({ lastMs }) => lastMs), 0.99) },
  { title: 'all updated, us CPU', digits: 0, ofRound: ({ all }) => cpuOf(all) },
  { title: 'p50 ms', digits: 1, ofRound: ({ all }) => quantile(all.map(({ lastMs }) => lastMs), 0.5) },
  { title: 'KB a stream', digits: 1, ofRound: ({ bytesPerStream }) => bytesPerStream / 1000 },
];

function printFigures(streams: number, rounds: readonly ReadonlyMap<Kind, Measured>[]): void {
  console.log(`\n${streams} streams; medians of ${rounds.length} rounds (least-most)`);
  const rows = chosen.map((kind) =>
    columns.map(({ digits, ofRound }) => {
      const values = rounds.map((round) => ofRound(round.get(kind)!));
      const [least, middle, most] = [0, 0.5, 1].map((share) => quantile(values, share).toFixed(digits));
      return `${middle!} (${least!}-${most!})`;
    }),
  );
  const widths = columns.map(({ title }, index) => Math.max(title.length, ...rows.map((row) => row[index]!.length)));
  const line = (name: string, cells: readonly string[]): string => [name.padEnd(34), ...cells.map((cell, index) => cell.padStart(widths[index]!))].join('  ');
  console.log(line('', columns.map(({ title }) => title)));
  for (const [index, kind] of chosen.entries()) console.log(line(kindNames[kind], rows[index]!));
}

const chosen = kinds.filter((kind) => options.only?.split(',').includes(kind) ?? true);
const pki = makePki();
const identities = options.tls
  ? { server: pki.issue('spiffe://bench/server', { names: [{ type: 'dns', value: 'xds.bench' }] }), client: pki.issue('spiffe://bench/client') }
  : undefined;
const harness = buildHarness();
console.log(`${options.tls ? 'mutual TLS' : 'plain TCP'}, ${perConnection} streams a connection; ${clusters} clusters of ${Buffer.from(encodedCluster(0, 0).value, 'base64').length} bytes; node ${process.version}; load ${loadavg()[0]!.toFixed(1)}`);
for (const streams of options.streams.split(',').map(Number)) {
  const rounds: ReadonlyMap<Kind, Measured>[] = [];
  for (let round = 0; round < Number(options.rounds); round++) rounds.push(await measureRound(streams, round, harness));
  printFigures(streams, rounds);
}
