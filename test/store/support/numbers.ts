import type { LedgerRecord } from '../../../src/core/ledger-record.ts';

/** What the writer keeps in a state store: the last number, and the hundred up to it. */
export interface NumberSections {
  readonly last: number;
  readonly numbers: number;
}

export function numberedRecord(number: number): LedgerRecord {
  return { type: 'certificate-revoked', time: '2026-11-21T12:00:00.000Z', origin: 'test', spiffeId: 'spiffe://cluster.local/ns/a/sa/b', serialNumber: String(number) };
}

export function numberOf(record: LedgerRecord): number {
  return record.type === 'certificate-revoked' ? Number(record.serialNumber) : NaN;
}
