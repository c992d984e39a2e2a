/**
 * The embedded gateway beside a stock Envoy, as gateways of one control plane: the same service, the same clients, in turns.
 *
 *   node bench/gateways.ts [--envoy PATH] [--rounds 3] [--connections 1,100,1000]
 *
 * Each is one process that may use all cores. Figures are of the gateway's processor time, since clients and target share the
 * machine with it; times by the clock hold for the ratio within a row only. Everything is real: certificates from the CA, the
 * decision, the source address, a ledger record at open and close (Envoy sends them to the control plane, the embedded gateway writes
 * them to its disk and ships them).
 */
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdtemp, readFile, readdir } from 'node:fs/promises';
import net from 'node:net';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import tls from 'node:tls';
import { parseArgs } from 'node:util';
import { createDeployment, type Deployment } from '../src/demo/deployment.ts';
import { findFreePorts } from '../src/demo/processes.ts';
import { quantile } from './large-world.ts';

const loopback = '127.0.0.1';
const classes = ['sallyport', 'envoy'] as const;
type GatewayClass = (typeof classes)[number];

/** So much is moved, opened and sent for one figure, whatever the number of connections. */
const bulkBytes = 512 << 20;
const openedPerFigure = 1_000;
const roundTripsPerFigure = 20_000;
const settleMs = 300;

const { values: options } = parseArgs({ options: { as: { type: 'string' }, envoy: { type: 'string', default: process.env['ENVOY'] ?? 'envoy' }, rounds: { type: 'string', default: '3' }, connections: { type: 'string', default: '1,100,1000' } } });

// ---- the target

/** Echoes; to a client that begins with `b` and a decimal number it sends so many bytes and ends. In a process of its own. */
function runTarget(): void {
  const chunk = Buffer.alloc(1 << 16, 'x');
  const server = net.createServer({ noDelay: true }, (socket) => {
    socket.on('error', () => undefined);
    socket.once('data', (first: Buffer) => {
      if (first[0] !== 0x62) {
        socket.write(first);
        socket.on('data', (bytes: Buffer) => socket.write(bytes));
        return;
      }
      let left = Number(first.toString('latin1', 1));
      const write = (): void => {
        while (left > 0) {
          const bytes = chunk.subarray(0, Math.min(left, chunk.length));
          left -= bytes.length;
          if (!socket.write(bytes)) return;
        }
        socket.end();
      };
      socket.on('drain', write);
      write();
    });
  });
  server.listen({ port: 0, host: loopback, backlog: 4_096 }, () => process.send?.((server.address() as net.AddressInfo).port));
}

// ---- clients

interface Client {
  readonly port: number;
  readonly serverName: string;
  readonly context: tls.SecureContext;
}

const connect = ({ port, serverName, context }: Client, session?: Buffer): tls.TLSSocket =>
  tls.connect({ host: loopback, port, servername: serverName, secureContext: context, session, checkServerIdentity: () => undefined });

/** Runs `work` so many times, so many at once. */
async function repeat(times: number, atOnce: number, work: () => Promise<void>): Promise<void> {
  let left = times;
  await Promise.all(
    Array.from({ length: Math.min(times, atOnce) }, async () => {
      while (left-- > 0) await work();
    }),
  );
}

/** From the first packet until the first byte has come back, milliseconds each. */
async function openConnections(client: Client, atOnce: number, session?: Buffer): Promise<{ readonly timesMs: readonly number[]; readonly resumed: number }> {
  const timesMs: number[] = [];
  let resumed = 0;
  await repeat(openedPerFigure, atOnce, async () => {
    const startedAtMs = performance.now();
    const socket = connect(client, session);
    socket.write('?');
    await once(socket, 'data');
    timesMs.push(performance.now() - startedAtMs);
    if (socket.isSessionReused()) resumed += 1;
    socket.end();
    socket.resume();
    await once(socket, 'close');
  });
  return { timesMs, resumed };
}

/** Held connections on which one byte has come back; not more handshakes at once than a server takes. */
async function hold(client: Client, count: number): Promise<readonly tls.TLSSocket[]> {
  const held: tls.TLSSocket[] = [];
  await repeat(count, 50, async () => {
    const socket = connect(client);
    socket.write('?');
    await once(socket, 'data');
    held.push(socket);
  });
  return held;
}

/** Each connection sends its next 64 bytes when the last ones are back; microseconds each. */
async function roundTrips(held: readonly tls.TLSSocket[]): Promise<readonly number[]> {
  const ping = Buffer.alloc(64, 'p');
  const timesUs: number[] = [];
  let left = roundTripsPerFigure;
  await Promise.all(
    held.map(
      (socket) =>
        new Promise<void>((resolve) => {
          let sentAtMs = 0;
          const next = (): void => {
            if (left-- <= 0) {
              socket.off('data', answered);
              resolve();
              return;
            }
            sentAtMs = performance.now();
            socket.write(ping);
          };
          const answered = (): void => {
            timesUs.push((performance.now() - sentAtMs) * 1_000);
            next();
          };
          socket.on('data', answered);
          next();
        }),
    ),
  );
  return timesUs;
}

