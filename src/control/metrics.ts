/** The control plane's Prometheus metrics, names in one place. */
import { collectDefaultMetrics, Counter, Gauge, Registry } from 'prom-client';
import type { LedgerExportStatus } from './ledger-export/index.ts';
import type { SyslogCounts } from './syslog/index.ts';

export interface ControlMetrics {
  /** Text in the Prometheus exposition format. */
  render(): Promise<string>;
  readonly contentType: string;
  readonly certificatesIssued: Counter<'attestation'>;
  readonly plansPublished: Counter;
  readonly denialsUnrecorded: Counter<'gateway'>;
  readonly syslog: SyslogCounts;
}

export interface MetricSources {
  readonly connectedProxies: () => number;
  readonly ledgerRecords: () => number;
  /** Absent where the ledger is not sent on. */
  readonly ledgerExport?: () => LedgerExportStatus;
  readonly now: () => number;
  readonly servicePorts: () => number;
}

export function createControlMetrics({ connectedProxies, ledgerRecords, ledgerExport, now, servicePorts }: MetricSources): ControlMetrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const gauge = (name: string, help: string, read: () => number) =>
    new Gauge({
      name,
      help,
      registers: [registry],
      collect() {
        this.set(read());
      },
    });
  const count = (name: string, help: string, read: () => number) =>
    new Counter({
      name,
      help,
      registers: [registry],
      collect() {
        this.reset();
        this.inc(read());
      },
    });
  gauge('sallyport_control_connected_proxies', 'Gateways and agents with an open xDS stream', connectedProxies);
  gauge('sallyport_control_ledger_sequence', 'Sequence number of the newest ledger record', ledgerRecords);
  gauge('sallyport_control_service_ports', 'Service ports of the plan', servicePorts);
  if (ledgerExport !== undefined) {
    gauge('sallyport_control_ledger_export_waiting_records', 'Ledger records that the collector has not acknowledged', () => ledgerExport().waitingRecords);
    gauge('sallyport_control_ledger_export_standstill_seconds', 'For how long the collector has taken nothing, 0 where it does', () => (now() - (ledgerExport().standstill?.sinceMs ?? now())) / 1000);
    count('sallyport_control_ledger_export_refused_records_total', 'Ledger records that the collector refused for good, which were passed over', () => ledgerExport().refusedRecords);
    count('sallyport_control_ledger_export_deleted_records_total', 'Ledger records that were deleted before the collector had them', () => ledgerExport().deletedRecords);
  }
  const syslogRecords = new Counter({ name: 'sallyport_control_syslog_records_total', help: 'Ledger records that came by syslog', labelNames: ['gateway'], registers: [registry] });
  const syslogLinesRefused = new Counter({ name: 'sallyport_control_syslog_lines_refused_total', help: 'Lines of a gateway that are no ledger records', labelNames: ['gateway'], registers: [registry] });
  const syslogConnectionsRefused = new Counter({ name: 'sallyport_control_syslog_connections_refused_total', help: 'Syslog connections of whom no gateway is known, or too many', registers: [registry] });
  return {
    render: () => registry.metrics(),
    contentType: registry.contentType,
    certificatesIssued: new Counter({ name: 'sallyport_control_certificates_issued_total', help: 'Certificates issued, by how the caller proved who it is', labelNames: ['attestation'], registers: [registry] }),
    denialsUnrecorded: new Counter({ name: 'sallyport_control_denials_unrecorded_total', help: 'Refusals of strangers by Envoys and BIG-IPs that were too many to record one by one', labelNames: ['gateway'], registers: [registry] }),
    plansPublished: new Counter({ name: 'sallyport_control_plans_published_total', help: 'Plans published to proxies', registers: [registry] }),
    syslog: {
      onRecord: (gateway) => syslogRecords.inc({ gateway }),
      onRefused: (gateway) => syslogLinesRefused.inc({ gateway }),
      onConnectionRefused: () => syslogConnectionsRefused.inc(),
    },
  };
}
