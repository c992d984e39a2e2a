/**
 * `sallyport serve` and `sallyport kernel-gateway` as processes on a Linux router between workloads and a partner: who is behind an address is told
 * by manifests, and what the router lets through is what they say.
 */
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createProcesses, waitFor, type Processes } from '../../src/demo/processes.ts';
import type { KernelGatewayStatus } from '../../src/kernel/index.ts';
import { makeNetwork, requireNetwork, type Network } from '../support/network-namespaces.ts';
import { requirePeer } from '../support/peers.ts';
import type { ServerProcess } from '../support/server-process.ts';
import { startEchoHost, tickingClients, type TickingClients } from '../support/ticking-clients.ts';

type Host = 'pods' | 'router' | 'partner';
/** Addresses as documents have them (RFC 5737). */
const pods = { productpage: '192.0.2.2', batch: '192.0.2.3', nobody: '192.0.2.9' } as const;
const snat = { productpage: '203.0.113.11', batch: '203.0.113.12' } as const;
const partner = '203.0.113.10';
const echoPort = 7000;
const probes = '127.0.0.1:9901';
const cli = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));

const object = (kind: string, name: string, spec: object) => {
  const [namespace, own] = name.includes('/') ? (name.split('/') as [string, string]) : [undefined, name];
  return JSON.stringify({ apiVersion: 'sallyport.dev/v1alpha1', kind, metadata: { name: own, ...(namespace === undefined ? {} : { namespace }) }, spec });
};
const router = (outside = 'partner') => object('EgressGateway', 'router', { class: 'kernel', kernel: { interface: outside } });
const entry = (name: string, address: string) => object('WorkloadEntry', name, { addresses: [address] });
const manifests = [
  router(),
  object('SnatPool', 'own', { addresses: Object.values(snat) }),
  object('SnatBinding', 'bookinfo/all', { subject: { namespace: 'bookinfo' }, addresses: [snat.productpage] }),
  object('SnatBinding', 'reports/all', { subject: { namespace: 'reports' }, addresses: [snat.batch] }),
  object('ExternalService', 'bookinfo/partner', { addresses: [partner], ports: [{ name: 'echo', port: echoPort }] }),
  object('EgressPolicy', 'bookinfo/partner', { subjects: [{ namespace: 'bookinfo' }, { namespace: 'reports' }], to: [{ service: 'partner' }] }),
  entry('bookinfo/productpage', pods.productpage),
  entry('reports/batch', pods.batch),
];

