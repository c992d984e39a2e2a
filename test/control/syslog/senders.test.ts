import assert from 'node:assert/strict';
import { admitCertificate } from '../../../src/control/syslog/senders.ts';
import type { SpiffeId } from '../../../src/core/spiffe-id.ts';
import type { MeshCertificateParse } from '../../../src/core/x509/x509-svid.ts';
import { gateway, planOf } from '../../core/world.ts';

const plan = planOf(gateway('f5', { class: 'bigip', listen: [{ address: '10.4.0.10', port: 15443 }], identity: 'spiffe://cluster.local/edge/f5' }));
const nowMs = Date.UTC(2026, 10, 22);
const certificateOf = (spiffeId: string, notAfterMs = nowMs + 1): MeshCertificateParse => ({ ok: true, purpose: 'svid', svid: { spiffeId: spiffeId as SpiffeId, serialNumber: '01', notBeforeMs: 0, notAfterMs } });
const admit = (certificate: MeshCertificateParse, isRevoked = false) => admitCertificate(certificate, { plan, isRevoked: () => isRevoked, nowMs });
const own = 'spiffe://cluster.local/edge/f5';

describe('a sender of syslog over TLS', () => {
  it('is the gateway whose identity its certificate proves, whatever form that has', () => {
    assert.deepEqual(admit(certificateOf(own)), { ok: true, gateway: 'f5' });
  });

  it('is nobody any more once its certificate has expired or is revoked, also on a connection that was begun before', () => {
    assert.deepEqual(admit(certificateOf(own, nowMs)), { ok: false, reason: `has a certificate of ${own} that has expired` });
    assert.deepEqual(admit(certificateOf(own), true), { ok: false, reason: `has a certificate of ${own} that is revoked` });
  });

  it('is nobody with a certificate that names no identity', () => {
    assert.deepEqual(admit({ ok: false, reason: 'no-uri-san', detail: 'the certificate has no URI' }), { ok: false, reason: 'has no certificate of a gateway: the certificate has no URI' });
  });
});
