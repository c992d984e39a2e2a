import assert from 'node:assert/strict';
import { readLogLine, type LineReading } from '../../../src/backends/bigip/index.ts';
import type { SyslogMessage } from '../../../src/core/syslog/message.ts';
import { binding, externalService, gateway, planOf, policy, pool } from '../../core/world.ts';

const plan = planOf(
  gateway('f5', { class: 'bigip', listen: [{ address: '10.0.0.9', port: 15443 }] }),
  externalService('payments/partner', { ports: [{ name: 'tls', port: 443 }, { name: 'control', port: 21, protocol: 'FTP', listen: { address: '10.0.0.9', port: 2121 } }, { name: 'dns', port: 53, protocol: 'UDP' }] }),
  policy('payments/partner', { subjects: [{ namespace: 'payments', serviceAccount: 'upload' }], to: [{ service: 'partner' }] }),
  pool('eu', ['10.4.0.65']),
  binding('payments/upload', { subject: { namespace: 'payments', serviceAccount: 'upload' }, pool: 'eu' }),
);

const nowMs = Date.UTC(2026, 10, 22, 7, 30);
const upload = 'spiffe://cluster.local/ns/payments/sa/upload';
const common = { connectionId: '0123456789abcdef0123456789abcdef', revision: plan.revision, client: '10.1.0.1:40000', spiffeId: upload, service: 'payments/partner:tls', policies: ['payments/partner'] };
const ends = { snatAddress: '10.4.0.65', snatPort: 40_132, target: '198.51.100.7:443' };
const lines = {
  'connection-opened': { ...common, ...ends },
  'connection-closed': { ...common, ...ends, reason: 'finished', bytesSent: 10, bytesReceived: 20, durationMs: 1_500 },
  'connection-denied': { ...common, reason: 'no-policy', target: 'partner.payments.svc.cluster.local' },
} as const;
type LineType = keyof typeof lines;
const lineTypes = Object.keys(lines) as readonly LineType[];

const messageOf = (messageId: string | null, text: string | null, more: Partial<SyslogMessage> = {}): SyslogMessage => ({ facility: 16, severity: 6, timeMs: nowMs - 1_000, hostName: 'bigip', appName: 'sallyport', processId: null, messageId, structuredData: [], text, ...more });
const readMessage = (message: SyslogMessage): LineReading => readLogLine(message, { origin: 'f5', plan, nowMs });
const read = (type: LineType, more: Readonly<Record<string, unknown>> = {}): LineReading => readMessage(messageOf(type, JSON.stringify({ ...lines[type], ...more })));
const recordOf = (reading: LineReading) => {
  assert.ok(reading.ok, JSON.stringify(reading));
  return reading.record;
};
const refusalOf = (reading: LineReading): string => {
  assert.ok(!reading.ok);
  return reading.reason;
};

