import { CoreV1Api } from '@kubernetes/client-node';
import assert from 'node:assert/strict';
import { setImmediate } from 'node:timers/promises';
import { pino } from 'pino';
import { waitFor } from '../../../src/demo/processes.ts';
import { createApiClient, mergeContentType, type ApiClient, type ApiRequest } from '../../../src/kubernetes/client.ts';
import { createTrustBundlePublisher, type TrustBundlePublisher } from '../../../src/kubernetes/trust-bundle/publisher.ts';
import { reflect, type Mirror } from '../../../src/kubernetes/watch/reflect.ts';
import type { ApiObject } from '../../../src/kubernetes/watch/reflection.ts';
import { useKubernetes } from '../../support/kubernetes.ts';

const name = 'sallyport-trust-bundle';
const key = 'trust-bundle.pem';
const withinMs = 10_000;

describe('the trust bundle in every namespace of a real API server', function () {
  const server = useKubernetes(this);
  let core: CoreV1Api;
  let client: ApiClient;
  let mirror: Mirror<ApiObject>;
  let publisher: TrustBundlePublisher;
  let logged: string;
  /** Requests that change something, as `METHOD NAMESPACE`, and paths of lists. */
  let writes: string[];
  let lists: string[];
  let mostAtOnce: number;
  /** Comes before each of them. */
  let beforeWrite: (namespace: string) => unknown;
  let markers = 0;

  before(() => {
    core = server().kubeConfig().makeApiClient(CoreV1Api);
    client = createApiClient(server().kubeConfig());
    mirror = reflect({ client, resource: { group: '', version: 'v1', plural: 'namespaces' }, random: Math.random, log: pino({ level: 'silent' }) });
  });
  after(() => mirror.close());
  beforeEach(() => {
    logged = '';
    writes = [];
    lists = [];
    mostAtOnce = 0;
    beforeWrite = () => undefined;
    publisher = start();
  });
  afterEach(() => publisher.close());

  function start(): TrustBundlePublisher {
    return createTrustBundlePublisher({
      client: counted(),
      namespaces: mirror,
      random: () => 0,
      log: pino({ level: 'info' }, { write: (line: string) => void (logged += line) }),
    });
  }

  function counted(): ApiClient {
    let underWay = 0;
    return {
      ...client,
      async request<Answer>(request: ApiRequest) {
        if (request.method === 'GET') return await client.request<Answer>(request).finally(() => lists.push(request.path));
        const namespace = request.path.split('/')[4]!;
        await beforeWrite(namespace);
        writes.push(`${request.method} ${namespace}`);
        underWay += 1;
        mostAtOnce = Math.max(mostAtOnce, underWay);
        return await client.request<Answer>(request).finally(() => (underWay -= 1));
      },
    };
  }

  const makeNamespace = (namespace: string) => core.createNamespace({ body: { metadata: { name: namespace } } });
  const read = (namespace: string) => core.readNamespacedConfigMap({ name, namespace }).catch(() => undefined);
  const bundleOf = async (namespace: string): Promise<string | undefined> => (await read(namespace))?.data?.[key];
  const becomes = (namespace: string, pem: string) => waitFor(`"${pem}" in ${namespace}`, withinMs, async () => ((await bundleOf(namespace)) === pem ? true : undefined));
  const namespaces = async (): Promise<string[]> => (await core.listNamespace()).items.map(({ metadata }) => metadata!.name!).sort();
  async function everywhere(pem: string): Promise<void> {
    for (const namespace of await namespaces()) await becomes(namespace, pem);
  }

  const change = (namespace: string, body: object) => client.request({ method: 'PATCH', path: `/api/v1/namespaces/${namespace}/configmaps/${name}`, contentType: mergeContentType, body });

  /** Resolves when all that was written has been looked at once more: each rests as long as this one, which is written after them. */
  async function settled(): Promise<void> {
    const marker = `marker-${(markers += 1)}`;
    await makeNamespace(marker);
    const pem = await waitFor('the marker', withinMs, () => bundleOf(marker));
    await change(marker, { data: { [key]: 'changed' } });
    await becomes(marker, pem);
    await removeNamespace(marker);
    writes = writes.filter((write) => !write.endsWith(` ${marker}`));
  }

  /** Without a controller manager it goes on going, until somebody says that it has gone. */
  async function removeNamespace(namespace: string): Promise<void> {
    await core.deleteNamespace({ name: namespace });
    await client.request({ method: 'PUT', path: `/api/v1/namespaces/${namespace}/finalize`, body: { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace }, spec: { finalizers: [] } } });
  }

  it('is in those that are there, and in each that comes, and is replaced in all; and that is all that is written', async () => {
    await makeNamespace('early');
    publisher.publish('first');
    await everywhere('first');
    await makeNamespace('late');
    await becomes('late', 'first');
    publisher.publish('second');
    await everywhere('second');
    publisher.publish('second');
    const all = await namespaces();
    await settled();
    assert.deepEqual([...writes].sort(), [...all.map((namespace) => `POST ${namespace}`), ...all.map((namespace) => `PATCH ${namespace}`)].sort());

    await publisher.close();
    [writes, publisher] = [[], start()];
    publisher.publish('second');
    await makeNamespace('later'); // is served after the others were looked at
    await becomes('later', 'second');
    await settled();
    assert.deepEqual(writes, ['POST later'], 'a new leader finds all as it is to be');
  });

  it('is put back where somebody changes or deletes it, and what he has added is left', async () => {
    await makeNamespace('meddled');
    publisher.publish('anchors');
    await becomes('meddled', 'anchors');
    await settled(); // from here on it is looked at only because of what is done to it
    await change('meddled', { metadata: { annotations: { note: 'mine' } }, data: { [key]: 'his own', more: 'a' } });
    await becomes('meddled', 'anchors');
    const after = (await read('meddled'))!;
    assert.deepEqual([after.data, after.metadata?.annotations], [{ [key]: 'anchors' }, { note: 'mine' }]);
    await settled();
    await core.deleteNamespacedConfigMap({ name, namespace: 'meddled' });
    await becomes('meddled', 'anchors');
    assert.equal(logged, '');
  });

  it('leaves alone what somebody else has under that name, says so once, and takes the name when it is free', async () => {
    await makeNamespace('taken');
    await core.createNamespacedConfigMap({ namespace: 'taken', body: { metadata: { name }, data: { [key]: 'theirs' } } });
    publisher.publish('anchors');
    await waitFor('the finding', withinMs, () => (logged !== '' ? true : undefined));
    publisher.publish('new anchors');
    await becomes('default', 'new anchors');
    await settled();
    assert.equal(await bundleOf('taken'), 'theirs');
    assert.equal(logged.match(/\n/g)?.length, 1);
    assert.match(logged, /"namespace":"taken","code":"trust-bundle-name-taken".*kubectl delete configmap -n taken .* is not ours, and stays as it is/);
    await core.deleteNamespacedConfigMap({ name, namespace: 'taken' });
    await becomes('taken', 'new anchors');
    assert.match(logged, /"namespace":"taken".*the trust bundle has its name in the namespace again/);
  });

  it('is no concern of a namespace that is going', async () => {
    await makeNamespace('going');
    publisher.publish('anchors');
    await becomes('going', 'anchors');
    await core.deleteNamespace({ name: 'going' });
    await core.deleteNamespacedConfigMap({ name, namespace: 'going' });
    publisher.publish('new anchors');
    await becomes('default', 'new anchors');
    await settled();
    assert.equal(await bundleOf('going'), undefined);
    assert.equal(logged, '');
    await removeNamespace('going');
  });

  it('is no matter of complaint where another leader has just written it', async () => {
    beforeWrite = async (namespace) => {
      if (namespace === 'contested') await core.createNamespacedConfigMap({ namespace, body: { metadata: { name, labels: { 'app.kubernetes.io/managed-by': 'sallyport.dev' } }, data: { [key]: 'anchors' } } });
    };
    publisher.publish('anchors');
    await makeNamespace('contested');
    await becomes('contested', 'anchors');
    await settled();
    assert.deepEqual([writes.filter((write) => write.endsWith(' contested')), logged], [['POST contested'], '']);
  });

  it('waits for what is to be published, and for an API server that is away', async () => {
    await makeNamespace('waiting');
    await waitFor('the list', withinMs, () => (lists.length === 1 ? true : undefined));
    await setImmediate();
    assert.deepEqual(writes, []);
    await server().kill();
    publisher.publish('anchors once more');
    await server().restart();
    await everywhere('anchors once more');
  });

  it('asks for no more than eight at a time', async () => {
    for (let index = 0; index < 40; index += 1) await makeNamespace(`many-${index}`);
    publisher.publish('for many');
    await everywhere('for many');
    assert.ok(mostAtOnce > 1 && mostAtOnce <= 8, String(mostAtOnce));
  });
});
