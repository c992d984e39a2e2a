import assert from 'node:assert/strict';
import pino from 'pino';
import { describeExplanation, explain } from '../../src/core/plan/explain.ts';
import { runThrough } from '../../src/core/steps.ts';
import type { TrustDomain } from '../../src/core/spiffe-id.ts';
import { waitFor } from '../../src/demo/processes.ts';
import { ApiRefusal, createApiClient, type ApiClient } from '../../src/kubernetes/client.ts';
import { startOperator, type Operator } from '../../src/kubernetes/operator/operator.ts';
import { pathOf } from '../../src/kubernetes/watch/reflect.ts';
import { conditionsOf, manifestsIn, openCluster, type Cluster, type LiveObject, type Manifest } from '../support/cluster.ts';
import { useKubernetes } from '../support/kubernetes.ts';

const rootNamespace = 'sallyport-system';
const group = 'sallyport.dev';
const plurals = { EgressPolicy: 'egresspolicies', ExternalService: 'externalservices', ReferenceGrant: 'referencegrants', SnatBinding: 'snatbindings', SnatPool: 'snatpools' } as const;
type TenantsKind = keyof typeof plurals;

const object = (kind: TenantsKind | 'EgressGateway', name: string, spec: object): Manifest => {
  const slash = name.indexOf('/');
  return { apiVersion: `${group}/v1alpha1`, kind, metadata: slash === -1 ? { name } : { namespace: name.slice(0, slash), name: name.slice(slash + 1) }, spec };
};

