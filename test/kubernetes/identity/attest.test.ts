import assert from 'node:assert/strict';
import { generateKeyPairSync, sign } from 'node:crypto';
import { SallyportError } from '../../../src/core/errors.ts';
import { createApiClient } from '../../../src/kubernetes/client.ts';
import { createPodAttestor, type PodAttestor } from '../../../src/kubernetes/identity/attest.ts';
import { useKubernetes } from '../../support/kubernetes.ts';
import { createPods, resigned, type Pods } from './support/pods.ts';

describe('the attestation of a pod at a real API server', function () {
  const server = useKubernetes(this);
  let pods: Pods;
  let attestor: PodAttestor;
  before(async function () {
    pods = await createPods(server());
    attestor = createPodAttestor(createApiClient(server().kubeConfig()), 'sallyport');
  });

  async function detailOf(token: string): Promise<string> {
    const verdict = await attestor.attest(token);
    return verdict.ok ? `taken as ${verdict.value.workload.serviceAccount}` : verdict.detail;
  }

  it('tells namespace, service account, pod and node', async () => {
    const pod = await pods.start('good');
    assert.deepEqual(await attestor.attest(await pods.tokenOf(pod)), { ok: true, value: { workload: { namespace: 'bookinfo', serviceAccount: 'productpage' }, pod: { name: 'good', uid: pod.metadata!.uid }, node: 'node-a' } });
  });

  it('refuses a token for another audience', async () => {
    assert.match(await detailOf(await pods.tokenOf(await pods.start('audience'), { audience: 'vault' })), /token audiences|does not know the token/);
  });

  it('refuses a token that is bound to no pod', async () => {
    assert.match(await detailOf(await pods.tokenOf(null)), /bound to no pod/);
  });

  it('refuses the token of a pod that is deleted, also while the API server still takes it for good', async () => {
    const pod = await pods.start('deleted');
    const token = await pods.tokenOf(pod);
    assert.equal(await detailOf(token), 'taken as productpage');
    await pods.remove('deleted');
    assert.match(await detailOf(token), /is not there any more|does not know the token/);
  });

  it('refuses the token of a pod that is being deleted', async () => {
    const pod = await pods.start('going', { finalizers: ['example.com/held'] });
    const token = await pods.tokenOf(pod);
    await pods.remove('going');
    assert.match(await detailOf(token), /is being deleted|does not know the token/);
  });

  it('refuses the token of a pod that another of its name has replaced', async () => {
    const token = await pods.tokenOf(await pods.start('again'));
    await pods.remove('again');
    await pods.start('again');
    assert.match(await detailOf(token), /is another one|does not know the token/);
  });

  it('takes a token as that of its own service account only', async () => {
    assert.equal(await detailOf(await pods.tokenOf(await pods.start('other', { account: 'reviews' }), { account: 'reviews' })), 'taken as reviews');
  });

  it('refuses a token that somebody else has signed', async () => {
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    assert.match(await detailOf(resigned(await pods.tokenOf(await pods.start('forged')), (text) => sign('sha256', Buffer.from(text), privateKey))), /does not know the token/);
  });

  it('refuses a token whose claims were changed', async () => {
    const [head, claims, signature] = (await pods.tokenOf(await pods.start('changed'))).split('.') as [string, string, string];
    const changed = JSON.parse(Buffer.from(claims, 'base64url').toString()) as Record<string, unknown>;
    assert.match(await detailOf([head, Buffer.from(JSON.stringify({ ...changed, sub: 'system:serviceaccount:bookinfo:reviews' })).toString('base64url'), signature].join('.')), /does not know the token/);
  });

  it('refuses a token whose time is over', async () => {
    const token = await pods.tokenOf(await pods.start('late'));
    const claims = JSON.parse(Buffer.from(token.split('.')[1]!, 'base64url').toString()) as { readonly exp: number };
    assert.equal(await detailOf(server().signToken(claims)), 'taken as productpage');
    const [past, before] = [Math.floor(Date.now() / 1000) - 60, Math.floor(Date.now() / 1000) - 660];
    assert.match(await detailOf(server().signToken({ ...claims, exp: past, iat: before, nbf: before })), /does not know the token.*expired/);
  });

  it('refuses what is no token without asking', async () => {
    for (const token of ['', 'open sesame', 'a.b', `${'a'.repeat(20_000)}.b.c`]) assert.match(await detailOf(token), /no token of a service account/);
  });

  it('lets nobody in while the API server is away, or lets it ask nothing', async () => {
    const token = await pods.tokenOf(await pods.start('away'));
    const nobody = createPodAttestor(createApiClient(server().kubeConfig({ token: 'nobody' })), 'sallyport');
    await assert.rejects(nobody.attest(token), (error: unknown) => error instanceof SallyportError && error.code === 'unavailable');
    await server().kill();
    await assert.rejects(attestor.attest(token), (error: unknown) => error instanceof SallyportError && error.code === 'unavailable');
    await server().restart();
    assert.equal(await detailOf(token), 'taken as productpage');
  });
});
