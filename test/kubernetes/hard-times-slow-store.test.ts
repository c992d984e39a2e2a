/** Two replicas at a real API server whose etcd is slow for long, and for a while answers nothing. */
import assert from 'node:assert/strict';
import { createServer, type AddressInfo, type Server } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { findFreePorts, waitFor } from '../../src/demo/processes.ts';
import { renewWithinMs } from '../../src/kubernetes/leader/election.ts';
import { conditionsOf, openCluster, type Cluster, type LiveObject, type Manifest } from '../support/cluster.ts';
import { deployOn, rootNamespace, type ClusterDeployment } from '../support/cluster-deployment.ts';
import { useKubernetes, type ApiUse } from '../support/kubernetes.ts';
import { createEchoTraffic, echo, type EchoTraffic } from '../support/echo-traffic.ts';

const object = (kind: string, name: string, spec: object, namespace?: string): Manifest => ({ apiVersion: 'sallyport.dev/v1alpha1', kind, metadata: { name, ...(namespace === undefined ? {} : { namespace }) }, spec });
const policy = (name: string): Manifest => object('EgressPolicy', name, { subjects: [{ namespace: 'bookinfo' }], to: [{ service: name }] }, 'bookinfo');
const binding = (name: string): Manifest => object('SnatBinding', name, { subject: { namespace: 'bookinfo', serviceAccount: name }, pool: 'large' }, 'bookinfo');
const lease: Manifest = { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata: { name: 'sallyport', namespace: rootNamespace } };
const isInForce = (live: LiveObject): boolean => conditionsOf(live, 'Accepted', 'Programmed') === 'Accepted=True Programmed=True';
/** Far from what is seen on an idle machine, and from what a person would call an interruption. */
const patienceMs = 3_000;
const upToDateWithinMs = 10_000;
/** Of two replicas, from the first answer until all is well: three times what was seen. */
const requestsMost = 150;
/** What the leader alone writes. */
const isLeadersWrite = ({ verb, resource }: ApiUse): boolean => !['get', 'list', 'watch'].includes(verb) && !['leases', 'tokenreviews', 'secrets'].includes(resource);

