import type { TrustDomain } from '../../core/spiffe-id.ts';
import { createCollector, type CollectorOptions } from './collector.ts';
import { startLedgerExport, type LedgerExport, type LedgerExportOptions, type LedgerExportStatus } from './ledger-export.ts';

export interface LedgerOtlpOptions extends CollectorOptions {
  /** Whose ledger it is, unique among those that send theirs to one collector. */
  readonly replica: string;
}

export interface LedgerOtlp extends LedgerExport {
  /** Where the ledger goes. */
  readonly url: string;
  /** What somebody should look after. */
  conditions(): readonly string[];
}

export interface LedgerOtlpContext extends Omit<LedgerExportOptions, 'collector' | 'source'> {
  readonly trustDomain: TrustDomain;
  readonly version: string;
}

/** Whatever is over sooner is not worth anybody's while. */
const standstillMsMin = 30_000;

/** Throws `file-unreadable` or `request-invalid` for the files of the options. */
export async function openLedgerOtlp({ replica, ...options }: LedgerOtlpOptions, { trustDomain, version, ...context }: LedgerOtlpContext): Promise<LedgerOtlp> {
  const collector = createCollector(options);
  await collector.check();
  const source = {
    // https://opentelemetry.io/docs/specs/semconv/resource/service/
    resource: { 'service.name': 'sallyport', 'service.version': version, 'service.instance.id': replica, 'sallyport.trust_domain': trustDomain },
    scope: { name: 'sallyport.ledger', version },
  };
  const started = startLedgerExport({ ...context, collector, source });
  return { ...started, url: options.url.href, conditions: () => conditionsOf(started.status(), replica, context.now()) };
}

function conditionsOf({ standstill, waitingRecords }: LedgerExportStatus, replica: string, nowMs: number): readonly string[] {
  if (standstill === null || nowMs - standstill.sinceMs < standstillMsMin) return [];
  return [`the ledger of ${replica} is not sent on since ${new Date(standstill.sinceMs).toISOString()}, ${waitingRecords} records wait: ${standstill.reason}`];
}
