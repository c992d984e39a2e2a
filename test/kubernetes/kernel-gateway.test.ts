/**
 * A Linux router as gateway of a cluster, from real processes: who is behind an address is what the API server says of pods. A router is
 * a host of a network of namespaces, and so are its pods, whose addresses the test writes as a kubelet would.
 */
import assert from 'node:assert/strict';
import { waitFor } from '../../src/demo/processes.ts';
import { conditionsOf, openCluster, type Cluster, type LiveObject, type Manifest } from '../support/cluster.ts';
import { deployOn, rootNamespace, type ClusterDeployment } from '../support/cluster-deployment.ts';
import { useKubernetes } from '../support/kubernetes.ts';
import { makeNetwork, requireNetwork, type Network } from '../support/network-namespaces.ts';
import { requirePeer } from '../support/peers.ts';
import type { ServerProcess } from '../support/server-process.ts';
import { startEchoHost, tickingClients, type TickingClients } from '../support/ticking-clients.ts';
import { leadOut } from '../support/way-out.ts';

/** Addresses as documents have them (RFC 5737). */
const [first, second, third, unknown] = ['192.0.2.2', '192.0.2.3', '192.0.2.4', '192.0.2.9'] as const;
const snat = { bookinfo: '203.0.113.11', reports: '203.0.113.12' } as const;
const partner = { address: '203.0.113.10', port: 7000 } as const;
const refused = 'ECONNREFUSED';
const withinMs = 5_000;

const object = (kind: string, name: string, spec: object, namespace?: string): Manifest => ({ apiVersion: 'sallyport.dev/v1alpha1', kind, metadata: { name, ...(namespace === undefined ? {} : { namespace }) }, spec });
const router = (outside = 'partner') => object('EgressGateway', 'router', { class: 'kernel', kernel: { interface: outside } });
const bound = (namespace: keyof typeof snat) => object('SnatBinding', 'all', { subject: { namespace }, addresses: [snat[namespace]] }, namespace);
const allowed = (namespace: string) => object('EgressPolicy', 'partner', { subjects: [{ namespace }], to: [{ service: 'partner', namespace: 'partners' }] }, namespace);
const referring = (namespace: string) => ['EgressPolicy', 'SnatBinding'].map((kind) => ({ group: 'sallyport.dev', kind, namespace }));
const manifests = [
  router(),
  object('SnatPool', 'own', { addresses: Object.values(snat) }),
  object('ExternalService', 'partner', { addresses: [partner.address], ports: [{ name: 'echo', port: partner.port }] }, 'partners'),
  object('ReferenceGrant', 'partner', { from: [...referring('bookinfo'), ...referring('reports')], to: [{ group: 'sallyport.dev', kind: 'ExternalService', name: 'partner' }] }, 'partners'),
  ...(['bookinfo', 'reports'] as const).flatMap((namespace) => [bound(namespace), allowed(namespace)]),
];
const claim = object('WorkloadEntry', 'claim', { addresses: [first], namespace: 'reports' }, rootNamespace);

