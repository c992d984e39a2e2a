/** The demo's world, running: external services in this process, everything of Sallyport as processes of its own. */
import { rmSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openPlain, type Dialogue } from './clients.ts';
import { startForwardProxy, type ForwardProxy } from './forward-proxy.ts';
import { startFtpServer, type DemoFtpServer } from './ftp-server.ts';
import { createProcesses, findFreePorts, waitFor, type CommandResult, type Processes } from './processes.ts';
import { gatewayIdentity, gatewayName, identities, manifestsOf, trustDomain, workloads, type StoryPorts, type Workload } from './story.ts';

export interface World {
  readonly directory: string;
  readonly ports: StoryPorts;
  readonly originPort: number;
  readonly originText: string;
  readonly forwardProxy: ForwardProxy;
  readonly ftpServer: DemoFtpServer;
  readonly processes: Processes;
  /** What a user would set to talk to this control plane. */
  readonly environment: Readonly<Record<string, string>>;
  startControl(): Promise<void>;
  startGateway(): Promise<void>;
  /** Runs a command of the CLI; throws where it fails. */
  cli(args: readonly string[], stdin?: string): Promise<CommandResult>;
  /** Opens connections as the workload does: in plain, to its own agent. */
  openAtAgent(workload: Workload): (port: number) => Promise<Dialogue>;
  /** Where the workload's agent has written SVID, key and bundle. */
  svidDirectory(workload: Workload): string;
  agentAddress(workload: Workload): string;
  /** The words of the newest ledger record that refuses this identity for this reason, waited for. */
  denialOf(identity: string, reason: string): Promise<string>;
  note(text: string): void;
  close(): Promise<void>;
}

const readyWithinMs = 20_000;
const originText = 'the answer of a server on the internet\n';

export async function startWorld(note: (text: string) => void): Promise<World> {
  const directory = await mkdtemp(join(tmpdir(), 'sallyport-demo-'));
  process.on('exit', () => rmSync(directory, { recursive: true, force: true }));
  const environment = { SALLYPORT_STATE: directory };
  const processes = createProcesses(directory, { ...process.env, ...environment, NODE_COMPILE_CACHE: join(directory, 'compile-cache') });
  const forwardProxy = await startForwardProxy();
  const ftpServer = await startFtpServer({
    files: { '/statement.txt': Buffer.from('the statement of the month\r\n'.repeat(2_000)), '/slow.bin': Buffer.alloc(64 * 1024 * 1024, 'slow') },
    bytesPerSecond: (path) => (path === '/slow.bin' ? 256 * 1024 : Infinity),
  });
  const origin = await startOrigin();
  const [gateway, mesh, gatewayProbe, proxyAtAgent, ftpAtAgent, archiveAtAgent, ...agentProbes] = (await findFreePorts(6 + workloads.length)) as [number, number, number, number, number, number, ...number[]];
  const ports: StoryPorts = { gateway, forwardProxy: forwardProxy.port, ftpServer: ftpServer.port, proxyAtAgent, ftpAtAgent, archiveAtAgent };
  const bundle = join(directory, 'bundle.pem');
  const controlOptions = ['--control', `127.0.0.1:${mesh}`, '--trust-bundle', bundle];

  async function cli(args: readonly string[], stdin?: string): Promise<CommandResult> {
    const result = await processes.run(args, stdin);
    if (result.status !== 0) throw new Error(`sallyport ${args.join(' ')} ended with ${result.status}: ${result.stderr.trim()}`);
    return result;
  }

  async function startControl(): Promise<void> {
    processes.start('control', ['serve', '--trust-domain', trustDomain, '--listen', `127.0.0.1:${mesh}`]);
    await waitFor('the control plane', readyWithinMs, async () => ((await processes.run(['ca', 'show'])).status === 0 ? true : undefined));
  }

  async function startGateway(): Promise<void> {
    processes.start('gateway', ['gateway', '--name', gatewayName, ...controlOptions, '--join-token-file', join(directory, 'gateway.token'), '--probe-listen', `127.0.0.1:${gatewayProbe}`]);
    await ready('gateway', gatewayProbe);
  }

  async function startAgent(workload: Workload): Promise<void> {
    const probe = agentProbes[workloads.indexOf(workload)]!;
    await writeFile(join(directory, `${workload}.token`), await token(identities[workload]), { mode: 0o600 });
    processes.start(workload, [
      'agent',
      ...controlOptions,
      '--state',
      join(directory, workload),
      '--join-token-file',
      join(directory, `${workload}.token`),
      '--listen-address',
      agentAddress(workload),
      '--write-svid',
      svidDirectory(workload),
      '--probe-listen',
      `127.0.0.1:${probe}`,
    ]);
    await ready(workload, probe);
  }

  async function ready(name: string, port: number): Promise<void> {
    try {
      await waitFor(name, readyWithinMs, async () => {
        const response = await fetch(`http://127.0.0.1:${port}/readyz`).catch(() => undefined);
        return response?.ok === true ? true : undefined;
      });
    } catch (error) {
      note(`the log of ${name} ends with:\n${(await readFile(join(directory, `${name}.log`), 'utf8')).split('\n').slice(-8).join('\n')}`);
      throw error;
    }
  }

  const token = async (spiffeId: string) => (await cli(['token', 'create', spiffeId])).stdout.trim();
  const agentAddress = (workload: Workload) => `127.0.2.${workloads.indexOf(workload) + 1}`;
  const svidDirectory = (workload: Workload) => join(directory, `${workload}-svid`);

  const world: World = {
    directory,
    ports,
    originPort: (origin.address() as AddressInfo).port,
    originText,
    forwardProxy,
    ftpServer,
    processes,
    environment,
    startControl,
    startGateway,
    cli,
    openAtAgent: (workload) => (port) => openPlain(port, agentAddress(workload)),
    svidDirectory,
    agentAddress,
    denialOf: (identity, reason) =>
      waitFor(`a ledger record that refuses ${identity} for ${reason}`, 5_000, async () => {
        const { stdout } = await cli(['ledger', 'tail', '--last', '50', '--type', 'connection-denied']);
        const records = stdout.split('\n').filter((line) => line !== '').map((line) => JSON.parse(line) as { spiffeId: string; reason: string; detail: string });
        return records.findLast((record) => record.spiffeId === identity && record.reason === reason)?.detail;
      }),
    note,
    async close() {
      await processes.stop();
      forwardProxy.close();
      ftpServer.close();
      origin.closeAllConnections();
      origin.close();
      await rm(directory, { recursive: true, force: true });
    },
  };

  try {
    note(`everything is kept in ${directory} and removed at the end`);
    await startControl();
    note('the control plane runs; it makes a root CA and the organisation\'s intermediate CA');
    await cli(['ca', 'init']);
    await writeFile(bundle, (await cli(['ca', 'export'])).stdout);
    await cli(['apply', '-f', '-'], manifestsOf(ports));
    await writeFile(join(directory, 'gateway.token'), await token(gatewayIdentity), { mode: 0o600 });
    await startGateway();
    note(`gateway ${gatewayName} runs, holding 127.0.1.11-127.0.1.20`);
    await Promise.all(workloads.map(startAgent));
    note(`agents run beside ${workloads.map((workload) => identities[workload]).join(', ')}`);
    return world;
  } catch (error) {
    await world.close();
    throw error;
  }
}


async function startOrigin(): Promise<Server> {
  const server = createServer((_request, response) => response.end(originText));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return server;
}
