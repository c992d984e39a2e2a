/** Real processes at a real API server while a connection carries traffic: crowds of objects, deletions, faults, a store that stands still, a leader that is killed. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createServer, type AddressInfo, type Server } from 'node:net';
import type { Dialogue } from '../../src/demo/clients.ts';
import { findFreePorts, waitFor } from '../../src/demo/processes.ts';
import { conditionsOf, openCluster, type Cluster, type LiveObject, type Manifest } from '../support/cluster.ts';
import { deployOn, type ClusterDeployment } from '../support/cluster-deployment.ts';
import { createEchoTraffic, echo, type EchoTraffic } from '../support/echo-traffic.ts';
import { useKubernetes } from '../support/kubernetes.ts';
import { requirePeer } from '../support/peers.ts';

const object = (kind: string, name: string, spec: object, namespace?: string): Manifest => ({ apiVersion: 'sallyport.dev/v1alpha1', kind, metadata: { name, ...(namespace === undefined ? {} : { namespace }) }, spec });
const policy = (name: string, namespace: string, service: string): Manifest => object('EgressPolicy', name, { subjects: [{ namespace }], to: [{ service }] }, namespace);
/** Far from what is seen on an idle machine, and from what a person would call an interruption. */
const patienceMs = 3_000;
const numbers = (count: number): readonly number[] => Array.from({ length: count }, (_, index) => index);
const addressesOf = ({ status }: LiveObject): readonly string[] => (status?.['addresses'] ?? []) as readonly string[];
const isInForce = (live: LiveObject): boolean => conditionsOf(live, 'Accepted', 'Programmed') === 'Accepted=True Programmed=True';

