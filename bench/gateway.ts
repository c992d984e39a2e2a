/**
 * The gateway beside the smallest mTLS pipe that Node can make (a `tls.createServer` that pipes to `net.connect`: no decision, no
 * source address, no record), each in a process of its own with one thread for connections, in turns, in one run.
 *
 *   node bench/gateway.ts [--rounds 5]
 *   node bench/gateway.ts --held        as many connections from one source address to two destinations as there are descriptors
 *
 * Wall-clock figures need cores to spare; the CPU figures count what the proxy's process used, and hold on a busy machine too.
 */
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import net from 'node:net';
import { availableParallelism, cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import tls from 'node:tls';
import { parseArgs } from 'node:util';
import type { IpAddress } from '../src/core/ip-address.ts';
import type { LedgerRecord } from '../src/core/ledger-record.ts';
import type { Endpoint } from '../src/core/plan/plan.ts';
import { createSnatPorts } from '../src/core/snat/snat-ports.ts';
import { createDial, streams } from '../src/gateway/dial.ts';
import { createHostLookup } from '../src/gateway/host-lookup.ts';
import { createPlane } from '../src/gateway/workers.ts';
import { openSpool } from '../src/store/index.ts';
import { grantTo, loopback, productpage, revisionOne, servicePort, settings } from '../test/support/gateway.ts';
import { makePki, type Issued } from '../test/support/pki.ts';

type Kind = 'pipe' | 'gateway';

/** What a proxy process is told. */
interface Order {
  readonly server: Issued;
  readonly port: number;
  readonly targetPort: number;
}

const ciphers = 'TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:ECDHE+AESGCM:ECDHE+CHACHA20';
const bulkBytes = 512 << 20;
const connections = 600;
const concurrency = 8;
const roundTrips = 4_000;

// ---- a proxy's process

async function runProxy(kind: Kind): Promise<void> {
  const [order] = (await once(process, 'message')) as [Order];
  if (kind === 'pipe') await runPipe(order);
  else await runGateway(order);
  process.on('message', () => process.send?.(process.cpuUsage()));
  process.send?.('ready');
}

async function runPipe({ server, port, targetPort }: Order): Promise<void> {
  const options = { cert: server.certificateChainPem, key: server.privateKeyPem, ca: server.trustBundlePem, requestCert: true, ciphers };
  const pipe = tls.createServer(options, (client) => {
    const target = net.connect(targetPort, loopback);
    client.pipe(target).pipe(client);
    for (const socket of [client, target]) socket.on('error', () => undefined);
  });
  pipe.listen(port, loopback);
  await once(pipe, 'listening');
}

async function runGateway({ server, port, targetPort }: Order): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'sallyport-bench-'));
  process.once('disconnect', () => void rm(directory, { recursive: true }).then(() => process.exit()));
  const spool = await openSpool({ directory, newId: () => 'bench0000bench0000' });
  const listen: readonly Endpoint[] = [{ address: loopback, port }];
  const plane = createPlane({
    workers: 1,
    events: {
      records: (records: readonly LedgerRecord[]) => {
        for (const record of records) void spool.append(record);
      },
      listenerFault: (_thread, endpoint, code) => {
        throw new Error(`cannot listen on ${JSON.stringify(endpoint)}: ${code}`);
      },
      unrecorded: () => undefined,
    },
    now: Date.now,
    random: Math.random,
  });
  const grants = Array.from({ length: 100 }, (_, index) => grantTo(`namespace-${index}`, '127.0.1.60')).concat(grantTo('bookinfo', '127.0.1.61'));
  await plane.start(server, { revision: revisionOne, settings: { ...settings, listen }, servicePorts: [servicePort({ targetPort, grants })] });
}

// ---- the two ends

/** Answers 'b' with bulk and everything else with an echo; in a process of its own. */
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
      let left = bulkBytes;
      const write = (): void => {
        while (left > 0) {
          left -= chunk.length;
          if (!socket.write(chunk)) return;
        }
        socket.end();
      };
      socket.on('drain', write);
      write();
    });
  });
  server.listen(0, loopback, () => process.send?.((server.address() as net.AddressInfo).port));
}

interface Client {
  readonly port: number;
  readonly identity: Issued;
}

