/** An answer that is lost after its token was spent: the CA, which is asked then, cuts the connection and never answers. */
import assert from 'node:assert/strict';
import { generateKeyPairSync, X509Certificate, type KeyObject } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { enrol, renew, type ControlPlane } from '../../src/api/enrolment-client.ts';
import type { Authority } from '../../src/ca/index.ts';
import { tokenKey } from '../../src/control/join-tokens.ts';
import type { Issuance } from '../../src/control/issuance.ts';
import type { ControlSections } from '../../src/control/sections.ts';
import { createCsr } from '../../src/core/x509/csr.ts';
import { certificatesToPem } from '../../src/core/x509/pem.ts';
import type { StateStore } from '../../src/store/index.ts';
import { demoAuthority, productpage } from '../ca/openssl.ts';
import { rejection } from '../support/rejection.ts';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.ts';
import { startEnrolmentServer } from './support/enrolment-server.ts';

const limits = { timeoutMs: 5_000 };
const token = `sallyport-join-${'A'.repeat(43)}`;

describe('an enrolment whose answer is lost', () => {
  const closing: (() => unknown)[] = [];
  let directory: string;
  let authority: Authority;
  /** Comes before the CA certifies a workload. */
  let beforeIssuing: () => Promise<void>;

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'sallyport-enrolment-'));
    ({ authority } = await demoAuthority());
    beforeIssuing = () => Promise.resolve();
  });
  afterEach(async () => {
    await closeAll();
    await rm(directory, { recursive: true, force: true });
  });

  async function closeAll(): Promise<void> {
    for (const close of closing.splice(0).reverse()) await close();
  }

  async function start(): Promise<{ readonly issuance: Issuance; readonly store: StateStore<ControlSections>; readonly control: ControlPlane; readonly proxy: TcpProxy }> {
    const heldAuthority: Authority = {
      ...authority,
      async issueSvid(request) {
        await beforeIssuing();
        return await authority.issueSvid(request);
      },
    };
    const server = await startEnrolmentServer({ directory, authority: heldAuthority });
    closing.push(() => server.close());
    const proxy = await startTcpProxy(server.port);
    closing.push(() => proxy.close());
    return { issuance: server.issuance, store: server.store, proxy, control: { ...server.control, address: proxy.address } };
  }

  async function loseAnswer(privateKey: KeyObject): Promise<ControlPlane> {
    const started = await start();
    await started.store.commit({ put: { tokens: { [tokenKey(token)!]: { spiffeId: productpage, expiresAtMs: Date.now() + 60_000 } } } });
    beforeIssuing = () => {
      started.proxy.cut();
      return new Promise(() => undefined);
    };
    assert.equal((await rejection(enrol(started.control, token, createCsr(privateKey), limits))).code, 'unavailable');
    beforeIssuing = () => Promise.resolve();
    return started.control;
  }

  const newKey = () => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;

  async function assertOnlyOwnerIsAnswered(control: ControlPlane, owner: KeyObject): Promise<void> {
    assert.equal((await rejection(enrol(control, token, createCsr(newKey()), limits))).code, 'token-invalid');
    const { spiffeId, certificateChain } = await enrol(control, token, createCsr(owner), limits);
    assert.equal(spiffeId, productpage);
    assert.ok(new X509Certificate(certificateChain[0]!).checkPrivateKey(owner));
  }

  it('is answered again, and to nobody else, when the connection was cut', async () => {
    const owner = newKey();
    const control = await loseAnswer(owner);
    await assertOnlyOwnerIsAnswered(control, owner);
  });

  it('is answered again, and to nobody else, when the control plane has ended meanwhile', async () => {
    const owner = newKey();
    await loseAnswer(owner);
    await closeAll();
    const { control } = await start();
    await assertOnlyOwnerIsAnswered(control, owner);
  });

  describe('and one for what is revoked meanwhile', () => {
    async function revokedMeanwhile(again: (control: ControlPlane, key: KeyObject, held: readonly Uint8Array[]) => Promise<unknown>): Promise<string> {
      const { issuance, store, control } = await start();
      await store.commit({ put: { tokens: { [tokenKey(token)!]: { spiffeId: productpage, expiresAtMs: Date.now() + 60_000 } } } });
      const key = newKey();
      const { certificateChain } = await enrol(control, token, createCsr(key), limits);
      beforeIssuing = async () => {
        await issuance.revoke({ spiffeId: productpage });
      };
      return (await rejection(again(control, key, certificateChain))).code;
    }

    it('gets no answer where that is a join token', async () => {
      assert.equal(await revokedMeanwhile((control, key) => enrol(control, token, createCsr(key), limits)), 'token-invalid');
    });

    it('gets no answer where that is a certificate', async () => {
      const shown = (key: KeyObject, held: readonly Uint8Array[]) => ({ certificateChainPem: certificatesToPem(held), privateKeyPem: key.export({ type: 'pkcs8', format: 'pem' }) as string });
      assert.equal(await revokedMeanwhile((control, key, held) => renew(control, shown(key, held), createCsr(newKey()), limits)), 'identity-revoked');
    });
  });
});
