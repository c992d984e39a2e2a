/**
 * A Kubernetes cluster of one node, with all that belongs to it: API server, controller manager, scheduler, kubelet, containerd, kube-proxy, and
 * dnsmasq for the names of Services; NetworkPolicies are in force. It is a host of a network of namespaces, so that nothing of it is on this machine's
 * own network; the kubelet and what it starts are in namespaces of their own for processes and mounts, which end with their first process, and
 * that one with this, and in control groups of their own.
 */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { createProcesses, waitFor } from '../../../src/demo/processes.ts';
import { createApiClient, type ApiClient } from '../../../src/kubernetes/client.ts';
import { clusterOf, type Cluster } from '../cluster.ts';
import { startKubernetes, type KubernetesServer } from '../kubernetes.ts';
import type { NetworkHost } from '../network-namespaces.ts';
import { librariesOf, requireAbility, requirePeer } from '../peers.ts';
import { configurationOf } from './configuration.ts';
import { canMakeControlGroups, makeControlGroup, removeControlGroup } from './control-groups.ts';
import { writeToolsImage } from './images.ts';
import { followServices } from './names.ts';
import { enforceNetworkPolicies } from './network-policies.ts';

export interface ClusterNode {
  readonly server: KubernetesServer;
  readonly cluster: Cluster;
  readonly name: string;
  /** `127.0.0.1:PORT` here, which leads to an address there. */
  lead(port: number, address: string): Promise<string>;
  /** Ends all of it. Its host stays. */
  stop(): Promise<void>;
}

const programNames = ['etcd', 'kubeApiserver', 'kubeControllerManager', 'kubeScheduler', 'kubelet', 'kubeProxy', 'containerd', 'curl', 'dnsmasq', 'nft'] as const;
export type NodePrograms = Readonly<Record<(typeof programNames)[number], string>>;

const nodeName = 'node-1';
const clusterDomain = 'cluster.local';
export const podAddresses = '10.244.0.0/24';
/** For as many claims. */
const volumes = 8;
const readyWithinMs = 60_000;
/** What stands before a command that is not to outlive this process, however that ends. */
const endedWithUs = ['setpriv', '--pdeathsig', 'KILL'] as const;

/**
 * The kubelet sets these for the whole machine, and is content where it finds them so.
 * https://github.com/kubernetes/kubernetes/blob/v1.35.4/staging/src/k8s.io/component-helpers/node/util/sysctl/sysctl.go
 */
const kernelParameters = { 'vm/overcommit_memory': 1, 'vm/panic_on_oom': 0, 'kernel/panic': 10, 'kernel/panic_on_oops': 1, 'kernel/keys/root_maxkeys': 1_000_000, 'kernel/keys/root_maxbytes': 25_000_000 };

/** Its programs. Skips the test, or fails it under CI=true, where no node can be made. */
export function requireNode(test: Mocha.Context): NodePrograms {
  requireAbility(test, canMakeControlGroups(), 'control groups (of cgroup v1) that may be made, for a kubelet');
  return Object.fromEntries(programNames.map((name) => [name, requirePeer(test, name)])) as NodePrograms;
}

/** Writes an image into a folder that it makes, and gives the path of its archive. */
export type WriteImage = (folder: string) => Promise<string>;

/**
 * Resolves when pods can be made, of the images that are given and `toolsImage`.
 *
 * @param address of the host, by which pods reach it
 */
