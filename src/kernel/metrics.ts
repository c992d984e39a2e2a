/** The Prometheus metrics of a gateway of class kernel, names in one place. */
import { collectDefaultMetrics, Counter, Gauge, Registry } from 'prom-client';
import { registerReadGauge } from '../gateway/index.ts';
import type { GrantCounter } from './driver.ts';
import type { EnforcementStatus } from './enforcement.ts';
import type { KernelLedgerStatus } from './kernel-ledger.ts';

export interface KernelMetrics {
  /** Text in the Prometheus exposition format. */
  render(): Promise<string>;
  readonly contentType: string;
  countChange(outcome: 'applied' | 'refused', seconds: number): void;
  countDrift(): void;
}

export interface KernelMetricSources {
  readonly status: () => EnforcementStatus;
  readonly ledger: () => KernelLedgerStatus;
  readonly counters: () => Promise<readonly GrantCounter[]>;
  /** Seconds since the epoch. */
  readonly identityExpiry: () => number;
}

export function createKernelMetrics({ status, ledger, counters, identityExpiry }: KernelMetricSources): KernelMetrics {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  const changes = new Counter({ name: 'sallyport_kernel_changes_total', help: 'Changes of the table, by what became of them', registers, labelNames: ['outcome'] });
  const seconds = new Gauge({ name: 'sallyport_kernel_last_change_seconds', help: 'How long the last change took, until it was read back', registers });
  const drifts = new Counter({ name: 'sallyport_kernel_drift_total', help: 'Times that somebody else was found to have changed the table', registers });
  const read = (name: string, help: string, source: () => number): void => registerReadGauge(registry, name, help, source);
  read('sallyport_kernel_workload_addresses', 'Addresses behind which a workload is known', () => status().workloadAddresses);
  read('sallyport_kernel_in_force', '1 where the newest table is in force, and nobody has changed it', () => (status().revision !== null && status().fault === null && status().drift.length === 0 ? 1 : 0));
  read('sallyport_kernel_identity_expiry_seconds', "When the gateway's own certificate ends, in seconds since the epoch", identityExpiry);
  read('sallyport_kernel_connections', 'Connections of grants that are open', () => ledger().connections);
  read('sallyport_kernel_spooled_records', 'Ledger records that the control plane has not acknowledged', () => ledger().waiting);
  read('sallyport_kernel_records_lost', 'Ledger records that found no room in the spool', () => ledger().lost);
  read('sallyport_kernel_event_overruns', 'Times that the kernel told of more connections than could be read', () => ledger().overruns);
  read('sallyport_kernel_denials_unrecorded', 'Refusals that were too many to record one by one', () => ledger().denialsUnrecorded);
  const labelNames = ['service', 'identity'] as const;
  const packets = new Gauge({ name: 'sallyport_kernel_grant_packets', help: 'Packets by a grant in both directions, since the table was made', registers, labelNames });
  /** Both are of one look at the table. */
  const bytes = new Gauge({
    name: 'sallyport_kernel_grant_bytes',
    help: 'Bytes by a grant in both directions, since the table was made',
    registers,
    labelNames,
    async collect() {
      const found = await counters().catch(() => []);
      bytes.reset();
      packets.reset();
      for (const { servicePort, identity, ...carried } of found) {
        bytes.inc({ service: servicePort, identity }, carried.bytes);
        packets.inc({ service: servicePort, identity }, carried.packets);
      }
    },
  });

  return {
    render: () => registry.metrics(),
    contentType: registry.contentType,
    countChange(outcome, took) {
      changes.inc({ outcome });
      seconds.set(took);
    },
    countDrift: () => drifts.inc(),
  };
}
