import assert from 'node:assert/strict';
import { generateKeyPairSync, X509Certificate } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { adminPaths, type TokenResult } from '../../src/api/admin.ts';
import { enrol, type ControlPlane } from '../../src/api/enrolment-client.ts';
import type { SpiffeId } from '../../src/core/spiffe-id.ts';
import { createCsr } from '../../src/core/x509/csr.ts';
import { createIdentityStore } from '../../src/identity/identity-store.ts';
import { obtainProxyCertificate, type ProxyCertificateOptions } from '../../src/identity/index.ts';
import { CertificatePurpose } from '../../src/proto/sallyport/v1alpha1/identity_pb.ts';
import { startTestControl, trustDomain, type TestControl } from '../support/control.ts';
import { rejection } from '../support/rejection.ts';

const egress1 = 'spiffe://cluster.local/ns/sallyport-system/sa/egress-1' as SpiffeId;
const minuteMs = 60_000;

describe('a proxy certificate that is asked for', () => {
  let server: TestControl;
  let control: ControlPlane;
  let directory: string;
  beforeEach(async () => {
    server = await startTestControl();
    await server.admin.post(adminPaths.caInit, {});
    control = await server.mesh();
    directory = join(server.directory, 'identity');
  });
  afterEach(() => server.close());

  const token = async (lifetimeMs?: number) => (await server.admin.post<TokenResult>(adminPaths.tokens, { spiffeId: egress1, purpose: 'proxy', ...(lifetimeMs === undefined ? {} : { lifetimeMs }) })).token;
  const obtain = (options: Partial<ProxyCertificateOptions>) => obtainProxyCertificate({ directory, trustDomain, control, joinToken: () => token(), now: Date.now, ...options });
  const noToken = () => Promise.resolve(undefined);

  it('is bought by the one before while that is valid, and by a token after', async () => {
    assert.equal((await obtain({ joinToken: () => token(minuteMs) })).by, 'join-token');
    assert.equal((await obtain({ joinToken: noToken })).by, 'certificate');
    const now = () => Date.now() + 2 * minuteMs;
    const refused = await rejection(obtain({ joinToken: noToken, now }));
    assert.equal(refused.code, 'token-invalid');
    assert.match(refused.message, /there is no join token, and no certificate in/);
    assert.equal((await obtain({ now })).by, 'join-token');
  });

  it('is bought by a token too where what is there is damaged', async () => {
    await obtain({});
    await writeFile(join(directory, '..data/key.pem'), 'not a key');
    assert.equal((await obtain({})).by, 'join-token');
  });

  it('is had for the token that it was once sent with, though the answer was lost', async () => {
    const text = await token();
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    await createIdentityStore(directory).saveEnrolmentKey(privateKey);
    await enrol(control, text, createCsr(privateKey), { timeoutMs: 5_000 }, CertificatePurpose.PROXY);
    await obtain({ joinToken: () => Promise.resolve(text) });
    assert.ok(new X509Certificate(await readFile(join(directory, 'svid.pem'))).checkPrivateKey(privateKey));
  });

  it('is for whom it must be, or is not kept', async () => {
    const refused = await rejection(obtain({ spiffeId: 'spiffe://cluster.local/ns/bookinfo/sa/productpage' as SpiffeId }));
    assert.equal(refused.code, 'certificate-invalid');
    assert.match(refused.message, new RegExp(`"${egress1}" is not the identity expected`));
    assert.equal((await obtain({ spiffeId: egress1 })).by, 'join-token');
  });
});
