/**
 * The ledger sent on by OTLP (docs/decisions/0780). Pure: what is sent (`otlp-request.ts`), and what an answer means (`otlp-answer.ts`); shells:
 * requests (`collector.ts`), and the way through the ledger (`ledger-export.ts`).
 */
export type { LedgerExportStatus } from './ledger-export.ts';
export { openLedgerOtlp, type LedgerOtlp, type LedgerOtlpOptions } from './ledger-otlp.ts';
