import assert from 'node:assert/strict';
import { X509Certificate, createPrivateKey } from 'node:crypto';
import { createProxySvids, type ProxySvids } from '../../src/control/proxy-svids.ts';
import { parseCsr } from '../../src/core/x509/csr.ts';
import type { SpiffeId } from '../../src/core/spiffe-id.ts';
import { certificatesOfPem } from '../../src/core/x509/pem.ts';
import { SallyportError } from '../../src/core/errors.ts';
import type { IssuedCertificate } from '../../src/ca/index.ts';
import { makePki } from '../support/pki.ts';
import { until } from '../xds/loopback.ts';

const one = 'spiffe://cluster.local/ns/bookinfo/sa/one' as SpiffeId;
const two = 'spiffe://cluster.local/ns/bookinfo/sa/two' as SpiffeId;

describe('the SVIDs of proxies', () => {
  let svids: ProxySvids;
  let attestations: string[];
  let told: SpiffeId[];
  let warned: unknown[];
  let lifetimeMs: number;
  let failures: number;
  const keys = new Set<string>();

  beforeEach(() => {
    const pki = makePki();
    attestations = [];
    told = [];
    warned = [];
    lifetimeMs = 3_600_000;
    failures = 0;
    keys.clear();
    svids = createProxySvids({
      authority: {
        issueSvid: ({ spiffeId, csr }) => {
          if (failures-- > 0) return Promise.reject(new SallyportError('unavailable', 'not now'));
          const parsed = parseCsr(csr);
          assert.ok(parsed.ok);
          keys.add(parsed.request.publicKeyDer.toString('hex'));
          const chainDer = [...certificatesOfPem(pki.issue(spiffeId).certificateChainPem)];
          return Promise.resolve({ spiffeId, chainDer, notBeforeMs: Date.now(), notAfterMs: Date.now() + lifetimeMs, lifetimeMs, serialNumber: '01', issuerFingerprint: 'f', purpose: 'svid' } satisfies IssuedCertificate);
        },
      },
      issue: async (attestation, run) => {
        attestations.push(attestation);
        return await run();
      },
      now: Date.now,
      random: () => 0.5,
      onAttempt: (identity) => told.push(identity),
      log: { warn: (fields: unknown) => void warned.push(fields) },
    });
  });
  afterEach(() => svids.close());

  it('are issued through the ledger, each with a key of its own', async () => {
    svids.keep(one);
    svids.keep(two);
    svids.keep(one);
    await until(() => told.length === 2, 'both are told');
    assert.deepEqual([...told].sort(), [one, two]);
    assert.deepEqual(attestations, ['certificate', 'certificate']);
    assert.equal(keys.size, 2);
    const svid = svids.get(one)!;
    assert.equal(new X509Certificate(svid.certificateChainPem).subjectAltName, `URI:${one}`);
    assert.equal(createPrivateKey(svid.privateKeyPem).asymmetricKeyType, 'ec');
  });

  it('are renewed with a new key while they are kept, and no longer', async () => {
    lifetimeMs = 1_000;
    svids.keep(one);
    await until(() => told.length === 3, 'two renewals');
    assert.equal(keys.size, 3);
    svids.drop(one);
    assert.equal(svids.get(one), undefined);
    const before = told.length;
    svids.keep(two);
    await until(() => told.length >= before + 3, 'two renewals of the other');
    assert.deepEqual([...new Set(told.slice(before))], [two]);
    assert.equal(svids.get(one), undefined);
  });

  it('stay as they are while none can be issued, which is tried again', async () => {
    failures = 1;
    svids.keep(one);
    assert.equal(svids.isPending(one), true);
    await until(() => told.length === 1, 'the first attempt');
    assert.deepEqual([svids.isPending(one), svids.get(one), warned.length], [false, undefined, 1]);
    await until(() => told.length === 2, 'the second attempt');
    assert.equal(warned.length, 1);
    assert.ok(svids.get(one) !== undefined);
  });
});
