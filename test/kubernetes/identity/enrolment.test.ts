import assert from 'node:assert/strict';
import { generateKeyPairSync, sign, X509Certificate } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { enrolPod, renew } from '../../../src/api/enrolment-client.ts';
import type { Authority } from '../../../src/ca/index.ts';
import { createCsr } from '../../../src/core/x509/csr.ts';
import { certificatesToPem } from '../../../src/core/x509/pem.ts';
import { createProcesses, waitFor } from '../../../src/demo/processes.ts';
import { createIdentity, replaceFileSet, type Identity, type IdentityOptions } from '../../../src/identity/index.ts';
import { createApiClient } from '../../../src/kubernetes/client.ts';
import { createPodAttestor } from '../../../src/kubernetes/index.ts';
import type { SvidResponse } from '../../../src/proto/sallyport/v1alpha1/identity_pb.ts';
import { demoAuthority, trustDomain } from '../../ca/openssl.ts';
import { startEnrolmentServer, type EnrolmentServer, type EnrolmentServerOptions } from '../../control/support/enrolment-server.ts';
import { useKubernetes } from '../../support/kubernetes.ts';
import { rejection } from '../../support/rejection.ts';
import { createPods, resigned, type Pods } from './support/pods.ts';

const productpage = 'spiffe://cluster.local/ns/bookinfo/sa/productpage';
const hourMs = 3_600_000;
const withinMs = 10_000;

