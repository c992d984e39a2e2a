import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { connect as connectHttp2, type IncomingHttpHeaders } from 'node:http2';
import { adminPaths, type TokenRequest, type TokenResult } from '../../src/api/admin.ts';
import { enrol, renew, type ControlPlane } from '../../src/api/enrolment-client.ts';
import { createCsr } from '../../src/core/x509/csr.ts';
import { certificatesToPem } from '../../src/core/x509/pem.ts';
import { parseMeshCertificate } from '../../src/core/x509/x509-svid.ts';
import { CertificatePurpose, type SvidResponse } from '../../src/proto/sallyport/v1alpha1/identity_pb.ts';
import { startTestControl, type TestControl } from '../support/control.ts';
import { rejection } from '../support/rejection.ts';

const egress1 = 'spiffe://cluster.local/ns/sallyport-system/sa/egress-1';
const limits = { timeoutMs: 5_000 };
const dayMs = 86_400_000;
const purposes = { svid: CertificatePurpose.SVID, proxy: CertificatePurpose.PROXY } as const;
type Purpose = keyof typeof purposes;

const newKey = () => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;

describe('proxy certificates', () => {
  let server: TestControl;
  let mesh: ControlPlane;
  beforeEach(async () => {
    server = await startTestControl();
    await server.admin.post(adminPaths.caInit, {});
    mesh = await server.mesh();
  });
  afterEach(() => server.close());

  const token = async (request: Omit<TokenRequest, 'spiffeId'>) => (await server.admin.post<TokenResult>(adminPaths.tokens, { spiffeId: egress1, ...request })).token;
  const buy = (text: string, purpose: Purpose, privateKey = newKey()) => enrol(mesh, text, createCsr(privateKey), limits, purposes[purpose]);

  /** Buys one, and gives what its holder shows. */
  async function holder(request: Omit<TokenRequest, 'spiffeId'>) {
    const privateKey = newKey();
    const answer = await buy(await token(request), request.purpose ?? 'svid', privateKey);
    return { answer, shown: { certificateChainPem: certificatesToPem(answer.certificateChain), privateKeyPem: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string } };
  }

  function read({ certificateChain: [leaf] }: SvidResponse) {
    const parsed = parseMeshCertificate(Buffer.from(leaf!));
    assert.ok(parsed.ok);
    return { purpose: parsed.purpose, spiffeId: parsed.svid.spiffeId, serialNumber: parsed.svid.serialNumber, days: Math.round((parsed.svid.notAfterMs - Date.now()) / dayMs) };
  }

  async function issuedToLedger(): Promise<readonly Record<string, unknown>[]> {
    const records: Record<string, unknown>[] = [];
    for await (const line of server.admin.lines(adminPaths.ledger, { last: '10', type: 'certificate-issued' }, new AbortController().signal)) records.push(JSON.parse(line) as Record<string, unknown>);
    return records;
  }

  it('are bought with tokens that are for them, live 30 days, and stand in the ledger as what they are', async () => {
    const { answer } = await holder({ purpose: 'proxy' });
    const { serialNumber, ...rest } = read(answer);
    assert.deepEqual(rest, { purpose: 'proxy', spiffeId: egress1, days: 30 });
    const record = (await issuedToLedger()).find((each) => each['serialNumber'] === serialNumber)!;
    assert.equal(record['purpose'], 'proxy');
    assert.equal(record['attestation'], 'join-token');
  });

  for (const [given, asked] of [['svid', 'proxy'], ['proxy', 'svid']] as const) {
    it(`are not to be had otherwise: a token for ${given} buys no ${asked} certificate, and is not spent on the attempt`, async () => {
      const text = await token({ purpose: given });
      const refused = await rejection(buy(text, asked));
      assert.equal(refused.code, 'token-invalid');
      assert.match(refused.hint ?? '', new RegExp(`token create --for ${asked} ${egress1}`));
      assert.equal(read(await buy(text, given)).purpose, given);
    });
  }

  it('live as long as their token says, and so do their renewals', async () => {
    const { answer, shown } = await holder({ purpose: 'proxy', lifetimeMs: 7 * dayMs });
    assert.equal(read(answer).days, 7);
    const renewed = read(await renew(mesh, shown, createCsr(newKey()), limits));
    assert.deepEqual({ purpose: renewed.purpose, days: renewed.days }, { purpose: 'proxy', days: 7 });
  });

  it('are not what an SVID is renewed to', async () => {
    const { shown } = await holder({});
    const { purpose, days } = read(await renew(mesh, shown, createCsr(newKey()), limits));
    assert.deepEqual({ purpose, days }, { purpose: 'svid', days: 0 });
  });

  it('are revoked as any other, and then renew nothing', async () => {
    const { answer, shown } = await holder({ purpose: 'proxy' });
    await server.admin.post(adminPaths.revocations, { serialNumber: read(answer).serialNumber });
    assert.equal((await rejection(renew(mesh, shown, createCsr(newKey()), limits))).code, 'identity-revoked');
  });

  it('end the connections that they were shown on once they are revoked, so that whoever has another shows that', async () => {
    const { answer, shown } = await holder({ purpose: 'proxy' });
    const session = connectHttp2(`https://${mesh.address}`, { ca: mesh.trustBundlePem, cert: shown.certificateChainPem, key: shown.privateKeyPem, allowPartialTrustChain: true, checkServerIdentity: () => undefined });
    try {
      const goneAway = once(session, 'goaway', { signal: AbortSignal.timeout(5_000) });
      const call = async () => {
        const stream = session.request({ ':method': 'POST', ':path': '/sallyport.v1alpha1.IdentityService/Renew', 'content-type': 'application/grpc', 'te': 'trailers' });
        stream.resume().end(Buffer.alloc(5)); // an empty message
        const [headers] = (await once(stream, 'response')) as [IncomingHttpHeaders];
        return headers['sallyport-code'];
      };
      assert.equal(await call(), 'csr-invalid');
      await server.admin.post(adminPaths.revocations, { serialNumber: read(answer).serialNumber });
      assert.equal(await call(), 'identity-revoked');
      await goneAway;
    } finally {
      session.destroy();
    }
  });

  it('live 397 days at most; SVIDs live as long as the control plane decides', async () => {
    const refused = async (request: Omit<TokenRequest, 'spiffeId'>) => (await rejection(token(request))).faults.map(({ path, message }) => `${path?.join('.') ?? ''}: ${message}`).join();
    assert.match(await refused({ purpose: 'proxy', lifetimeMs: 398 * dayMs }), /^lifetimeMs: /);
    assert.match(await refused({ purpose: 'svid', lifetimeMs: dayMs }), /^lifetimeMs: is for proxy certificates/);
    assert.equal(read((await holder({ purpose: 'proxy', lifetimeMs: 300 * dayMs })).answer).days, 300);
  });
});
