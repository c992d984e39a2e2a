import { parseEntry, type LedgerEntry } from './ledger-line.ts';
import { openLedgerReader, type ReadableLedger } from './ledger-reader.ts';

export interface TailOptions {
  /** Sequence number of the first record; by default, and at the earliest, the oldest that is there. */
  readonly from?: number;
  /** Goes on with new records as they become durable, until `signal` or the closing of the ledger; by default ends with the last one. */
  readonly follow?: boolean;
  readonly filter?: (entry: LedgerEntry) => boolean;
  readonly signal?: AbortSignal;
}

export async function* tailLedger(ledger: ReadableLedger, { from = 1, follow = false, filter = () => true, signal }: TailOptions): AsyncGenerator<LedgerEntry> {
  const reader = openLedgerReader(ledger, from);
  const stopped = (): boolean => signal?.aborted === true;
  while (!stopped()) {
    const lines = await reader.next();
    for (const { kind, bytes } of lines) {
      if (stopped()) return;
      const entry = kind === 'record' ? parseEntry(bytes) : undefined;
      if (entry !== undefined && filter(entry)) yield entry;
    }
    if (lines.length > 0) continue;
    if (!follow || ledger.closed()) return;
    await reader.grown(signal);
  }
}
