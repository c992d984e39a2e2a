import type { V1Deployment, V1Pod } from '@kubernetes/client-node';
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import pino from 'pino';
import { waitFor } from '../../../src/demo/processes.ts';
import type { TrustDomain } from '../../../src/core/spiffe-id.ts';
import { installObjects, installOptions } from '../../../src/install/index.ts';
import { createApiClient, type ApiClient, type Query } from '../../../src/kubernetes/client.ts';
import { createCaBundleKeeper, type WebhookConfiguration } from '../../../src/kubernetes/webhook/ca-bundle-keeper.ts';
import { startWebhooks, type Webhooks } from '../../../src/kubernetes/webhook/webhooks.ts';
import { useKubernetes } from '../../support/kubernetes.ts';
import { requirePeer } from '../../support/peers.ts';
import { makePki, type Pki } from '../../support/pki.ts';
import { apiObjects, smallWorld } from './support/small-world.ts';

const crds = new URL('../../../manifests/crds', import.meta.url).pathname;
const configurations = '/apis/admissionregistration.k8s.io/v1';
const [mutating, validating] = [`${configurations}/mutatingwebhookconfigurations/sallyport-inject`, `${configurations}/validatingwebhookconfigurations/sallyport-validate`];
const log = pino({ level: 'silent' });
const known = `apiVersion: sallyport.dev/v1alpha1
kind: SnatPool
metadata: {name: eu}
spec: {addresses: [10.0.0.1-10.0.0.9]}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatBinding
metadata: {name: b, namespace: bookinfo}
spec: {subject: {namespace: bookinfo}, addresses: [10.0.0.1]}
`;
const binding = (name: string, spec: string) => `apiVersion: sallyport.dev/v1alpha1\nkind: SnatBinding\nmetadata: {name: ${name}, namespace: plain}\nspec: {subject: {namespace: plain}, ${spec}}\n`;

interface Entry {
  readonly clientConfig: { readonly service: { readonly path: string } };
}

