import { CoreV1Api, KubernetesObjectApi, type KubernetesObject } from '@kubernetes/client-node';
import assert from 'node:assert/strict';
import { generateKeyPairSync, sign } from 'node:crypto';
import { SallyportError } from '../../../src/core/errors.ts';
import { createApiClient } from '../../../src/kubernetes/client.ts';
import { createPodAttestor, type PodAttestor } from '../../../src/kubernetes/identity/attest.ts';
import { useKubernetes } from '../../support/kubernetes.ts';

describe('the attestation of a pod at a real API server', function () {
  const server = useKubernetes(this);
  let core: CoreV1Api;
  let objects: KubernetesObjectApi;
  let attestor: PodAttestor;
  before(async function () {
    core = server().kubeConfig().makeApiClient(CoreV1Api);
    objects = KubernetesObjectApi.makeApiClient(server().kubeConfig());
    attestor = createPodAttestor(createApiClient(server().kubeConfig()), 'sallyport');
    for (const object of [namespace('bookinfo'), account('productpage'), account('reviews')]) await objects.create(object);
  });

  const namespace = (name: string): KubernetesObject => ({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } });
  const account = (name: string): KubernetesObject => ({ apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name, namespace: 'bookinfo' } });

  /** A pod that is bound to a node, as far as an API server knows of that. */
  async function startPod(name: string, serviceAccountName = 'productpage') {
    const body = { apiVersion: 'v1', kind: 'Pod', metadata: { name, namespace: 'bookinfo' }, spec: { serviceAccountName, nodeName: 'node-a', containers: [{ name: 'app', image: 'app' }] } };
    return await core.createNamespacedPod({ namespace: 'bookinfo', body });
  }

  async function tokenOf(pod: { readonly metadata?: { readonly name?: string; readonly uid?: string } } | null, { account: name = 'productpage', audience = 'sallyport', seconds = 600 } = {}): Promise<string> {
    const boundObjectRef = pod === null ? {} : { boundObjectRef: { apiVersion: 'v1', kind: 'Pod', name: pod.metadata!.name!, uid: pod.metadata!.uid! } };
    const { status } = await core.createNamespacedServiceAccountToken({ name, namespace: 'bookinfo', body: { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: { audiences: [audience], expirationSeconds: seconds, ...boundObjectRef } } });
    return status!.token!;
  }

  async function detailOf(token: string): Promise<string> {
    const verdict = await attestor.attest(token);
    return verdict.ok ? `taken as ${verdict.value.workload.serviceAccount}` : verdict.detail;
  }

  it('tells namespace, service account, pod and node', async () => {
    const pod = await startPod('good');
    assert.deepEqual(await attestor.attest(await tokenOf(pod)), { ok: true, value: { workload: { namespace: 'bookinfo', serviceAccount: 'productpage' }, pod: { name: 'good', uid: pod.metadata!.uid }, node: 'node-a' } });
  });

  it('refuses a token for another audience', async () => {
    assert.match(await detailOf(await tokenOf(await startPod('audience'), { audience: 'vault' })), /token audiences|does not know the token/);
  });

  it('refuses a token that is bound to no pod', async () => {
    assert.match(await detailOf(await tokenOf(null)), /bound to no pod/);
  });

  it('refuses the token of a pod that is deleted, also while the API server still takes it for good', async () => {
    const pod = await startPod('deleted');
    const token = await tokenOf(pod);
    assert.equal(await detailOf(token), 'taken as productpage');
    await core.deleteNamespacedPod({ name: 'deleted', namespace: 'bookinfo', gracePeriodSeconds: 0 });
    assert.match(await detailOf(token), /is not there any more|does not know the token/);
  });

  it('refuses the token of a pod that is being deleted', async () => {
    const pod = await core.createNamespacedPod({ namespace: 'bookinfo', body: { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'going', namespace: 'bookinfo', finalizers: ['example.com/held'] }, spec: { serviceAccountName: 'productpage', nodeName: 'node-a', containers: [{ name: 'app', image: 'app' }] } } });
    const token = await tokenOf(pod);
    await core.deleteNamespacedPod({ name: 'going', namespace: 'bookinfo', gracePeriodSeconds: 0 });
    assert.match(await detailOf(token), /is being deleted|does not know the token/);
  });

  it('refuses the token of a pod that another of its name has replaced', async () => {
    const token = await tokenOf(await startPod('again'));
    await core.deleteNamespacedPod({ name: 'again', namespace: 'bookinfo', gracePeriodSeconds: 0 });
    await startPod('again');
    assert.match(await detailOf(token), /is another one|does not know the token/);
  });

  it('takes a token as that of its own service account only', async () => {
    assert.equal(await detailOf(await tokenOf(await startPod('other', 'reviews'), { account: 'reviews' })), 'taken as reviews');
  });

  it('refuses a token that somebody else has signed', async () => {
    const [head, claims] = (await tokenOf(await startPod('forged'))).split('.') as [string, string];
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    assert.match(await detailOf(`${head}.${claims}.${sign('sha256', Buffer.from(`${head}.${claims}`), privateKey).toString('base64url')}`), /does not know the token/);
  });

  it('refuses a token whose claims were changed', async () => {
    const [head, claims, signature] = (await tokenOf(await startPod('changed'))).split('.') as [string, string, string];
    const changed = JSON.parse(Buffer.from(claims, 'base64url').toString()) as Record<string, unknown>;
    assert.match(await detailOf([head, Buffer.from(JSON.stringify({ ...changed, sub: 'system:serviceaccount:bookinfo:reviews' })).toString('base64url'), signature].join('.')), /does not know the token/);
  });

  it('refuses a token whose time is over', async () => {
    const token = await tokenOf(await startPod('late'));
    const claims = JSON.parse(Buffer.from(token.split('.')[1]!, 'base64url').toString()) as { readonly exp: number };
    assert.equal(await detailOf(server().signToken(claims)), 'taken as productpage');
    const [past, before] = [Math.floor(Date.now() / 1000) - 60, Math.floor(Date.now() / 1000) - 660];
    assert.match(await detailOf(server().signToken({ ...claims, exp: past, iat: before, nbf: before })), /does not know the token.*expired/);
  });

  it('refuses what is no token without asking', async () => {
    for (const token of ['', 'open sesame', 'a.b', `${'a'.repeat(20_000)}.b.c`]) assert.match(await detailOf(token), /no token of a service account/);
  });

  it('lets nobody in while the API server is away, or lets it ask nothing', async () => {
    const token = await tokenOf(await startPod('away'));
    const nobody = createPodAttestor(createApiClient(server().kubeConfig({ token: 'nobody' })), 'sallyport');
    await assert.rejects(nobody.attest(token), (error: unknown) => error instanceof SallyportError && error.code === 'unavailable');
    await server().kill();
    await assert.rejects(attestor.attest(token), (error: unknown) => error instanceof SallyportError && error.code === 'unavailable');
    await server().restart();
    assert.equal(await detailOf(token), 'taken as productpage');
  });
});
