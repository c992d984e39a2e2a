/**
 * The embedded gateway (class `sallyport`): terminates mTLS, decides with its share of the plan, and lets connections out from the
 * address that belongs to the identity.
 *
 * Lives here:
 * - the process: `gateway.ts` (what runs), `held-table.ts` (the table as it comes and on disk), `gateway-spool.ts`, `ledger-shipper.ts`, `metrics.ts`, `read-gauge.ts`,
 *   `probe-listener.ts`; `workers.ts`, `worker.ts`, `thread.ts` and `plane.ts` (threads, and what they say to each other);
 * - a thread: `data-plane.ts`, with `listeners.ts`, `tls-front.ts`, `peer.ts` (who it is), `table.ts` (what it may), `service-dial.ts`,
 *   `dial.ts`, `flow-dial.ts`, `udp-socket.ts` and `host-lookup.ts` (how it leaves), `live-connections.ts`, `identity-limits.ts`, `connection-ledger.ts`;
 * - protocols behind `protocol.ts`: `stream-handler.ts`, `connect-handler.ts` with `head-stream.ts`, `ftp-*.ts` with `peer-listener.ts`,
 *   `udp-handler.ts`.
 *
 * Invariants:
 * - Nothing is dialled before a peer is verified and a decision has allowed it: a handler needs a grant, and only `decide` gives one.
 * - Each connection leaves from its grant's address and ports, or not at all.
 * - What is let out is recorded; what cannot be recorded is not let out.
 * - A change of the table reaches live connections too: what it no longer allows has ended within a second, all else goes on.
 * - Without a control plane the last good table holds; without a table nothing is allowed.
 */
export { runGateway } from './gateway.ts';
export { deliveryMs, openGatewaySpool } from './gateway-spool.ts';
export { createTableStore, emptyTable, holdUpdate, type HeldTable, type TableStore } from './held-table.ts';
export { startLedgerShipper, type LedgerShipper } from './ledger-shipper.ts';
export { registerReadGauge } from './read-gauge.ts';
export { openProbeListener, type ProbeListener } from './probe-listener.ts';
export type { Gateway, GatewayOptions, GatewayStatus } from './gateway.ts';