async function bulk(client: Client, atOnce: number): Promise<void> {
  const each = Math.floor(bulkBytes / atOnce);
  await repeat(atOnce, atOnce, async () => {
    const socket = connect(client);
    socket.write(`b${each}`);
    let received = 0;
    socket.on('data', (bytes: Buffer) => (received += bytes.length));
    await once(socket, 'end');
    socket.destroy();
    if (received !== each) throw new Error(`${received} bytes of ${each}`);
  });
}

/** A session that a full handshake has left, where the gateway gives one. */
async function sessionOf(client: Client): Promise<Buffer | undefined> {
  const socket = connect(client);
  let session: Buffer | undefined;
  socket.on('session', (given: Buffer) => (session = given));
  socket.write('?');
  await once(socket, 'data');
  socket.destroy();
  return session;
}

// ---- the gateways

const gatewayOf = (of: GatewayClass): string => `egress-${of}`;
const clientOf = (of: GatewayClass): string => `client-${of}`;

const manifestsOf = (of: GatewayClass, port: number, targetPort: number, snatAddress: string): string => `
apiVersion: sallyport.dev/v1alpha1
kind: EgressGateway
metadata: {name: ${gatewayOf(of)}}
spec: {class: ${of}, listen: [{address: ${loopback}, port: ${port}}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatPool
metadata: {name: ${of}}
spec: {addresses: [${snatAddress}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: ExternalService
metadata: {name: behind-${of}, namespace: bench}
spec: {gateway: ${gatewayOf(of)}, addresses: [${loopback}], ports: [{port: 443, targetPort: ${targetPort}}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: EgressPolicy
metadata: {name: ${of}, namespace: bench}
spec: {subjects: [{namespace: ${clientOf(of)}}], to: [{service: behind-${of}}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatBinding
metadata: {name: own, namespace: ${clientOf(of)}}
spec: {subject: {namespace: ${clientOf(of)}}, addresses: [${snatAddress}]}
`;

const memoryBytes = async (pid: number): Promise<number> => Number(/VmRSS:\s+(\d+)/.exec(await readFile(`/proc/${pid}/status`, 'utf8'))![1]) * 1_024;

/** Processor time of all threads, milliseconds: `se.sum_exec_runtime` of each, since /proc/PID/stat counts in hundredths of a second. */
async function cpuMs(pid: number): Promise<number> {
  const threads = await readdir(`/proc/${pid}/task`);
  const times = await Promise.all(threads.map(async (thread) => Number((await readFile(`/proc/${pid}/task/${thread}/schedstat`, 'utf8')).split(' ')[0])));
  return times.reduce((sum, time) => sum + time, 0) / 1e6;
}

interface Contestant {
  readonly pid: number;
  readonly client: Client;
}

async function startContestants(deployment: Deployment, targetPort: number): Promise<Readonly<Record<GatewayClass, Contestant>>> {
  const ports = await findFreePorts(classes.length);
  const identity = (name: string): string => `spiffe://cluster.local/ns/${name}/sa/default`;
  await deployment.startControl();
  await deployment.cli(['ca', 'init']);
  await deployment.cli(['apply', '-f', '-'], classes.map((of, index) => manifestsOf(of, ports[index]!, targetPort, `127.0.1.${70 + index}`)).join('---'));
  await deployment.admit({ [gatewayOf('sallyport')]: `spiffe://cluster.local/ns/sallyport-system/sa/${gatewayOf('sallyport')}`, ...Object.fromEntries(classes.map((of) => [clientOf(of), identity(clientOf(of))])) });
  deployment.launchGateway(gatewayOf('sallyport'));
  classes.forEach((of, index) => deployment.launchAgent(clientOf(of), `127.0.2.${70 + index}`));
  await Promise.all([deployment.ready(gatewayOf('sallyport')), deployment.startEnvoyGateway(gatewayOf('envoy'), options.envoy), ...classes.map((of) => deployment.ready(clientOf(of)))]);
  const contestant = (of: GatewayClass): Contestant => {
    const file = (name: string): Buffer => readFileSync(join(deployment.svidDirectory(clientOf(of)), name));
    return {
      pid: deployment.pid(gatewayOf(of)),
      client: { port: ports[classes.indexOf(of)]!, serverName: `behind-${of}.bench.svc.cluster.local`, context: tls.createSecureContext({ cert: file('svid.pem'), key: file('svid_key.pem'), ca: file('svid_bundle.pem') }) },
    };
  };
  return { sallyport: contestant('sallyport'), envoy: contestant('envoy') };
}

// ---- the run

