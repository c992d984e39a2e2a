import assert from 'node:assert/strict';
import { createServer, type AddressInfo, type Server } from 'node:net';
import { findFreePorts, waitFor } from '../../src/demo/processes.ts';
import { conditionsOf, openCluster, type Cluster, type Manifest } from '../support/cluster.ts';
import { deployOn, type ClusterDeployment } from '../support/cluster-deployment.ts';
import { useKubernetes } from '../support/kubernetes.ts';

const object = (kind: string, name: string, spec: object, namespace?: string): Manifest => ({ apiVersion: 'sallyport.dev/v1alpha1', kind, metadata: { name, ...(namespace === undefined ? {} : { namespace }) }, spec });

describe('sallyport serve --kubernetes', function () {
  const server = useKubernetes(this);
  let cluster: Cluster;
  let deployment: ClusterDeployment;
  let partner: Server;
  let gateway: Manifest;
  const pool = object('SnatPool', 'loopback', { addresses: ['127.0.1.11-127.0.1.20'] });
  const service = object('ExternalService', 'partner', { addresses: ['127.0.0.1'], ports: [{ name: 'main', port: 0, protocol: 'TCP' }] }, 'bookinfo');
  const policy = object('EgressPolicy', 'bookinfo', { subjects: [{ namespace: 'bookinfo' }], to: [{ service: 'partner' }] }, 'bookinfo');
  const binding = object('SnatBinding', 'bookinfo', { subject: { namespace: 'bookinfo' }, pool: 'loopback' }, 'bookinfo');
  let port: number;

  before(async function () {
    this.timeout(120_000);
    cluster = await openCluster(server());
    // It says whom it sees, and that is all.
    partner = createServer((socket) => socket.on('error', () => undefined).end(socket.remoteAddress ?? ''));
    await new Promise<void>((resolve) => partner.listen(0, '127.0.0.1', resolve));
    const [listen] = (await findFreePorts(4)) as [number];
    port = listen + 1;
    gateway = object('EgressGateway', 'egress-1', { class: 'sallyport', listen: [{ address: '127.0.0.1', port: listen }] });
    deployment = await deployOn(server(), cluster);
    await deployment.startReplica('one');
    await deployment.cli('one', ['ca', 'init']);
    await deployment.ready('one');
  });
  after(async function () {
    this.timeout(60_000);
    await deployment.close();
    partner.close();
  });

  const servicePorts = () => [{ name: 'main', port, targetPort: (partner.address() as AddressInfo).port, protocol: 'TCP' }];
  const seenFrom = async (address: string): Promise<string> => (await (await deployment.open(address, port)).readAll()).toString();

  it('lets a pod out from its own address after kubectl apply, and says so in the statuses', async function () {
    this.timeout(60_000);
    await cluster.apply(gateway, pool, { ...service, spec: { ...(service['spec'] as object), ports: servicePorts() } }, policy, binding);
    await deployment.startGateway('egress-1', 'one');
    await deployment.startAgent('productpage', { namespace: 'bookinfo', account: 'productpage' }, 'one', '127.0.2.1');
    await cluster.until(binding, 'enforced', (live) => conditionsOf(live, 'Accepted', 'Programmed') === 'Accepted=True Programmed=True');
    assert.equal(await seenFrom('127.0.2.1'), '127.0.1.11');
    assert.deepEqual((await cluster.get(gateway))!.status!['connected'], 1);
    const { stdout } = await deployment.cli('one', ['explain', 'bookinfo/productpage', '--to', 'bookinfo/partner:main']);
    assert.match(stdout, /127\.0\.1\.11/);
  });

  it('registers the service, and gives every namespace the trust bundle', async () => {
    const registered = await cluster.until({ apiVersion: 'v1', kind: 'Service', metadata: { name: 'partner', namespace: 'bookinfo' } }, 'there', () => true);
    assert.deepEqual((registered.spec['ports'] as readonly { readonly port: number }[]).map((each) => each.port), [port]);
    const bundle = await cluster.until({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'sallyport-trust-bundle', namespace: 'bookinfo' } }, 'there', () => true);
    assert.equal((bundle['data'] as Readonly<Record<string, string>>)['trust-bundle.pem']!.trim(), (await deployment.cli('one', ['ca', 'export'])).stdout.trim());
  });

  it('closes what a deleted policy had allowed', async () => {
    await cluster.remove(policy);
    await waitFor('the refusal', 5_000, async () => (await seenFrom('127.0.2.1').catch(() => 'refused')) === '127.0.1.11' ? undefined : true);
    await cluster.apply(policy);
    await waitFor('the permission', 5_000, async () => ((await seenFrom('127.0.2.1').catch(() => 'refused')) === '127.0.1.11' ? true : undefined));
  });

  it('goes on while the API server is away, says so, and takes up what was changed when it is back', async function () {
    this.timeout(90_000);
    await server().kill();
    await waitFor('the condition', 20_000, async () => ((await deployment.status('one')).conditions.some((condition) => condition.includes('does not answer')) ? true : undefined));
    assert.equal(await seenFrom('127.0.2.1'), '127.0.1.11');
    await server().restart();
    await cluster.apply(object('SnatBinding', 'own', { subject: { namespace: 'bookinfo', serviceAccount: 'productpage' }, addresses: ['127.0.1.20'] }, 'bookinfo'));
    await waitFor('the new address', 40_000, async () => ((await seenFrom('127.0.2.1').catch(() => '')) === '127.0.1.20' ? true : undefined));
    await cluster.remove(object('SnatBinding', 'own', {}, 'bookinfo'));
    await waitFor('the address as before', 10_000, async () => ((await seenFrom('127.0.2.1').catch(() => '')) === '127.0.1.11' ? true : undefined));
  });

  it('is tried, and not changed, by the commands of the admin API', async () => {
    await assert.rejects(deployment.cli('one', ['delete', 'egresspolicy', 'bookinfo', '-n', 'bookinfo']), /desired state is in Kubernetes.*kubectl.*--kubeconfig/s);
  });

  it('has statuses written by the leader, wherever gateways are connected, and goes on with another one when it is killed', async function () {
    this.timeout(120_000);
    await deployment.startReplica('two');
    await deployment.ready('two');
    assert.equal((await deployment.cli('two', ['ca', 'export'])).stdout, (await deployment.cli('one', ['ca', 'export'])).stdout);
    const second = object('EgressGateway', 'egress-2', { class: 'sallyport', listen: [{ address: '127.0.0.1', port: port + 1 }] });
    const other = object('ExternalService', 'other', { gateway: 'egress-2', addresses: ['127.0.0.1'], ports: [{ name: 'main', port: port + 2, targetPort: (partner.address() as AddressInfo).port, protocol: 'TCP' }] }, 'bookinfo');
    await cluster.apply({ ...service, spec: { ...(service['spec'] as object), gateway: 'egress-1', ports: servicePorts() } }, second, other, object('EgressPolicy', 'other', { subjects: [{ namespace: 'bookinfo' }], to: [{ service: 'other' }] }, 'bookinfo'));
    await deployment.startGateway('egress-2', 'two');
    await cluster.until(other, 'enforced', (live) => live.status?.['enforcedBy'] === '1/1', 20_000);

    await deployment.kill('one');
    assert.equal(await seenFrom('127.0.2.1'), '127.0.1.11');
    await cluster.apply(object('SnatBinding', 'reports', { subject: { namespace: 'reports' }, pool: 'loopback' }, 'reports'));
    const live = await cluster.until(object('SnatBinding', 'reports', {}, 'reports'), 'assigned an address by the other', (each) => conditionsOf(each, 'Accepted') === 'Accepted=True', 60_000);
    assert.deepEqual(live.status!['addresses'], ['127.0.1.12']);
    assert.deepEqual((await cluster.list('SnatAssignment')).map(({ spec }) => `${String(spec['address'])} ${String(spec['holder'])}`).filter((text) => !text.startsWith('127.0.1.20 ')), ['127.0.1.11 ns/bookinfo', '127.0.1.12 ns/reports']);
  });
});
