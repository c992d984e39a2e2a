/** Ledger records as gateways write them. */
import type { ConnectionClosed, ConnectionOpened } from '../src/core/ledger-record.ts';

export const startMs = Date.parse('2026-01-01T00:00:00Z');

/** Two records a connection, one opened every millisecond and open for a second, over 8 addresses and 50,000 ports. */
export function recordOf(index: number): ConnectionOpened | ConnectionClosed {
  const connection = index >> 1;
  const fields = {
    origin: 'gateway-1',
    connectionId: `c-${connection.toString(36).padStart(12, '0')}`,
    revision: 'a'.repeat(64) as never,
    client: '10.1.2.3:41234',
    spiffeId: 'spiffe://cluster.local/ns/bookinfo/sa/productpage',
    service: 'bookinfo/bigip-proxy-svc:http',
    policies: ['bookinfo/allow-proxy'],
    snatAddress: `127.0.1.${11 + (connection % 8)}`,
    snatPort: 10_000 + (connection % 50_000),
    target: '10.4.0.201:3128',
  };
  if (index % 2 === 0) return { type: 'connection-opened', time: new Date(startMs + connection).toISOString(), ...fields, channel: 'stream' };
  return { type: 'connection-closed', time: new Date(startMs + connection + 1_000).toISOString(), ...fields, reason: 'finished', bytesSent: 1_234, bytesReceived: 56_789, durationMs: 1_000 };
}
