import { existsSync } from 'node:fs';
import { nextChange, type Changes } from './change.ts';
import { parseEntry, type LedgerEntry } from './ledger-line.ts';
import type { Segment } from './ledger-segment.ts';
import { readLines } from './line-file.ts';

export interface TailOptions {
  /** Sequence number of the first record; by default, and at the earliest, the oldest that is there. */
  readonly from?: number;
  /** Goes on with new records as they become durable, until `signal` or the closing of the ledger; by default ends with the last one. */
  readonly follow?: boolean;
  readonly filter?: (entry: LedgerEntry) => boolean;
  readonly signal?: AbortSignal;
}

/** What a tail sees of a ledger. */
export interface TailedLedger {
  /** Oldest first; the last one grows. */
  readonly segments: () => readonly Segment[];
  /** Durable length of the last segment. */
  readonly lastSegmentBytes: () => number;
  readonly closed: () => boolean;
  readonly changes: Changes;
}

/** Reads from the files, so that a slow reader costs no memory. */
export async function* tailLedger(ledger: TailedLedger, { from = 1, follow = false, filter = () => true, signal }: TailOptions): AsyncGenerator<LedgerEntry> {
  let segment = ledger.segments().findLast(({ firstSequence }) => firstSequence <= from) ?? ledger.segments()[0]!;
  const stopped = (): boolean => signal?.aborted === true;
  for (let offset = 0; !stopped(); ) {
    const last = segment.firstSequence === ledger.segments().at(-1)!.firstSequence;
    const end = last ? ledger.lastSegmentBytes() : existsSync(segment.path) ? Infinity : 0; // gone: deleted by the operator
    for await (const lines of offset < end ? readLines(segment.path, { start: offset, end }) : []) {
      for (const line of lines) {
        if (stopped()) return;
        const entry = line.offset === 0 ? undefined : parseEntry(line.bytes);
        if (entry !== undefined && entry.sequence >= from && filter(entry)) yield entry;
        offset = line.offset + line.bytes.length + 1;
      }
    }
    if (!last) {
      segment = ledger.segments().find(({ firstSequence }) => firstSequence > segment.firstSequence)!;
      offset = 0;
    } else if (!follow || ledger.closed()) {
      return;
    } else if (offset === ledger.lastSegmentBytes() && segment === ledger.segments().at(-1)) {
      await nextChange(ledger.changes, signal);
    }
  }
}
