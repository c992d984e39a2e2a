/**
 * What a change costs at full size: node bench/apply.ts [--changes N] [--cpu-prof DIRECTORY]
 * A control plane process with 10,000 identities, each with an address, and 500 services; a Delta client that holds the
 * gateway's whole table. First a manifest of 20,000 policies at once, then one changed policy at a time.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { adminPaths, type ApplyResult } from '../src/api/admin.ts';
import { defaultControlIdentity, meshChannelCredentials, meshChannelOptions } from '../src/api/mesh-credentials.ts';
import { typeUrls } from '../src/api/type-urls.ts';
import { createDeltaClient, type DeltaUpdate } from '../src/xds/index.ts';
import { findFreePorts } from '../src/demo/processes.ts';
import { accountCount, commands, createWorld, eachIdentity, gatewayName, objectsBesidePolicies, printTable, quantile, serviceCount, trustDomain, waitFor, writeLargeState, type Row, type RunningProcess } from './large-world.ts';

const { values: options } = parseArgs({ options: { changes: { type: 'string', default: '50' }, 'cpu-prof': { type: 'string' } } });

/** Runs in the control plane: on SIGUSR2 it writes how long its event loop was held up since the last one. */
const loopMonitor = `
import { monitorEventLoopDelay } from 'node:perf_hooks';
const delays = monitorEventLoopDelay({ resolution: 1 });
delays.enable();
process.on('SIGUSR2', () => {
  const p99Ms = delays.percentile(99) / 1e6, maxMs = delays.max / 1e6;
  process.stderr.write(JSON.stringify({ msg: 'event loop', p99Ms, maxMs }) + '\\n');
  delays.reset();
});`;

interface LoopDelay {
  readonly p99Ms: number;
  readonly maxMs: number;
}

async function loopDelayOf({ pid, log }: RunningProcess): Promise<LoopDelay> {
  const before = log.length;
  process.kill(pid, 'SIGUSR2');
  const find = () => log.slice(before).find(({ msg }) => msg === 'event loop') as unknown as LoopDelay | undefined;
  await waitFor('the event loop delay', () => Promise.resolve(find() !== undefined));
  return find()!;
}

/** Two of these an identity, with one service each. */
function policyText(which: 'p' | 'q', namespace: number, account: number, shift = 0): string {
  const service = (namespace * accountCount + account + (which === 'p' ? 0 : 7) + shift) % serviceCount;
  return `apiVersion: sallyport.dev/v1alpha1
kind: EgressPolicy
metadata:
  name: ${which}${account}
  namespace: n${namespace}
spec:
  subjects:
    - namespace: n${namespace}
      serviceAccount: a${account}
  to:
    - service: s${service}
      namespace: out
`;
}

const rows: Row[] = [];
const report = (what: string, value: number, unit: string, limit?: string) => rows.push({ what, figure: `${value >= 100 ? Math.round(value) : value.toPrecision(2)} ${unit}`, ...(limit === undefined ? {} : { limit }) });

const directory = await mkdtemp(join(tmpdir(), 'sallyport-bench-'));
try {
  const [gatewayPort, meshPort] = (await findFreePorts(2)) as [number, number];
  await writeLargeState(join(directory, 'control'), objectsBesidePolicies({ gateway: gatewayPort, target: 9 }));
  const world = createWorld(directory, meshPort);
  const profiling = options['cpu-prof'] === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${options['cpu-prof']}`];
  const { process: control } = await world.startControl({ ...commands[0]!, nodeOptions: ['--import', `data:text/javascript,${encodeURIComponent(loopMonitor)}`, ...profiling] });

  const gatewayIdentity = `spiffe://${trustDomain}/ns/sallyport-system/sa/${gatewayName}`;
  const certificate = await world.certificateOf(gatewayIdentity);
  /** When a revision's service ports were received, and their size. */
  const received = new Map<string, { readonly atMs: number; readonly bytes: number; readonly resources: number }>();
  const client = createDeltaClient({
    connect: () => ({ address: `127.0.0.1:${meshPort}`, credentials: meshChannelCredentials([defaultControlIdentity(trustDomain)], certificate.trustBundlePem, certificate), options: meshChannelOptions }),
    node: { id: gatewayIdentity },
    subscriptions: [{ typeUrl: typeUrls.servicePort, names: '*' }],
    onUpdate: ({ systemVersion, changed }: DeltaUpdate) => void received.set(systemVersion, { atMs: performance.now(), bytes: changed.reduce((sum, { value }) => sum + value.length, 0), resources: changed.length }),
    random: Math.random,
    now: () => performance.now(),
  });
  await waitFor('the table', () => Promise.resolve(received.size > 0));

  async function apply(text: string) {
    const startedAtMs = performance.now();
    const { revision } = await world.admin.post<ApplyResult>(adminPaths.apply, { sources: [{ file: 'policies.yaml', text }] });
    const answeredMs = performance.now() - startedAtMs;
    await waitFor('the client to have it', () => Promise.resolve(received.has(revision)));
    const { atMs, bytes, resources } = received.get(revision)!;
    return { answeredMs, receivedMs: atMs - startedAtMs, bytes, resources };
  }

  const manifest = eachIdentity((namespace, account) => [policyText('p', namespace, account), policyText('q', namespace, account)]).flat().join('---\n');
  await loopDelayOf(control);
  const all = await apply(manifest);
  const allDelay = await loopDelayOf(control);
  report(`20,000 policies at once (${(manifest.length / 1e6).toFixed(1)} MB): until the answer`, all.answeredMs, 'ms');
  report('  until the client has them', all.receivedMs, 'ms');
  report('  event loop held up at most', allDelay.maxMs, 'ms');
  report('  xDS resources', all.bytes / 1024, 'KiB');
  const again = await apply(`${manifest}# again\n`);
  const againDelay = await loopDelayOf(control);
  report('the same once more, nothing changed: until the answer', again.answeredMs, 'ms');
  report('  event loop held up at most', againDelay.maxMs, 'ms');

  const changes: Awaited<ReturnType<typeof apply>>[] = [];
  for (let round = 0; round < Number(options.changes); round += 1) changes.push(await apply(policyText('p', round * 7, round % accountCount, 100 + round)));
  const changeDelay = await loopDelayOf(control);
  const at = (share: number, value: (change: (typeof changes)[number]) => number) => quantile(changes.map(value), share);
  report(`one changed policy, ${changes.length} times: until the answer, p50`, at(0.5, ({ answeredMs }) => answeredMs), 'ms');
  report('  p99', at(0.99, ({ answeredMs }) => answeredMs), 'ms');
  report('  until the client has it, p50', at(0.5, ({ receivedMs }) => receivedMs), 'ms');
  report('  p99', at(0.99, ({ receivedMs }) => receivedMs), 'ms');
  report('  xDS resources, p50', at(0.5, ({ resources }) => resources), '');
  report('  their bytes, p50', at(0.5, ({ bytes }) => bytes) / 1024, 'KiB');
  report('  event loop held up, p99', changeDelay.p99Ms, 'ms');
  report('  at most', changeDelay.maxMs, 'ms');
  report('peak resident memory of the control plane', await control.peakMib(), 'MiB');
  client.close();
  await control.end(profiling.length === 0 ? 'SIGKILL' : 'SIGTERM');
  printTable(`load average ${loadavg()[0]!.toFixed(1)}`, rows);
} finally {
  await rm(directory, { recursive: true, force: true });
}
