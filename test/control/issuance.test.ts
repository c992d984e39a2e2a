import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { createIssuance, type Issuance } from '../../src/control/issuance.ts';
import { sectionExpiry, type ControlSections } from '../../src/control/sections.ts';
import { stateOfStore } from '../../src/control/shared-state.ts';
import { createCsr } from '../../src/core/x509/csr.ts';
import { openLedger, openStateStore } from '../../src/store/index.ts';
import { demoAuthority, productpage } from '../ca/openssl.ts';

const dayMs = 86_400_000;

describe('issuance', () => {
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'sallyport-issuance-'));
  });
  afterEach(() => rm(directory, { recursive: true, force: true }));

  async function withIssuance(now: () => number, use: (issuance: Issuance) => Promise<void> | void): Promise<void> {
    const store = await openStateStore<ControlSections>({ directory: join(directory, 'state'), now, expiresAt: sectionExpiry });
    const ledger = await openLedger({ directory: join(directory, 'ledger'), now });
    try {
      await use(createIssuance({ store, shared: stateOfStore(store), ledger, now, random: Math.random, onRevoked: () => undefined, log: pino({ level: 'silent' }) }));
    } finally {
      await ledger.close();
      await store.close();
    }
  }

  it('knows a pod of which a certificate was revoked for longer than the certificate would have lived', async () => {
    const { authority } = await demoAuthority();
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const certify = () => authority.issueSvid({ spiffeId: productpage, csr: createCsr(privateKey) });
    await withIssuance(Date.now, async (issuance) => {
      const { serialNumber } = await issuance.issue('pod-token', certify, { name: 'a', uid: 'uid-a', node: null });
      await issuance.issue('pod-token', certify, { name: 'b', uid: 'uid-b', node: null });
      await issuance.issue('join-token', certify);
      await issuance.revoke({ serialNumber });
      assert.deepEqual([issuance.isPodRevoked('uid-a'), issuance.isPodRevoked('uid-b')], [true, false]);
    });
    await withIssuance(
      () => Date.now() + dayMs,
      (issuance) => assert.deepEqual([issuance.isPodRevoked('uid-a'), issuance.revoked()], [true, []]),
    );
  });
});