describe('a kernel gateway, run as a program', function () {
  this.timeout(60_000);
  let network: Network<Host>;
  let processes: Processes;
  let directory: string;
  let echo: ServerProcess;
  let clients: TickingClients;

  before(async function () {
    requireNetwork(this);
    for (const peer of ['nft', 'conntrack'] as const) requirePeer(this, peer);
    network = makeNetwork<Host>({
      hosts: ['pods', 'router', 'partner'],
      links: [
        [{ host: 'pods', addresses: Object.values(pods).map((address) => `${address}/24`) }, { host: 'router', addresses: ['192.0.2.1/24'] }],
        [{ host: 'router', addresses: ['203.0.113.1/24'] }, { host: 'partner', addresses: [`${partner}/24`] }],
      ],
      routes: { pods: ['default via 192.0.2.1'], partner: ['192.0.2.0/24 via 203.0.113.1'] },
      routers: ['router'],
    });
    directory = await mkdtemp(join(tmpdir(), 'sallyport-kernel-gateway-'));
    processes = createProcesses(directory, { ...process.env, SALLYPORT_STATE: directory }, { enter: () => network.hosts.router.enter });
    echo = await startEchoHost(network.hosts.partner, echoPort);
    clients = tickingClients(network.hosts.pods, { address: partner, port: echoPort });
    startControl();
    await waitFor('the control plane', 15_000, async () => ((await processes.run(['ca', 'show'])).status === 0 ? true : undefined));
    await succeed(['ca', 'init']);
    await apply(...manifests);
    await writeFile(join(directory, 'bundle.pem'), await succeed(['ca', 'export']));
    await writeFile(join(directory, 'token'), await succeed(['token', 'create', 'spiffe://cluster.local/ns/sallyport-system/sa/router']));
    startGateway();
    await isReady();
  });
  afterEach(() => clients.stop());
  after(async () => {
    await processes.stop();
    await echo.stop();
    network.close();
    await rm(directory, { recursive: true, force: true });
  });

  const startControl = (): void => processes.start('control', ['serve']);
  const gatewayOptions = ['--name', 'router', '--trust-bundle'] as const;
  const startGateway = (): void => processes.start('gateway', ['kernel-gateway', ...gatewayOptions, join(directory, 'bundle.pem'), '--join-token-file', join(directory, 'token'), '--probe-listen', probes]);
  async function succeed(args: readonly string[], stdin?: string): Promise<string> {
    const { status, stdout, stderr } = await processes.run(args, stdin);
    assert.equal(status, 0, stderr);
    return stdout;
  }
  const apply = (...objects: readonly string[]) => succeed(['apply', '-f', '-'], objects.join('\n---\n'));
  async function statusOf(): Promise<KernelGatewayStatus> {
    const answer = await network.hosts.router.fetch(`http://${probes}/readyz`, 2_000);
    return (await answer.json()) as KernelGatewayStatus;
  }
  /** Nobody answers while it starts. */
  const isReady = (isSo: (status: KernelGatewayStatus) => boolean = ({ ready }) => ready) => waitFor('the gateway', 20_000, () => statusOf().then((status) => (isSo(status) ? true : undefined), () => undefined));
  const startClient = (pod: keyof typeof pods) => clients.start(pods[pod]);
  const seenAs = (pod: keyof typeof pods) => clients.seenAs(pods[pod]);
  const livesOn = (client: ServerProcess) => clients.livesOn(client);

  it('lets workloads out by their entries, each from its own address, and nobody else', async () => {
    assert.deepEqual(await Promise.all((['productpage', 'batch', 'nobody'] as const).map(seenAs)), [snat.productpage, snat.batch, 'ECONNREFUSED']);
    const { conditions, workloadAddresses } = await statusOf();
    assert.equal(workloadAddresses, 2);
    assert.deepEqual(conditions.map(({ code }) => code), ['identity-by-address']);
  });

  it('cuts a workload within a second as its entry is withdrawn, and nobody else, in the same revision', async () => {
    const [revoked, kept] = await Promise.all([startClient('batch'), startClient('productpage')]);
    const { revision } = await statusOf();
    await succeed(['delete', 'workloadentry', 'batch', '-n', 'reports']); // answered once it is published
    await waitFor('its end', 1_000, () => clients.endOf(revoked));
    await livesOn(kept);
    assert.equal(await seenAs('batch'), 'ECONNREFUSED');
    assert.equal((await statusOf()).revision, revision);
    await apply(entry('reports/batch', pods.batch));
    await waitFor('it to be let out again', 5_000, async () => ((await seenAs('batch')) === snat.batch ? true : undefined));
  });

  it('says to the control plane why a change is not in force, keeps what was, and takes the next', async () => {
    const client = await startClient('productpage');
    const { revision } = await statusOf();
    await apply(router('nowhere'));
    await isReady(({ fault }) => fault !== null);
    const refused = await statusOf();
    assert.deepEqual([refused.ready, refused.revision], [false, revision]);
    assert.match(refused.fault!, /Device "nowhere" does not exist/);
    assert.match((await processes.run(['proxy-status', '-o', 'json'])).stdout, /Device \\"nowhere\\" does not exist/);
    const told = await waitFor('the operator to be told', 3_000, async () => /^condition +gateway router: at .*is not in force.*$/m.exec((await processes.run(['status'])).stdout)?.[0]);
    assert.match(told, /Device "nowhere" does not exist/);
    assert.match((await processes.run(['proxy-status', 'router'])).stdout, /^spiffe:\/\/cluster\.local\/ns\/sallyport-system\/sa\/router~\S+: at .*Device "nowhere" does not exist/m);
    await livesOn(client);
    await apply(router());
    await isReady();
    await livesOn(client);
  });

  it('tries again what was refused, since what was in its way may be gone', async () => {
    await apply(router('late'));
    await isReady(({ fault }) => fault !== null);
    for (const command of [['add', 'late', 'type', 'veth', 'peer', 'name', 'other'], ['set', 'other', 'up'], ['set', 'late', 'up']]) assert.equal((await network.hosts.router.run('ip', ['link', ...command])).status, 0);
    await isReady();
    await apply(router());
    await waitFor('the interface before', 5_000, async () => ((await seenAs('batch')) === snat.batch ? true : undefined));
  });

  it('opens and closes nothing when it ends, by a signal or killed, and enforces what it held without the control plane', async () => {
    const client = await startClient('productpage');
    await processes.kill('control');
    process.kill(processes.pid('gateway'), 'SIGTERM');
    await waitFor('its end', 5_000, () => statusOf().then(() => undefined, () => true));
    await processes.kill('gateway');
    startGateway();
    await isReady();
    await processes.kill('gateway');
    await livesOn(client);
    assert.deepEqual([await seenAs('batch'), await seenAs('nobody')], [snat.batch, 'ECONNREFUSED']);
    // A host that was restarted has no table, and no connections, but what is on its disk.
    assert.equal((await network.hosts.router.run('nft', ['delete', 'table', 'inet', 'sallyport'])).status, 0);
    startGateway();
    await isReady();
    assert.equal((await statusOf()).controlPlane, 'disconnected');
    assert.deepEqual([await seenAs('batch'), await seenAs('nobody')], [snat.batch, 'ECONNREFUSED']);
    const next = await startClient('productpage');
    startControl();
    await isReady(({ ready, controlPlane }) => ready && controlPlane === 'connected');
    await livesOn(next);
  });

  it('counts by grant', async () => {
    await livesOn(await startClient('productpage'));
    const metrics = await (await network.hosts.router.fetch(`http://${probes}/metrics`, 5_000)).text();
    assert.match(metrics, /^sallyport_kernel_in_force 1$/m);
    assert.ok(Number(/^sallyport_kernel_grant_bytes\{service="bookinfo\/partner:echo",identity="bookinfo\/default"\} (\d+)$/m.exec(metrics)?.[1]) > 0, metrics.slice(0, 2_000));
  });

  it('leaves nothing behind once it is cleaned up', async () => {
    await processes.kill('gateway');
    const { status, stderr } = await network.hosts.router.run(process.execPath, [cli, 'kernel-gateway', '--name', 'router', '--cleanup']);
    assert.equal(status, 0, stderr);
    const left = await Promise.all([network.hosts.router.run('nft', ['list', 'tables']), network.hosts.router.run('ip', ['-brief', 'address', 'show', 'dev', 'partner'])]);
    assert.equal(left[0].stdout, '');
    assert.match(left[1].stdout, /203\.0\.113\.1\/24/);
    assert.doesNotMatch(left[1].stdout, /203\.0\.113\.1[12]/);
    // As if it had never been there: the partner sees the pod itself.
    assert.equal(await seenAs('nobody'), pods.nobody);
  });
});