/** What each of `connections` idle ones adds to a process that has served few so far. Once only: what was freed is not given back. */
async function memoryPerConnection({ pid, client }: Contestant, connections: number): Promise<number> {
  for (const socket of await hold(client, 50)) socket.destroy();
  const before = await memoryBytes(pid);
  const held = await hold(client, connections);
  await new Promise((resolve) => setTimeout(resolve, settleMs));
  const perConnection = ((await memoryBytes(pid)) - before) / connections;
  for (const socket of held) socket.destroy();
  return perConnection;
}

/** Row, then class, then one value a round. */
type Figures = Map<string, Record<GatewayClass, number[]>>;

async function measure(figures: Figures | undefined, of: GatewayClass, { pid, client }: Contestant, connections: number): Promise<void> {
  const note = (figure: string, value: number): void => {
    const row = `${figure}, ${connections} ${connections === 1 ? 'connection' : 'connections'}`;
    if (figures === undefined) return;
    if (!figures.has(row)) figures.set(row, { sallyport: [], envoy: [] });
    figures.get(row)![of].push(value);
  };
  async function costOf<Value>(work: () => Promise<Value>): Promise<{ readonly value: Value; readonly cpu: number; readonly wallMs: number }> {
    const [before, startedAtMs] = [await cpuMs(pid), performance.now()];
    const value = await work();
    const wallMs = performance.now() - startedAtMs;
    await new Promise((resolve) => setTimeout(resolve, settleMs)); // records are written behind the connections
    return { value, cpu: (await cpuMs(pid)) - before, wallMs };
  }

  const full = await costOf(() => openConnections(client, connections));
  note('CPU us a new connection', (full.cpu * 1_000) / openedPerFigure);
  note('first byte p50, ms', quantile(full.value.timesMs, 0.5));
  note('first byte p99, ms', quantile(full.value.timesMs, 0.99));
  const session = await sessionOf(client);
  const again = await costOf(() => openConnections(client, connections, session));
  note('CPU us a new connection, session offered', (again.cpu * 1_000) / openedPerFigure);
  note('of these resumed', again.value.resumed);
  const transfer = await costOf(() => bulk(client, connections));
  note('CPU ms a GB', transfer.cpu / (bulkBytes / 1e9));
  note('MB/s', bulkBytes / 1e3 / transfer.wallMs);
  const held = await hold(client, connections);
  const trips = await costOf(() => roundTrips(held));
  note('CPU us a round trip', (trips.cpu * 1_000) / roundTripsPerFigure);
  note('round trip p50, us', quantile(trips.value, 0.5));
  note('round trip p99, us', quantile(trips.value, 0.99));
  for (const socket of held) socket.destroy();
  await new Promise((resolve) => setTimeout(resolve, settleMs));
}

async function run(): Promise<void> {
  const target: ChildProcess = fork(import.meta.filename, ['--as', 'target']);
  const deployment = await createDeployment({ directory: await mkdtemp(join(tmpdir(), 'sallyport-bench-')) });
  try {
    const [targetPort] = (await once(target, 'message')) as [number];
    const contestants = await startContestants(deployment, targetPort);
    const figures: Figures = new Map();
    const memory = 'memory KB a connection, 1000 idle ones';
    figures.set(memory, { sallyport: [], envoy: [] });
    for (const of of classes) figures.get(memory)![of].push((await memoryPerConnection(contestants[of], 1_000)) / 1_000);
    for (let round = -1; round < Number(options.rounds); round += 1) {
      for (const connections of options.connections.split(',').map(Number)) {
        for (const of of round % 2 === 0 ? classes : classes.toReversed()) await measure(round < 0 ? undefined : figures, of, contestants[of], connections); // the first is to warm up
      }
    }
    console.log(`medians of ${options.rounds} rounds (least-most); load average ${loadavg()[0]!.toFixed(1)}; node ${process.version}\n`);
    const shown = (values: readonly number[]): string => [0.5, 0, 1].map((share) => quantile(values, share)).map((value) => (value >= 100 ? value.toFixed(0) : value.toFixed(1))).join(' ').replace(/ (\S+) (\S+)$/, ' ($1-$2)');
    console.log(['figure'.padEnd(62), 'sallyport'.padStart(24), 'envoy'.padStart(24), 'envoy/sallyport'].join('  '));
    for (const [figure, of] of figures) {
      const ratio = quantile(of.envoy, 0.5) / quantile(of.sallyport, 0.5);
      console.log([figure.padEnd(62), shown(of.sallyport).padStart(24), shown(of.envoy).padStart(24), Number.isFinite(ratio) ? ratio.toFixed(2) : '-'].join('  '));
    }
  } finally {
    await deployment.close();
    target.disconnect();
  }
}

if (options.as === 'target') {
  runTarget();
  process.on('disconnect', () => process.exit());
} else {
  await run();
}
