/** A Sallyport on a real API server, from real processes: replicas of the control plane, gateways and agents that enrol by the tokens of their pods. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { StatusResult } from '../../src/api/admin.ts';
import { openPlain, type Dialogue } from '../../src/demo/clients.ts';
import { createProcesses, findFreePorts, thisHost, waitFor, type CommandResult, type Hosts } from '../../src/demo/processes.ts';
import type { Cluster, Manifest } from './cluster.ts';
import type { KubernetesServer } from './kubernetes.ts';

export interface Workload {
  readonly namespace: string;
  readonly account: string;
}

export interface ClusterDeployment {
  /** Starts a replica, and waits until it answers administrators. */
  startReplica(name: string, options?: readonly string[]): Promise<void>;
  /** Runs a command at a replica, to its end. */
  cli(replica: string, args: readonly string[]): Promise<CommandResult>;
  status(replica: string): Promise<StatusResult>;
  /** Where its administrators ask it. */
  socketOf(replica: string): string;
  /** Waits until a replica has a CA and a plan. */
  ready(replica: string): Promise<void>;
  /** Makes a pod with a token of its own, and starts what runs in it, which asks this replica. */
  startGateway(name: string, replica: string): Promise<void>;
  /** One of class kernel, which is no pod: on a host of its own, whose 127.0.0.1 is led to the replica's. It enrols by a join token. */
  startKernelGateway(name: string, replica: string): Promise<void>;
  startAgent(name: string, workload: Workload, replica: string, listenAddress: string): Promise<void>;
  /** Where gateways and agents ask a replica, on 127.0.0.1. */
  meshPortOf(replica: string): number;
  open(listenAddress: string, port: number): Promise<Dialogue>;
  kill(name: string): Promise<void>;
  close(): Promise<void>;
}

export const rootNamespace = 'sallyport-system';
const readyWithinMs = 30_000;

export interface DeploymentOptions {
  /** The control plane's. Default: the administrator's. */
  readonly token?: string;
  readonly serveOptions?: readonly string[];
  /** Where what is started under each name runs. Default: here. */
  readonly hosts?: Hosts;
}

export async function deployOn(server: KubernetesServer, cluster: Cluster, { token, serveOptions = [], hosts = thisHost }: DeploymentOptions = {}): Promise<ClusterDeployment> {
  const directory = await mkdtemp(join(tmpdir(), 'sallyport-cluster-'));
  const processes = createProcesses(directory, { ...process.env, NODE_COMPILE_CACHE: join(directory, 'compile-cache') }, hosts);
  process.once('exit', processes.killAll);
  const kubeconfig = await server.kubeConfigFile(token === undefined ? {} : { token });
  const meshPorts = new Map<string, number>();
  const probePorts = new Map<string, number>();
  const socketOf = (replica: string): string => join(directory, `${replica}.sock`);
  await cluster.apply({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: rootNamespace } });

  const cli = async (replica: string, args: readonly string[]): Promise<CommandResult> => {
    const result = await processes.run([...args, '--server', socketOf(replica)]);
    if (result.status !== 0) throw new Error(`sallyport ${args.join(' ')} ended with ${result.status}: ${result.stderr.trim()}`);
    return result;
  };

  async function portOf(ports: Map<string, number>, name: string): Promise<number> {
    const port = ports.get(name) ?? (await findFreePorts(1))[0]!;
    ports.set(name, port);
    return port;
  }

  /** The pod is there for its token; what runs in it runs here. */
  async function podTokenFileOf(pod: string, { namespace, account }: Workload): Promise<string> {
    const of = (kind: string, name: string, more: object = {}): Manifest => ({ apiVersion: 'v1', kind, metadata: { name, namespace }, ...more });
    await cluster.apply(of('ServiceAccount', account));
    const [live] = await cluster.apply(of('Pod', pod, { spec: { serviceAccountName: account, nodeName: 'node-a', containers: [{ name: 'app', image: 'app' }] } }));
    const { status } = await cluster.client.request<{ readonly status: { readonly token: string } }>({
      method: 'POST',
      path: `/api/v1/namespaces/${namespace}/serviceaccounts/${account}/token`,
      body: { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: { audiences: ['sallyport'], expirationSeconds: 3_600, boundObjectRef: { apiVersion: 'v1', kind: 'Pod', name: pod, uid: live!.metadata.uid } } },
    });
    const file = join(directory, `${pod}.token`);
    await writeFile(file, status.token, { mode: 0o600 });
    return file;
  }

  async function joinTokenFileOf(name: string, replica: string): Promise<string> {
    const file = join(directory, `${name}.token`);
    await writeFile(file, (await cli(replica, ['token', 'create', `spiffe://cluster.local/ns/${rootNamespace}/sa/${name}`])).stdout, { mode: 0o600 });
    return file;
  }

  async function start(command: 'agent' | 'gateway' | 'kernel-gateway', name: string, replica: string, options: readonly string[]): Promise<void> {
    const bundle = join(directory, `${name}.bundle.pem`);
    await writeFile(bundle, (await cli(replica, ['ca', 'export'])).stdout);
    const probe = await portOf(probePorts, name);
    processes.start(name, [
      command,
      ...['--control', `127.0.0.1:${meshPorts.get(replica)!}`, '--trust-bundle', bundle],
      ...['--state', join(directory, name), '--probe-listen', `127.0.0.1:${probe}`, ...options],
    ]);
    await waitFor(name, readyWithinMs, async () => ((await hosts.fetch(name, `http://127.0.0.1:${probe}/readyz`, 2_000).catch(() => undefined))?.ok === true ? true : undefined));
  }

  const status = async (replica: string): Promise<StatusResult> => JSON.parse((await processes.run(['status', '-o', 'json', '--server', socketOf(replica)])).stdout) as StatusResult;

  return {
    async startReplica(name, options = []) {
      const port = await portOf(meshPorts, name);
      processes.start(name, ['serve', '--kubernetes', '--kubeconfig', kubeconfig, '--replica', name, '--replica-address', `127.0.0.1:${port}`, '--state', join(directory, name), '--socket', socketOf(name), '--listen', `127.0.0.1:${port}`, '--log-level', 'debug', ...serveOptions, ...options]);
      await waitFor(`replica ${name}`, readyWithinMs, async () => ((await processes.run(['ca', 'show', '--server', socketOf(name)])).status === 0 ? true : undefined));
    },
    cli,
    status,
    socketOf,
    async ready(replica) {
      await waitFor(`replica ${replica} to be ready`, readyWithinMs, async () => ((await status(replica).catch(() => undefined))?.ready === true ? true : undefined));
    },
    startGateway: async (name, replica) => start('gateway', name, replica, ['--pod-token-file', await podTokenFileOf(name, { namespace: rootNamespace, account: name }), '--name', name, '--workers', '1']),
    startKernelGateway: async (name, replica) => start('kernel-gateway', name, replica, ['--join-token-file', await joinTokenFileOf(name, replica), '--name', name]),
    startAgent: async (name, workload, replica, listenAddress) => start('agent', name, replica, ['--pod-token-file', await podTokenFileOf(name, workload), '--listen-address', listenAddress]),
    meshPortOf: (replica) => meshPorts.get(replica)!,
    open: (listenAddress, port) => openPlain(port, listenAddress),
    kill: (name) => processes.kill(name),
    async close() {
      await processes.stop();
      process.off('exit', processes.killAll);
      await rm(directory, { recursive: true, force: true });
    },
  };
}
