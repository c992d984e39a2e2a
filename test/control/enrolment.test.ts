/** An answer that is lost after its token was spent: the CA, which is asked then, cuts the connection and never answers. */
import assert from 'node:assert/strict';
import { generateKeyPairSync, X509Certificate, type KeyObject } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { enrol, type ControlPlane } from '../../src/api/enrolment-client.ts';
import { defaultControlIdentity } from '../../src/api/mesh-credentials.ts';
import type { Authority } from '../../src/ca/index.ts';
import { issueControlIdentity } from '../../src/control/control-identity.ts';
import { createEnrolment } from '../../src/control/enrolment.ts';
import { createIssuance } from '../../src/control/issuance.ts';
import { tokenKey } from '../../src/control/join-tokens.ts';
import { listenForMesh } from '../../src/control/mesh-listener.ts';
import type { ControlSections } from '../../src/control/sections.ts';
import { createCsr } from '../../src/core/x509/csr.ts';
import { openLedger, openStateStore, type StateStore } from '../../src/store/index.ts';
import { demoAuthority, productpage, trustDomain } from '../ca/openssl.ts';
import { rejection } from '../support/rejection.ts';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.ts';

const limits = { timeoutMs: 5_000 };
const log = pino({ level: 'silent' });
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

  /** The control plane's part of it, over the network, from what is in the directory. */
  async function start(): Promise<{ readonly store: StateStore<ControlSections>; readonly control: ControlPlane; readonly proxy: TcpProxy }> {
    const store = await openStateStore<ControlSections>({ directory: join(directory, 'state'), now: Date.now });
    closing.push(() => store.close());
    const ledger = await openLedger({ directory: join(directory, 'ledger'), now: Date.now });
    closing.push(() => ledger.close());
    const issuance = createIssuance({ store, ledger, now: Date.now, onRevoked: () => undefined });
    const heldAuthority: Authority = {
      ...authority,
      async issueSvid(request) {
        await beforeIssuing();
        return await authority.issueSvid(request);
      },
    };
    const services = createEnrolment({ store, authority: heldAuthority, issuance, admission: { trustDomain, isRevoked: () => false, now: Date.now }, now: Date.now, log });
    const identity = await issueControlIdentity(authority, issuance.issue, defaultControlIdentity(trustDomain));
    const listener = await listenForMesh({ host: '127.0.0.1', port: 0, identity, services, log });
    closing.push(() => listener.close());
    const proxy = await startTcpProxy(listener.port);
    closing.push(() => proxy.close());
    return { store, proxy, control: { address: proxy.address, identity: defaultControlIdentity(trustDomain), trustBundlePem: identity.trustBundlePem } };
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
});
