/** A control plane whose clock is not that of those who ask it: certificates, and what is said where they are not taken. */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import pino from 'pino';
import { adminPaths } from '../../src/api/admin.ts';
import { waitFor } from '../../src/demo/processes.ts';
import { createIdentity, type Identity } from '../../src/identity/index.ts';
import { startTestControl, trustDomain, type TestControl } from '../support/control.ts';

const workload = 'spiffe://cluster.local/ns/bookinfo/sa/productpage';
const minuteMs = 60_000;

describe('a control plane whose clock is', () => {
  let control: TestControl;
  let identity: Identity;
  afterEach(async () => {
    await identity.stop();
    await control.close();
  });

  /** @param skewMs by how much it is ahead of whoever enrols */
  async function enrolAt(skewMs: number): Promise<void> {
    control = await startTestControl({ now: () => Date.now() + skewMs });
    await control.admin.post(adminPaths.caInit, {});
    const { address, trustBundlePem } = await control.mesh();
    const token = await control.token(workload);
    identity = createIdentity({ trustDomain: trustDomain, enrolmentAddress: address, identityAddress: address, trustBundle: () => trustBundlePem, joinToken: () => Promise.resolve(token), now: Date.now, random: () => 0.5, log: pino({ level: 'silent' }) });
    await identity.start();
    await waitFor('an identity, or why there is none', 10_000, () => (identity.current !== undefined || identity.status().failure !== null ? true : undefined));
  }

  for (const [what, skewMs] of [['half a minute ahead', 30_000], ['not quite five minutes ahead', 4.8 * minuteMs], ['five minutes behind', -5 * minuteMs], ['half an hour behind', -30 * minuteMs]] as const) {
    it(`${what} issues what is good at once, and is renewed before it ends`, async () => {
      await enrolAt(skewMs);
      const { validFromDate, validToDate } = new X509Certificate(identity.current!.certificateChainPem);
      assert.ok(validFromDate.getTime() <= Date.now() && validToDate.getTime() > Date.now());
      identity.renewNow();
      const first = identity.current;
      await waitFor('a renewal', 10_000, () => (identity.current !== first ? true : undefined));
    });
  }

  for (const [what, skewMs, why] of [['an hour ahead', 60 * minuteMs, /certificate is not yet valid/], ['an hour behind', -60 * minuteMs, /certificate has expired/]] as const) {
    it(`${what} gives nobody an identity, who says what is amiss`, async () => {
      await enrolAt(skewMs);
      assert.match(identity.status().failure!.message, why);
    });
  }
});
