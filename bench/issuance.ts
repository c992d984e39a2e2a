/**
 * The whole call of renewing an SVID: gRPC over mTLS, the CSR's signature verified, the certificate signed, its ledger record
 * and what it can be revoked by durable, the answer back at the caller.
 *
 *   node bench/issuance.ts [--seconds 3] [--connections 8] [--in-flight 64]
 *
 * The control plane runs in this process, pinned to one core where `taskset` is there; the callers are a process of their own
 * on the other cores. Per CPU second of this process, all its threads included; raw P-256 signatures are counted in slices
 * before and after each measurement, so that the ratio holds on a machine that does other things too. The event loop's delays
 * hold only where nobody else wants the core: each time the kernel gave it away counts as a delay too.
 */
import { spawn, spawnSync } from 'node:child_process';
import { generateKeyPairSync, randomBytes, sign } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { Client } from '@grpc/grpc-js';
import { pino } from 'pino';
import { createAdminClient } from '../src/api/admin-client.ts';
import { adminPaths, type TokenResult } from '../src/api/admin.ts';
import { enrol, type ControlPlane } from '../src/api/enrolment-client.ts';
import { callUnary } from '../src/api/grpc-service.ts';
import { defaultControlIdentity, meshChannelCredentials, meshChannelOptions } from '../src/api/mesh-credentials.ts';
import { startControl } from '../src/control/index.ts';
import { createCsr } from '../src/core/x509/csr.ts';
import { certificatesToPem } from '../src/core/x509/pem.ts';
import type { TrustDomain } from '../src/core/spiffe-id.ts';
import { IdentityService } from '../src/proto/sallyport/v1alpha1/identity_pb.ts';

const { values: options } = parseArgs({
  options: { seconds: { type: 'string', default: '3' }, connections: { type: 'string', default: '8' }, 'in-flight': { type: 'string', default: '64' }, callers: { type: 'string' } },
});
const seconds = Number(options.seconds);
const trustDomain = 'cluster.local' as TrustDomain;

interface CallersInput {
  readonly control: ControlPlane;
  readonly tokens: readonly string[];
  readonly inFlight: number;
}

const newKey = () => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;

/** The callers' process: enrols each, says "ready", and at each line of input renews for `seconds` and prints how many calls were answered. */
async function runCallers({ control, tokens, inFlight }: CallersInput): Promise<void> {
  const clients: Client[] = [];
  for (const token of tokens) {
    const key = newKey();
    const { certificateChain } = await enrol(control, token, createCsr(key), { timeoutMs: 10_000 });
    const certificate = { certificateChainPem: certificatesToPem(certificateChain), privateKeyPem: String(key.export({ type: 'pkcs8', format: 'pem' })) };
    clients.push(new Client(control.address, meshChannelCredentials([control.identity], control.trustBundlePem, certificate), meshChannelOptions));
  }
  const csr = createCsr(newKey());
  console.log('ready');
  for await (const line of createInterface(process.stdin)) {
    const endsAt = performance.now() + Number(line) * 1000;
    let calls = 0;
    const latencies: number[] = [];
    await Promise.all(
      Array.from({ length: inFlight }, async (_, index) => {
        const client = clients[index % clients.length]!;
        for (;;) {
          const begin = performance.now();
          if (begin >= endsAt) return;
          await callUnary(client, IdentityService.method.renew, { csr }, { timeoutMs: 10_000 });
          latencies.push(performance.now() - begin);
          calls += 1;
        }
      }),
    );
    latencies.sort((a, b) => a - b);
    console.log(JSON.stringify({ calls, p50Ms: latencies[latencies.length >> 1], p99Ms: latencies[Math.floor(latencies.length * 0.99)] }));
  }
  for (const client of clients) client.close();
}

