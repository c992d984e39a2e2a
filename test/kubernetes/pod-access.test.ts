import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { SallyportError } from '../../src/core/errors.ts';
import { ApiRefusal, createApiClient } from '../../src/kubernetes/client.ts';
import { openPodAccess } from '../../src/kubernetes/pod-access.ts';
import { useKubernetes } from '../support/kubernetes.ts';
import { makePki } from '../support/pki.ts';

interface Review {
  readonly status: { readonly userInfo: { readonly username: string } };
}

describe('a pod at a real API server', function () {
  const server = useKubernetes(this);
  let directory: string;
  let nowMs = 0;

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'sallyport-pod-'));
    await writeFile(join(directory, 'ca.crt'), server().caPem);
    await writeFile(join(directory, 'namespace'), 'bookinfo');
    await writeToken('first');
  });
  afterEach(async () => await rm(directory, { recursive: true }));

  async function writeToken(account: string): Promise<void> {
    const admin = createApiClient(server().kubeConfig());
    await admin.request({ method: 'PATCH', path: `/api/v1/namespaces/default/serviceaccounts/${account}`, query: { fieldManager: 'test' }, contentType: 'application/apply-patch+yaml', body: { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: account } } });
    const { status } = await admin.request<{ readonly status: { readonly token: string } }>({ method: 'POST', path: `/api/v1/namespaces/default/serviceaccounts/${account}/token`, body: { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: {} } });
    await writeFile(join(directory, 'token'), `${status.token}\n`);
  }

  const open = (): ReturnType<typeof openPodAccess> => openPodAccess({ directory, env: { KUBERNETES_SERVICE_HOST: '127.0.0.1', KUBERNETES_SERVICE_PORT: String(server().port) }, monotonicNow: () => nowMs });
  const whoAmI = async (access: Awaited<ReturnType<typeof open>>): Promise<string> => {
    const review = await createApiClient(access).request<Review>({ method: 'POST', path: '/apis/authentication.k8s.io/v1/selfsubjectreviews', body: { apiVersion: 'authentication.k8s.io/v1', kind: 'SelfSubjectReview' } });
    return review.status.userInfo.username;
  };

  it('asks as its service account, and knows its namespace', async () => {
    const access = await open();
    assert.equal(access.defaultNamespace, 'bookinfo');
    assert.equal(await whoAmI(access), 'system:serviceaccount:default:first');
  });

  it('asks by the token that the kubelet has put there since, a minute later at the latest', async () => {
    const access = await open();
    await writeToken('second');
    assert.equal(await whoAmI(access), 'system:serviceaccount:default:first');
    nowMs += 60_000;
    assert.equal(await whoAmI(access), 'system:serviceaccount:default:second');
  });

  it('does not tell its token to a server that another CA vouches for', async () => {
    await writeFile(join(directory, 'ca.crt'), makePki().rootPem);
    await assert.rejects(whoAmI(await open()), (error: Error) => !(error instanceof ApiRefusal));
  });

  it('says which file is missing', async () => {
    await rm(join(directory, 'token'));
    await assert.rejects(open(), (error: SallyportError) => error.code === 'file-unreadable' && error.place === join(directory, 'token'));
  });

  it('says that it is in no pod where nothing names the API server', async () => {
    await assert.rejects(openPodAccess({ directory, env: {}, monotonicNow: () => 0 }), /KUBERNETES_SERVICE_HOST/);
  });
});