describe('webhooks that a real API server asks', function () {
  const server = useKubernetes(this);
  const options = { host: '127.0.0.1', inject: { image: 'sallyport:test', control: 'sallyport.sallyport-system.svc:15012', trustDomain: 'cluster.local' as TrustDomain, systemNamespace: 'sallyport-system' }, validate: smallWorld(apiObjects(known)), log };
  let pki: Pki;
  let webhooks: Webhooks;
  let api: ApiClient;
  let keeperToken: string;
  let kubectl: (input: string, ...args: readonly string[]) => Promise<{ readonly stdout: string; readonly stderr: string }>;

  const identityOf = (issuer: Pki) => issuer.issue('', { names: [{ type: 'ip', value: '127.0.0.1' }] });
  /** As they are installed, but reached by an address instead of a Service. */
  async function install(): Promise<void> {
    for (const { object } of installObjects(installOptions('test').parse({}))) {
      const { kind, metadata, webhooks: entries } = object as unknown as { readonly kind: string; readonly metadata: object; readonly webhooks: readonly Entry[] };
      if (!kind.endsWith('WebhookConfiguration')) continue;
      const reached = entries.map((entry) => ({ ...entry, clientConfig: { url: `https://127.0.0.1:${webhooks.port}${entry.clientConfig.service.path}` } }));
      await api.request({ method: 'POST', path: `${configurations}/${kind.toLowerCase()}s`, body: { metadata, webhooks: reached } });
    }
  }

  /** A keeper with the rights that it has to have, and no other. */
  async function keeperOf(bundlePem: string) {
    const keeper = createCaBundleKeeper({ client: createApiClient(server().kubeConfig({ token: keeperToken })), random: Math.random, log, lookEveryMs: 50 });
    keeper.publish(bundlePem);
    const trusted = async (path: string) => (await api.request<WebhookConfiguration>({ method: 'GET', path })).webhooks!.every(({ clientConfig }) => clientConfig.caBundle === Buffer.from(bundlePem).toString('base64'));
    await waitFor('the trust bundle in the configurations', 10_000, async () => ((await trusted(mutating)) && (await trusted(validating)) ? true : undefined));
    return keeper;
  }

  async function makeKeeperAccount(): Promise<string> {
    const rules = ['mutatingwebhookconfigurations', 'validatingwebhookconfigurations'].map((resource, index) => ({ apiGroups: ['admissionregistration.k8s.io'], resources: [resource], resourceNames: [['sallyport-inject', 'sallyport-validate'][index]], verbs: ['get', 'patch'] }));
    const rbac = '/apis/rbac.authorization.k8s.io/v1';
    await api.request({ method: 'POST', path: '/api/v1/namespaces/default/serviceaccounts', body: { metadata: { name: 'keeper' } } });
    await api.request({ method: 'POST', path: `${rbac}/clusterroles`, body: { metadata: { name: 'keeper' }, rules } });
    await api.request({ method: 'POST', path: `${rbac}/clusterrolebindings`, body: { metadata: { name: 'keeper' }, roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'keeper' }, subjects: [{ kind: 'ServiceAccount', name: 'keeper', namespace: 'default' }] } });
    return (await api.request<{ readonly status: { readonly token: string } }>({ method: 'POST', path: '/api/v1/namespaces/default/serviceaccounts/keeper/token', body: { spec: {} } })).status.token;
  }

  before(async function () {
    const program = requirePeer(this, 'kubectl');
    const kubeconfig = await server().kubeConfigFile();
    kubectl = async (input, ...args) => {
      const file = join(dirname(kubeconfig), 'input.yaml');
      writeFileSync(file, input);
      return promisify(execFile)(program, args.map((arg) => (arg === '-' ? file : arg)), { env: { KUBECONFIG: kubeconfig, HOME: dirname(kubeconfig) } });
    };
    api = createApiClient(server().kubeConfig());
    const restricted = { 'pod-security.kubernetes.io/enforce': 'restricted' };
    for (const [name, labels] of [['bookinfo', { ...restricted, 'sallyport.dev/inject': 'enabled' }], ['plain', restricted]] as const) await api.request({ method: 'POST', path: '/api/v1/namespaces', body: { metadata: { name, labels } } });
    await api.request({ method: 'PATCH', path: '/api/v1/namespaces/kube-system', body: { metadata: { labels: { 'sallyport.dev/inject': 'enabled' } } }, contentType: 'application/merge-patch+json' });
    await kubectl('', 'create', '-f', join(crds, 'snatpools.sallyport.dev.yaml'), '-f', join(crds, 'snatbindings.sallyport.dev.yaml'));
    pki = makePki();
    webhooks = await startWebhooks({ ...options, port: 0, identity: identityOf(pki) });
    await install();
    keeperToken = await makeKeeperAccount();
    const keeper = await keeperOf(pki.rootPem);
    await waitFor('both webhooks to be trusted', 10_000, async () => ((await makePod('bookinfo').then(agentsOf, () => 0)) === 1 && (await refusalOf(binding('first', 'addresses: [10.0.0.1]'))) !== undefined ? true : undefined));
    await keeper.close();
  });
  after(() => webhooks.close());

  /** Creates it, and gives it as it is stored. */
  async function makePod(namespace: string, metadata: object = {}, spec: object = {}, query: Query = {}): Promise<V1Pod> {
    const securityContext = { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] }, runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } };
    return api.request({ method: 'POST', path: `/api/v1/namespaces/${namespace}/pods`, query, body: { metadata: { generateName: 'app-', ...metadata }, spec: { serviceAccountName: 'default', containers: [{ name: 'app', image: 'app', securityContext }], ...spec } } });
  }

  const agentsOf = ({ spec }: V1Pod): number => (spec!.initContainers ?? []).filter(({ name, restartPolicy }) => name === 'sallyport-agent' && restartPolicy === 'Always').length;

  /** What kubectl says where it fails. */
  async function refusalOf(manifest: string, ...args: readonly string[]): Promise<string | undefined> {
    try {
      await kubectl(manifest, ...(args.length === 0 ? ['create', '-f', '-', '--dry-run=server'] : args));
      return undefined;
    } catch (error) {
      return (error as { readonly stderr: string }).stderr;
    }
  }

  it('give a pod of an enabled namespace its agent, within the Pod Security Standard "restricted"', async () => {
    const pod = await makePod('bookinfo', {}, { initContainers: [{ name: 'migrate', image: 'app', securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] }, runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } } }] });
    assert.deepEqual(pod.spec!.initContainers!.map(({ name }) => name), ['sallyport-agent', 'migrate']);
    await assert.rejects(makePod('bookinfo', {}, { containers: [{ name: 'app', image: 'app' }] }), /violates PodSecurity "restricted.*container "app"/); // the standard is held to, and the agent not among the faults
  });

  it('give one to a pod that asks for it where others have none', async () => {
    assert.equal(agentsOf(await makePod('plain', { labels: { 'sallyport.dev/inject': 'true' } })), 1);
  });

  it('leave others as they are', async () => {
    for (const [namespace, metadata] of [['plain', {}], ['kube-system', {}], ['kube-system', { labels: { 'sallyport.dev/inject': 'true' } }], ['bookinfo', { labels: { 'sallyport.dev/inject': 'false' } }], ['bookinfo', { annotations: { 'sallyport.dev/inject': 'false' } }]] as const) assert.equal(agentsOf(await makePod(namespace, metadata)), 0);
  });

  it('tell whoever makes a pod with the network of its node that it gets none', async () => {
    await api.request({ method: 'PATCH', path: '/api/v1/namespaces/bookinfo', body: { metadata: { labels: { 'pod-security.kubernetes.io/enforce': 'privileged' } } }, contentType: 'application/merge-patch+json' });
    const { stderr } = await kubectl('apiVersion: v1\nkind: Pod\nmetadata: {name: x, namespace: bookinfo}\nspec: {hostNetwork: true, containers: [{name: app, image: app}]}\n', 'create', '-f', '-', '--dry-run=server');
    assert.match(stderr, /^Warning: no agent of Sallyport is added: with hostNetwork /m);
    await api.request({ method: 'PATCH', path: '/api/v1/namespaces/bookinfo', body: { metadata: { labels: { 'pod-security.kubernetes.io/enforce': 'restricted' } } }, contentType: 'application/merge-patch+json' });
  });

  it('add no second agent to the example that has it written out', async () => {
    const example = readFileSync(new URL('../../../manifests/kubernetes/agent-without-webhook.yaml', import.meta.url), 'utf8');
    await kubectl(example, 'apply', '-f', '-');
    const deployment = JSON.parse((await kubectl('', 'get', 'deployment', 'productpage', '-n', 'bookinfo', '-o', 'json')).stdout) as V1Deployment;
    const { metadata, spec } = deployment.spec!.template;
    const pod = await makePod('bookinfo', { labels: metadata!.labels }, spec);
    assert.equal(agentsOf(pod), 1);
  });

  it('refuse through kubectl, in the words of "sallyport validate"', async () => {
    const said = await refusalOf(binding('c', 'addresses: [10.0.0.1]'));
    assert.match(said!, /: admission webhook "validate\.sallyport\.dev" denied the request: SnatBinding plain\/c spec\.addresses\[0\]: address "10\.0\.0\.1" .* \[address-held\]\n {2}hint: .*\n$/);
  });

  it('warn through kubectl', async () => {
    const { stderr } = await kubectl(binding('c', 'pool: later'), 'create', '-f', '-', '--dry-run=server');
    assert.match(stderr, /^Warning: SnatBinding plain\/c spec\.pool: there is no SnatPool "later" \[pool-unknown\]; hint: .*\n$/);
  });

  it('refuse that a pool in use is deleted', async () => {
    await kubectl(known.split('---')[0]!, 'create', '-f', '-');
    const said = await refusalOf('', 'delete', 'snatpool', 'eu', '--dry-run=server');
    assert.match(said!, /\(Conflict\): admission webhook "validate\.sallyport\.dev" denied the request: SnatBinding bookinfo\/b /);
  });

  /** Pods made one after the other, and none in the end. */
  const podsOneByOne = async (count: number) => {
    for (let made = 0; made < count; made += 1) assert.equal(agentsOf(await makePod('bookinfo', {}, {}, { dryRun: 'All' })), 1);
  };

  it('are trusted by a new CA without a gap', async () => {
    const next = makePki();
    let done = false;
    const meanwhile = [1, 2, 3].map(async () => {
      while (!done) await podsOneByOne(1);
    });
    const rotate = async () => {
      const keepers = [await keeperOf(pki.rootPem + next.rootPem)];
      await podsOneByOne(20); // the API server hears of it as of any change
      webhooks.setIdentity(identityOf(next));
      await keepers[0]!.close();
      keepers.push(await keeperOf(next.rootPem));
      await podsOneByOne(20);
      await keepers[1]!.close();
      pki = next;
    };
    await rotate().finally(() => (done = true));
    await Promise.all(meanwhile);
  });

  it('are trusted again when they are installed anew', async () => {
    const keeper = await keeperOf(pki.rootPem);
    await api.request({ method: 'DELETE', path: mutating });
    await api.request({ method: 'DELETE', path: validating });
    await install();
    await waitFor('a pod with its agent', 10_000, async () => ((await makePod('bookinfo').then(agentsOf, () => 0)) === 1 ? true : undefined));
    await keeper.close();
  });

  it('hold up only the pods that are to have an agent, while they are away', async () => {
    await webhooks.close();
    await assert.rejects(makePod('bookinfo'), /failed calling webhook "inject\.sallyport\.dev"/);
    await assert.rejects(makePod('plain', { labels: { 'sallyport.dev/inject': 'true' } }), /failed calling webhook "inject-pod\.sallyport\.dev"/);
    for (const [namespace, metadata] of [['plain', {}], ['kube-system', {}], ['bookinfo', { labels: { 'sallyport.dev/inject': 'false' } }]] as const) assert.equal(agentsOf(await makePod(namespace, metadata)), 0);
    await kubectl(binding('c', 'addresses: [10.0.0.1]'), 'create', '-f', '-', '--dry-run=server');
  });
});
