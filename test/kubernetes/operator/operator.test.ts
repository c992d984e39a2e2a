import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import pino from 'pino';
import { explain } from '../../../src/core/plan/explain.ts';
import type { Plan, Revision } from '../../../src/core/plan/plan.ts';
import type { Assignment } from '../../../src/core/snat/assignments.ts';
import { runThrough } from '../../../src/core/steps.ts';
import type { TrustDomain } from '../../../src/core/spiffe-id.ts';
import { waitFor } from '../../../src/demo/processes.ts';
import { createApiClient, type ApiClient } from '../../../src/kubernetes/client.ts';
import type { ApiObject } from '../../../src/kubernetes/watch/reflection.ts';
import type { GatewayReport } from '../../../src/kubernetes/operator/gateway-report.ts';
import { startOperator, type Operator, type Publication } from '../../../src/kubernetes/operator/operator.ts';
import { startTcpProxy } from '../../support/tcp-proxy.ts';
import { conditionsOf, manifestsIn, openCluster, type Cluster, type Manifest } from '../../support/cluster.ts';
import { useKubernetes } from '../../support/kubernetes.ts';

const example = (name: string): Manifest[] => manifestsIn(new URL(`../../../manifests/examples/${name}.yaml`, import.meta.url).pathname);
const object = (kind: string, name: string, spec: object, namespace?: string): Manifest => ({ apiVersion: 'sallyport.dev/v1alpha1', kind, metadata: { name, ...(namespace === undefined ? {} : { namespace }) }, spec });

interface Running {
  readonly operator: Operator;
  readonly plans: readonly Plan[];
  readonly publications: readonly Publication[];
  readonly assigned: readonly Assignment[];
  /** What it has told to whoever keeps evidence of assignments. */
  readonly told: string[];
  /** Each time, who is behind which address. */
  readonly addressesTold: readonly (readonly string[])[];
  /** What gateways say that they hold: by default each takes everything at once. */
  gateways: () => ReadonlyMap<string, GatewayReport>;
}

