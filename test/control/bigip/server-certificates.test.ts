import assert from 'node:assert/strict';
import { randomBytes, X509Certificate } from 'node:crypto';
import { createAuthority, createDemoPki, noSlots, type Authority } from '../../../src/ca/index.ts';
import { createServerCertificates, type KeyPair, type ServerCertificate } from '../../../src/control/bigip/server-certificates.ts';
import type { SpiffeId } from '../../../src/core/spiffe-id.ts';
import { trustDomain } from '../../core/world.ts';

const gateway = { name: 'f5', identity: 'spiffe://cluster.local/ns/sallyport-system/sa/f5' as SpiffeId };
const dayMs = 86_400_000;

describe("a BIG-IP's certificate", () => {
  let nowMs: number;
  let authority: Authority;
  let certificate: ServerCertificate;
  const revoked = new Set<string>();
  beforeEach(async () => {
    nowMs = Date.now();
    revoked.clear();
    authority = await newAuthority();
    certificate = certificatesOf(authority);
  });

  async function newAuthority(): Promise<Authority> {
    const made = createAuthority({ trustDomain, slots: noSlots, save: () => Promise.resolve(undefined), now: () => nowMs, randomBytes });
    await made.rotate({ type: 'initialize', issuer: (await createDemoPki({ trustDomain, nowMs, randomBytes })).intermediate, nowMs });
    return made;
  }

  const certificatesOf = (issuing: Authority): ServerCertificate => createServerCertificates({ authority: issuing, issue: (_attestation, run) => run(), isRevoked: (serialNumber) => revoked.has(serialNumber), now: () => nowMs });
  const serialOf = ({ certificateChainPem }: KeyPair): string => new X509Certificate(certificateChainPem).serialNumber;

  it('is the one that the box has, while that is good', async () => {
    const first = await certificate(gateway, undefined);
    nowMs += 3 * dayMs;
    assert.deepEqual(await certificate(gateway, first), first);
  });

  it('is another one in good time, while the one before is good for as long again', async () => {
    const first = await certificate(gateway, undefined);
    const leaf = new X509Certificate(first.certificateChainPem);
    nowMs = first.renewAtMs;
    const second = await certificate(gateway, first);
    assert.notEqual(serialOf(second), serialOf(first));
    assert.notEqual(second.privateKeyPem, first.privateKeyPem);
    assert.ok(leaf.validToDate.getTime() - nowMs > 3 * dayMs);
  });

  it('is another one where what the box has is revoked, of another CA, of another gateway, of another key, or nothing that can be read', async () => {
    const good = await certificate(gateway, undefined);
    const another = async (found: KeyPair, because: string): Promise<void> => assert.notEqual((await certificate(gateway, found)).certificateChainPem, found.certificateChainPem, because);
    await another(await certificatesOf(await newAuthority())(gateway, undefined), 'of another CA');
    await another(await certificate({ ...gateway, identity: `${gateway.identity}-2` as SpiffeId }, undefined), 'of another gateway');
    await another({ ...good, privateKeyPem: (await certificate(gateway, undefined)).privateKeyPem }, 'of another key');
    await another({ ...good, privateKeyPem: '$M$ cryptogram' }, 'an encrypted key');
    await another({ certificateChainPem: 'no certificate', privateKeyPem: good.privateKeyPem }, 'no certificate');
    revoked.add(serialOf(good).toLowerCase());
    await another(good, 'revoked');
  });
});
