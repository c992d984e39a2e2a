/** The gateway's Prometheus metrics, names in one place. All of them follow from its ledger records. */
import { collectDefaultMetrics, Counter, Gauge, Registry } from 'prom-client';
import type { LedgerRecord } from '../core/ledger-record.ts';
import { registerReadGauge } from './read-gauge.ts';

export interface GatewayMetrics {
  /** Text in the Prometheus exposition format. */
  render(): Promise<string>;
  readonly contentType: string;
  count(records: readonly LedgerRecord[]): void;
  setUnrecorded(thread: number, count: number): void;
}

export interface MetricSources {
  /** Records that wait for the control plane. */
  readonly spooledRecords: () => number;
  /** Seconds since the epoch. */
  readonly identityExpiry: () => number;
}

export function createGatewayMetrics({ spooledRecords, identityExpiry }: MetricSources): GatewayMetrics {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  const connections = new Gauge({ name: 'sallyport_gateway_connections', help: 'Live connections to external services', registers, labelNames: ['service'] });
  const opened = new Counter({ name: 'sallyport_gateway_connections_opened_total', help: 'Connections let out', registers, labelNames: ['service'] });
  const closed = new Counter({ name: 'sallyport_gateway_connections_closed_total', help: 'Connections that have ended, by reason', registers, labelNames: ['service', 'reason'] });
  const denied = new Counter({ name: 'sallyport_gateway_denials_total', help: 'Connections and requests refused, by reason', registers, labelNames: ['reason'] });
  const bytes = new Counter({ name: 'sallyport_gateway_bytes_total', help: 'Bytes of ended connections, as seen from the workload', registers, labelNames: ['service', 'direction'] });
  const datagrams = new Counter({ name: 'sallyport_gateway_datagrams_total', help: 'Datagrams of ended UDP flows, as seen from the workload', registers, labelNames: ['service', 'fate'] });
  const unrecorded = new Gauge({ name: 'sallyport_gateway_denials_unrecorded', help: 'Refusals of strangers that were too many to record one by one', registers, labelNames: ['thread'] });
  const read = (name: string, help: string, source: () => number): void => registerReadGauge(registry, name, help, source);
  read('sallyport_gateway_spooled_records', 'Ledger records that the control plane has not acknowledged', spooledRecords);
  read('sallyport_gateway_identity_expiry_seconds', "When the gateway's own certificate ends, in seconds since the epoch", identityExpiry);

  return {
    render: () => registry.metrics(),
    contentType: registry.contentType,
    count(records) {
      for (const record of records) {
        if (record.type === 'connection-opened') {
          opened.inc({ service: record.service ?? '' });
          connections.inc({ service: record.service ?? '' });
        } else if (record.type === 'connection-closed') {
          const service = record.service ?? '';
          closed.inc({ service, reason: record.reason });
          connections.dec({ service });
          bytes.inc({ service, direction: 'sent' }, record.bytesSent);
          bytes.inc({ service, direction: 'received' }, record.bytesReceived);
          if (record.datagramsSent !== undefined) datagrams.inc({ service, fate: 'sent' }, record.datagramsSent);
          if (record.datagramsReceived !== undefined) datagrams.inc({ service, fate: 'received' }, record.datagramsReceived);
          if (record.datagramsDropped !== undefined) datagrams.inc({ service, fate: 'dropped' }, record.datagramsDropped);
        } else if (record.type === 'connection-denied') {
          denied.inc({ reason: record.reason });
        }
      }
    },
    setUnrecorded: (thread, count) => unrecorded.set({ thread }, count),
  };
}