interface Measured {
  readonly calls: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

const cpuSeconds = (before: NodeJS.CpuUsage): number => {
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1e6;
};

/** Per second of CPU time, over half a second. */
function rawSignatures(): number {
  const key = newKey();
  const content = randomBytes(400);
  const before = process.cpuUsage();
  const endsAt = performance.now() + 500;
  let count = 0;
  for (; performance.now() < endsAt; count += 20) for (let burst = 0; burst < 20; burst++) sign('sha256', content, key);
  return count / cpuSeconds(before);
}

async function runServer(): Promise<void> {
  const pinned = availableParallelism() > 1 && spawnSync('taskset', ['-a', '-cp', '0', String(process.pid)]).status === 0;
  const directory = await mkdtemp(join(tmpdir(), 'sallyport-bench-'));
  const socketPath = join(directory, 'admin.sock');
  const control = await startControl({ directory, trustDomain, clusterDomain: 'cluster.local', mesh: { host: '127.0.0.1', port: 0 }, socketPath, admin: null, probe: null, administrators: new Set(), version: 'bench', log: pino({ level: 'silent' }), now: Date.now });
  const admin = createAdminClient({ kind: 'unix', socketPath });
  await admin.post(adminPaths.caInit, {});
  const tokens = await Promise.all(Array.from({ length: Number(options.connections) }, async (_, index) => (await admin.post<TokenResult>(adminPaths.tokens, { spiffeId: `spiffe://${trustDomain}/ns/bench/sa/caller-${index}` })).token));
  const input: CallersInput = { control: { address: `127.0.0.1:${control.meshPort!}`, identity: defaultControlIdentity(trustDomain), trustBundlePem: await admin.text(adminPaths.bundle) }, tokens, inFlight: Number(options['in-flight']) };
  const callerArguments = [import.meta.filename, '--callers', JSON.stringify(input)];
  const callers = pinned ? spawn('taskset', ['-c', `1-${availableParallelism()}`, process.execPath, ...callerArguments], { stdio: ['pipe', 'pipe', 'inherit'] }) : spawn(process.execPath, callerArguments, { stdio: ['pipe', 'pipe', 'inherit'] });
  try {
    const answers = createInterface(callers.stdout)[Symbol.asyncIterator]();
    if ((await answers.next()).value !== 'ready') throw new Error('the callers did not start');
    const renewFor = async (span: number): Promise<Measured> => {
      callers.stdin.write(`${span}\n`);
      return JSON.parse(String((await answers.next()).value)) as Measured;
    };
    await renewFor(4); // until V8 has compiled what is hot: a colder server takes a fifth more a call
    console.log(`${options['in-flight']} calls in flight over ${options.connections} connections; server ${pinned ? 'pinned to one core' : 'not pinned'}`);
    console.log('raw signatures/CPU-s   calls/s   calls/CPU-s   of raw   p50 ms   p99 ms   event loop delay p99 ms, max ms   core given away');
    for (let round = 0; round < 3; round++) {
      const rawBefore = rawSignatures();
      const delay = monitorEventLoopDelay({ resolution: 1 });
      await new Promise((resolve) => setImmediate(resolve)); // the slice of raw signatures is over for the event loop too
      delay.enable();
      const begun = performance.now();
      const switchesBefore = process.resourceUsage().involuntaryContextSwitches;
      const before = process.cpuUsage();
      const { calls, p50Ms, p99Ms } = await renewFor(seconds);
      const perCpuSecond = calls / cpuSeconds(before);
      const perSecond = calls / ((performance.now() - begun) / 1000);
      delay.disable();
      const switches = process.resourceUsage().involuntaryContextSwitches - switchesBefore;
      const raw = (rawBefore + rawSignatures()) / 2;
      console.log([raw.toFixed(0).padStart(20), perSecond.toFixed(0).padStart(9), perCpuSecond.toFixed(0).padStart(13), (perCpuSecond / raw).toFixed(3).padStart(8), p50Ms.toFixed(1).padStart(8), p99Ms.toFixed(1).padStart(8), (delay.percentile(99) / 1e6).toFixed(1).padStart(25), (delay.max / 1e6).toFixed(1).padStart(7), `${switches} times`.padStart(17)].join(' '));
    }
  } finally {
    callers.stdin.end();
    await once(callers, 'exit');
    await control.close();
    await rm(directory, { recursive: true, force: true });
  }
}

if (options.callers === undefined) await runServer();
else await runCallers(JSON.parse(options.callers) as CallersInput);