function connect({ port, identity }: Client): tls.TLSSocket {
  return tls.connect({ host: loopback, port, cert: identity.certificateChainPem, key: identity.privateKeyPem, ca: identity.trustBundlePem, servername: 'partner.egress.svc.cluster.local', checkServerIdentity: () => undefined, secureContext: context(identity) });
}

let sharedContext: tls.SecureContext | undefined;
const context = ({ certificateChainPem: cert, privateKeyPem: key, trustBundlePem: ca }: Issued): tls.SecureContext => (sharedContext ??= tls.createSecureContext({ cert, key, ca }));

async function bulk(client: Client): Promise<void> {
  const socket = connect(client);
  socket.write('b');
  let received = 0;
  socket.on('data', (bytes: Buffer) => (received += bytes.length));
  await once(socket, 'end');
  socket.destroy();
  if (received !== bulkBytes) throw new Error(`${received} bytes of ${bulkBytes}`);
}

async function manyConnections(client: Client): Promise<void> {
  let left = connections;
  await Promise.all(
    Array.from({ length: concurrency }, async () => {
      while (left-- > 0) {
        const socket = connect(client);
        socket.write('?');
        await once(socket, 'data');
        socket.end();
        socket.resume();
        await once(socket, 'close');
      }
    }),
  );
}

/** Round trips on one connection, in microseconds, sorted. */
async function pingPong(client: Client): Promise<readonly number[]> {
  const socket = connect(client);
  const ping = Buffer.alloc(64, 'p');
  const times: number[] = [];
  socket.write(ping);
  await once(socket, 'data');
  await new Promise<void>((resolve) => {
    let sentAt = process.hrtime.bigint();
    socket.on('data', () => {
      const now = process.hrtime.bigint();
      times.push(Number(now - sentAt) / 1_000);
      if (times.length === roundTrips) {
        resolve();
        return;
      }
      sentAt = process.hrtime.bigint();
      socket.write(ping);
    });
    socket.write(ping);
  });
  socket.destroy();
  return times.sort((a, b) => a - b);
}

// ---- the run

interface Proxy {
  readonly client: Client;
  cpuMs(): Promise<number>;
}

async function startProxy(kind: Kind, targetPort: number, children: ChildProcess[]): Promise<Proxy> {
  const pki = makePki();
  const probe = net.createServer().listen(0, loopback);
  await once(probe, 'listening');
  const { port } = probe.address() as net.AddressInfo;
  await new Promise((resolve) => probe.close(resolve));
  const child = fork(import.meta.filename, ['--as', kind]);
  children.push(child);
  child.send({ server: pki.issue(settings.identity), port, targetPort } satisfies Order);
  await once(child, 'message');
  return {
    client: { port, identity: pki.issue(productpage) },
    async cpuMs() {
      child.send('cpu');
      const [{ user, system }] = (await once(child, 'message')) as [NodeJS.CpuUsage];
      return (user + system) / 1_000;
    },
  };
}

/** Where a round trip is slow, the scheduler was: the least of the rounds is the proxy's own. */
const least = (numbers: readonly number[]): number => Math.min(...numbers);
const median = (numbers: readonly number[]): number => numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)]!;