describe('tenants of a cluster', function () {
  const server = useKubernetes(this);
  let cluster: Cluster;
  let operator: Operator;
  /** Owns the namespace orders, and writes policies and bindings there. */
  let ada: ApiClient;
  /** Owns the namespace integration, and the services there. */
  let igor: ApiClient;

  const collectionOf = ({ kind, metadata: { namespace } }: Manifest) => pathOf({ group, version: 'v1alpha1', plural: plurals[kind as TenantsKind], ...(namespace !== undefined && { namespace }) });
  const create = (client: ApiClient, each: Manifest) => client.request<LiveObject>({ method: 'POST', path: collectionOf(each), body: each });
  const remove = (client: ApiClient, each: Manifest) => client.request({ method: 'DELETE', path: `${collectionOf(each)}/${each.metadata.name}` });
  const isForbidden = (error: unknown) => error instanceof ApiRefusal && error.status === 403;

  /** A client of a user whose role in the namespace has these kinds, and no other right. */
  async function userIn(namespace: string, name: string, kinds: readonly TenantsKind[]): Promise<ApiClient> {
    const admin = cluster.client;
    const rbac = 'rbac.authorization.k8s.io';
    const write = (plural: string, body: object) => admin.request({ method: 'POST', path: pathOf({ group: rbac, version: 'v1', plural, namespace }), body });
    await write('roles', { metadata: { name }, rules: [{ apiGroups: [group], resources: kinds.map((kind) => plurals[kind]), verbs: ['get', 'list', 'create', 'patch', 'update', 'delete'] }] });
    await write('rolebindings', { metadata: { name }, subjects: [{ kind: 'User', apiGroup: rbac, name }], roleRef: { apiGroup: rbac, kind: 'Role', name } });
    const config = server().kubeConfig();
    const { clusters, users, contexts, currentContext } = config;
    config.loadFromOptions({ clusters, users: users.map((user) => ({ ...user, impersonateUser: name })), contexts, currentContext });
    return createApiClient(config);
  }

  const label = (namespace: string, labels: Readonly<Record<string, string | null>>) => cluster.client.request({ method: 'PATCH', path: `/api/v1/namespaces/${namespace}`, contentType: 'application/merge-patch+json', body: { metadata: { labels } } });

  before(async function () {
    this.timeout(60_000);
    cluster = await openCluster(server());
    const [gateway] = manifestsIn(new URL('../../manifests/examples/bookinfo-forward-proxy.yaml', import.meta.url).pathname);
    await cluster.apply(
      gateway!,
      object('SnatPool', 'partners', { addresses: ['203.0.113.40-203.0.113.47'], namespaces: { from: 'Selector', selector: { matchLabels: { egress: 'partners' } } } }),
      object('ExternalService', 'integration/partner-api', { hosts: ['api.partner.example'], ports: [{ port: 443 }] }),
      ...['orders', rootNamespace].map((name) => ({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } })),
    );
    ada = await userIn('orders', 'ada', ['EgressPolicy', 'SnatBinding', 'ReferenceGrant']);
    igor = await userIn('integration', 'igor', ['ExternalService', 'ReferenceGrant']);
    operator = startOperator({
      client: createApiClient(server().kubeConfig()),
      namespace: rootNamespace,
      replica: 'one',
      trustDomain: 'cluster.local' as TrustDomain,
      clusterDomain: 'cluster.local',
      runSteps: (steps) => Promise.resolve(runThrough(steps)),
      publish: () => Promise.resolve(),
      publishAddresses: () => Promise.resolve(),
      gateways: () => new Map(),
      resolve: () => Promise.reject(new Error('no names in this test')),
      replicaAddress: null,
      evidence: { intend: () => Promise.resolve(), written: () => undefined, settle: () => undefined },
      now: Date.now,
      monotonicNow: () => performance.now(),
      random: Math.random,
      log: pino({ level: 'silent' }),
    });
    await operator.ready;
    await waitFor('a leader', 20_000, () => (operator.isLeader ? true : undefined));
  });
  after(async () => {
    await operator.close();
  });

  const isRefused = (reason: string) => (live: LiveObject) => live.status?.conditions?.find(({ type }) => type === 'Accepted')?.reason === reason;
  const isAccepted = (live: LiveObject) => conditionsOf(live, 'Accepted') === 'Accepted=True';
  const whoMay = () => operator.plan!.servicePorts.flatMap(({ id, grants }) => grants.map(({ subject, snat }) => `${subject.namespace} to ${id} from ${snat?.ipv4?.address ?? 'nowhere'}`));

  const toPartner = object('EgressPolicy', 'orders/to-partner', { subjects: [{ namespace: 'orders' }], to: [{ service: 'partner-api', namespace: 'integration' }] });
  const grant = object('ReferenceGrant', 'integration/to-orders', { from: [{ group, kind: 'EgressPolicy', namespace: 'orders' }], to: [{ group, kind: 'ExternalService' }] });
  const bound = object('SnatBinding', 'orders/orders', { subject: { namespace: 'orders' }, pool: 'partners' });

  it('write where a role lets them, and grant themselves nothing elsewhere', async () => {
    await assert.rejects(create(ada, grant), isForbidden);
    await assert.rejects(create(ada, object('EgressPolicy', `${rootNamespace}/p`, { subjects: [{ namespace: 'orders' }], to: [{ service: 'partner-api', namespace: 'integration' }] })), isForbidden);
    await assert.rejects(create(ada, object('SnatPool', 'own', { addresses: ['203.0.113.99'] })), isForbidden);
    await create(ada, toPartner);
  });

  it('reach the service of another namespace from when its owner grants it until he takes it back', async () => {
    await cluster.until(toPartner, 'refused', isRefused('ReferenceNotGranted'));
    assert.deepEqual(whoMay(), []);
    const told = describeExplanation(explain(operator.plan!, { namespace: 'orders', serviceAccount: 'checkout' }, 'integration/partner-api:443', { desired: operator.desired, rootNamespace, refused: operator.refused.values() }));
    assert.match(told.join('\n'), /^EgressPolicy orders\/to-partner is not in force: .*kind: ReferenceGrant/m);
    await create(igor, grant);
    await cluster.until(toPartner, 'accepted', isAccepted);
    assert.deepEqual(whoMay(), ['orders to integration/partner-api:tcp-443 from nowhere']);
    await remove(igor, grant);
    await cluster.until(toPartner, 'refused', isRefused('ReferenceNotGranted'));
    assert.deepEqual(whoMay(), []);
    await create(igor, grant);
    await cluster.until(toPartner, 'accepted', isAccepted);
  });

  it('draw from a pool while their namespace has its label, and have their address back with it', async () => {
    await create(ada, bound);
    await cluster.until(bound, 'refused', (live) => isRefused('PoolNotAllowed')(live) && conditionsOf(live, 'ResolvedRefs') === 'ResolvedRefs=False');
    await label('orders', { egress: 'partners' });
    await cluster.until(bound, 'accepted', isAccepted);
    await waitFor('the address in the plan', 5_000, () => (whoMay().join() === 'orders to integration/partner-api:tcp-443 from 203.0.113.40' ? true : undefined));
    await label('orders', { egress: null });
    await cluster.until(bound, 'refused', isRefused('PoolNotAllowed'));
    await waitFor('the address in quarantine', 5_000, () => (operator.assignments.every(({ releasedAt }) => releasedAt !== null) ? true : undefined));
    assert.deepEqual(whoMay(), ['orders to integration/partner-api:tcp-443 from nowhere']);
    await label('orders', { egress: 'partners' });
    await cluster.until(bound, 'accepted', (live) => isAccepted(live) && String(live.status?.['addresses']) === '203.0.113.40');
  });

  it('lose no address to a change of the pool', async () => {
    const [pool] = await cluster.list('SnatPool');
    await cluster.apply(object('SnatPool', 'partners', { ...pool!.spec, namespaces: { from: 'None' } }));
    const narrowed = await cluster.until(object('SnatPool', 'partners', {}), 'refused', isRefused('PoolNotAllowed'));
    assert.match(narrowed.status!.conditions!.find(({ type }) => type === 'Accepted')!.message, /SnatBinding orders\/orders draws from SnatPool partners, .*what it said before stays in force$/);
    assert.deepEqual(whoMay(), ['orders to integration/partner-api:tcp-443 from 203.0.113.40']);
    await cluster.apply(object('SnatPool', 'partners', pool!.spec));
    await cluster.until(object('SnatPool', 'partners', {}), 'accepted', isAccepted);
  });

  const beyond: readonly (readonly [string, Manifest])[] = [
    ['a policy about another namespace', object('EgressPolicy', 'orders/foreign', { subjects: [{ namespace: 'integration' }], to: [{ service: 'partner-api', namespace: 'integration' }] })],
    ['a policy about namespaces by label', object('EgressPolicy', 'orders/selected', { subjects: [{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'integration' } } }], to: [{ service: 'partner-api', namespace: 'integration' }] })],
    ['a binding about another namespace', object('SnatBinding', 'orders/foreign', { subject: { namespace: 'integration' }, addresses: ['203.0.113.41'] })],
  ];
  for (const [what, each] of beyond) {
    it(`cannot put ${what} into force`, async () => {
      const before = operator.plan!.revision;
      await create(ada, each);
      await cluster.until(each, 'refused', isRefused('SubjectForeign'));
      assert.equal(operator.plan!.revision, before);
    });
  }

  it('do not have the right of the older form, which is about everyone', async () => {
    const [older] = manifestsIn(new URL('../../manifests/examples/older-external-service.yaml', import.meta.url).pathname);
    await assert.rejects(ada.request({ method: 'POST', path: '/apis/externalservice.example.com/v1alpha1/namespaces/orders/externalservices', body: { ...older!, metadata: { name: 'mine', namespace: 'orders' } } }), isForbidden);
    await cluster.apply(older!);
    await cluster.until(older!, 'accepted', isAccepted);
  });
});
