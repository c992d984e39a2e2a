import assert from 'node:assert/strict';
import type { LedgerRecord } from '../../src/core/ledger-record.ts';
import { otlpLogOf, type OtlpLog } from '../../src/core/otlp-log.ts';
import type { Revision } from '../../src/core/plan/plan.ts';

const time = '2026-11-21T07:30:00.250Z';
const stamp = { time, origin: 'egress-1' };
const connection = { ...stamp, connectionId: 'c1', revision: 'abc' as Revision, client: '10.0.0.7:40000', spiffeId: 'spiffe://cluster.local/ns/a/sa/b', service: 'a/db:main', policies: ['a/p', 'a/q'] };
const left = { ...connection, snatAddress: '10.4.0.11', snatPort: 40132, target: '10.4.0.30:5432' };

const ofConnection = {
  'sallyport.origin': 'egress-1',
  'sallyport.connection_id': 'c1',
  'sallyport.revision': 'abc',
  'client.address': '10.0.0.7',
  'client.port': 40000,
  'sallyport.spiffe_id': 'spiffe://cluster.local/ns/a/sa/b',
  'sallyport.service': 'a/db:main',
  'sallyport.policies': ['a/p', 'a/q'],
};
const ofLeft = { ...ofConnection, 'network.transport': 'tcp', 'network.type': 'ipv4', 'network.local.address': '10.4.0.11', 'network.local.port': 40132, 'server.address': '10.4.0.30', 'server.port': 5432 };

