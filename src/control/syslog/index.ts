/**
 * Logs of gateways that speak syslog, into the ledger.
 *
 *     bytes ─▶ frames ─▶ messages (core/syslog) ─▶ records (backends/bigip) ─▶ ledger
 *
 * Invariants: a line is its sender's, who is known before the first byte is read; no connection is read on before what came of it is
 * durable; what is refused is counted, and told in `status`.
 */
export { createSyslogReceiver, type SyslogCounts, type SyslogOptions, type SyslogReceiver } from './receiver.ts';
export type { AllowedSender } from './senders.ts';