describe("lines of a BIG-IP's log", () => {
  const time = '2026-11-22T07:29:59.000Z';

  it('become the records that other gateways write, of the gateway that sent them', () => {
    assert.deepEqual(recordOf(read('connection-opened')), { type: 'connection-opened', time, origin: 'f5', ...lines['connection-opened'], channel: 'stream' });
    assert.deepEqual(recordOf(read('connection-closed')), { type: 'connection-closed', time, origin: 'f5', ...lines['connection-closed'] });
    const { target: _, ...denied } = lines['connection-denied'];
    assert.deepEqual(recordOf(read('connection-denied')), { type: 'connection-denied', time, origin: 'f5', ...denied, detail: 'no EgressPolicy lets service account "payments/upload" use "payments/partner:tls"; "sallyport explain payments/upload --to payments/partner:tls" prints one that would' });
  });

  it('of a service that speaks FTP are of its control connection', () => {
    assert.deepEqual([recordOf(read('connection-opened', { service: 'payments/partner:control' }))].map((record) => 'channel' in record && record.channel), ['ftp-control']);
  });

  it('may leave out what the box could not know, and say more than is recorded', () => {
    const { type, client, spiffeId, service, revision, policies, ...more } = recordOf(readMessage(messageOf('connection-denied', '{"connectionId":"1","client":"10.1.0.1:40000","reason":"certificate-missing","spare":[]}')));
    assert.deepEqual({ type, client, spiffeId, service, revision, policies }, { type: 'connection-denied', client: '10.1.0.1:40000', spiffeId: null, service: null, revision: null, policies: [] });
    assert.deepEqual(more, { connectionId: '1', time, origin: 'f5', reason: 'certificate-missing', detail: 'the client showed no certificate' });
  });

  it('name a service that no gateway can serve, which the box cannot know', () => {
    const record = recordOf(read('connection-denied', { service: null, reason: 'no-such-service', target: 'outbound_.53_.udp_.partner.payments.svc.cluster.local' }));
    assert.ok(record.type === 'connection-denied');
    assert.deepEqual([record.service, record.reason, record.detail], ['payments/partner:dns', 'no-gateway', 'no gateway serves "payments/partner:dns"; apply an EgressGateway']);
  });

  it('tell of what was asked for in words that are safe to print', () => {
    const record = recordOf(read('connection-denied', { service: null, reason: 'no-such-service', target: '\u001b[2Jx' }));
    assert.ok('detail' in record && record.detail.startsWith('no ExternalService answers to "\\u001b[2Jx"'), JSON.stringify(record));
  });

  it('have addresses in their one spelling', () => {
    const record = recordOf(read('connection-opened', { client: '[2001:DB8:0::1]:40000', snatAddress: '::ffff:10.4.0.65' }));
    assert.deepEqual([record.client, 'snatAddress' in record && record.snatAddress], ['[2001:db8::1]:40000', '10.4.0.65']);
  });

  it('of somebody who is refused may name what he claimed, whatever that is', () => {
    assert.equal(recordOf(read('connection-denied', { spiffeId: 'spiffe://elsewhere.example/ns/payments/sa/upload', reason: 'trust-domain-mismatch' })).spiffeId, 'spiffe://elsewhere.example/ns/payments/sa/upload');
  });

  for (const [what, offsetMs, taken] of [
    ['that has waited for a day', -86_400_000, true],
    ['that has waited for longer', -86_400_001, false],
    ['of a clock that is a minute ahead', 60_000, true],
    ['of a clock that is further ahead', 60_001, false],
  ] as const) {
    it(`${what} ${taken ? 'keep their time' : 'have the time at which they came, and that is told'}`, () => {
      const reading = readMessage(messageOf('connection-opened', JSON.stringify(lines['connection-opened']), { timeMs: nowMs + offsetMs }));
      assert.equal(Date.parse(recordOf(reading).time), taken ? nowMs + offsetMs : nowMs);
      assert.equal(reading.ok && reading.clockFault !== undefined, !taken);
    });
  }

  it('without a time have the one at which they came', () => {
    assert.equal(recordOf(readMessage(messageOf('connection-opened', JSON.stringify(lines['connection-opened']), { timeMs: null }))).time, '2026-11-22T07:30:00.000Z');
  });

  it('are refused where they name another origin, and taken where they name their own', () => {
    for (const type of lineTypes) {
      assert.match(refusalOf(read(type, { origin: 'egress-1' })), /names the origin "egress-1", which it did not come from/);
      assert.equal(recordOf(read(type, { origin: 'f5' })).origin, 'f5');
    }
  });

  it('are refused where somebody was let out who is not of the trust domain', () => {
    for (const type of ['connection-opened', 'connection-closed'] as const) assert.match(refusalOf(read(type, { spiffeId: 'spiffe://elsewhere.example/ns/payments/sa/upload' })), /not of trust domain cluster\.local/);
  });

  it('are refused where they are of another application, type or form', () => {
    const text = JSON.stringify(lines['connection-opened']);
    assert.match(refusalOf(readMessage(messageOf('connection-opened', text, { appName: 'tmm' }))), /of the application "tmm", not sallyport/);
    assert.match(refusalOf(readMessage(messageOf('connection-opened', text, { appName: null }))), /of the application "-"/);
    for (const messageId of ['certificate-issued', 'plan-published', 'toString', null]) assert.match(refusalOf(readMessage(messageOf(messageId, text))), /message id/);
    assert.match(refusalOf(readMessage(messageOf(null, JSON.stringify({ type: 'connection-opened', ...lines['connection-opened'] })))), /message id/);
    for (const other of [null, '', '[]', 'null', '"text"', '{', `${text}${text}`]) assert.match(refusalOf(readMessage(messageOf('connection-opened', other))), /not one JSON object/);
  });

  for (const [field, values, types] of [
    ['connectionId', [undefined, '', 'a b', 'x'.repeat(129), 7], lineTypes],
    ['revision', ['latest', 'A'.repeat(64), 7], lineTypes],
    ['client', [undefined, null, '10.1.0.1', '10.1.0.1:0', '10.1.0.1:65536', '10.1.0.1%1:443', 'host:443', '010.1.0.1:443'], lineTypes],
    ['policies', ['payments/partner', ['partner'], ['payments/\u001b[2J'], Array.from({ length: 1_025 }, () => 'a/b'), null], lineTypes],
    ['spiffeId', ['payments/upload', 'SPIFFE://cluster.local/ns/payments/sa/upload', 7], lineTypes],
    ['spiffeId', [undefined, null], ['connection-opened', 'connection-closed']],
    ['service', ['partner', 'payments/partner', 'payments/partner:tls\n', 7], lineTypes],
    ['service', [undefined, null], ['connection-opened', 'connection-closed']],
    ['snatAddress', [undefined, null, 'eu', '10.4.0.65%1'], ['connection-opened', 'connection-closed']],
    ['snatPort', [undefined, null, 0, 65_536, '40132', 1.5], ['connection-opened', 'connection-closed']],
    ['target', [undefined, null, 'partner.example:443'], ['connection-opened', 'connection-closed']],
    ['target', [7], ['connection-denied']],
    ['reason', [undefined, 'because', 'no-policy'], ['connection-closed']],
    ['reason', [undefined, 'because'], ['connection-denied']],
    ['bytesSent', [undefined, -1, 0.5, '10', 2 ** 53], ['connection-closed']],
    ['bytesReceived', [undefined, -1], ['connection-closed']],
    ['durationMs', [undefined, -1], ['connection-closed']],
  ] as const) {
    for (const type of types) {
      it(`of ${type} are refused where ${field} is ${values.map((value) => (value === undefined ? 'missing' : JSON.stringify(value).slice(0, 20))).join(', ')}`, () => {
        for (const value of values) assert.match(refusalOf(read(type, { [field]: value })), new RegExp(`^has no good ${field}`), JSON.stringify(value));
      });
    }
  }
});