const examples: readonly [what: string, record: LedgerRecord, log: Pick<OtlpLog, 'severity' | 'eventName' | 'attributes'>][] = [
  ['a connection', { ...left, type: 'connection-opened', channel: 'stream' }, { severity: 'INFO', eventName: 'sallyport.connection_opened', attributes: { ...ofLeft, 'sallyport.channel': 'stream' } }],
  [
    'a control connection of FTP over IPv6',
    { ...left, client: '[2001:db8::7]:40000', snatAddress: '2001:db8::11', target: '[2001:db8::30]:21', type: 'connection-opened', channel: 'ftp-control' },
    { severity: 'INFO', eventName: 'sallyport.connection_opened', attributes: { ...ofLeft, 'client.address': '2001:db8::7', 'network.type': 'ipv6', 'network.protocol.name': 'ftp', 'network.local.address': '2001:db8::11', 'server.address': '2001:db8::30', 'server.port': 21, 'sallyport.channel': 'ftp-control' } },
  ],
  [
    'the end of a flow over UDP',
    { ...left, parentId: 'c0', type: 'connection-closed', reason: 'idle-timeout', bytesSent: 7, bytesReceived: 0, datagramsSent: 1, datagramsReceived: 0, datagramsDropped: 0, durationMs: 12 },
    { severity: 'INFO', eventName: 'sallyport.connection_closed', attributes: { ...ofLeft, 'network.transport': 'udp', 'sallyport.parent_id': 'c0', 'sallyport.reason': 'idle-timeout', 'sallyport.bytes_sent': 7, 'sallyport.bytes_received': 0, 'sallyport.datagrams_sent': 1, 'sallyport.datagrams_received': 0, 'sallyport.datagrams_dropped': 0, 'sallyport.duration_ms': 12 } },
  ],
  [
    'a refusal of a stranger, without what is null, and from where it is not known',
    { ...connection, client: '', revision: null, spiffeId: null, service: null, policies: [], type: 'connection-denied', reason: 'certificate-missing', detail: 'no certificate was shown' },
    { severity: 'WARN', eventName: 'sallyport.connection_denied', attributes: { 'sallyport.origin': 'egress-1', 'sallyport.connection_id': 'c1', 'sallyport.policies': [], 'sallyport.reason': 'certificate-missing', 'sallyport.detail': 'no certificate was shown' } },
  ],
  [
    'a transfer that failed',
    { ...left, type: 'ftp-transfer', user: 'alice', verb: 'RETR', path: '/in/a', bytes: 3, durationMs: 9, outcome: 'failed', reason: 'ftp-transfer-failed', replyCode: 550 },
    { severity: 'WARN', eventName: 'sallyport.ftp_transfer', attributes: { ...ofLeft, 'network.protocol.name': 'ftp', 'user.name': 'alice', 'sallyport.verb': 'RETR', 'sallyport.path': '/in/a', 'sallyport.bytes': 3, 'sallyport.duration_ms': 9, 'sallyport.outcome': 'failed', 'sallyport.reason': 'ftp-transfer-failed', 'sallyport.reply_code': 550 } },
  ],
  [
    'a transfer that runs',
    { ...left, type: 'ftp-transfer-progress', user: null, verb: 'STOR', path: 'b', bytes: 1, durationMs: 10_000 },
    { severity: 'DEBUG', eventName: 'sallyport.ftp_transfer_progress', attributes: { ...ofLeft, 'network.protocol.name': 'ftp', 'sallyport.verb': 'STOR', 'sallyport.path': 'b', 'sallyport.bytes': 1, 'sallyport.duration_ms': 10_000 } },
  ],
  [
    'a certificate for a pod',
    { time, origin: 'control', type: 'certificate-issued', spiffeId: 'spiffe://cluster.local/ns/a/sa/b', serialNumber: '0a', notBefore: time, notAfter: time, issuerFingerprint: 'ff', purpose: 'svid', attestation: 'pod-token', pod: { name: 'b-0', uid: 'u', node: null } },
    { severity: 'INFO', eventName: 'sallyport.certificate_issued', attributes: { 'sallyport.origin': 'control', 'sallyport.spiffe_id': 'spiffe://cluster.local/ns/a/sa/b', 'sallyport.serial_number': '0a', 'sallyport.not_before': time, 'sallyport.not_after': time, 'sallyport.issuer_fingerprint': 'ff', 'sallyport.purpose': 'svid', 'sallyport.attestation': 'pod-token', 'k8s.pod.name': 'b-0', 'k8s.pod.uid': 'u' } },
  ],
  ['a certificate that was not given', { ...stamp, type: 'issuance-refused', spiffeId: null, code: 'token-invalid', detail: 'expired' }, { severity: 'WARN', eventName: 'sallyport.issuance_refused', attributes: { 'sallyport.origin': 'egress-1', 'sallyport.code': 'token-invalid', 'sallyport.detail': 'expired' } }],
  [
    'an address that was given',
    { ...stamp, type: 'address-assigned', pool: 'p', holder: 'ns/a', address: '10.4.0.11', firstPort: 1, lastPort: 65535 },
    { severity: 'INFO', eventName: 'sallyport.address_assigned', attributes: { 'sallyport.origin': 'egress-1', 'sallyport.pool': 'p', 'sallyport.holder': 'ns/a', 'sallyport.address': '10.4.0.11', 'sallyport.first_port': 1, 'sallyport.last_port': 65535 } },
  ],
];

describe('a ledger record as a log of OpenTelemetry', () => {
  for (const [what, record, log] of examples) {
    it(`is, of ${what}, its line as it is and what can be searched for`, () => {
      const text = JSON.stringify({ seq: 12, commit: 11, record, hash: 'cafe' });
      const chain = { 'sallyport.ledger.sequence': 12, 'sallyport.ledger.hash': 'cafe' };
      assert.deepEqual(otlpLogOf({ kind: 'record', sequence: 12, hash: 'cafe', text }), { ...log, attributes: { ...chain, ...log.attributes }, timeMs: Date.parse(time), body: text });
    });
  }

  it('is, of the first line of a segment, that line, since the chain goes through it', () => {
    const text = JSON.stringify({ ledger: 1, first: 13, created: time, previous: 'cafe', spools: {}, hash: 'beef' });
    assert.deepEqual(otlpLogOf({ kind: 'header', sequence: 13, hash: 'beef', text }), {
      timeMs: Date.parse(time),
      severity: 'DEBUG',
      eventName: 'sallyport.ledger_segment',
      body: text,
      attributes: { 'sallyport.ledger.sequence': 13, 'sallyport.ledger.hash': 'beef' },
    });
  });
});
