import assert from 'node:assert/strict';
import { readConnection, readEvent } from '../../../src/backends/kernel/index.ts';

/** As conntrack 1.4.7 printed them on Linux 6.18. */
const lines = {
  opened: '[1795325908.914751]\t    [NEW] ipv4     2 tcp      6 120 SYN_SENT src=192.0.2.2 dst=203.0.113.10 sport=48084 dport=7000 [UNREPLIED] src=203.0.113.10 dst=203.0.113.11 sport=7000 dport=48084 mark=2662008800 id=4007050202',
  closed:
    '[1795325931.384245]\t[DESTROY] ipv4     2 tcp      6 TIME_WAIT src=192.0.2.2 dst=203.0.113.10 sport=48084 dport=7000 packets=6 bytes=401 src=203.0.113.10 dst=203.0.113.11 sport=7000 dport=48084 packets=6 bytes=956 [ASSURED] mark=2662008800 delta-time=2 [start=Sun Nov 22 05:38:28 2026] [stop=Sun Nov 22 05:38:30 2026] id=4007050202',
  datagrams:
    '[1795325978.655564]\t[DESTROY] ipv6    10 udp      17 src=2001:db8:a::2 dst=2001:db8:c::10 sport=37118 dport=9 [UNREPLIED] src=2001:db8:c::10 dst=2001:db8:b::11 sport=9 dport=37118 mark=0 id=3656688213',
  listed:
    'ipv4     2 tcp      6 431998 ESTABLISHED src=192.0.2.2 dst=203.0.113.10 sport=48084 dport=7000 packets=6 bytes=401 src=203.0.113.10 dst=203.0.113.11 sport=7000 dport=1024 packets=6 bytes=956 [ASSURED] mark=7 helper=ftp delta-time=1 [start=Sun Nov 22 05:38:28 2026] use=1 id=4007050202',
} as const;

const workload = { address: '192.0.2.2', port: 48084 };
const service = { address: '203.0.113.10', port: 7000 };
const key = '4007050202 tcp 192.0.2.2 48084 203.0.113.10 7000';

describe('what conntrack says of connections', () => {
  it('is when one begins, with both its directions and its mark', () => {
    assert.deepEqual(readEvent(lines.opened), {
      kind: 'opened',
      atMs: 1_795_325_908_914,
      connection: { key, mark: 2_662_008_800, transport: 'tcp', state: 'SYN_SENT', original: { source: workload, destination: service, bytes: 0 }, reply: { source: service, destination: { address: '203.0.113.11', port: 48084 }, bytes: 0 }, startedAtMs: null },
    });
  });

  it('is when one has ended, by the kernel and not by when it says so, and what it has carried', () => {
    const { kind, connection, atMs } = readEvent(lines.closed)!;
    assert.deepEqual([kind, connection.key, connection.state, connection.original.bytes, connection.reply.bytes], ['closed', key, 'TIME_WAIT', 401, 956]);
    assert.deepEqual([connection.startedAtMs, atMs], [Date.parse('2026-11-22T05:38:28Z'), Date.parse('2026-11-22T05:38:30.999Z')]);
  });

  it('is that too where the kernel neither counts nor notes times', () => {
    const { connection, atMs } = readEvent(lines.datagrams)!;
    assert.deepEqual([connection.transport, connection.state, connection.mark, connection.original.bytes, connection.startedAtMs, atMs], ['udp', '', 0, 0, null, 1_795_325_978_655]);
    assert.equal(connection.reply.destination.address, '2001:db8:b::11');
  });

  it('is which there are, each by the key that it has had since it began', () => {
    const connection = readConnection(lines.listed)!;
    assert.deepEqual([connection.key, connection.mark, connection.state, connection.reply.destination.port], [key, 7, 'ESTABLISHED', 1024]);
  });

  for (const [what, line] of [
    ['other protocols', lines.opened.replace('tcp      6', 'icmp     1').replaceAll(/ [sd]port=\d+/g, '')],
    ['changes within a connection', lines.opened.replace('[NEW]', '[UPDATE]')],
    ['what is no line of events', 'conntrack v1.4.7 (conntrack-tools): 0 flow entries have been shown.'],
    ['half a line', lines.opened.slice(0, 120)],
    ['nothing', ''],
  ] as const) {
    it(`is nothing to the ledger where it is ${what}`, () => {
      assert.equal(readEvent(line), undefined);
      assert.equal(readConnection(line), undefined);
    });
  }
});
