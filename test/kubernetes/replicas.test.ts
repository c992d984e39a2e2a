/** What every replica of the control plane knows, at a real API server: join tokens, and what is revoked. */
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { createServer, type AddressInfo, type Server } from 'node:net';
import { enrol, renew, type ControlPlane } from '../../src/api/enrolment-client.ts';
import { adminPaths, type RevocationResult } from '../../src/api/admin.ts';
import { createCsr } from '../../src/core/x509/csr.ts';
import { findFreePorts, waitFor } from '../../src/demo/processes.ts';
import type { SallyportError } from '../../src/core/errors.ts';
import { createApiClient } from '../../src/kubernetes/client.ts';
import { openCluster, type Cluster, type Manifest } from '../support/cluster.ts';
import { deployOn, rootNamespace } from '../support/cluster-deployment.ts';
import { startTestControl, type Svid, type TestControl } from '../support/control.ts';
import { useKubernetes } from '../support/kubernetes.ts';
import { rejection } from '../support/rejection.ts';

const workload = 'spiffe://cluster.local/ns/bookinfo/sa/productpage';
const limits = { timeoutMs: 5_000 };
const revokedWithinMs = 1_000;
const csrOfNewKey = (): Buffer => createCsr(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey);

describe('replicas of the control plane', function () {
  this.timeout(60_000);
  const server = useKubernetes(this);
  let cluster: Cluster;
  before(async () => {
    cluster = await openCluster(server());
    await cluster.apply({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: rootNamespace } });
  });

  describe('as one of them is asked, or another,', () => {
    let replicas: readonly [TestControl, TestControl];

    const startReplica = (replica: string, directory?: string): Promise<TestControl> =>
      startTestControl({ kubernetes: { client: createApiClient(server().kubeConfig()), namespace: rootNamespace, replica, replicaAddress: null, webhooks: null }, ...(directory === undefined ? {} : { directory }) });
    const isServing = (control: TestControl) => waitFor('the mesh port', 20_000, () => control.control.meshPort);

    before(async () => {
      replicas = [await startReplica('a'), await startReplica('b')];
      await replicas[0].admin.post(adminPaths.caInit, {});
      await Promise.all(replicas.map(isServing));
    });
    after(() => Promise.all(replicas.map((each) => each.close())));

    const revoke = async (control: TestControl, which: object): Promise<readonly string[]> => (await control.admin.post<RevocationResult>(adminPaths.revocations, which)).serialNumbers;
    const renewAt = async (control: ControlPlane, svid: Svid): Promise<unknown> => await renew(control, svid, csrOfNewKey(), limits);

    it('take a join token that another has made, for one key, though both are asked at once', async () => {
      const controls = await Promise.all(replicas.map((each) => each.mesh()));
      const tokens = await Promise.all(Array.from({ length: 12 }, (_, index) => replicas[index % 2]!.token(workload)));
      const enrolled = await Promise.all(tokens.map((token) => Promise.allSettled(controls.map((control) => enrol(control, token, csrOfNewKey(), limits)))));
      for (const outcomes of enrolled) {
        assert.equal(outcomes.filter(({ status }) => status === 'fulfilled').length, 1);
        assert.deepEqual(outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [(outcome.reason as SallyportError).code] : [])), ['token-invalid']);
      }
    });

    it('refuse within a second what one has issued and another was asked to revoke, also after a restart', async () => {
      const [one, other] = replicas;
      const svid = await one.svid(workload);
      const controls = await Promise.all(replicas.map((each) => each.mesh()));
      await Promise.all(controls.map((control) => renewAt(control, svid)));
      const askedAtMs = Date.now();
      assert.ok((await revoke(other, { spiffeId: workload })).length > 0);
      for (const control of controls) await waitFor('the refusal', 5_000, () => renewAt(control, svid).then(() => undefined, (error: unknown) => (error as SallyportError).code === 'identity-revoked' || undefined));
      const tookMs = Date.now() - askedAtMs;
      assert.ok(tookMs < revokedWithinMs, `${tookMs} ms`);

      const again = await one.restart();
      replicas = [again, other];
      await isServing(again);
      assert.equal((await rejection(renewAt(await again.mesh(), svid))).code, 'identity-revoked');
      const next = await other.svid(workload);
      for (const each of replicas) await renewAt(await each.mesh(), next);
    });

    it('refuse for now what they would have to agree about while the API server is away, and go on with what they know', async () => {
      const [one, other] = replicas;
      const [svid, revoked, token] = [await one.svid(workload), await one.svid('spiffe://cluster.local/ns/bookinfo/sa/reviews'), await one.token(workload)];
      const control = await other.mesh();
      await revoke(one, { spiffeId: 'spiffe://cluster.local/ns/bookinfo/sa/reviews' });
      await waitFor('the word of it', 5_000, () => renewAt(control, revoked).then(() => undefined, () => true));
      await server().kill();
      const refused = await Promise.all([rejection(enrol(control, token, csrOfNewKey(), limits)), rejection(one.token(workload)), rejection(revoke(one, { spiffeId: workload }))]);
      assert.deepEqual(refused.map(({ code, meaning: { retriable } }) => ({ code, retriable })), Array(3).fill({ code: 'unavailable', retriable: true }));
      await renewAt(control, svid);
      assert.equal((await rejection(renewAt(control, revoked))).code, 'identity-revoked');
      await server().restart();
      await waitFor('the enrolment', 20_000, () => enrol(control, token, csrOfNewKey(), limits).catch(() => undefined));
    });
  });

  describe('with a gateway at one of them,', () => {
    it('end a live connection at a gateway of another within a second, and let in the pod in the place of the revoked one', async function () {
      this.timeout(120_000);
      const partner: Server = createServer((socket) => socket.on('error', () => undefined).resume().write('hello\n'));
      await new Promise<void>((resolve) => partner.listen(0, '127.0.0.1', resolve));
      const [listen, port] = (await findFreePorts(2)) as [number, number];
      const deployment = await deployOn(server(), cluster);
      try {
        await deployment.startReplica('one');
        await deployment.startReplica('two');
        await Promise.all([deployment.ready('one'), deployment.ready('two')]);
        const object = (kind: string, name: string, spec: object, namespace?: string): Manifest => ({ apiVersion: 'sallyport.dev/v1alpha1', kind, metadata: { name, ...(namespace === undefined ? {} : { namespace }) }, spec });
        const ports = [{ name: 'main', port, targetPort: (partner.address() as AddressInfo).port, protocol: 'TCP' }];
        await cluster.apply(
          object('EgressGateway', 'egress-1', { class: 'sallyport', listen: [{ address: '127.0.0.1', port: listen }] }),
          object('SnatPool', 'loopback', { addresses: ['127.0.1.11'] }),
          object('ExternalService', 'partner', { addresses: ['127.0.0.1'], ports }, 'bookinfo'),
          object('EgressPolicy', 'bookinfo', { subjects: [{ namespace: 'bookinfo' }], to: [{ service: 'partner' }] }, 'bookinfo'),
          object('SnatBinding', 'bookinfo', { subject: { namespace: 'bookinfo' }, pool: 'loopback' }, 'bookinfo'),
        );
        await deployment.startGateway('egress-1', 'two');
        await deployment.startAgent('productpage', { namespace: 'bookinfo', account: 'productpage' }, 'one', '127.0.2.1');
        const { dialogue } = await waitFor('a connection', 15_000, async () => {
          const opened = await deployment.open('127.0.2.1', port);
          return await opened.readUntil('\n').then(() => ({ dialogue: opened }), () => undefined);
        });
        let endedAtMs: number | undefined;
        dialogue.socket.once('close', () => (endedAtMs = Date.now()));
        await deployment.cli('two', ['cert', 'revoke', workload]);
        const revokedAtMs = Date.now();
        const tookMs = (await waitFor('the connection to end', 5_000, () => endedAtMs)) - revokedAtMs;
        assert.ok(tookMs < revokedWithinMs, `${tookMs} ms`);

        await deployment.startAgent('next', { namespace: 'bookinfo', account: 'productpage' }, 'two', '127.0.2.2');
        await waitFor('the pod in its place to be let in', 15_000, async () => await (await deployment.open('127.0.2.2', port)).readUntil('\n').catch(() => undefined));
      } finally {
        await deployment.close();
        partner.close();
      }
    });
  });
});