export async function startNode(programs: NodePrograms, host: NetworkHost, address: string, images: readonly WriteImage[] = []): Promise<ClusterNode> {
  const folder = await mkdtemp(join(tmpdir(), 'sallyport-node-'));
  const file = (name: string): string => join(folder, name);
  const controlGroup = basename(folder);
  const closing: (() => unknown)[] = [() => rmSync(folder, { recursive: true, force: true })];
  const stop = async (): Promise<void> => {
    for (const close of closing.splice(0).reverse()) await close();
  };

  async function lead(port: number, to = '127.0.0.1'): Promise<string> {
    const listener = createServer().listen(0, '127.0.0.1');
    await once(listener, 'listening');
    const { port: here } = listener.address() as AddressInfo;
    const [first, ...others] = [...host.enter, process.execPath, fileURLToPath(new URL('relay.ts', import.meta.url)), to, String(port)] as [string, ...string[]];
    const relay = spawn(first, others, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    closing.push(() => relay.kill('SIGKILL'));
    relay.send({}, listener, () => listener.close()); // else both would accept
    return `127.0.0.1:${here}`;
  }

  async function addImage(write: WriteImage): Promise<void> {
    const images = await mkdtemp(file('image-'));
    const archive = await write(join(images, 'image'));
    const ctr = async (...args: readonly string[]): Promise<unknown> => await promisify(execFile)(join(dirname(programs.containerd), 'ctr'), ['--address', file('containerd.sock'), '--namespace', 'k8s.io', ...args]);
    await waitFor('containerd', readyWithinMs, async () => await ctr('version').catch(() => undefined));
    await ctr('images', 'import', archive);
    rmSync(images, { recursive: true });
  }

  try {
    const server = await startKubernetes({ etcd: programs.etcd, apiserver: programs.kubeApiserver }, { host: { enter: [...host.enter, ...endedWithUs], address, lead } });
    closing.push(async () => await server.stop());
    const client = createApiClient(server.kubeConfig());

    layFolder(folder, configurationOf({ folder, address, controlGroup, clusterDomain, podAddresses, containerd: programs.containerd }));
    writeFileSync(file('kubeconfig'), server.kubeConfig({ address: `127.0.0.1:${server.port}` }).exportConfig(), { mode: 0o600 });
    const path = [dirname(programs.containerd), ...new Set([programs.kubelet, programs.kubeProxy, programs.nft, programs.dnsmasq].map((program) => dirname(program))), process.env['PATH']].join(delimiter);
    const processes = createProcesses(folder, { ...process.env, ...librariesOf(programs.containerd), PATH: path }, { enter: () => [...host.enterNetwork, ...endedWithUs] });
    const abandon = (): void => {
      processes.killAll();
      for (let tries = 0; tries < 50 && !removeControlGroup(controlGroup); tries += 1) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 100);
      rmSync(folder, { recursive: true, force: true });
    };
    process.once('exit', abandon);
    closing.push(async () => {
      await processes.stop();
      process.off('exit', abandon);
    });
    const common = [`--kubeconfig=${file('kubeconfig')}`, '--leader-elect=false'];
    processes.startProgram('controller-manager', programs.kubeControllerManager, [...common, `--service-account-private-key-file=${server.accountsKeyFile}`, `--root-ca-file=${server.caFile}`]);
    processes.startProgram('scheduler', programs.kubeScheduler, common);
    makeControlGroup(controlGroup);
    closing.push(async () => await waitFor('the control groups to be left', readyWithinMs, () => removeControlGroup(controlGroup) || undefined));
    processes.startProgram('node', 'unshare', ['--pid', '--fork', '--kill-child', '--mount', '--mount-proc', 'sh', fileURLToPath(new URL('init.sh', import.meta.url)), folder, nodeName, address]);
    closing.push(async () => await processes.kill('node'));

    closing.push(followServices(client, file('names'), clusterDomain), enforceNetworkPolicies(client, [...host.enter, programs.nft, '-f', '-']));

    await Promise.all([...[...images, async (into: string) => await writeToolsImage(into, programs.curl)].map(addImage), offerVolumes(client, folder), untilReady(client)]);
    return { server, cluster: clusterOf(client), name: nodeName, lead, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** What init.sh goes by. */
function layFolder(folder: string, configuration: Readonly<Record<string, string>>): void {
  const parameters = Object.entries(kernelParameters).map(([parameter, value]) => [`kernel/${parameter}`, String(value)] as const);
  for (const [name, text] of [...Object.entries(configuration), ...parameters, ['resolv.conf', '']] as const) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
  for (const name of ['names', 'var/cache', 'var/lib', 'var/log', 'var/tmp']) mkdirSync(join(folder, name), { recursive: true });
  symlinkSync('/run', join(folder, 'var/run'));
}

/** The cluster's default StorageClass: folders of the node, for whoever claims one. */
async function offerVolumes(client: ApiClient, folder: string): Promise<void> {
  const create = async (path: string, object: object): Promise<unknown> => await client.request({ method: 'POST', path, body: object });
  const annotations = { 'storageclass.kubernetes.io/is-default-class': 'true' };
  await create('/apis/storage.k8s.io/v1/storageclasses', { apiVersion: 'storage.k8s.io/v1', kind: 'StorageClass', metadata: { name: 'local', annotations }, provisioner: 'kubernetes.io/no-provisioner', volumeBindingMode: 'WaitForFirstConsumer' });
  for (let index = 1; index <= volumes; index += 1) {
    const path = join(folder, `volume-${index}`);
    mkdirSync(path);
    const nodeAffinity = { required: { nodeSelectorTerms: [{ matchExpressions: [{ key: 'kubernetes.io/hostname', operator: 'In', values: [nodeName] }] }] } };
    const spec = { capacity: { storage: '20Gi' }, accessModes: ['ReadWriteOnce'], storageClassName: 'local', persistentVolumeReclaimPolicy: 'Retain', local: { path }, nodeAffinity };
    await create('/api/v1/persistentvolumes', { apiVersion: 'v1', kind: 'PersistentVolume', metadata: { name: `volume-${index}` }, spec });
  }
}

async function untilReady(client: ApiClient): Promise<void> {
  const get = async <Answer>(path: string): Promise<Answer | undefined> => await client.request<Answer>({ method: 'GET', path }).catch(() => undefined);
  await waitFor('the node', readyWithinMs, async () => {
    const node = await get<{ readonly status: { readonly conditions?: readonly { readonly type: string; readonly status: string }[] } }>(`/api/v1/nodes/${nodeName}`);
    return node?.status.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') || undefined;
  });
  await waitFor('the first service account', readyWithinMs, async () => await get('/api/v1/namespaces/default/serviceaccounts/default'));
}