describe('enrolment by the token of a pod, at a real API server', function () {
  const server = useKubernetes(this);
  let pods: Pods;
  let directory: string;
  let authority: Authority;
  let control: EnrolmentServer;
  let offsetMs: number;
  let logged: string;
  const closing: (() => unknown)[] = [];

  before(async () => {
    pods = await createPods(server());
  });
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'sallyport-pods-'));
    offsetMs = 0;
    logged = '';
    ({ authority } = await demoAuthority({ now }));
    control = await start({ attestPod });
  });
  afterEach(async () => {
    for (const close of closing.splice(0).reverse()) await close();
    await control.close();
    await rm(directory, { recursive: true, force: true });
  });

  const log = pino({ level: 'debug' }, { write: (line: string) => void (logged += line) });
  const now = () => Date.now() + offsetMs;
  const attestPod = (token: string) => createPodAttestor(createApiClient(server().kubeConfig()), 'sallyport').attest(token);
  const start = (options: Pick<EnrolmentServerOptions, 'attestPod'>): Promise<EnrolmentServer> => startEnrolmentServer({ directory: join(directory, 'control'), authority, now, log, ...options });

  async function restart(options: Pick<EnrolmentServerOptions, 'attestPod'> = { attestPod }): Promise<void> {
    await control.close();
    control = await start(options);
  }

  const newKey = () => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;

  /** Shows the token once. */
  async function show(token: string): Promise<SvidResponse> {
    return await enrolPod(control.control, token, createCsr(newKey()), { timeoutMs: 5_000 });
  }

  async function identity(token: string, options: Partial<IdentityOptions> = {}): Promise<Identity> {
    const { address, trustBundlePem } = control.control;
    const made = createIdentity({ trustDomain, enrolmentAddress: address, identityAddress: address, trustBundle: () => trustBundlePem, podToken: () => Promise.resolve(token), now, random: () => 0, log, ...options });
    closing.push(() => made.stop());
    await made.start();
    return made;
  }

  const held = (source: Identity) => waitFor('an identity', withinMs, () => source.current);
  const serialOf = (source: Identity): string => new X509Certificate(source.current!.certificateChainPem).serialNumber;

  const refusals = () => control.records('issuance-refused');
  const issuedTo = async (spiffeId: string) => (await control.records('certificate-issued')).filter((record) => record.spiffeId === spiffeId);

  async function assertNothingOf(...tokens: readonly string[]): Promise<void> {
    const ledger = join(directory, 'control/ledger');
    const written = (await Promise.all((await readdir(ledger)).map((name) => readFile(join(ledger, name), 'utf8')))).join('');
    for (const part of tokens.flatMap((token) => token.split('.').slice(1))) assert.ok(!logged.includes(part) && !written.includes(part), 'a part of a token was written');
  }

  it('makes an agent its service account, which renews by certificate, all of it recorded with the pod', async () => {
    const pod = await pods.start('good');
    const token = await pods.tokenOf(pod);
    const source = await identity(token);
    assert.equal((await held(source)).spiffeId, productpage);
    const first = serialOf(source);
    source.renewNow();
    await waitFor('a renewal', withinMs, () => (serialOf(source) === first ? undefined : true));
    const recorded = { name: 'good', uid: pod.metadata!.uid, node: 'node-a' };
    assert.deepEqual((await issuedTo(productpage)).map(({ attestation, pod: whose }) => ({ attestation, whose })), [{ attestation: 'pod-token', whose: recorded }, { attestation: 'certificate', whose: recorded }]);
    await assertNothingOf(token);
  });

  it('takes the token of `sallyport agent` as the kubelet has it in the file by now', async () => {
    const pod = await pods.start('rotated');
    const [wrong, good] = [await pods.tokenOf(pod, { audience: 'vault' }), await pods.tokenOf(pod)];
    const { address, trustBundlePem } = control.control;
    await replaceFileSet(join(directory, 'mount'), { token: wrong, 'trust-bundle.pem': trustBundlePem });
    const processes = createProcesses(directory, process.env);
    closing.push(() => processes.stop());
    processes.start('agent', ['agent', '--control', address, '--trust-bundle', join(directory, 'mount/trust-bundle.pem'), '--pod-token-file', join(directory, 'mount/token'), '--state', join(directory, 'state'), '--write-svid', join(directory, 'svid')]);
    await waitFor('the refusal', withinMs, async () => ((await refusals()).length > 0 ? true : undefined));
    await replaceFileSet(join(directory, 'mount'), { token: good, 'trust-bundle.pem': trustBundlePem });
    const certificate = await waitFor('the certificate', withinMs, () => readFile(join(directory, 'svid/svid.pem'), 'utf8').catch(() => undefined));
    assert.match(new X509Certificate(certificate).subjectAltName ?? '', /sa\/productpage/);
    logged += await readFile(join(directory, 'agent.log'), 'utf8');
    await assertNothingOf(wrong, good);
  });

  const refused: readonly (readonly [string, RegExp, () => Promise<string>])[] = [
    ['is for another audience', /audiences|does not know the token/, async () => pods.tokenOf(await pods.start('audience'), { audience: 'vault' })],
    ['is bound to no pod', /bookinfo\/productpage is bound to no pod/, async () => pods.tokenOf(null)],
    [
      'is of a pod that is deleted',
      /bookinfo\/deleted is not there any more|does not know the token/,
      async () => {
        const token = await pods.tokenOf(await pods.start('deleted'));
        await show(token);
        await pods.remove('deleted');
        return token;
      },
    ],
    ['has expired', /does not know the token.*expired/, async () => server().signToken({ ...claimsOf(await pods.tokenOf(await pods.start('late'))), exp: Math.floor(Date.now() / 1000) - 60 })],
    [
      'is of another service account than its pod, though the API server has signed it',
      /bookinfo\/other runs as reviews, not as productpage/,
      async () => {
        const [own, other] = [claimsOf(await pods.tokenOf(await pods.start('own'))), claimsOf(await pods.tokenOf(await pods.start('other', { account: 'reviews' }), { account: 'reviews' }))];
        return server().signToken({ ...own, 'kubernetes.io': { ...own['kubernetes.io'], pod: other['kubernetes.io'].pod } });
      },
    ],
    ['is signed by another key', /does not know the token/, async () => resigned(await pods.tokenOf(await pods.start('forged')), (text) => sign('sha256', Buffer.from(text), generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey))],
    ['is none', /it is no token of a service account/, () => Promise.resolve('open.sesame!')],
  ];
  const claimsOf = (token: string) => JSON.parse(Buffer.from(token.split('.')[1]!, 'base64url').toString()) as { readonly 'kubernetes.io': { readonly pod: object } };

  for (const [what, detail, make] of refused) {
    it(`refuses a token that ${what}, in the same words as any other, and records why`, async () => {
      const token = await make();
      const { code, message } = await rejection(show(token));
      assert.deepEqual([code, message], ['token-invalid', 'the pod token is not good for this']);
      const [record, ...others] = await refusals();
      assert.deepEqual([record?.spiffeId, record?.code, others], [null, 'token-invalid', []]);
      assert.match(record?.detail ?? '', detail);
      await assertNothingOf(token);
    });
  }

  it('slows down whoever tries many, before the API server is asked', async () => {
    let asked = 0;
    await restart({ attestPod: (token) => ((asked += 1), attestPod(token)) });
    const wrong = await pods.tokenOf(await pods.start('many'), { audience: 'vault' });
    const codes = await Promise.all(Array.from({ length: 30 }, async () => (await rejection(show(wrong))).code));
    assert.deepEqual([asked, codes.filter((code) => code === 'token-invalid').length, codes.filter((code) => code === 'rate-limited').length], [10, 10, 20]);
  });

  it('counts no token that is good', async () => {
    const token = await pods.tokenOf(await pods.start('often'));
    for (let times = 0; times < 15; times += 1) assert.equal((await show(token)).spiffeId, productpage);
  });

  it('lets nobody in while the API server is away, and in once it is back whoever has waited', async () => {
    const token = await pods.tokenOf(await pods.start('patient'));
    await server().kill();
    for (let times = 0; times < 12; times += 1) assert.equal((await rejection(show(token))).code, 'unavailable');
    const source = await identity(token);
    await waitFor('a failure', withinMs, () => source.status().failure ?? undefined);
    assert.deepEqual([source.status().failure?.code, source.current, await refusals()], ['unavailable', undefined, []]);
    await server().restart();
    assert.equal((await held(source)).spiffeId, productpage);
    await assertNothingOf(token);
  });

  it('says so where the control plane knows no pods', async () => {
    await restart({});
    const { code, message, hint } = await rejection(show(await pods.tokenOf(await pods.start('elsewhere'))));
    assert.deepEqual([code, message], ['token-invalid', 'this control plane knows no pods']);
    assert.match(hint ?? '', /--kubernetes.*sallyport token create/);
    assert.equal((await refusals()).length, 1);
  });

  it('lets in again by the same token whose certificate has expired', async () => {
    const token = await pods.tokenOf(await pods.start('sleeper'));
    const first = await identity(token, { stateDirectory: directory });
    await held(first);
    await first.stop();
    offsetMs = 2 * hourMs;
    const second = await identity(token, { stateDirectory: directory });
    await held(second);
    assert.deepEqual((await issuedTo(productpage)).map(({ attestation }) => attestation), ['pod-token', 'pod-token']);
  });

  it('lets in again by the same token whose certificate the control plane refuses', async () => {
    const token = await pods.tokenOf(await pods.start('refused'));
    let behindMs = 0;
    const source = await identity(token, { now: () => now() - behindMs });
    await held(source);
    const first = serialOf(source);
    [offsetMs, behindMs] = [2 * hourMs, 2 * hourMs]; // by its clock the certificate is good
    source.renewNow();
    await waitFor('another certificate', withinMs, () => (serialOf(source) === first ? undefined : true));
    assert.deepEqual((await issuedTo(productpage)).map(({ attestation }) => attestation), ['pod-token', 'pod-token']);
  });

  it('keeps out a pod of which a certificate was revoked, a renewed one too, and lets in the pod in its place', async () => {
    const token = await pods.tokenOf(await pods.start('revoked'));
    const neighbour = await pods.tokenOf(await pods.start('neighbour'));
    const privateKey = newKey();
    const first = await enrolPod(control.control, token, createCsr(privateKey), { timeoutMs: 5_000 });
    const certificate = { certificateChainPem: certificatesToPem(first.certificateChain), privateKeyPem: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string };
    const renewed = await renew(control.control, certificate, createCsr(newKey()), { timeoutMs: 5_000 });
    await control.issuance.revoke({ serialNumber: new X509Certificate(renewed.certificateChain[0]!).serialNumber.toLowerCase() });

    const { code, hint } = await rejection(show(token));
    assert.deepEqual([code, hint], ['identity-revoked', 'delete the pod: the one in its place is let in']);
    assert.deepEqual((await refusals()).map(({ spiffeId, code: recorded }) => [spiffeId, recorded]), [[productpage, 'identity-revoked']]);
    await restart();
    assert.equal((await rejection(show(token))).code, 'identity-revoked');
    assert.equal((await show(neighbour)).spiffeId, productpage);
    await pods.remove('revoked');
    assert.equal((await show(await pods.tokenOf(await pods.start('revoked')))).spiffeId, productpage);
  });
});
