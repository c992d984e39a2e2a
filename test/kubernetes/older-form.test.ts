/** The prototype's manifest (k8s-ext-connector) as it is, on a real API server, through real processes: two namespaces, two source addresses, both directions. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server } from 'node:net';
import { startDialogue } from '../../src/demo/clients.ts';
import { findFreePorts, waitFor } from '../../src/demo/processes.ts';
import { conditionsOf, manifestsIn, openCluster, type Cluster, type Manifest } from '../support/cluster.ts';
import { deployOn, type ClusterDeployment } from '../support/cluster-deployment.ts';
import { useKubernetes } from '../support/kubernetes.ts';

const [example] = manifestsIn(new URL('../../manifests/examples/older-external-service.yaml', import.meta.url).pathname) as [Manifest];

/** As the example has them, on loopback. */
const sources = [
  { namespace: 'ns1', service: 'my-service1', account: 'one', sourceIP: '127.0.1.11', listenAddress: '127.0.2.1', podAddress: '10.1.0.1' },
  { namespace: 'ns2', service: 'my-service2', account: 'two', sourceIP: '127.0.1.12', listenAddress: '127.0.2.2', podAddress: '10.1.0.2' },
] as const;
type Source = (typeof sources)[number];

describe("the prototype's ExternalService on Kubernetes", function () {
  const server = useKubernetes(this);
  this.timeout(60_000);
  const listening: Server[] = [];
  let cluster: Cluster;
  let deployment: ClusterDeployment;
  let ports: { readonly forward: number; readonly reverse: number; readonly workload: number };
  let older: Manifest;

  async function listen(says: (remoteAddress: string) => string, port: number, address: string): Promise<number> {
    const listener = createServer((socket) => socket.on('error', () => undefined).end(says(socket.remoteAddress!)));
    listener.listen(port, address);
    await once(listener, 'listening');
    listening.push(listener);
    return (listener.address() as AddressInfo).port;
  }

  /** The Service of the pod that an agent runs in, and the slice that a controller of Kubernetes would make of it. */
  const behind = ({ namespace, service, podAddress }: Source): readonly Manifest[] => [
    { apiVersion: 'v1', kind: 'Service', metadata: { name: service, namespace }, spec: { selector: { app: service }, ports: [{ port: ports.workload }] } },
    {
      ...{ apiVersion: 'discovery.k8s.io/v1', kind: 'EndpointSlice', metadata: { name: `${service}-1`, namespace, labels: { 'kubernetes.io/service-name': service } } },
      ...{ addressType: 'IPv4', endpoints: [{ addresses: [podAddress], conditions: { ready: true }, targetRef: { kind: 'Pod', namespace, name: service } }], ports: [{ port: ports.workload }] },
    },
  ];

  const readAll = async (from: string, address: string, port: number): Promise<string> => (await startDialogue(connect({ host: address, port, localAddress: from })).readAll()).toString();
  const heard = (source: Source) => readAll(source.listenAddress, source.listenAddress, ports.forward).catch(() => '');

  before(async () => {
    cluster = await openCluster(server());
    const [mesh, forward, reverse, workload] = (await findFreePorts(4)) as [number, number, number, number];
    ports = { forward, reverse, workload };
    const target = await listen((remoteAddress) => remoteAddress, 0, '127.0.0.1');
    for (const { listenAddress, service } of sources) await listen(() => service, workload, listenAddress);
    deployment = await deployOn(server(), cluster);
    await deployment.startReplica('one');
    await deployment.cli('one', ['ca', 'init']);
    await deployment.ready('one');
    const spec = {
      targetIP: '127.0.0.1',
      sources: sources.map(({ namespace, service: name, sourceIP }) => ({ service: { namespace, name }, sourceIP })),
      ports: [{ protocol: 'TCP', port: target, targetPort: forward }],
      bidirectional: [{ port: reverse, workloadPort: workload }],
    };
    assert.deepEqual(Object.keys(example['spec'] as object), ['targetIP', 'sources', 'ports'], 'what the prototype defines');
    older = { ...example, spec };
    await cluster.apply({ apiVersion: 'sallyport.dev/v1alpha1', kind: 'EgressGateway', metadata: { name: 'egress-1' }, spec: { class: 'sallyport', listen: [{ address: '127.0.0.1', port: mesh }] } }, older);
    await deployment.startGateway('egress-1', 'one');
    for (const source of sources) {
      await cluster.apply(...behind(source));
      await deployment.startAgent(source.service, source, 'one', source.listenAddress);
    }
  });
  after(async () => {
    await deployment.close();
    for (const each of listening) each.close();
  });

  it('lets the pods behind each Service out from the address of their source', async () => {
    await cluster.until(older, 'in force', (live) => conditionsOf(live, 'Accepted', 'Programmed') === 'Accepted=True Programmed=True');
    for (const source of sources) await waitFor(`${source.service} to leave from its address`, 15_000, async () => ((await heard(source)) === source.sourceIP ? true : undefined));
  });

  it('leads the external service from each address to the pods behind its Service, and nobody else', async () => {
    for (const { sourceIP, service } of sources) await waitFor(`${service} to be reached`, 15_000, async () => ((await readAll('127.0.0.1', sourceIP, ports.reverse).catch(() => '')) === service ? true : undefined));
    assert.notEqual(await readAll('127.0.0.66', sources[0].sourceIP, ports.reverse).catch(() => ''), sources[0].service);
  });

  it('refuses a pod as soon as it is behind its Service no more, and takes it again', async () => {
    const [first, second] = sources;
    const [, slice] = behind(first) as [Manifest, Manifest];
    await cluster.apply({ ...slice, endpoints: [] });
    await waitFor('the refusal', 10_000, async () => ((await heard(first)) === '' ? true : undefined));
    assert.equal(await heard(second), second.sourceIP);
    await cluster.apply(slice);
    await waitFor('the permission', 10_000, async () => ((await heard(first)) === first.sourceIP ? true : undefined));
  });

  it('is taken back with all that was made of it', async () => {
    await cluster.remove(older);
    for (const source of sources) await waitFor('the refusal', 10_000, async () => ((await heard(source)) === '' ? true : undefined));
    const registered = (await cluster.list('Service', 'v1')).filter(({ metadata }) => metadata.name === older.metadata.name);
    assert.deepEqual(registered, []);
  });
});
