import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { adminPaths, type TokenResult } from '../../src/api/admin.ts';
import { enrol } from '../../src/api/enrolment-client.ts';
import { meshChannelCredentials, meshChannelOptions, type ClientCertificate } from '../../src/api/mesh-credentials.ts';
import { typeUrls } from '../../src/api/type-urls.ts';
import { createCsr } from '../../src/core/x509/csr.ts';
import { certificatesToPem } from '../../src/core/x509/pem.ts';
import { waitFor } from '../../src/demo/processes.ts';
import { CertificatePurpose } from '../../src/proto/sallyport/v1alpha1/identity_pb.ts';
import { createDeltaClient, type DebugNode, type DeltaClient } from '../../src/xds/index.ts';
import { askClientStatus } from '../support/client-status.ts';
import { startTestControl, type TestControl } from '../support/control.ts';
import { rejection } from '../support/rejection.ts';

const alice = 'spiffe://cluster.local/admin/alice';
const workload = 'spiffe://cluster.local/ns/bookinfo/sa/productpage';

describe('where each client of the control plane stands', () => {
  let control: TestControl;
  let proxy: DeltaClient;
  let proxyCertificate: ClientCertificate;
  before(async () => {
    control = await startTestControl({ administrators: new Set([alice]) });
    await control.admin.post(adminPaths.caInit, {});
    const mesh = await control.mesh();
    proxyCertificate = await control.svid(workload);
    let updates = 0;
    proxy = createDeltaClient({
      connect: () => ({ address: mesh.address, credentials: meshChannelCredentials([mesh.identity], mesh.trustBundlePem, proxyCertificate), options: meshChannelOptions }),
      node: { id: workload, userAgentVersion: '0.1.0' },
      subscriptions: [{ typeUrl: typeUrls.secret, names: '*' }],
      onUpdate: () => void (updates += 1),
      random: () => 0,
      now: Date.now,
    });
    await waitFor('the proxy', 5_000, () => (updates > 0 ? true : undefined));
  });
  after(async () => {
    proxy.close();
    await control.close();
  });

  /** A certificate that is good for a proxy's stream alone. */
  async function proxyCertificateAs(spiffeId: string): Promise<ClientCertificate> {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const { token } = await control.admin.post<TokenResult>(adminPaths.tokens, { spiffeId, purpose: 'proxy' });
    const { certificateChain } = await enrol(await control.mesh(), token, createCsr(privateKey), { timeoutMs: 5_000 }, CertificatePurpose.PROXY);
    return { certificateChainPem: certificatesToPem(certificateChain), privateKeyPem: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string };
  }

  it('is told to an administrator by the client status discovery service, without the content of secrets', async () => {
    const [client, ...others] = await askClientStatus(await control.mesh(), await control.administrator(alice));
    assert.deepEqual([client?.node?.id, others], [workload, []]);
    assert.deepEqual(client?.genericXdsConfigs.map(({ typeUrl, name, xdsConfig }) => [typeUrl, name, xdsConfig]), [[typeUrls.secret, 'ROOTCA', undefined]]);
  });

  for (const [who, certificateOf] of [
    ['who has an administrator\'s certificate and is not named', () => control.administrator('spiffe://cluster.local/admin/mallory')],
    ['a proxy, not even about itself', () => Promise.resolve(proxyCertificate)],
    ['who has an administrator\'s name and a certificate for proxies', () => proxyCertificateAs(alice)],
    ['who shows no certificate', () => Promise.resolve(undefined)],
  ] as const) {
    it(`is not told to ${who}`, async () => {
      const refused = await rejection(askClientStatus(await control.mesh(), await certificateOf()));
      assert.match(refused.message, /this caller may not ask for the status of clients$/);
    });
  }

  it('stands, resource by resource, in the admin API', async () => {
    const nodes: DebugNode[] = [];
    for await (const line of control.admin.lines(adminPaths.proxies, {}, new AbortController().signal)) nodes.push(JSON.parse(line) as DebugNode);
    const [stream, ...others] = nodes.flatMap(({ streams }) => streams);
    assert.deepEqual([stream?.nodeId, stream?.userAgent.version, others], [workload, '0.1.0', []]);
    assert.deepEqual(stream?.resources.map(({ typeUrl, name, state }) => [typeUrl, name, state]), [[typeUrls.secret, 'ROOTCA', 'SYNCED']]);
  });

  it('is not told to an administrator any more whose certificate is revoked', async () => {
    const certificate = await control.administrator(alice);
    await control.admin.post(adminPaths.revocations, { spiffeId: alice });
    await rejection(askClientStatus(await control.mesh(), certificate));
  });
});
