/** Who proves no identity, whatever its certificate claims, can cause as many records as it likes; those are taken at a bounded rate, as the embedded gateway does. */
import type { ConnectionDenied, ConnectionReason, LedgerRecord } from '../core/ledger-record.ts';
import { createRecordBudget, type RecordBudget } from '../core/record-budget.ts';

/** Why an identity is not proved, or not by a certificate that counts. */
const unproved: ReadonlySet<ConnectionDenied['reason']> = new Set<ConnectionReason>(['certificate-expired', 'certificate-invalid', 'certificate-missing', 'certificate-not-yet-valid', 'certificate-revoked', 'certificate-untrusted', 'handshake-failed', 'handshake-timeout']);

export interface DenialBudgetsOptions {
  readonly now: () => number;
  /** Called for each record that a gateway has had too many of. */
  readonly onUnrecorded: (gateway: string) => void;
}

/** Whether a record of a gateway is taken. */
export function createDenialBudgets({ now, onUnrecorded }: DenialBudgetsOptions): (record: LedgerRecord) => boolean {
  /** By gateway. */
  const budgets = new Map<string, RecordBudget>();
  return (record) => {
    if (record.type !== 'connection-denied' || !unproved.has(record.reason)) return true;
    const { origin } = record;
    const budget = budgets.get(origin) ?? createRecordBudget(now);
    budgets.set(origin, budget);
    if (budget.take()) return true;
    onUnrecorded(origin);
    return false;
  };
}