async function measure(rounds: number): Promise<void> {
  const children: ChildProcess[] = [];
  try {
    const target = fork(import.meta.filename, ['--as', 'target']);
    children.push(target);
    const [targetPort] = (await once(target, 'message')) as [number];
    const proxies = { pipe: await startProxy('pipe', targetPort, children), gateway: await startProxy('gateway', targetPort, children) };
    const figures: Record<Kind, Record<string, number[]>> = { pipe: {}, gateway: {} };
    const note = (kind: Kind, figure: string, value: number): void => void (figures[kind][figure] ??= []).push(value);

    for (let round = -1; round < rounds; round++) {
      const order: readonly Kind[] = round % 2 === 0 ? ['pipe', 'gateway'] : ['gateway', 'pipe'];
      for (const kind of order) {
        const { client } = proxies[kind];
        sharedContext = undefined;
        const timed = async (work: (client: Client) => Promise<unknown>): Promise<{ wallMs: number; cpu: number }> => {
          const [cpuBefore, startedAtMs] = [await proxies[kind].cpuMs(), performance.now()];
          await work(client);
          return { wallMs: performance.now() - startedAtMs, cpu: (await proxies[kind].cpuMs()) - cpuBefore };
        };
        const bulkRun = await timed(bulk);
        const connectionRun = await timed(manyConnections);
        let times: readonly number[] = [];
        const pingRun = await timed(async (to) => (times = await pingPong(to)));
        if (round < 0) continue; // warm-up
        note(kind, 'bulk, MB/s', bulkBytes / 1e6 / (bulkRun.wallMs / 1_000));
        note(kind, 'bulk, MB per CPU second', bulkBytes / 1e6 / (bulkRun.cpu / 1_000));
        note(kind, 'connections/s', connections / (connectionRun.wallMs / 1_000));
        note(kind, 'connections per CPU second', connections / (connectionRun.cpu / 1_000));
        note(kind, 'round trip p50, us', times[Math.floor(times.length * 0.5)]!);
        note(kind, 'round trip p99, us', times[Math.floor(times.length * 0.99)]!);
        note(kind, 'CPU per round trip, us', (pingRun.cpu * 1_000) / roundTrips);
      }
    }
    console.log(`${cpus()[0]?.model ?? 'unknown processor'}, ${availableParallelism()} cores, Node ${process.versions.node}; medians of ${rounds} rounds, of times the least\n`);
    console.log(['figure'.padEnd(30), 'pipe', 'gateway', 'gateway/pipe'].join('\t'));
    for (const figure of Object.keys(figures.pipe)) {
      const typical = figure.endsWith('us') ? least : median;
      const [pipe, gateway] = [typical(figures.pipe[figure]!), typical(figures.gateway[figure]!)];
      console.log([figure.padEnd(30), pipe.toFixed(1), gateway.toFixed(1), figure.endsWith('us') ? `${gateway - pipe > 0 ? '+' : ''}${(gateway - pipe).toFixed(1)} us` : (gateway / pipe).toFixed(2)].join('\t'));
    }
  } finally {
    for (const child of children) child.disconnect();
  }
}

/** One process dials from one address through the gateway's dialler; each destination is a process, with descriptors of its own. */
async function hold(): Promise<void> {
  const children = [fork(import.meta.filename, ['--as', 'target']), fork(import.meta.filename, ['--as', 'target'])];
  const held: net.Socket[] = [];
  try {
    const targets = await Promise.all(children.map(async (child) => ((await once(child, 'message')) as [number])[0]));
    const { userLimits } = process.report.getReport() as unknown as { userLimits: { open_files: { soft: number | 'unlimited' } } };
    const descriptors = Math.min(Number(userLimits.open_files.soft) || 1e6, 110_000) - 200;
    const dial = createDial(streams, { ports: createSnatPorts(Math.random()), lookup: createHostLookup(), now: Date.now });
    const snat = { ipv4: { address: '127.0.1.62' as IpAddress, ports: { first: 1024, last: 65535 } } };
    const startedAtMs = performance.now();
    const counts = targets.map(() => 0);
    while (held.length < descriptors) {
      const batch = await Promise.all(Array.from({ length: 100 }, async (_, index) => ({ index: index % 2, outcome: await dial({ snat, targets: [{ kind: 'address', address: loopback, port: targets[index % 2]! }], connectTimeoutMs: 10_000 }) })));
      for (const { index, outcome } of batch) {
        if (!outcome.ok) throw new Error(`after ${held.length} connections: ${outcome.reason}: ${outcome.detail}`);
        held.push(outcome.socket);
        counts[index]! += 1;
      }
    }
    console.log(`${held.length} connections at once from 127.0.1.62, ${counts.join(' and ')} to two destinations, in ${((performance.now() - startedAtMs) / 1_000).toFixed(1)} s; descriptors: ${descriptors + 200}`);
  } finally {
    for (const socket of held) socket.destroy();
    for (const child of children) child.disconnect();
  }
}

const { values } = parseArgs({ options: { as: { type: 'string' }, held: { type: 'boolean', default: false }, rounds: { type: 'string', default: '5' } } });
if (values.as === 'target') runTarget();
else if (values.as === 'pipe' || values.as === 'gateway') await runProxy(values.as);
else if (values.held) await hold();
else await measure(Number(values.rounds));
if (values.as !== undefined) process.on('disconnect', () => setTimeout(() => process.exit(), 200));