describe('a kernel gateway of a cluster', function () {
  this.timeout(90_000);
  before(function () {
    requireNetwork(this);
    for (const peer of ['nft', 'conntrack'] as const) requirePeer(this, peer);
  });
  const server = useKubernetes(this);
  let cluster: Cluster;
  let network: Network<'partner' | 'pods' | 'router'>;
  let deployment: ClusterDeployment;
  let clients: TickingClients;
  const closing: (() => unknown)[] = [];

  before(async () => {
    network = makeNetwork({
      hosts: ['pods', 'router', 'partner'],
      links: [
        [{ host: 'pods', addresses: [first, second, third, unknown].map((address) => `${address}/24`) }, { host: 'router', addresses: ['192.0.2.1/24'] }],
        [{ host: 'router', addresses: ['203.0.113.1/24'] }, { host: 'partner', addresses: [`${partner.address}/24`] }],
      ],
      routes: { pods: ['default via 192.0.2.1'], partner: ['192.0.2.0/24 via 203.0.113.1'] },
      routers: ['router'],
    });
    closing.push(() => network.close());
    const { router: host } = network.hosts;
    const hostOf = (name: string) => (name === 'router' ? host : undefined);
    cluster = await openCluster(server());
    deployment = await deployOn(server(), cluster, { hosts: { enter: (name) => hostOf(name)?.enter ?? [], fetch: (name, url, timeoutMs) => (hostOf(name) ?? { fetch: (at: string) => fetch(at) }).fetch(url, timeoutMs) } });
    closing.push(() => deployment.close());
    const echo = await startEchoHost(network.hosts.partner, partner.port);
    closing.push(() => echo.stop());
    clients = tickingClients(network.hosts.pods, partner);
    await deployment.startReplica('one');
    await deployment.cli('one', ['ca', 'init']);
    await deployment.ready('one');
    const way = await leadOut(host, deployment.meshPortOf('one'));
    closing.push(() => way.close());
    await cluster.apply(...manifests);
    await run('productpage', 'bookinfo', first);
    await run('report', 'reports', second);
    await run('stranger', 'elsewhere', third);
    await deployment.startKernelGateway('router', 'one');
  });
  afterEach(() => clients.stop());
  after(async () => {
    for (const close of closing.splice(0).reverse()) await close();
  });

  /** A pod that runs, as its kubelet says it. */
  async function run(name: string, namespace: string, ip: string): Promise<void> {
    await cluster.apply({ apiVersion: 'v1', kind: 'Pod', metadata: { name, namespace }, spec: { serviceAccountName: 'default', nodeName: 'node-a', containers: [{ name: 'app', image: 'app' }] } });
    await cluster.client.request({ method: 'PATCH', path: `/api/v1/namespaces/${namespace}/pods/${name}/status`, contentType: 'application/merge-patch+json', body: { status: { phase: 'Running', podIP: ip, podIPs: [{ ip }] } } });
  }
  /** As `kubectl delete pod`: it is told to end, and its kubelet says when it has. */
  const remove = (name: string, namespace: string, gracePeriodSeconds = 30) => cluster.client.request({ method: 'DELETE', path: `/api/v1/namespaces/${namespace}/pods/${name}`, body: { gracePeriodSeconds } });
  const until = (address: string, seen: string) => waitFor(`${address} to be ${seen}`, withinMs, async () => ((await clients.seenAs(address)) === seen ? true : undefined));
  const endOf = (client: ServerProcess, limitMs: number) => waitFor('its end', limitMs, () => clients.endOf(client));
  const warningOf = ({ status }: LiveObject) => status?.conditions?.find(({ type }) => type === 'Warned');

  it('lets pods out by kubectl apply, each from the address of its identity, and no pod of another namespace', async () => {
    assert.deepEqual(await Promise.all([first, second, third, unknown].map((address) => clients.seenAs(address))), [snat.bookinfo, snat.reports, refused, refused]);
    await cluster.until(allowed('bookinfo'), 'enforced', (live) => conditionsOf(live, 'Accepted', 'Programmed') === 'Accepted=True Programmed=True');
  });

  it('has the ledger say which pod\'s identity was behind an address and port', async () => {
    const client = await clients.start(second);
    const [, address, port] = /^you (\S+) (\S+)$/m.exec(client.output())!;
    const answer = await waitFor('the answer', withinMs, () => deployment.cli('one', ['whois', `${address}:${port}`]).then(({ stdout }) => stdout, () => undefined)); // not before the record is there
    assert.match(answer, /spiffe:\/\/cluster\.local\/ns\/reports\/sa\/default/);
  });

  it('says at its EgressGateway what an address cannot prove', async () => {
    const live = await cluster.until(router(), 'connected', (each) => each.status?.['connected'] === 1 && warningOf(each)?.status === 'True');
    assert.equal(warningOf(live)!.reason, 'IdentityByAddress');
    assert.match(warningOf(live)!.message, /^a workload is known by its address alone/);
  });

  it('cuts a pod within a second of its deletion, while it still has its address, and nobody else', async () => {
    const [deleted, kept] = await Promise.all([clients.start(first), clients.start(second)]);
    await remove('productpage', 'bookinfo');
    await endOf(deleted, 1_000);
    await clients.livesOn(kept);
    assert.equal(await clients.seenAs(first), refused);
  });

  it('takes a pod that is given the address of another for what it is itself', async () => {
    await remove('productpage', 'bookinfo', 0);
    await run('report-2', 'reports', first);
    await until(first, snat.reports);
    await remove('report-2', 'reports', 0);
    await until(first, refused);
    await run('productpage', 'bookinfo', first);
    await until(first, snat.bookinfo);
  });

  it('lets nobody out by an address that two claim, and says so to both, for as long as they do', async () => {
    const client = await clients.start(first);
    await cluster.apply(claim);
    await endOf(client, 2_000);
    assert.equal(await clients.seenAs(first), refused);
    const contested = `address ${first} is claimed by Pod bookinfo/productpage, WorkloadEntry ${rootNamespace}/claim`;
    const told = await cluster.until(claim, 'contested', (live) => warningOf(live)?.status === 'True');
    assert.ok(warningOf(told)!.message.includes(contested), warningOf(told)!.message);
    assert.ok((await deployment.status('one')).conditions.some((condition) => condition.startsWith(contested)));
    await cluster.remove(claim);
    await until(first, snat.bookinfo);
  });

  it('says at its EgressGateway what it could not put in force, and goes on with what was', async () => {
    const client = await clients.start(second);
    await cluster.apply(router('nowhere'));
    const live = await cluster.until(router(), 'refused', (each) => warningOf(each)?.reason === 'RulesetRefused');
    assert.match(warningOf(live)!.message, /Device "nowhere" does not exist.*; a workload is known by its address alone/);
    await clients.livesOn(client);
    await cluster.apply(router());
    await cluster.until(router(), 'in force', (each) => warningOf(each)?.reason === 'IdentityByAddress');
    await clients.livesOn(client);
  });

  it('goes on without the control plane, and takes up what has changed meanwhile when it is back', async () => {
    const [gone, kept] = await Promise.all([clients.start(first), clients.start(second)]);
    await deployment.kill('one');
    await remove('productpage', 'bookinfo', 0);
    for (const client of [gone, kept]) await clients.livesOn(client);
    assert.deepEqual(await Promise.all([second, third].map((address) => clients.seenAs(address))), [snat.reports, refused]);
    await deployment.startReplica('one');
    await endOf(gone, 30_000);
    await clients.livesOn(kept);
  });
});