describe('sallyport serve --kubernetes at a store that is slow', function () {
  const server = useKubernetes(this, { record: true, linkToEtcd: true });
  this.timeout(120_000);
  const replicas = ['one', 'two'] as const;
  const userOf = (replica: string): string => `system:serviceaccount:${rootNamespace}:${replica}`;
  let cluster: Cluster;
  let deployment: ClusterDeployment;
  let partner: Server;
  let traffic: EchoTraffic;
  let ports: { readonly partner: number; readonly closed: number; readonly slow: number; readonly late: number };
  let probes: readonly number[];

  const external = (name: string, port: number): Manifest => object('ExternalService', name, { addresses: ['127.0.0.1'], ports: [{ name: 'main', port, targetPort: (partner.address() as AddressInfo).port, protocol: 'TCP' }] }, 'bookinfo');

  /** Each replica as a user of its own, so that it is known who has written what. */
  async function kubeconfigOf(replica: string): Promise<string> {
    await cluster.apply({ apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: replica, namespace: rootNamespace } });
    await cluster.client.request({ method: 'POST', path: '/apis/rbac.authorization.k8s.io/v1/clusterrolebindings', body: { metadata: { name: replica }, roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'cluster-admin' }, subjects: [{ kind: 'ServiceAccount', name: replica, namespace: rootNamespace }] } });
    const { status } = await cluster.client.request<{ readonly status: { readonly token: string } }>({ method: 'POST', path: `/api/v1/namespaces/${rootNamespace}/serviceaccounts/${replica}/token`, body: { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: {} } });
    return await server().kubeConfigFile({ token: status.token });
  }

  before(async () => {
    cluster = await openCluster(server());
    partner = createServer((socket) => socket.on('error', () => undefined).pipe(socket));
    await new Promise<void>((resolve) => partner.listen(0, '127.0.0.1', resolve));
    const [listen, first, second, third, fourth, ...probePorts] = (await findFreePorts(7)) as [number, number, number, number, number, number, number];
    ports = { partner: first, closed: second, slow: third, late: fourth };
    probes = probePorts;
    deployment = await deployOn(server(), cluster);
    for (const [index, replica] of replicas.entries()) await deployment.startReplica(replica, ['--kubeconfig', await kubeconfigOf(replica), '--probe-listen', `127.0.0.1:${probes[index]!}`]);
    await deployment.cli('one', ['ca', 'init']);
    for (const replica of replicas) await deployment.ready(replica);
    await cluster.apply(
      object('EgressGateway', 'egress-1', { class: 'sallyport', listen: [{ address: '127.0.0.1', port: listen }] }),
      object('SnatPool', 'loopback', { addresses: ['127.0.1.11'] }),
      object('SnatPool', 'large', { addresses: ['10.9.0.0/24'] }),
      object('SnatBinding', 'bookinfo', { subject: { namespace: 'bookinfo' }, pool: 'loopback' }, 'bookinfo'),
      external('closed', ports.closed), // nobody may
      external('partner', ports.partner),
      policy('partner'),
    );
    await deployment.startGateway('egress-1', 'one');
    await deployment.startAgent('productpage', { namespace: 'bookinfo', account: 'productpage' }, 'two', '127.0.2.1');
    traffic = createEchoTraffic((port) => deployment.open('127.0.2.1', port));
    (await traffic.connected(ports.partner)).socket.destroy();
  });
  after(async () => {
    await deployment.close();
    partner.close();
  });

  afterEach(() => {
    link().setDelay(0, 0);
    link().release();
  });

  const link = () => server().etcdLink!;
  /** Who leads, since when, and how many have before: not when it was renewed. */
  const leading = async (): Promise<object> => {
    const { renewTime: _, ...since } = (await cluster.get(lease))!.spec;
    return since;
  };
  const conditionsAt = (): Promise<readonly (readonly string[])[]> => Promise.all(replicas.map(async (replica) => (await deployment.status(replica)).conditions));
  const addresses = async (): Promise<ReadonlyMap<string, unknown>> => new Map((await cluster.list('SnatAssignment')).map(({ metadata, spec }) => [metadata.name, spec['holder']]));
  const isGiven = ({ status }: LiveObject): boolean => (status?.['addresses'] as readonly string[] | undefined)?.length === 1;
  const usesOfReplicas = async (): Promise<readonly ApiUse[]> => (await server().uses()).filter(({ user }) => replicas.some((replica) => userOf(replica) === user));

  async function assertRefused(port: number): Promise<void> {
    await assert.rejects(deployment.open('127.0.2.1', port).then(echo));
  }

  it('brings changes into force while it takes 300 ms and more for each answer, under one leader', async () => {
    const before = await leading();
    link().setDelay(150, 100);
    const longestMs = await traffic.longestEchoDuring(ports.partner, async () => {
      await Promise.all([external('slow', ports.slow), policy('slow'), binding('slow')].map((each) => cluster.apply(each)));
      (await traffic.connected(ports.slow)).socket.destroy();
      await Promise.all([cluster.until(policy('slow'), 'in force', isInForce), cluster.until(binding('slow'), 'given an address', isGiven)]);
      await assertRefused(ports.closed);
    });
    assert.ok(longestMs < patienceMs, `an echo took ${longestMs} ms`);
    assert.deepEqual(await leading(), before);
  });

  it('keeps its leader while each answer takes four seconds, and closes then too what is allowed no more', async () => {
    const before = await leading();
    const ended = await traffic.connected(ports.slow);
    const isEnded = new Promise((resolve) => ended.socket.once('close', resolve));
    link().setDelay(2_000, 300);
    const longestMs = await traffic.longestEchoDuring(ports.partner, async () => {
      await Promise.all([cluster.remove(policy('slow')), isEnded, delay(renewWithinMs + 2_000)]);
      await assertRefused(ports.slow);
      assert.deepEqual(await conditionsAt(), [[], []]);
    });
    assert.ok(longestMs < patienceMs, `an echo took ${longestMs} ms`);
    assert.deepEqual(await leading(), before);
  });

  it('leaves all in force while it answers nothing, with no leader, and is up to date as soon as it answers again', async () => {
    const given = await addresses();
    const heldAtMs = Date.now();
    let releasedAtMs = heldAtMs;
    const longestMs = await traffic.longestEchoDuring(ports.partner, async () => {
      link().hold();
      const applied = Promise.all([external('late', ports.late), policy('late'), binding('late')].map((each) => cluster.apply(each)));
      await waitFor('both replicas to say that nobody leads', 30_000, async () => ((await conditionsAt()).every((conditions) => conditions.some((text) => text.startsWith('no replica leads'))) ? true : undefined));
      for (const probe of probes) assert.equal((await fetch(`http://127.0.0.1:${probe}/readyz`)).status, 200);
      (await traffic.connected(ports.partner)).socket.destroy();
      for (const port of [ports.closed, ports.slow, ports.late]) await assertRefused(port);
      releasedAtMs = Date.now();
      link().release();
      await applied;
      (await traffic.connected(ports.late)).socket.destroy();
      await Promise.all([cluster.until(policy('late'), 'in force', isInForce, upToDateWithinMs), cluster.until(binding('late'), 'given an address', isGiven, upToDateWithinMs)]);
      await waitFor('nothing more to be said', 10_000, async () => ((await conditionsAt()).flat().length === 0 ? true : undefined));
    });
    assert.ok(longestMs < patienceMs, `an echo took ${longestMs} ms`);
    const now = await addresses();
    assert.deepEqual([...given].filter(([name, holder]) => now.get(name) !== holder), []);

    const uses = await usesOfReplicas();
    assert.deepEqual(uses.filter((use) => isLeadersWrite(use) && use.atMs > heldAtMs + renewWithinMs && use.atMs < releasedAtMs), [], 'who leads no more writes no more');
    const writers = uses.filter(isLeadersWrite).sort((a, b) => a.atMs - b.atMs).map(({ user }) => user);
    const changes = writers.filter((user, index) => index > 0 && user !== writers[index - 1]).length;
    assert.ok(changes <= Number((await cluster.get(lease))!.spec['leaseTransitions']), `${changes} times another wrote`);
    const afterwards = uses.filter(({ atMs }) => atMs >= releasedAtMs).length;
    assert.ok(afterwards <= requestsMost, `${afterwards} requests`);
  });
});
