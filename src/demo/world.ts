/** The demo's world, running: external services in this process, everything of Sallyport as processes of its own. */
import { mkdtemp } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openPlain, type Dialogue } from './clients.ts';
import { createDeployment, type Deployment } from './deployment.ts';
import { startForwardProxy, type ForwardProxy } from './forward-proxy.ts';
import { startFtpServer, type DemoFtpServer } from './ftp-server.ts';
import { findFreePorts, waitFor } from './processes.ts';
import { besideIdentity, besideName, gatewayIdentity, gatewayName, identities, manifestsOf, workloads, type StoryPorts, type Workload } from './story.ts';

export interface World extends Pick<Deployment, 'environment' | 'cli' | 'startControl' | 'kill'> {
  readonly ports: StoryPorts;
  readonly originPort: number;
  readonly originText: string;
  readonly forwardProxy: ForwardProxy;
  readonly ftpServer: DemoFtpServer;
  startGateway(): Promise<void>;
  /** SIGKILL, and until it is gone; the one beside it, too. */
  killGateway(): Promise<void>;
  /** Opens connections as the workload does: in plain, to its own agent. */
  openAtAgent(workload: Workload): (port: number) => Promise<Dialogue>;
  /** Where the workload's agent has written SVID, key and bundle. */
  svidDirectory(workload: Workload): string;
  agentAddress(workload: Workload): string;
  /** The words of the newest ledger record that refuses this identity for this reason, waited for. */
  denialOf(identity: string, reason: string): Promise<string>;
  close(): Promise<void>;
}

const originText = 'the answer of a server on the internet\n';

/** With a stock Envoy as the gateway where its program is given, else with the embedded one. */
export async function startWorld(note: (text: string) => void, envoy?: string): Promise<World> {
  const deployment = await createDeployment({ directory: await mkdtemp(join(tmpdir(), 'sallyport-demo-')) });
  const { cli } = deployment;
  const forwardProxy = await startForwardProxy();
  const ftpServer = await startFtpServer({
    files: { '/statement.txt': Buffer.from('the statement of the month\r\n'.repeat(2_000)), '/slow.bin': Buffer.alloc(64 * 1024 * 1024, 'slow') },
    bytesPerSecond: (path) => (path === '/slow.bin' ? 256 * 1024 : Infinity),
  });
  const origin = await startOrigin();
  const [gateway, beside, proxyAtAgent, ftpAtAgent, archiveAtAgent] = (await findFreePorts(5)) as [number, number, number, number, number];
  const ports: StoryPorts = { gateway, beside, forwardProxy: forwardProxy.port, ftpServer: ftpServer.port, proxyAtAgent, ftpAtAgent, archiveAtAgent };

  async function startGateway(): Promise<void> {
    const embedded = envoy === undefined ? gatewayName : besideName;
    deployment.launchGateway(embedded);
    await Promise.all([deployment.ready(embedded), ...(envoy === undefined ? [] : [deployment.startEnvoyGateway(gatewayName, envoy)])]);
  }

  const agentAddress = (workload: Workload) => `127.0.2.${workloads.indexOf(workload) + 1}`;

  const world: World = {
    environment: deployment.environment,
    cli,
    startControl: deployment.startControl,
    kill: deployment.kill,
    ports,
    originPort: (origin.address() as AddressInfo).port,
    originText,
    forwardProxy,
    ftpServer,
    startGateway,
    async killGateway() {
      await Promise.all([gatewayName, besideName].map(deployment.kill));
    },
    openAtAgent: (workload) => (port) => openPlain(port, agentAddress(workload)),
    svidDirectory: deployment.svidDirectory,
    agentAddress,
    denialOf: (identity, reason) =>
      waitFor(`a ledger record that refuses ${identity} for ${reason}`, 5_000, async () => {
        const { stdout } = await cli(['ledger', 'tail', '--last', '50', '--type', 'connection-denied']);
        const records = stdout.split('\n').filter((line) => line !== '').map((line) => JSON.parse(line) as { spiffeId: string; reason: string; detail: string });
        return records.findLast((record) => record.spiffeId === identity && record.reason === reason)?.detail;
      }),
    async close() {
      await deployment.close();
      forwardProxy.close();
      ftpServer.close();
      origin.closeAllConnections();
      origin.close();
    },
  };

  try {
    note(`everything is kept in ${deployment.directory} and removed at the end`);
    await deployment.startControl();
    note('the control plane runs; it makes a root CA and the organisation\'s intermediate CA');
    await cli(['ca', 'init']);
    await cli(['apply', '-f', '-'], manifestsOf(ports, envoy === undefined ? 'sallyport' : 'envoy'));
    await deployment.admit({ ...(envoy === undefined ? { [gatewayName]: gatewayIdentity } : { [besideName]: besideIdentity }), ...identities });
    await startGateway();
    note(envoy === undefined ? `gateway ${gatewayName} runs, holding 127.0.1.11-127.0.1.20` : `gateway ${gatewayName}, a stock Envoy, runs, and beside it ${besideName} for FTP; they hold 127.0.1.11-127.0.1.20`);
    for (const workload of workloads) deployment.launchAgent(workload, agentAddress(workload));
    await Promise.all(workloads.map(deployment.ready));
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
