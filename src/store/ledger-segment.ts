/** The files of a ledger: `ledger-SEQUENCE.jsonl`, named after their first record, and beside each but the last its index. */
import { open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { createConnectionIndex, type ConnectionIndex } from './connection-index.ts';
import { createDurably, unfinishedSuffix } from './durable-file.ts';
import { followHeader, followRecord, type ChainHead } from './ledger-chain.ts';
import { carriedHash, chainLine, headerContent, parseEntry, parseHeader, placeOf, type LedgerEntry, type SegmentHeader } from './ledger-line.ts';
import { readLines, recoverLines, type TornEnd } from './line-file.ts';

export interface Segment {
  readonly path: string;
  readonly indexPath: string;
  /** By its name. */
  readonly firstSequence: number;
}

const segmentName = /^ledger-([0-9]{16})\.jsonl$/;

function segmentAt(directory: string, firstSequence: number): Segment {
  const stem = join(directory, `ledger-${String(firstSequence).padStart(16, '0')}`);
  return { path: `${stem}.jsonl`, indexPath: `${stem}.index`, firstSequence };
}

/** Oldest first. */
export async function listSegments(directory: string): Promise<Segment[]> {
  const numbers = (await readdir(directory)).flatMap((name) => segmentName.exec(name)?.[1] ?? []);
  return numbers.sort().map((number) => segmentAt(directory, Number(number)));
}

/** Files that a crash left unfinished. */
export async function listUnfinished(directory: string): Promise<string[]> {
  return (await readdir(directory)).filter((name) => name.startsWith('ledger') && name.endsWith(unfinishedSuffix)).map((name) => join(directory, name));
}

/** Makes a segment that holds its header only. */
export async function createSegment(directory: string, header: SegmentHeader): Promise<RecoveredSegment> {
  const segment = segmentAt(directory, header.firstSequence);
  const { line, hash } = chainLine(header.previous, headerContent(header));
  const bytes = await createDurably(segment.path, [line]);
  return { segment, bytes, head: { sequence: header.firstSequence - 1, hash }, index: createConnectionIndex(), spools: new Map(header.spools), torn: null };
}

/** The last segment of a ledger, read back. */
export interface RecoveredSegment {
  readonly segment: Segment;
  readonly bytes: number;
  readonly head: ChainHead;
  readonly index: ConnectionIndex;
  /** The last sequence of each spool. */
  readonly spools: Map<string, number>;
  readonly torn: TornEnd | null;
}

/** Reads and checks a segment line by line. Throws `journal-corrupt` with the offset for damage that no crash explains. */
export async function recoverSegment(segment: Segment): Promise<RecoveredSegment> {
  const index = createConnectionIndex();
  let spools = new Map<string, number>();
  let head: ChainHead | undefined;
  const { bytes, torn } = await recoverLines(segment.path, {
    accept: (line, offset) => {
      const step = head === undefined ? followHeader(undefined, segment, line) : followRecord(head, line);
      if (!step.ok) return false;
      if (head === undefined) {
        spools = new Map(parseHeader(line)?.spools);
      } else {
        const { record, from } = parseEntry(line);
        index.add(record, offset, line.length);
        if (from !== null) spools.set(from.spool, from.sequence);
      }
      head = step.head;
      return true;
    },
    nextSequence: () => (head?.sequence ?? 0) + 1,
    commitOf: (line) => (carriedHash(line) === undefined ? undefined : placeOf(line)?.commit),
  });
  return { segment, bytes, head: head!, index, spools, torn };
}

/** Makes the index of a segment from its lines, and writes its file. */
export async function rebuildIndex(segment: Segment): Promise<ConnectionIndex> {
  const index = createConnectionIndex();
  for await (const lines of readLines(segment.path)) {
    for (const { bytes, offset, ended } of lines) {
      if (ended && placeOf(bytes) !== undefined && mayBeConnection(bytes)) index.add(parseEntry(bytes).record, offset, bytes.length);
    }
  }
  await createDurably(segment.indexPath, index.encode());
  return index;
}

/** Spares the parsing of most other records. */
function mayBeConnection(line: Buffer): boolean {
  return line.includes('"connection-opened"') || line.includes('"connection-closed"');
}

/** The record whose line stands at an offset. */
export async function readEntry(segment: Segment, offset: number, bytes: number): Promise<LedgerEntry> {
  const handle = await open(segment.path, 'r');
  try {
    const line = Buffer.alloc(bytes);
    await handle.read(line, 0, bytes, offset);
    return parseEntry(line);
  } finally {
    await handle.close();
  }
}
