/**
 * The lines of a ledger segment: one JSON object each, readable with jq, chained by hashes.
 *
 *     {"ledger":1,"first":1,"created":TIME,"previous":HASH,"spools":{SPOOL:SEQUENCE},"hash":HASH}      the first line
 *     {"seq":1,"commit":1,"record":{...},"hash":HASH}
 *     {"seq":2,"commit":1,"spool":SPOOL,"spoolSeq":1,"record":{...},"hash":HASH}
 *
 * `hash` is the SHA-256, in hexadecimal, of the hash of the line before (for a first line: its `previous`) followed by the
 * line up to `,"hash":`. `commit` is the sequence number with which the line's group commit began.
 */
import { hash as digest } from 'node:crypto';
import type { LedgerRecord } from '../core/ledger-record.ts';

/** A SHA-256 in hexadecimal. */
export type ChainHash = string & { readonly __brand: 'ChainHash' };

/** What the first segment of all follows. */
export const chainBeginning = '0'.repeat(64) as ChainHash;

/** Where a record stands in the spool that it came from. */
export interface SpoolPlace {
  readonly spool: string;
  readonly sequence: number;
}

export interface LedgerEntry {
  readonly sequence: number;
  readonly record: LedgerRecord;
  readonly hash: ChainHash;
  /** Where the record came from; null for the control plane's own. */
  readonly from: SpoolPlace | null;
}

/** The first line of a segment. */
export interface SegmentHeader {
  readonly firstSequence: number;
  readonly previous: ChainHash;
  readonly created: string;
  /** The last sequence that the ledger had of each spool when the segment began. */
  readonly spools: ReadonlyMap<string, number>;
}

/** Completes a line. `content` is its JSON object without the closing brace. */
export function chainLine(previous: ChainHash, content: string): { readonly line: Buffer; readonly hash: ChainHash } {
  const hash = digest('sha256', previous + content) as ChainHash;
  return { line: Buffer.from(`${content},"hash":"${hash}"}\n`), hash };
}

const hashBytes = 64;
const hashField = Buffer.from(',"hash":"');
const tailBytes = hashField.length + hashBytes + 2; // ,"hash":"..."}

/** The hash that a line carries, or undefined for what is no line of a ledger. */
export function carriedHash(line: Buffer): ChainHash | undefined {
  const tail = line.length - tailBytes;
  if (tail < 1 || !hashField.equals(line.subarray(tail, tail + hashField.length))) return undefined;
  return line.toString('latin1', line.length - 2 - hashBytes, line.length - 2) as ChainHash;
}

/** Whether the hash that a line carries is right after `previous`. */
export function followsIn(previous: ChainHash, line: Buffer): boolean {
  const carried = carriedHash(line);
  return carried !== undefined && line.toString('latin1', line.length - 2) === '"}' && digest('sha256', Buffer.concat([Buffer.from(previous), line.subarray(0, line.length - tailBytes)])) === carried;
}

/** Sequence and commit number of a record's line, or undefined for any other line. Does not look at the rest. */
export function placeOf(line: Buffer): { readonly sequence: number; readonly commit: number } | undefined {
  const match = /^\{"seq":([0-9]{1,16}),"commit":([0-9]{1,16}),/.exec(line.toString('latin1', 0, 64));
  return match === null ? undefined : { sequence: Number(match[1]), commit: Number(match[2]) };
}

export function recordContent(sequence: number, commit: number, from: SpoolPlace | null, recordJson: string): string {
  const origin = from === null ? '' : `"spool":${JSON.stringify(from.spool)},"spoolSeq":${from.sequence},`;
  return `{"seq":${sequence},"commit":${commit},${origin}"record":${recordJson}`;
}

/** A record's line, which must have proved itself before. */
export function parseEntry(line: Buffer): LedgerEntry {
  const { seq, spool, spoolSeq, record, hash } = JSON.parse(line.toString()) as { seq: number; spool?: string; spoolSeq?: number; record: LedgerRecord; hash: ChainHash };
  return { sequence: seq, record, hash, from: spool === undefined || spoolSeq === undefined ? null : { spool, sequence: spoolSeq } };
}

export function headerContent({ firstSequence, previous, created, spools }: SegmentHeader): string {
  return JSON.stringify({ ledger: 1, first: firstSequence, created, previous, spools: Object.fromEntries(spools) }).slice(0, -1);
}

/** A segment's first line, or undefined where it is not one or does not carry the hash that it should. */
export function parseHeader(line: Buffer): SegmentHeader | undefined {
  const previous = /"previous":"([0-9a-f]{64})"/.exec(line.toString('latin1', 0, 256))?.[1] as ChainHash | undefined;
  if (previous === undefined || !followsIn(previous, line)) return undefined;
  const header = JSON.parse(line.toString()) as { ledger?: number; first: number; created: string; previous: ChainHash; spools: Record<string, number> };
  if (header.ledger !== 1) return undefined;
  return { firstSequence: header.first, previous: header.previous, created: header.created, spools: new Map(Object.entries(header.spools)) };
}
