import assert from 'node:assert/strict';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import type { ObjectKey } from '../../../src/core/desired-state.ts';
import type { Fault } from '../../../src/core/errors.ts';
import type { IpAddress } from '../../../src/core/ip-address.ts';
import { schemas } from '../../../src/core/objects/index.ts';
import type { TrustDomain } from '../../../src/core/spiffe-id.ts';
import { waitFor } from '../../../src/demo/processes.ts';
import { connectCluster, installObjects, installOptions, type KubernetesObject } from '../../../src/install/index.ts';
import { ApiRefusal, createApiClient, mergeContentType, type ApiClient } from '../../../src/kubernetes/client.ts';
import type { HostAnswer } from '../../../src/kubernetes/registration/host-addresses.ts';
import type { StoredObject } from '../../../src/kubernetes/registration/plan.ts';
import { watchAll, type Watches } from '../../../src/kubernetes/operator/watches.ts';
import { createRegistrar, type Registrant, type Registrar } from '../../../src/kubernetes/registration/registrar.ts';
import { useKubernetes } from '../../support/kubernetes.ts';
import { requirePeer } from '../../support/peers.ts';
import { startServerProcess } from '../../support/server-process.ts';

describe('the registrar at a real API server', function () {
  const server = useKubernetes(this);
  let client: ApiClient;
  /** Of the control plane's service account, with the role that is installed. */
  let control: ApiClient;
  /** What the registrar has asked for, in words; requests of the tests themselves are not in it. */
  let asked: string[];
  let findings: Map<ObjectKey, Fault | null>;
  let says: Map<string, HostAnswer>;
  const running: Registrar[] = [];
  let watches: Watches;

  before(async () => {
    client = createApiClient(server().kubeConfig());
    const cluster = await connectCluster({ file: await server().kubeConfigFile() });
    const parts = /^(Namespace|ServiceAccount|CustomResourceDefinition|ClusterRole|ClusterRoleBinding|ValidatingAdmissionPolicy|ValidatingAdmissionPolicyBinding)$/;
    for (const { object } of installObjects(installOptions('0').parse({}))) if (parts.test(object['kind'] as string)) await cluster.apply(object as unknown as KubernetesObject, { takeOver: false });
    const { status } = await client.request<{ readonly status: { readonly token: string } }>({ method: 'POST', path: '/api/v1/namespaces/sallyport-system/serviceaccounts/control/token', body: { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: {} } });
    control = createApiClient(server().kubeConfig({ token: status.token }));
    watches = watchAll({ client: control, onDesired: () => undefined, onAssignments: () => undefined, onAddresses: () => undefined, random: Math.random, log: pino({ level: 'silent' }) });
    await watches.synced;
  });
  after(() => watches.close());
  beforeEach(() => {
    asked = [];
    findings = new Map();
    says = new Map();
  });
  afterEach(async () => {
    await Promise.all(running.splice(0).map((registrar) => registrar.close()));
  });

  /** One that is told what is wanted from the beginning. */
  function start(wanted: ReadonlyMap<ObjectKey, Registrant>, onAsked: (line: string) => void = () => undefined): Registrar {
    const registrar = createRegistrar({
      client: {
        ...control,
        request: (request) => {
          const line = `${request.method} ${request.path}`;
          asked.push(line);
          onAsked(line);
          return control.request(request);
        },
      },
      services: watches.services,
      slices: watches.slices,
      trustDomain: 'cluster.local' as TrustDomain,
      resolve: (host) => (says.has(host) ? Promise.resolve(says.get(host)!) : Promise.reject(Object.assign(new Error(host), { code: 'ENOTFOUND' }))),
      onFinding: (key, fault) => void findings.set(key, fault),
      random: Math.random,
      log: pino({ level: 'silent' }),
    });
    running.push(registrar);
    registrar.want(wanted);
    return registrar;
  }

  const owner = (name: string) => ({ apiVersion: 'sallyport.dev/v1alpha1', name, uid: `6a4c0a7e-0000-4000-8000-${Buffer.from(name.padEnd(6, '-')).toString('hex').slice(0, 12)}` });
  const registrant = (namespace: string, name: string, spec: object = {}, metadata: object = {}): readonly [ObjectKey, Registrant] => [
    `${namespace}/${name}`,
    { external: schemas.ExternalService.parse({ apiVersion: 'sallyport.dev/v1alpha1', kind: 'ExternalService', metadata: { name, namespace, ...metadata }, spec: { ...('hosts' in spec ? {} : { addresses: ['192.0.2.7'] }), ports: [{ port: 3128 }], ...spec } }), owner: owner(name) },
  ];
  /** In one namespace, each test's own: what another has left over is taken back in passing. */
  const askedIn = (namespace: string) => asked.filter((line) => line.includes(`/namespaces/${namespace}/`));
  const writesIn = (namespace: string) => askedIn(namespace).filter((line) => !line.startsWith('GET'));

  let namespaces = 0;
  async function makeNamespace(): Promise<string> {
    namespaces += 1;
    const name = `test-${namespaces}`;
    await client.request({ method: 'POST', path: '/api/v1/namespaces', body: { metadata: { name } } });
    return name;
  }

  const servicesIn = (namespace: string): string => `/api/v1/namespaces/${namespace}/services`;
  const slicesIn = (namespace: string): string => `/apis/discovery.k8s.io/v1/namespaces/${namespace}/endpointslices`;
  const servicePath = (key: ObjectKey): string => `/api/v1/namespaces/${key.replace('/', '/services/')}`;
  const slicePath = (namespace: string, name: string): string => `${slicesIn(namespace)}/${name}`;
  const get = (path: string) =>
    client.request<StoredObject & { readonly spec: { readonly type?: string; readonly selector?: object; readonly ports: readonly { readonly port: number }[] }; readonly endpoints: readonly { readonly addresses: readonly string[] }[] }>({ method: 'GET', path }).catch((error: unknown) => {
      if (error instanceof ApiRefusal && error.status === 404) return undefined;
      throw error;
    });
  const patch = (path: string, body: object) => client.request({ method: 'PATCH', path, contentType: mergeContentType, body });
  const remove = (path: string) => client.request({ method: 'DELETE', path });
  /** The addresses that a Service leads to; undefined: it is not there. */
  async function addressesOf(key: ObjectKey): Promise<string | undefined> {
    if ((await get(servicePath(key))) === undefined) return undefined;
    const [namespace, name] = key.split('/') as [string, string];
    const { items } = await client.request<{ readonly items: readonly { readonly endpoints: readonly { readonly addresses: readonly string[] }[] }[] }>({ method: 'GET', path: slicesIn(namespace), query: { labelSelector: `kubernetes.io/service-name=${name}` } });
    return items.flatMap(({ endpoints }) => endpoints.flatMap(({ addresses }) => addresses)).sort().join();
  }
  const leadsTo = (key: ObjectKey, addresses: string | undefined) => waitFor(`${key} at ${addresses}`, 10_000, async () => ((await addressesOf(key)) === addresses ? true : undefined));
  const finds = (key: ObjectKey, code: string | undefined) => waitFor(`finding ${code} of ${key}`, 10_000, () => (findings.has(key) && findings.get(key)?.code === code ? true : undefined));

  it('makes a Service and slices of each service, follows what is wanted, and takes back what is not wanted any more', async () => {
    const namespace = await makeNamespace();
    const kept = registrant(namespace, 'kept');
    const registrar = start(new Map([kept, registrant(namespace, 'proxy', { addresses: ['192.0.2.7', '2001:db8::1'] }, { labels: { apps: 'bigip', tier: 'edge' } })]));
    await leadsTo(`${namespace}/proxy`, '192.0.2.7,2001:db8::1');
    await leadsTo(`${namespace}/kept`, '192.0.2.7');
    assert.equal(writesIn(namespace).length, 5, 'one request an object');
    const service = await get(servicePath(`${namespace}/proxy`));
    assert.equal(service?.spec.selector, undefined);
    assert.equal(service?.metadata.ownerReferences?.[0]?.name, 'proxy');

    registrar.want(new Map([kept, registrant(namespace, 'proxy', { addresses: ['192.0.2.8'], ports: [{ port: 21 }] }, { labels: { tier: 'edge' } })]));
    await leadsTo(`${namespace}/proxy`, '192.0.2.8');
    const { metadata, spec } = (await get(servicePath(`${namespace}/proxy`)))!;
    assert.deepEqual(spec.ports.map(({ port }) => port), [21]);
    assert.deepEqual(metadata.labels, { 'app.kubernetes.io/managed-by': 'sallyport.dev', 'tier': 'edge' });

    registrar.want(new Map([kept]));
    await leadsTo(`${namespace}/proxy`, undefined);
    await waitFor('its slices to go', 5_000, async () => ((await get(slicePath(namespace, 'proxy-ipv4'))) === undefined ? true : undefined));
    assert.equal(await addressesOf(`${namespace}/kept`), '192.0.2.7');
  });

  it('comes to what was wanted last, where that changes while requests are under way', async () => {
    const namespace = await makeNamespace();
    const registrar = start(new Map());
    for (let last = 1; last <= 20; last += 1) {
      registrar.want(new Map([registrant(namespace, 'proxy', { addresses: [`192.0.2.${last}`] })]));
      await waitFor('a request', 5_000, () => (asked.length >= last ? true : undefined));
    }
    await leadsTo(`${namespace}/proxy`, '192.0.2.20');
    await patch(slicePath(namespace, 'proxy-ipv4'), { endpoints: [{ addresses: ['203.0.113.9'] }] }); // which is no reason to take our own changes for a quarrel
    await leadsTo(`${namespace}/proxy`, '192.0.2.20');
  });

  it('begins no request any more once it is closed, as the one of a leader that was deposed is', async () => {
    const namespace = await makeNamespace();
    const { promise: closed, resolve: setClosed } = Promise.withResolvers<unknown>();
    const registrar: Registrar = start(new Map([registrant(namespace, 'proxy')]), (line) => {
      if (line.startsWith('POST')) setClosed(registrar.close());
    });
    await closed;
    assert.deepEqual(writesIn(namespace), [`POST ${servicesIn(namespace)}`]);
    assert.equal(await addressesOf(`${namespace}/proxy`), '', 'what was under way has ended');
  });

  it('asks nothing and writes nothing where all is as wanted, also as a new leader', async () => {
    const namespace = await makeNamespace();
    const many = new Map(Array.from({ length: 50 }, (_, index) => registrant(namespace, `s-${index}`)));
    const registrar = start(many);
    for (const key of many.keys()) await leadsTo(key, '192.0.2.7');
    await registrar.close();
    asked = [];
    const next = start(many);
    next.want(new Map([...many].map(([key, { external, owner: made }]) => [key, { external, owner: { ...made! } }])));
    // what is looked at last is done last, so nothing else is done after it
    next.want(new Map([...many, registrant(namespace, 'last')]));
    await leadsTo(`${namespace}/last`, '192.0.2.7');
    assert.deepEqual(askedIn(namespace), [`POST ${servicesIn(namespace)}`, `POST ${slicesIn(namespace)}`]);
    asked = [];
    next.want(new Map([...many].filter(([key]) => key !== `${namespace}/s-0`)));
    await leadsTo(`${namespace}/s-0`, undefined);
    await leadsTo(`${namespace}/last`, undefined);
    assert.deepEqual(askedIn(namespace).length, 4);
  });

  it('puts back what somebody changes or deletes', async () => {
    const namespace = await makeNamespace();
    const key = (name: string) => `${namespace}/${name}`;
    const wanted = new Map(['lost', 'sliceless', 'led-astray', 'changed'].map((name) => registrant(namespace, name)));
    const registrar = start(wanted);
    for (const each of wanted.keys()) await leadsTo(each, '192.0.2.7');
    await registrar.close();
    start(new Map([...wanted, registrant(namespace, 'another')])); // which has no reason of its own to look at them again
    await leadsTo(key('another'), '192.0.2.7');
    await remove(servicePath(key('lost')));
    await remove(slicePath(namespace, 'sliceless-ipv4'));
    await patch(slicePath(namespace, 'led-astray-ipv4'), { endpoints: [{ addresses: ['203.0.113.9'] }] });
    await patch(servicePath(key('changed')), { metadata: { labels: { theirs: 'x' } }, spec: { selector: { app: 'x' }, type: 'NodePort', ports: [{ name: 'other', port: 80 }] } });
    for (const each of wanted.keys()) await leadsTo(each, '192.0.2.7');
    await waitFor('the Service as it was', 10_000, async () => {
      const { spec } = (await get(servicePath(key('changed'))))!;
      return spec.selector === undefined && spec.type === 'ClusterIP' && spec.ports.length === 1 && spec.ports[0]!.port === 3128 ? true : undefined;
    });
    assert.equal((await get(servicePath(key('changed'))))?.metadata.labels?.['theirs'], 'x');
  });

  it('leaves a Service alone that somebody else has made, says so, and takes its place once it is gone', async () => {
    const namespace = await makeNamespace();
    const key = `${namespace}/proxy`;
    const theirs = { apiVersion: 'v1', kind: 'Service', metadata: { name: 'proxy' }, spec: { selector: { app: 'x' }, ports: [{ port: 80 }] } };
    const made = await client.request<StoredObject>({ method: 'POST', path: servicesIn(namespace), body: theirs });
    await waitFor('it to be known', 10_000, () => watches.services.objects.get(key));
    const registrar = start(new Map([registrant(namespace, 'proxy')]));
    await finds(key, 'service-name-taken');
    assert.deepEqual(askedIn(namespace), []);
    assert.match(findings.get(key)!.hint!, /kubectl delete service proxy -n test-/);
    assert.equal((await get(servicePath(key)))!.metadata.resourceVersion, made.metadata.resourceVersion);
    assert.equal(await addressesOf(key), '', 'nothing of ours leads to it');
    registrar.want(new Map([registrant(namespace, 'proxy', { ports: [{ port: 21 }] })])); // which looks again at once
    await remove(servicePath(key));
    await leadsTo(key, '192.0.2.7');
    await finds(key, undefined);
  });

  it('answers somebody who always writes otherwise ever more slowly', async () => {
    const namespace = await makeNamespace();
    start(new Map([registrant(namespace, 'proxy')]));
    await leadsTo(`${namespace}/proxy`, '192.0.2.7');
    const endsAt = performance.now() + 2_000;
    while (performance.now() < endsAt) {
      await leadsTo(`${namespace}/proxy`, '192.0.2.7');
      await patch(slicePath(namespace, 'proxy-ipv4'), { endpoints: [{ addresses: ['203.0.113.9'] }] });
    }
    assert.ok(writesIn(namespace).length < 8, writesIn(namespace).join('\n'));
  });

  it("takes its slices off a Service that took another's place", async () => {
    const namespace = await makeNamespace();
    const key = `${namespace}/proxy`;
    start(new Map([registrant(namespace, 'proxy')]));
    await leadsTo(key, '192.0.2.7');
    await patch(servicePath(key), { metadata: { labels: { 'app.kubernetes.io/managed-by': null } } }); // his from now on
    await finds(key, 'service-name-taken');
    await leadsTo(key, '');
  });

  it('says what to do where the namespace is missing, and what the API server refuses', async () => {
    start(new Map([registrant('nowhere', 'proxy'), registrant(await makeNamespace(), 'proxy.corp')]));
    await finds('nowhere/proxy', 'namespace-missing');
    assert.equal(findings.get('nowhere/proxy')!.hint, 'kubectl create namespace nowhere');
    const refused = await waitFor('the refusal', 10_000, () => findings.get(`test-${namespaces}/proxy.corp`) ?? undefined);
    assert.equal(refused.code, 'registration-refused');
    assert.match(refused.message, /Service test-[0-9]+\/proxy\.corp: .*DNS-1035 label/);
    await client.request({ method: 'POST', path: '/api/v1/namespaces', body: { metadata: { name: 'nowhere' } } });
    await leadsTo('nowhere/proxy', '192.0.2.7');
    await finds('nowhere/proxy', undefined);
  });

  it('leaves out addresses that mean another place wherever they are said, which the API server would refuse', async () => {
    const namespace = await makeNamespace();
    start(new Map([registrant(namespace, 'proxy', { addresses: ['127.0.0.1', '192.0.2.7'] })]));
    await leadsTo(`${namespace}/proxy`, '192.0.2.7');
    await finds(`${namespace}/proxy`, 'address-placeless');
  });

  it('leaves nothing over of what went while nobody led, and all that is not its own', async () => {
    const namespace = await makeNamespace();
    const registrar = start(new Map([registrant(namespace, 'gone'), registrant(namespace, 'kept')]));
    await leadsTo(`${namespace}/gone`, '192.0.2.7');
    await leadsTo(`${namespace}/kept`, '192.0.2.7');
    await registrar.close();
    const labels = { 'app.kubernetes.io/managed-by': 'sallyport.dev' };
    const post = (name: string, metadata: object, spec: object) => client.request({ method: 'POST', path: servicesIn(namespace), body: { metadata: { name, labels, ...metadata }, spec: { ports: [{ port: 80 }], ...spec } } });
    await post('of-a-deployment', { ownerReferences: [{ apiVersion: 'apps/v1', kind: 'Deployment', name: 'x', uid: 'x', controller: true }] }, {});
    await post('of-pods', {}, { selector: { app: 'sallyport' } });
    asked = [];
    start(new Map([registrant(namespace, 'kept')]));
    await leadsTo(`${namespace}/gone`, undefined);
    await waitFor('its slice to go', 5_000, async () => ((await get(slicePath(namespace, 'gone-ipv4'))) === undefined ? true : undefined));
    assert.deepEqual(writesIn(namespace).sort(), [`DELETE ${servicePath(`${namespace}/gone`)}`, `DELETE ${slicePath(namespace, 'gone-ipv4')}`]);
    for (const name of ['of-a-deployment', 'of-pods', 'kept']) assert.ok(await get(servicePath(`${namespace}/${name}`)), name);
  });

  it('registers what a host resolves to, keeps it while nobody answers, and says where nobody ever has', async () => {
    const namespace = await makeNamespace();
    const key = `${namespace}/proxy`;
    const wanted = (hosts: readonly string[]) => new Map([registrant(namespace, 'proxy', { hosts })]);
    const registrar = start(wanted(['ftp.partner.example']));
    await finds(key, 'host-unresolved');
    assert.equal(await addressesOf(key), '', 'the name is there already');
    says.set('ftp.partner.example', { addresses: ['192.0.2.1', '2001:db8::1'] as IpAddress[], ttlSeconds: 5 });
    await leadsTo(key, '192.0.2.1,2001:db8::1');
    await finds(key, undefined);
    says.set('ftp.partner.example', { addresses: ['192.0.2.2'] as IpAddress[], ttlSeconds: 5 });
    await leadsTo(key, '192.0.2.2');
    says.clear();
    await registrar.close();
    start(wanted(['ftp.partner.example']));
    await finds(key, 'host-unresolved');
    assert.equal(await addressesOf(key), '192.0.2.2', 'what is there of an earlier leader');
  });

  it('goes on where the API server was away', async () => {
    const namespace = await makeNamespace();
    const registrar = start(new Map([registrant(namespace, 'proxy')]));
    await leadsTo(`${namespace}/proxy`, '192.0.2.7');
    await server().kill();
    registrar.want(new Map([registrant(namespace, 'proxy', { addresses: ['192.0.2.8'] })]));
    await waitFor('a request in vain', 5_000, () => (writesIn(namespace).length > 2 ? true : undefined));
    await server().restart();
    await leadsTo(`${namespace}/proxy`, '192.0.2.8');
  });

  it('leaves what goes with its custom resource to Kubernetes, which takes it while nobody leads', async function () {
    const namespace = await makeNamespace();
    const key = `${namespace}/proxy`;
    const folder = `/apis/sallyport.dev/v1alpha1/namespaces/${namespace}/externalservices`;
    await waitFor('the definition', 10_000, () => client.request({ method: 'GET', path: folder }).catch(() => undefined));
    const [, { external }] = registrant(namespace, 'proxy');
    const { apiVersion, metadata } = await client.request<StoredObject>({ method: 'POST', path: folder, body: external });
    const collector = await startServerProcess(requirePeer(this, 'kubeControllerManager'), [`--kubeconfig=${await server().kubeConfigFile()}`, '--controllers=garbage-collector-controller', '--leader-elect=false', '--secure-port=0'], {
      directory: await mkdtemp(join(tmpdir(), 'sallyport-collector-')),
      ready: /all resource monitors have synced/,
    });
    try {
      const orphan = registrant(namespace, 'orphan');
      const registrar = start(new Map([[key, { external, owner: { apiVersion, name: 'proxy', uid: metadata.uid } }], orphan]));
      await leadsTo(key, '192.0.2.7');
      await waitFor('the collector to look', 10_000, () => (asked.filter((line) => line === `POST ${servicesIn(namespace)}`).length > 2 ? true : undefined)); // at the one whose owner never was
      assert.equal(await addressesOf(key), '192.0.2.7');
      await registrar.close();
      await remove(`${folder}/proxy`);
      await leadsTo(key, undefined);
      await waitFor('its slice to go', 10_000, async () => ((await get(slicePath(namespace, 'proxy-ipv4'))) === undefined ? true : undefined));
    } finally {
      await collector.stop();
    }
  });
});
