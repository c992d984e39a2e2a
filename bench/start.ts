/**
 * Cold starts at full size: node bench/start.ts [--runs N] [--cpu-prof DIRECTORY]
 * The control plane until it is ready with the right plan, and the gateway until its first connection is served, each a
 * process of its own, started anew for each run. Works in a temporary directory, which goes afterwards.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import tls from 'node:tls';
import { adminPaths, type StatusResult } from '../src/api/admin.ts';
import type { ClientCertificate } from '../src/api/mesh-credentials.ts';
import { workloadSpiffeId } from '../src/core/spiffe-id.ts';
import { findFreePorts } from '../src/demo/processes.ts';
import { commands, createWorld, eachIdentity, gatewayName, objectsBesidePolicies, policyOf, printTable, quantile, start, trustDomain, waitFor, writeLargeState, type Launch, type Row, type RunningProcess, type World } from './large-world.ts';

const { values: options } = parseArgs({ options: { runs: { type: 'string', default: '5' }, 'cpu-prof': { type: 'string' } } });
const runs = Number(options.runs);
const nodeOptions = options['cpu-prof'] === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${options['cpu-prof']}`];
/** A profile is written by a process that ends by itself. */
const ending: NodeJS.Signals = nodeOptions.length === 0 ? 'SIGKILL' : 'SIGTERM';
const client = { namespace: 'n7', serviceAccount: 'a3' };
const serverName = 'outbound_.443_._.s73.out.svc.cluster.local'; // the first that policyOf(7, 3) names
const rows: Row[] = [];

function report(what: string, values: readonly number[], unit: string, limit?: string): void {
  const [least, middle, most] = [0, 0.5, 1].map((share) => Math.round(quantile(values, share)));
  rows.push({ what, figure: `${middle!} ${unit}  (${least!}-${most!})`, ...(limit === undefined ? {} : { limit }) });
}

/** Resolves once a connection as `client` has brought an answer of the external service. */
async function untilServed(port: number, { certificateChainPem, privateKeyPem, trustBundlePem }: ClientCertificate & { readonly trustBundlePem: string }): Promise<void> {
  const attempt = () =>
    new Promise<boolean>((resolve) => {
      const socket = tls.connect({ host: '127.0.0.1', port, cert: certificateChainPem, key: privateKeyPem, ca: trustBundlePem, allowPartialTrustChain: true, servername: serverName, checkServerIdentity: () => undefined });
      const end = (served: boolean) => {
        socket.destroy();
        resolve(served);
      };
      socket.once('data', () => end(true)).once('error', () => end(false)).once('close', () => end(false));
    });
  await waitFor('the first connection', attempt);
}

interface ControlStart {
  readonly readyMs: number;
  readonly cpuMs: number;
  readonly peakMib: number;
}

interface GatewayStart {
  readonly fromProcessMs: number;
  readonly fromTableMs: number;
  readonly cpuMs: number;
  readonly peakMib: number;
}

async function startGateway(world: World, port: number, certificate: ClientCertificate & { readonly trustBundlePem: string }, launch: Launch): Promise<GatewayStart> {
  const gateway = start(launch, gatewayArguments(world));
  await untilServed(port, certificate);
  const servedAt = Date.now();
  const fromProcessMs = performance.now() - gateway.startedAtMs;
  const cpuMs = await gateway.cpuMs();
  await waitFor('the log', () => Promise.resolve(tableAt(gateway) !== undefined));
  const result = { fromProcessMs, fromTableMs: servedAt - tableAt(gateway)!, cpuMs, peakMib: await gateway.peakMib() };
  await gateway.end(ending);
  return result;
}

/** When the table was there whole: read from disk, or the last of its types received, before the gateway began to listen. */
function tableAt({ log }: RunningProcess): number | undefined {
  const serving = log.findIndex(({ msg }) => msg === 'serving');
  return log.slice(0, Math.max(serving, 0)).findLast(({ msg }) => msg === 'table restored from disk' || msg === 'table received')?.['time'] as number | undefined;
}

const gatewayArguments = (world: World) => ['gateway', '--name', gatewayName, '--control', `127.0.0.1:${world.meshPort}`, '--trust-bundle', world.bundleFile, '--join-token-file', join(world.directory, 'token'), '--state', join(world.directory, 'gateway')];

const directory = await mkdtemp(join(tmpdir(), 'sallyport-bench-'));
const target = createServer((socket) => socket.on('error', () => undefined).end('hello\n'));
await new Promise<void>((resolve) => target.listen(0, '127.0.0.1', resolve));
try {
  const [gatewayPort, meshPort] = (await findFreePorts(2)) as [number, number];
  const world = createWorld(directory, meshPort);
  const objects = [...objectsBesidePolicies({ gateway: gatewayPort, target: (target.address() as AddressInfo).port }), ...eachIdentity((namespace, account) => policyOf(namespace, account))];
  const revision = await writeLargeState(join(directory, 'control'), objects);
  let control: RunningProcess = (await world.startControl()).process; // makes the CA
  const certificate = await world.certificateOf(workloadSpiffeId(trustDomain, client));
  await writeFile(join(directory, 'token'), await world.token(`spiffe://${trustDomain}/ns/sallyport-system/sa/${gatewayName}`), { mode: 0o600 });
  await startGateway(world, gatewayPort, certificate, commands[0]!); // enrols

  for (const { entry, path } of commands) {
    const launch = { path, nodeOptions };
    const startControl = async (): Promise<ControlStart> => {
      await control.end(ending);
      const started = await world.startControl(launch);
      control = started.process;
      return { readyMs: started.readyMs, cpuMs: await control.cpuMs(), peakMib: await control.peakMib() };
    };

    const controls: ControlStart[] = [];
    for (let run = 0; run < runs; run += 1) {
      controls.push(await startControl());
      const status = await world.admin.get<StatusResult>(adminPaths.status);
      if (status.revision !== revision) throw new Error(`the plan has revision ${status.revision}, not ${revision}`);
    }
    report(`control plane, ${entry}: process start to /readyz`, controls.map(({ readyMs }) => readyMs), 'ms', '< 3000 ms');
    report('  processor time until then', controls.map(({ cpuMs }) => cpuMs), 'ms');
    report('  peak resident memory', controls.map(({ peakMib }) => peakMib), 'MiB');

    const sent: GatewayStart[] = [];
    const restored: GatewayStart[] = [];
    for (let run = 0; run < runs; run += 1) {
      await rm(join(directory, 'gateway', 'table'), { recursive: true, force: true });
      sent.push(await startGateway(world, gatewayPort, certificate, launch));
      restored.push(await startGateway(world, gatewayPort, certificate, launch));
    }
    for (const [from, starts] of [['from the control plane', sent], ['on disk', restored]] as const) {
      report(`gateway, ${entry}, table ${from}: table there to first answer`, starts.map(({ fromTableMs }) => fromTableMs), 'ms', '< 500 ms');
      report('  process start to first answer', starts.map(({ fromProcessMs }) => fromProcessMs), 'ms');
      report('  processor time until then', starts.map(({ cpuMs }) => cpuMs), 'ms');
      report('  peak resident memory', starts.map(({ peakMib }) => peakMib), 'MiB');
    }
  }
  await control.end(ending);
  printTable(`${objects.length} objects; median of ${runs} runs (least-most); load average ${loadavg()[0]!.toFixed(1)}`, rows);
} finally {
  target.close();
  await rm(directory, { recursive: true, force: true });
}