describe('sallyport serve --kubernetes in hard times', function () {
  const server = useKubernetes(this, { record: true });
  this.timeout(120_000);
  let cluster: Cluster;
  let deployment: ClusterDeployment;
  let partner: Server;
  let traffic: EchoTraffic;
  let ports: { readonly partner: number; readonly other: number; readonly late: number; readonly probe: number };

  const external = (name: string, port: number): Manifest => object('ExternalService', name, { addresses: ['127.0.0.1'], ports: [{ name: 'main', port, targetPort: (partner.address() as AddressInfo).port, protocol: 'TCP' }] }, 'bookinfo');

  before(async () => {
    cluster = await openCluster(server());
    partner = createServer((socket) => socket.on('error', () => undefined).pipe(socket));
    await new Promise<void>((resolve) => partner.listen(0, '127.0.0.1', resolve));
    const [listen, first, second, third, probe] = (await findFreePorts(5)) as [number, number, number, number, number];
    ports = { partner: first, other: second, late: third, probe };
    deployment = await deployOn(server(), cluster);
    await deployment.startReplica('one', ['--probe-listen', `127.0.0.1:${probe}`]);
    await deployment.cli('one', ['ca', 'init']);
    await deployment.ready('one');
    await cluster.apply(
      object('EgressGateway', 'egress-1', { class: 'sallyport', listen: [{ address: '127.0.0.1', port: listen }] }),
      object('SnatPool', 'loopback', { addresses: ['127.0.1.11'] }),
      object('SnatPool', 'large', { addresses: ['10.9.0.0/22'] }),
      object('SnatBinding', 'bookinfo', { subject: { namespace: 'bookinfo' }, pool: 'loopback' }, 'bookinfo'),
      ...[external('partner', first), policy('partner', 'bookinfo', 'partner')],
      ...[external('other', second), policy('other', 'bookinfo', 'other')],
    );
    await deployment.startGateway('egress-1', 'one');
    await deployment.startAgent('productpage', { namespace: 'bookinfo', account: 'productpage' }, 'one', '127.0.2.1');
    traffic = createEchoTraffic((port) => deployment.open('127.0.2.1', port));
  });
  after(async () => {
    await deployment.close();
    partner.close();
  });

  const connected = (port: number): Promise<Dialogue> => traffic.connected(port);
  const longestEchoDuring = (work: () => Promise<void>): Promise<number> => traffic.longestEchoDuring(ports.partner, work);

  /** As many at once as an eager client sends. */
  async function applyAtOnce(objects: readonly Manifest[]): Promise<void> {
    const left = [...objects];
    await Promise.all(numbers(16).map(async () => {
      for (let each = left.shift(); each !== undefined; each = left.shift()) await cluster.apply(each);
    }));
  }

  it('closes what a deleted policy has allowed within a second, and nothing else', async () => {
    const [kept, ended] = [await connected(ports.partner), await connected(ports.other)];
    let endedAtMs: number | undefined;
    ended.socket.once('close', () => (endedAtMs = performance.now()));
    await cluster.remove(policy('other', 'bookinfo', 'other'));
    const removedAtMs = performance.now();
    const tookMs = (await waitFor('the end of the connection', 5_000, () => endedAtMs)) - removedAtMs;
    assert.ok(tookMs < 1_000, `${tookMs} ms`);
    await echo(kept);
    kept.socket.destroy();
  });

  it('takes back the Service and the slices of an ExternalService that is deleted', async () => {
    const gone = object('ExternalService', 'gone', { addresses: ['10.4.0.201', '2001:db8::1'], ports: [{ name: 'main', port: 80, protocol: 'TCP' }] }, 'bookinfo');
    const registered: readonly Manifest[] = [
      { apiVersion: 'v1', kind: 'Service', metadata: { name: 'gone', namespace: 'bookinfo' } },
      ...['gone-ipv4', 'gone-ipv6'].map((name) => ({ apiVersion: 'discovery.k8s.io/v1', kind: 'EndpointSlice', metadata: { name, namespace: 'bookinfo' } })),
    ];
    await cluster.apply(gone);
    for (const each of registered) await cluster.until(each, 'there', () => true);
    await cluster.remove(gone);
    for (const each of registered) await waitFor(`${each.kind} ${each.metadata.name} to go`, 10_000, async () => ((await cluster.get(each)) === undefined ? true : undefined));
  });

  it('says in the columns of kubectl what becomes of an object that is valid for its definition alone', async function () {
    const program = requirePeer(this, 'kubectl');
    const kubeconfig = await server().kubeConfigFile();
    /** Rows by `NAMESPACE NAME`, each with the columns that are asked for. */
    const shown = (kinds: string, ...columns: readonly string[]): Readonly<Record<string, readonly string[]>> => {
      const { stdout, stderr } = spawnSync(program, ['get', kinds, '-A', '--kubeconfig', kubeconfig], { encoding: 'utf8' });
      assert.equal(stderr, '');
      return Object.fromEntries(stdout.trimEnd().split('\n\n').flatMap((table) => {
        const [head, ...rows] = table.split('\n') as [string, ...string[]];
        const starts = [...head.matchAll(/\S+(?: \S+)*/g)].map(({ 0: name, index }) => ({ name, index }));
        const cell = (row: string, column: string): string => {
          const at = starts.findIndex(({ name }) => name === column);
          return at === -1 ? '' : row.slice(starts[at]!.index, starts[at + 1]?.index).trim();
        };
        return rows.map((row) => [`${cell(row, 'NAMESPACE')} ${cell(row, 'NAME')}`, columns.map((column) => cell(row, column))] as const);
      }));
    };
    const columns = ['ACCEPTED', 'ENFORCED', 'ADDRESS'] as const;
    const wrong = object('SnatBinding', 'wrong', { subject: { namespace: 'reports' }, pool: 'nowhere' }, 'reports');
    await cluster.until(policy('partner', 'bookinfo', 'partner'), 'enforced', isInForce);
    await cluster.apply(wrong);
    await cluster.until(wrong, 'refused', (live) => conditionsOf(live, 'Accepted') === 'Accepted=False');
    const rows = shown('externalservices.sallyport.dev,egresspolicies,snatbindings', ...columns);
    assert.deepEqual(rows['bookinfo externalservice.sallyport.dev/partner'], ['True', '1/1', '']);
    assert.deepEqual(rows['bookinfo egresspolicy.sallyport.dev/partner'], ['True', '1/1', '']);
    assert.deepEqual(rows['bookinfo snatbinding.sallyport.dev/bookinfo'], ['True', '1/1', '127.0.1.11']);
    assert.deepEqual(rows['reports snatbinding.sallyport.dev/wrong'], ['False', '0/0', '']);
    const changed = object('SnatBinding', 'bookinfo', { subject: { namespace: 'bookinfo' }, pool: 'nowhere' }, 'bookinfo');
    await cluster.apply(changed);
    await cluster.until(changed, 'refused, and as it was', (live) => conditionsOf(live, 'Accepted', 'Programmed') === 'Accepted=False Programmed=True');
    assert.deepEqual(shown('snatbindings', ...columns)['bookinfo bookinfo'], ['False', '1/1', '127.0.1.11']);
    (await connected(ports.partner)).socket.destroy();
    await cluster.apply({ ...changed, spec: { subject: { namespace: 'bookinfo' }, pool: 'loopback' } });
    await cluster.until(changed, 'accepted again', isInForce);
    await cluster.remove(wrong);
  });

  it('takes 1,000 objects at once into force, and interrupts nothing', async () => {
    const crowd = [
      ...numbers(334).map((index) => object('ExternalService', `service-${index}`, { addresses: [`10.8.${index >> 8}.${index & 255}`], ports: [{ name: 'main', port: 1_024 + index, protocol: 'TCP' }] }, 'crowd')),
      ...numbers(333).map((index) => policy(`policy-${index}`, 'crowd', `service-${index}`)),
      ...numbers(333).map((index) => object('SnatBinding', `binding-${index}`, { subject: { namespace: 'crowd', serviceAccount: `account-${index}` }, pool: 'large' }, 'crowd')),
    ];
    const over = new AbortController();
    let slowestProbeMs = 0;
    const probing = (async () => {
      while (!over.signal.aborted) {
        const before = performance.now();
        assert.equal((await fetch(`http://127.0.0.1:${ports.probe}/readyz`)).status, 200);
        slowestProbeMs = Math.max(slowestProbeMs, performance.now() - before);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    })();
    const longestMs = await longestEchoDuring(async () => {
      await applyAtOnce(crowd);
      await waitFor('all of them to be in force', 60_000, async () => {
        const live = (await Promise.all(['ExternalService', 'EgressPolicy', 'SnatBinding'].map((kind) => cluster.list(kind)))).flat();
        await new Promise((resolve) => setTimeout(resolve, 250)); // a list of a thousand is work
        return live.filter((each) => each.metadata.namespace === 'crowd' && conditionsOf(each, 'Accepted') === 'Accepted=True').length === crowd.length || undefined;
      });
    }).finally(() => over.abort());
    await probing;
    const perObject = Map.groupBy((await server().uses()).filter(({ verb, resource, namespace }) => verb === 'patch' && resource.endsWith('/status') && namespace === 'crowd'), ({ resource, name }) => `${resource} ${name}`);
    const writesMost = Math.max(...Array.from(perObject.values(), (writes) => writes.length));
    assert.ok(longestMs < patienceMs, `an echo took ${longestMs} ms`);
    assert.ok(slowestProbeMs < patienceMs, `a probe took ${slowestProbeMs} ms`);
    assert.ok(writesMost <= 4, `a status was written ${writesMost} times`);
  });

  it('stands a store that stands still: what is in force stays, and what was applied meanwhile is in force afterwards', async () => {
    const late = [external('late', ports.late), policy('late', 'bookinfo', 'late')];
    const longestMs = await longestEchoDuring(async () => {
      server().freezeEtcd();
      const applied = cluster.apply(...late);
      await new Promise((resolve) => setTimeout(resolve, 5_000));
      (await connected(ports.partner)).socket.destroy();
      server().thawEtcd();
      await applied;
      (await connected(ports.late)).socket.destroy();
    });
    assert.ok(longestMs < patienceMs, `an echo took ${longestMs} ms`);
    await cluster.until(late[1]!, 'in force', isInForce);
    const leader = await cluster.until({ apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata: { name: 'sallyport', namespace: 'sallyport-system' } }, 'led', ({ spec }) => spec['holderIdentity'] === 'one');
    assert.ok(leader);
  });

  it('gives no address twice and loses none where the leader is killed while it gives them', async () => {
    await deployment.startReplica('two');
    await deployment.ready('two');
    const bindings = numbers(300).map((index) => object('SnatBinding', `many-${index}`, { subject: { namespace: 'many', serviceAccount: `account-${index}` }, pool: 'large' }, 'many'));
    const given = async (): Promise<ReadonlyMap<string, string>> => new Map((await cluster.list('SnatAssignment')).map(({ metadata, spec }) => [metadata.name, String(spec['holder'])]));
    const before = (await given()).size;
    const applying = applyAtOnce(bindings);
    await waitFor('some to be given', 20_000, async () => ((await given()).size > before + 20 ? true : undefined));
    await deployment.kill('one');
    const promised = await given();
    assert.ok(promised.size < before + bindings.length, 'all were given before it was killed');
    await applying;
    const live = await waitFor('all to be given', 60_000, async () => {
      const found = (await cluster.list('SnatBinding')).filter(({ metadata }) => metadata.namespace === 'many');
      return found.every((each) => addressesOf(each).length === 1) ? found : undefined;
    });
    const addresses = live.flatMap(addressesOf);
    assert.deepEqual([addresses.length, new Set(addresses).size], [bindings.length, bindings.length]);
    const now = await given();
    assert.deepEqual([...promised].filter(([name, holder]) => now.get(name) !== holder), []);
    assert.equal(now.size, before + bindings.length);
    assert.equal(new Set(now.values()).size, now.size);
  });
});
