import { existsSync } from 'node:fs';
import { nextChange, type Changes } from './change.ts';
import { carriedHash, placeOf, type ChainHash } from './ledger-line.ts';
import type { Segment } from './ledger-segment.ts';
import { readLines } from './line-file.ts';

/** A line of a ledger that is durable. */
export interface LedgerLine {
  /** The first line of a segment, which carries the chain on, or a record. */
  readonly kind: 'header' | 'record';
  /** Of the record; of a header the first that the segment is for. */
  readonly sequence: number;
  readonly hash: ChainHash;
  /** Without its newline. A view of a larger buffer: copy what you keep. */
  readonly bytes: Buffer;
}

export interface LedgerReader {
  /**
   * The lines that follow, as many as a read brings: some 300 records, or one that is larger. None where nothing more is durable yet.
   * What was deleted is passed over, so sequences may have a gap.
   */
  next(): Promise<readonly LedgerLine[]>;
  /** Returns where there is more to read, when the ledger closes, or when the signal fires. */
  grown(signal?: AbortSignal): Promise<void>;
}

/** What a reader sees of a ledger. */
export interface ReadableLedger {
  /** Oldest first; the last one grows. */
  readonly segments: () => readonly Segment[];
  /** Durable length of the last segment. */
  readonly lastSegmentBytes: () => number;
  readonly closed: () => boolean;
  readonly changes: Changes;
}

/** Reads from the files, so that a slow reader costs no memory, from a sequence number on: with the header of its segment where it is the first there. */
export function openLedgerReader(ledger: ReadableLedger, from: number): LedgerReader {
  let segment = ledger.segments().findLast(({ firstSequence }) => firstSequence <= from) ?? ledger.segments()[0]!;
  let offset = 0;

  const isLast = (): boolean => segment.firstSequence === ledger.segments().at(-1)!.firstSequence;

  /** The lines that one read brings, whatever their sequence; undefined at the end. */
  async function read(): Promise<readonly LedgerLine[] | undefined> {
    for (;;) {
      const wasLast = isLast();
      const end = wasLast ? ledger.lastSegmentBytes() : existsSync(segment.path) ? Infinity : 0; // gone: deleted by the operator
      if (offset < end) {
        for await (const lines of readLines(segment.path, { start: offset, end })) {
          const last = lines.at(-1)!;
          offset = last.offset + last.bytes.length + 1;
          return lines.map((line) => lineAt(segment, line.offset, line.bytes));
        }
      }
      if (wasLast) {
        if (isLast()) return undefined;
        continue; // it was full meanwhile, and may have grown before
      }
      segment = ledger.segments().find(({ firstSequence }) => firstSequence > segment.firstSequence)!;
      offset = 0;
    }
  }

  return {
    async next() {
      for (let lines = await read(); lines !== undefined; lines = await read()) {
        const wanted = lines.filter(({ sequence }) => sequence >= from);
        if (wanted.length > 0) return wanted;
      }
      return [];
    },
    async grown(signal) {
      if (isLast() && offset === ledger.lastSegmentBytes() && !ledger.closed()) await nextChange(ledger.changes, signal);
    },
  };
}

/** Of a line that has proved itself when the ledger was opened, or was written since. */
function lineAt({ firstSequence }: Segment, offset: number, bytes: Buffer): LedgerLine {
  const header = offset === 0;
  return { kind: header ? 'header' : 'record', sequence: header ? firstSequence : placeOf(bytes)!.sequence, hash: carriedHash(bytes)!, bytes };
}