describe('the operator at a real API server', function () {
  const server = useKubernetes(this);
  let cluster: Cluster;
  const running = new Set<Operator>();
  before(async function () {
    this.timeout(60_000);
    cluster = await openCluster(server());
    await delay(2_000); // an API server keeps creations of a new kind waiting for as long, so that others hear of the kind
  });
  afterEach(async function () {
    this.timeout(60_000);
    await Promise.all([...running].map((operator) => operator.close()));
    running.clear();
    for (const kind of ['EgressPolicy', 'SnatBinding', 'ExternalService', 'ReferenceGrant', 'EgressGateway', 'SnatPool', 'WorkloadEntry']) {
      for (const each of await cluster.list(kind)) await cluster.remove({ ...each, apiVersion: 'sallyport.dev/v1alpha1', kind });
    }
    for (const each of await cluster.list('SnatAssignment')) {
      await cluster.client.request({ method: 'PATCH', path: `/apis/sallyport.dev/v1alpha1/snatassignments/${each.metadata.name}`, contentType: 'application/merge-patch+json', body: { metadata: { finalizers: null } } });
      await cluster.remove({ ...each, apiVersion: 'sallyport.dev/v1alpha1', kind: 'SnatAssignment' });
    }
  });

  /** @param pace how fast its monotonic clock goes, by which Leases end. @param now its clock on the wall */
  async function start(replica = 'one', client: ApiClient = createApiClient(server().kubeConfig()), pace = 1, now = Date.now): Promise<Running> {
    const publications: Publication[] = [];
    const assigned: Assignment[] = [];
    const told: string[] = [];
    const addressesTold: (readonly string[])[] = [];
    const operator = startOperator({
      client,
      namespace: 'default',
      replica,
      trustDomain: 'cluster.local' as TrustDomain,
      clusterDomain: 'cluster.local',
      runSteps: (steps) => Promise.resolve(runThrough(steps)),
      publish: (publication) => {
        publications.push(publication);
        return Promise.resolve();
      },
      publishAddresses: (addresses) => Promise.resolve(void addressesTold.push([...addresses].map(([address, { namespace, serviceAccount }]) => `${address} ${namespace}/${serviceAccount}`).sort())),
      gateways: () => self.gateways(),
      resolve: () => Promise.reject(new Error('no names in this test')),
      replicaAddress: null,
      evidence: {
        intend: ({ address }) => {
          told.push(`intends ${address}`);
          return Promise.resolve();
        },
        written: (record) => void assigned.push(record),
        settle: (assignments) => void told.push(`settled by ${assignments.map(({ address }) => address).join()}`),
      },
      now,
      monotonicNow: () => performance.now() * pace,
      random: Math.random,
      log: pino({ level: process.env['LOG'] ?? 'silent' }),
    });
    running.add(operator);
    const self: Running = {
      operator,
      publications,
      get plans() {
        return publications.map(({ plan }) => plan);
      },
      assigned,
      told,
      addressesTold,
      gateways: () => new Map((operator.plan?.gateways ?? []).map(({ name }) => [name, { held: operator.plan!.revision, connected: 1, conditions: [] }])),
    };
    await operator.ready;
    await waitFor('a leader', 20_000, () => (operator.leader === '' ? undefined : true));
    return self;
  }

  it('puts an example into force as it stands, and tells so in every status', async () => {
    const { operator, assigned } = await start();
    await cluster.apply(...example('bookinfo-forward-proxy'));
    const [gateway, pool, service, policy, binding] = example('bookinfo-forward-proxy');
    const live = await cluster.until(binding!, 'programmed', (each) => conditionsOf(each, 'Accepted', 'Programmed') === 'Accepted=True Programmed=True');
    assert.deepEqual(live.status!['addresses'], ['10.4.0.65']);
    assert.equal(live.status!['enforcedBy'], '1/1');
    for (const each of [service!, policy!]) await cluster.until(each, 'programmed', (found) => conditionsOf(found, 'Accepted', 'ResolvedRefs', 'Conflicted', 'Programmed') === 'Accepted=True ResolvedRefs=True Conflicted=False Programmed=True');
    await cluster.until(gateway!, 'connected', (found) => found.status?.['connected'] === 1 && operator.plan!.revision.startsWith(found.status['revision'] as string));
    await cluster.until(pool!, 'counted', (found) => found.status?.['assigned'] === 1);
    assert.deepEqual((await cluster.list('SnatAssignment')).map(({ metadata, spec }) => [metadata.name, spec['holder']]), [['10.4.0.65.1024', 'ns/bookinfo']]);
    assert.deepEqual(assigned.map(({ address, holder }) => `${address} ${holder}`), ['10.4.0.65 ns/bookinfo']);
    const answer = explain(operator.plan!, { namespace: 'bookinfo', serviceAccount: 'productpage' }, 'bookinfo/bigip-proxy-svc:3128', { desired: operator.desired });
    assert.equal(answer.allowed, true);
  });

  it('writes nothing but its Lease once all is as it is to be', async () => {
    await start();
    await cluster.apply(...example('bookinfo-forward-proxy'));
    const [, , , , binding] = example('bookinfo-forward-proxy');
    await cluster.until(binding!, 'programmed', (each) => conditionsOf(each, 'Programmed') === 'Programmed=True');
    const versions = async () => (await Promise.all(['EgressGateway', 'EgressPolicy', 'ExternalService', 'SnatAssignment', 'SnatBinding', 'SnatPool'].map((kind) => cluster.list(kind)))).flat().map(({ metadata }) => `${metadata.name} ${metadata.resourceVersion}`);
    await waitFor('what is under way', 5_000, async () => {
      const before = await versions();
      await new Promise((resolve) => setTimeout(resolve, 1_000));
      return before.join() === (await versions()).join() ? true : undefined;
    });
    const before = await versions();
    await new Promise((resolve) => setTimeout(resolve, 3_000));
    assert.deepEqual(await versions(), before);
  });

  it('watches each resource once, whatever it and what it does as a leader want to know of it', async () => {
    const client = createApiClient(server().kubeConfig());
    const watched: string[] = [];
    const { operator } = await start('one', {
      ...client,
      lines: (path, ...rest) => {
        watched.push(path);
        return client.lines(path, ...rest);
      },
    });
    operator.publishTrustBundle('anchors');
    await cluster.until({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'sallyport-trust-bundle', namespace: 'default' } }, 'published', () => true);
    assert.equal(watched.length, 14);
    assert.deepEqual(watched, [...new Set(watched)]);
  });

  it('knows whether a pod is gone, also where another has its name', async () => {
    const { operator } = await start();
    const [account, pod] = [{ apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'runs', namespace: 'default' } }, { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'p', namespace: 'default' }, spec: { serviceAccountName: 'runs', containers: [{ name: 'app', image: 'app' }] } }];
    const isGone = (uid: string) => operator.isPodGone({ namespace: 'default', name: 'p', uid });
    const [, live] = await cluster.apply(account, pod);
    const { uid } = live!.metadata;
    await waitFor('it to be known', 5_000, () => (isGone(uid) ? undefined : true));
    assert.equal(isGone('of the one before'), true);
    await cluster.remove(pod);
    await waitFor('it to be gone', 5_000, () => (isGone(uid) ? true : undefined));
  });

  it('says of a fault where it is and what to do, leaves the others alone, and puts the object into force when its ground is there', async () => {
    const { operator } = await start();
    await cluster.apply(...example('bookinfo-forward-proxy'));
    const [, , , , binding] = example('bookinfo-forward-proxy');
    await cluster.until(binding!, 'accepted', (each) => conditionsOf(each, 'Accepted') === 'Accepted=True');
    const wrong = object('SnatBinding', 'wrong', { subject: { namespace: 'default' }, pool: 'nowhere' }, 'default');
    await cluster.apply(wrong);
    const refused = await cluster.until(wrong, 'refused', (each) => conditionsOf(each, 'Accepted', 'ResolvedRefs') === 'Accepted=False ResolvedRefs=False');
    const { reason, message } = refused.status!.conditions!.find(({ type }) => type === 'Accepted')!;
    assert.equal(reason, 'PoolUnknown');
    assert.match(message, /^spec\.pool: there is no SnatPool "nowhere" \(apply SnatPool nowhere first/);
    assert.equal(operator.plan!.servicePorts[0]!.grants[0]!.snat?.ipv4?.address, '10.4.0.65');
    await waitFor('the event', 5_000, async () => ((await cluster.list('Event', 'events.k8s.io/v1')).some((event) => event['reason'] === 'PoolUnknown') ? true : undefined));
    await cluster.apply(object('SnatPool', 'nowhere', { addresses: ['10.5.0.1'] }));
    const mended = await cluster.until(wrong, 'accepted', (each) => conditionsOf(each, 'Accepted') === 'Accepted=True');
    assert.deepEqual(mended.status!['addresses'], ['10.5.0.1']);
  });

  it('keeps what an object said before where it is changed for the worse, also over a restart', async () => {
    const first = await start();
    await cluster.apply(...example('bookinfo-forward-proxy'));
    const [, , , , binding] = example('bookinfo-forward-proxy');
    await cluster.until(binding!, 'programmed', (each) => conditionsOf(each, 'Programmed') === 'Programmed=True');
    await cluster.apply({ ...binding!, spec: { subject: { namespace: 'bookinfo' }, pool: 'nowhere' } });
    const fellBack = await cluster.until(binding!, 'refused', (each) => conditionsOf(each, 'Accepted', 'Programmed') === 'Accepted=False Programmed=True');
    assert.match(fellBack.status!.conditions!.find(({ type }) => type === 'Accepted')!.message, /what it said before stays in force$/);
    assert.deepEqual(fellBack.status!['inForce'], { spec: { subject: { namespace: 'bookinfo' }, pool: 'datacenter' } });
    const inForce = ({ operator }: Running) => operator.plan!.servicePorts[0]!.grants[0]!.snat?.ipv4?.address;
    assert.equal(inForce(first), '10.4.0.65');
    const { revision } = first.operator.plan!;
    running.delete(first.operator);
    await first.operator.close();
    const second = await start('two');
    assert.equal(inForce(second), '10.4.0.65');
    assert.equal(second.operator.plan!.revision, revision);
    await cluster.apply(binding!);
    const again = await cluster.until(binding!, 'accepted again', (each) => conditionsOf(each, 'Accepted') === 'Accepted=True');
    assert.equal(again.status!['inForce'], undefined);
  });

  describe('who is behind an address', () => {
    const pods = '/api/v1/namespaces/default/pods';
    const router = object('EgressGateway', 'router', { class: 'kernel', kernel: { interface: 'eth1' } });
    const entry = (name: string, address: string, spec: object = {}, namespace = 'default') => object('WorkloadEntry', name, { addresses: [address], ...spec }, namespace);
    before(() => cluster.apply({ apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'lion', namespace: 'default' } }));
    afterEach(async () => {
      for (const { metadata } of await cluster.client.request<{ items: readonly ApiObject[] }>({ method: 'GET', path: pods }).then(({ items }) => items)) await end(metadata.name);
    });

    /** As its node would. */
    const say = (name: string, status: object) => cluster.client.request({ method: 'PATCH', path: `${pods}/${name}/status`, contentType: 'application/merge-patch+json', body: { status } });
    const end = (name: string) => cluster.client.request({ method: 'DELETE', path: `${pods}/${name}`, body: { gracePeriodSeconds: 0 } });
    async function run(name: string, ip: string, spec: object = {}): Promise<void> {
      await cluster.apply({ apiVersion: 'v1', kind: 'Pod', metadata: { name, namespace: 'default' }, spec: { serviceAccountName: 'lion', nodeName: 'nowhere', containers: [{ name: 'app', image: 'app' }], ...spec } });
      await say(name, { phase: 'Running', podIP: ip, podIPs: [{ ip }] });
    }
    const told = ({ addressesTold }: Running, expected: readonly string[]) => waitFor(expected.join(), 5_000, () => (addressesTold.at(-1)?.join() === expected.join() ? true : undefined)).catch(() => assert.deepEqual(addressesTold.at(-1), expected));

    it('is told of pods as they come and go, and of entries of the root namespace, once a gateway wants to know', async () => {
      const running = await start();
      await run('p', '10.9.0.1');
      await cluster.apply(entry('host', '10.9.0.9', { namespace: 'bookinfo', serviceAccount: 'batch' }));
      assert.deepEqual(running.addressesTold, [], 'nobody wants to know');
      await cluster.apply(router);
      await told(running, ['10.9.0.1 default/lion', '10.9.0.9 bookinfo/batch']);
      const { revision } = running.operator.plan!;
      await run('node-agent', '10.9.0.2', { hostNetwork: true });
      await run('q', '10.9.0.3');
      await told(running, ['10.9.0.1 default/lion', '10.9.0.3 default/lion', '10.9.0.9 bookinfo/batch']);
      await say('p', { phase: 'Succeeded' });
      await told(running, ['10.9.0.3 default/lion', '10.9.0.9 bookinfo/batch']);
      await cluster.client.request({ method: 'DELETE', path: `${pods}/q`, body: { gracePeriodSeconds: 300 } }); // a pod that takes its time
      await told(running, ['10.9.0.9 bookinfo/batch']);
      await cluster.remove(entry('host', '10.9.0.9'));
      await told(running, []);
      assert.equal(running.operator.plan!.revision, revision);
    });

    it('is nobody where a pod and an entry claim it, which its status says, as long as they do', async () => {
      const running = await start();
      await cluster.apply(router, entry('host', '10.9.0.1'), entry('tenant', '10.9.0.4', {}, 'kube-public'));
      await told(running, ['10.9.0.1 default/default']);
      const refused = await cluster.until(entry('tenant', '', {}, 'kube-public'), 'refused', (each) => conditionsOf(each, 'Accepted') === 'Accepted=False');
      assert.match(JSON.stringify(refused.status), /may not say who is behind an address/);
      await run('p', '10.9.0.1');
      await told(running, []);
      const warned = await cluster.until(entry('host', ''), 'warned', (each) => conditionsOf(each, 'Accepted', 'Warned') === 'Accepted=True Warned=True');
      assert.match(JSON.stringify(warned.status), /10\.9\.0\.1 is claimed by Pod default\/p, WorkloadEntry default\/host/);
      assert.match(running.operator.warnings.map(({ message }) => message).join(), /claimed by Pod default\/p, WorkloadEntry default\/host/);
      await end('p');
      await told(running, ['10.9.0.1 default/default']);
      await cluster.until(entry('host', ''), 'no longer warned', (each) => conditionsOf(each, 'Warned') === 'Warned=False');
    });
  });

  it('releases an address with its binding, keeps it through the quarantine, and deletes it then', async () => {
    await start();
    const pool = object('SnatPool', 'short', { addresses: ['10.6.0.1'], quarantine: '2s' });
    const binding = object('SnatBinding', 'b', { subject: { namespace: 'default' }, pool: 'short' }, 'default');
    const assignment: Manifest = { apiVersion: 'sallyport.dev/v1alpha1', kind: 'SnatAssignment', metadata: { name: '10.6.0.1.1024' } };
    await cluster.apply(pool, binding);
    await cluster.until(assignment, 'there', ({ metadata }) => (metadata['finalizers'] as readonly string[]).includes('sallyport.dev/promise'));
    await cluster.remove(assignment); // somebody thinks that it may go
    await cluster.remove(binding);
    await cluster.until(assignment, 'released', ({ spec }) => spec['releasedAt'] !== undefined);
    const other = object('SnatBinding', 'c', { subject: { namespace: 'kube-public' }, pool: 'short' }, 'default');
    await cluster.apply(other);
    await cluster.until(other, 'refused', (each) => conditionsOf(each, 'Accepted') === 'Accepted=False');
    const given = await cluster.until(other, 'given it when the quarantine is over', (each) => conditionsOf(each, 'Accepted') === 'Accepted=True', 40_000);
    assert.deepEqual(given.status!['addresses'], ['10.6.0.1']);
    assert.equal((await cluster.get(assignment))!.spec['holder'], 'ns/kube-public');
  }).timeout(60_000);

  it('gives nobody an address in quarantine because a clock is wrong, its own or that of the leader before, ahead or behind', async () => {
    const hourMs = 3_600_000;
    let skewMs = -2 * hourMs;
    const { operator } = await start('one', undefined, 1, () => Date.now() + skewMs);
    const binding = (namespace: string): Manifest => object('SnatBinding', namespace, { subject: { namespace }, pool: 'one' }, 'default');
    const refused = (namespace: string) => cluster.until(binding(namespace), 'refused', (each) => conditionsOf(each, 'Accepted') === 'Accepted=False');
    await cluster.apply(object('SnatPool', 'one', { addresses: ['10.6.0.1'], quarantine: '1h' }), binding('default'));
    await cluster.until(binding('default'), 'given it', (each) => conditionsOf(each, 'Accepted') === 'Accepted=True');
    await cluster.remove(binding('default'));
    await waitFor('the release', 10_000, () => (operator.assignments.some(({ releasedAt }) => releasedAt !== null) ? true : undefined));
    for (const [namespace, aheadMs] of [['kube-public', 0], ['kube-system', 2 * hourMs], ['kube-node-lease', -2 * hourMs]] as const) {
      skewMs = aheadMs;
      await cluster.apply(binding(namespace));
      await refused(namespace);
    }
    assert.deepEqual(operator.assignments.map(({ holder }) => holder), ['ns/default']);
  });

  it('writes an assignment again that somebody has removed by force', async () => {
    await start();
    await cluster.apply(object('SnatPool', 'p', { addresses: ['10.7.0.0/30'] }), object('SnatBinding', 'b', { subject: { namespace: 'default' }, pool: 'p' }, 'default'));
    const assignment: Manifest = { apiVersion: 'sallyport.dev/v1alpha1', kind: 'SnatAssignment', metadata: { name: '10.7.0.0.1024' } };
    const before = await cluster.until(assignment, 'there', () => true);
    await cluster.remove(assignment); // first: a finalizer that is missing is given back, but not to what is being deleted
    await cluster.client.request({ method: 'PATCH', path: '/apis/sallyport.dev/v1alpha1/snatassignments/10.7.0.0.1024', contentType: 'application/merge-patch+json', body: { metadata: { finalizers: null } } });
    await cluster.until(assignment, 'there again', ({ metadata }) => metadata.uid !== before.metadata.uid);
    assert.deepEqual((await cluster.list('SnatAssignment')).map(({ metadata }) => metadata.name), ['10.7.0.0.1024']);
  });

  it('says of a binding that its address is being assigned while that takes long, and then since which plan it is in force', async () => {
    const client = createApiClient(server().kubeConfig());
    const { promise: taken, resolve: take } = Promise.withResolvers<undefined>();
    const { operator } = await start('one', {
      ...client,
      request: async (request) => {
        if (request.method === 'POST' && request.path.endsWith('/snatassignments')) await taken;
        return await client.request(request);
      },
    });
    await cluster.apply(...example('bookinfo-forward-proxy'));
    const [, , , , binding] = example('bookinfo-forward-proxy');
    const pending = await cluster.until(binding!, 'accepted', (each) => conditionsOf(each, 'Accepted', 'Programmed') === 'Accepted=True Programmed=False').finally(() => take(undefined));
    const said = pending.status!.conditions!.flatMap(({ type, reason, message }) => (['Accepted', 'Programmed'].includes(type) ? [`${reason}: ${message}`] : []));
    assert.deepEqual([said, pending.status!['addresses'], pending.status!['revision']], [['Accepted: it is in force as soon as its address is assigned', 'Pending: its address is being assigned'], [], undefined]);
    const live = await cluster.until(binding!, 'programmed', (each) => conditionsOf(each, 'Accepted', 'Programmed') === 'Accepted=True Programmed=True');
    assert.deepEqual([live.status!['addresses'], operator.plan!.revision.startsWith(live.status!['revision'] as string)], [['10.4.0.65'], true]);
  });

  it('tells of an assignment before it is written, and of those that are there when an answer was lost', async () => {
    const client = createApiClient(server().kubeConfig());
    const { operator, told } = await start('one', {
      ...client,
      request: async (request) => {
        const answer = await client.request<never>(request);
        if (request.method !== 'POST' || !request.path.endsWith('/snatassignments')) return answer;
        told.push('taken');
        await waitFor('the watch to tell of it', 10_000, () => (operator.assignments.length > 0 ? true : undefined));
        throw new Error('the answer is lost');
      },
    });
    await cluster.apply(...example('bookinfo-forward-proxy'));
    await waitFor('a look at it', 20_000, () => (told.includes('settled by 10.4.0.65') ? true : undefined));
    assert.deepEqual([...new Set(told)].filter((each) => each !== 'settled by '), ['intends 10.4.0.65', 'taken', 'settled by 10.4.0.65']);
  });

  it('names gateways that are late, and says since when the others enforce an object', async () => {
    const self = await start();
    let held: Revision | null = null;
    self.gateways = () => new Map([['egress-1', { held, connected: 1, conditions: [] }]]);
    await cluster.apply(...example('bookinfo-forward-proxy'));
    const [, , service] = example('bookinfo-forward-proxy');
    const late = await cluster.until(service!, 'late', (each) => each.status?.['enforcedBy'] === '0/1');
    assert.match(late.status!.conditions!.find(({ type }) => type === 'Programmed')!.message, /not yet egress-1$/);
    held = self.operator.plan!.revision;
    const done = await cluster.until(service!, 'done', (each) => each.status?.['enforcedBy'] === '1/1');
    assert.deepEqual(done.status!['gateways'], [{ name: 'egress-1', revision: held.slice(0, 12) }]);
  });

  it('tells of a gateway what it says of itself, and no longer when it does not', async () => {
    const self = await start();
    let conditions: GatewayReport['conditions'] = [{ code: 'ruleset-changed', message: 'somebody has changed it', hint: 'undo it' }, { code: 'identity-by-address', message: 'an address proves little' }];
    self.gateways = () => new Map([['egress-1', { held: null, connected: 1, conditions }]]);
    const [gateway] = await cluster.apply(...example('bookinfo-forward-proxy'));
    const warned = await cluster.until(gateway!, 'warned of', (each) => conditionsOf(each, 'Accepted', 'Warned') === 'Accepted=True Warned=True');
    const { reason, message } = warned.status!.conditions!.find(({ type }) => type === 'Warned')!;
    assert.deepEqual([reason, message], ['RulesetChanged', 'somebody has changed it (undo it); an address proves little']);
    conditions = [];
    await cluster.until(gateway!, 'as it is to be', (each) => conditionsOf(each, 'Warned') === 'Warned=False');
  });

  it('writes nothing more once it is cut off from the API server, serves what it knows, and follows whoever leads when it is back', async () => {
    const pace = 3; // all replicas' alike
    const proxy = await startTcpProxy(server().port);
    try {
      const direct = createApiClient(server().kubeConfig({ address: proxy.address }));
      let writes = 0;
      const counting: ApiClient = {
        ...direct,
        request: (request) => {
          if (request.method !== 'GET') writes += 1;
          return direct.request(request);
        },
      };
      const pool = object('SnatPool', 'p', { addresses: ['10.7.0.0/30'] });
      const binding = (namespace: string): Manifest => object('SnatBinding', namespace, { subject: { namespace }, pool: 'p' }, 'default');
      const accepted = (each: Manifest) => cluster.until(each, 'accepted', (live) => conditionsOf(live, 'Accepted') === 'Accepted=True', 20_000);
      const cutOff = await start('cut-off', counting, pace);
      const other = await start('other', undefined, pace);
      await waitFor('the first to lead', 20_000, () => (cutOff.operator.isLeader ? true : undefined));
      await cluster.apply(pool, binding('default'));
      await accepted(binding('default'));
      await waitFor('the other to know it', 5_000, () => (other.operator.plan?.revision === cutOff.operator.plan?.revision ? true : undefined));
      const { revision } = cutOff.operator.plan!;

      proxy.refuses = true;
      proxy.cut();
      await waitFor('its end as a leader', 20_000, () => (cutOff.operator.isLeader ? undefined : true));
      assert.equal(other.operator.isLeader, false, 'before another begins');
      await waitFor('another to lead', 20_000, () => (other.operator.isLeader ? true : undefined));
      assert.deepEqual([cutOff.operator.isConnected, cutOff.operator.plan!.revision], [false, revision]);
      const writesBefore = writes;
      await cluster.apply(binding('kube-public'));
      const given = await accepted(binding('kube-public'));

      proxy.refuses = false;
      await waitFor('it to know what has happened', 30_000, () => (cutOff.operator.assignments.length === 2 && cutOff.operator.leader === 'other' ? true : undefined));
      await cluster.apply(binding('kube-system'));
      await accepted(binding('kube-system'));
      await waitFor('both to be of one mind', 10_000, () => (cutOff.operator.plan!.revision === other.operator.plan!.revision && cutOff.operator.assignments.length === 3 ? true : undefined));
      assert.deepEqual([cutOff.operator.isLeader, writes - writesBefore], [false, 0]);

      // The same cut before one that follows: nobody else notices.
      proxy.refuses = true;
      proxy.cut();
      await waitFor('it to notice', 20_000, () => (cutOff.operator.isConnected ? undefined : true));
      await cluster.remove(binding('kube-system'));
      await waitFor('the release', 10_000, () => (other.operator.assignments.some(({ releasedAt }) => releasedAt !== null) ? true : undefined));
      assert.equal(cutOff.operator.assignments.some(({ releasedAt }) => releasedAt !== null), false);
      proxy.refuses = false;
      await waitFor('it to know of the release', 30_000, () => (cutOff.operator.assignments.some(({ releasedAt }) => releasedAt !== null) ? true : undefined));
      assert.deepEqual([other.operator.isLeader, cutOff.operator.isLeader, writes - writesBefore], [true, false, 0]);
      assert.deepEqual((await cluster.get(binding('kube-public')))!.status!['addresses'], given.status!['addresses']);
    } finally {
      proxy.close();
    }
  }).timeout(120_000);
});
