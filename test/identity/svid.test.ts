import assert from 'node:assert/strict';
import { createPrivateKey, generateKeyPairSync, X509Certificate } from 'node:crypto';
import { createCsr } from '../../src/core/x509/csr.ts';
import { certificatesOfPem } from '../../src/core/x509/pem.ts';
import type { SpiffeId, TrustDomain } from '../../src/core/spiffe-id.ts';
import { acceptSvid, type SvidExpectation, type SvidMaterial } from '../../src/identity/svid.ts';
import { createOpensslCa, type OpensslCa } from './support/openssl-ca.ts';

const id = 'spiffe://cluster.local/ns/bookinfo/sa/productpage';
const dayMs = 86_400_000;

describe('an answered svid', () => {
  let ca: OpensslCa;
  let otherCa: OpensslCa;
  let good: SvidMaterial;
  let twoUris: SvidMaterial;

  before(async () => {
    [ca, otherCa] = await Promise.all([createOpensslCa(), createOpensslCa()]);
    const bundle = certificatesOfPem(ca.rootPem);
    const issued = await ca.issue(id);
    good = { chain: certificatesOfPem(issued.certificateChainPem), bundle, privateKey: createPrivateKey(issued.privateKeyPem) };
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    twoUris = { chain: await ca.sign(createCsr(privateKey), id, [id, `${id}-v2`]), bundle, privateKey };
  });
  after(() => Promise.all([ca.remove(), otherCa.remove()]));

  const expected = (): SvidExpectation => ({ trustDomain: 'cluster.local' as TrustDomain, nowMs: Date.now() });

  it('accepts the leaf of a chain to the bundle, for our key', () => {
    const { identity, notBeforeMs } = acceptSvid(good, { ...expected(), spiffeId: id as SpiffeId });
    const leaf = new X509Certificate(good.chain[0]!);
    assert.equal(identity.spiffeId, id);
    assert.equal(identity.expiresAtMs, leaf.validToDate.getTime());
    assert.equal(notBeforeMs, leaf.validFromDate.getTime());
    assert.deepEqual(certificatesOfPem(identity.certificateChainPem), good.chain);
  });

  it('accepts the intermediate as an anchor', () => {
    assert.equal(acceptSvid({ ...good, bundle: [good.chain[1]!] }, expected()).identity.spiffeId, id);
  });

  const refused: readonly { readonly it: string; readonly material?: () => SvidMaterial; readonly expectation?: () => Partial<SvidExpectation>; readonly message: RegExp }[] = [
    { it: 'no certificate', material: () => ({ ...good, chain: [] }), message: /chain is empty/ },
    { it: 'no bundle', material: () => ({ ...good, bundle: [] }), message: /bundle is empty/ },
    { it: 'a chain without end', material: () => ({ ...good, chain: [good.chain[0]!, ...Array<Uint8Array>(8).fill(good.chain[1]!)] }), message: /more than 8/ },
    { it: 'noise', material: () => ({ ...good, chain: [Buffer.from('noise')] }), message: /certificate 1/ },
    { it: 'a chain of another CA', material: () => ({ ...good, bundle: certificatesOfPem(otherCa.rootPem) }), message: /does not lead/ },
    { it: 'a chain with a gap', material: () => ({ ...good, chain: [good.chain[0]!] }), message: /does not lead/ },
    { it: 'a chain of which a part is another CA', material: () => ({ ...good, chain: [good.chain[0]!, certificatesOfPem(otherCa.rootPem)[0]!] }), message: /does not lead/ },
    { it: 'a signature that does not verify', material: () => ({ ...good, chain: [forged(good.chain[0]!), good.chain[1]!] }), message: /does not lead/ },
    { it: 'another key', material: () => ({ ...good, privateKey: generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey }), message: /public key/ },
    { it: 'a CA certificate as leaf', material: () => ({ ...good, chain: good.chain.slice(1) }), message: /CA certificate/ },
    { it: 'two identities', material: () => twoUris, message: /2 URIs/ },
    { it: 'another trust domain', expectation: () => ({ trustDomain: 'example.org' as TrustDomain }), message: /not in the trust domain "example.org"/ },
    { it: 'another identity', expectation: () => ({ spiffeId: `${id}-v2` as SpiffeId }), message: /not the identity expected/ },
    { it: 'an SVID where a proxy certificate was asked for', expectation: () => ({ purpose: 'proxy' }), message: /it is an X509-SVID, not a proxy certificate/ },
    { it: 'an expired one', expectation: () => ({ nowMs: Date.now() + 2 * dayMs }), message: /expired at/ },
    { it: 'an expired anchor', expectation: () => ({ nowMs: Date.now() + 31 * dayMs }), message: /does not lead/ },
  ];
  for (const { it: what, material = () => good, expectation = () => ({}), message } of refused) {
    it(`refuses ${what}`, () => {
      assert.throws(() => acceptSvid(material(), { ...expected(), ...expectation() }), { code: 'certificate-invalid', message });
    });
  }
});

/** The certificate with the last bit of its signature turned. */
function forged(certificate: Uint8Array): Uint8Array {
  const copy = Buffer.from(certificate);
  copy[copy.length - 1]! ^= 1;
  return copy;
}
