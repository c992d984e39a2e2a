/** The control plane's Prometheus metrics, names in one place. */
import { collectDefaultMetrics, Counter, Gauge, Registry } from 'prom-client';

export interface ControlMetrics {
  /** Text in the Prometheus exposition format. */
  render(): Promise<string>;
  readonly contentType: string;
  readonly certificatesIssued: Counter<'attestation'>;
  readonly plansPublished: Counter;
  readonly denialsUnrecorded: Counter<'gateway'>;
}

export interface MetricSources {
  readonly connectedProxies: () => number;
  readonly ledgerRecords: () => number;
  readonly servicePorts: () => number;
}

export function createControlMetrics({ connectedProxies, ledgerRecords, servicePorts }: MetricSources): ControlMetrics {
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
  gauge('sallyport_control_connected_proxies', 'Gateways and agents with an open xDS stream', connectedProxies);
  gauge('sallyport_control_ledger_sequence', 'Sequence number of the newest ledger record', ledgerRecords);
  gauge('sallyport_control_service_ports', 'Service ports of the plan', servicePorts);
  return {
    render: () => registry.metrics(),
    contentType: registry.contentType,
    certificatesIssued: new Counter({ name: 'sallyport_control_certificates_issued_total', help: 'Certificates issued, by how the caller proved who it is', labelNames: ['attestation'], registers: [registry] }),
    denialsUnrecorded: new Counter({ name: 'sallyport_control_denials_unrecorded_total', help: 'Refusals of strangers by Envoys that were too many to record one by one', labelNames: ['gateway'], registers: [registry] }),
    plansPublished: new Counter({ name: 'sallyport_control_plans_published_total', help: 'Plans published to proxies', registers: [registry] }),
  };
}
