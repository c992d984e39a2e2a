/**
 * Journal files: numbered lines of text with a checksum each.
 *
 *     CRC-32 SEQUENCE COMMIT PAYLOAD
 *
 * The checksum covers the rest of the line; COMMIT is the sequence number with which the line's group commit began. The
 * first line is the header. Readable with a pager; zlib's crc32 checks it.
 */
import { crc32 } from 'node:zlib';
import { SallyportError, invariant } from '../core/errors.ts';
import { createDurably } from './durable-file.ts';
import { recoverLines, type RecoveredLines } from './line-file.ts';

const formatVersion = 1;

/** The payload of the first line, whose sequence number is one less than that of the first payload. */
export function journalHeader(purpose: string): string {
  return JSON.stringify({ journal: purpose, version: formatVersion });
}

export async function createJournalFile(path: string, purpose: string, firstSequence = 1): Promise<number> {
  return createDurably(path, [encodeLine(firstSequence - 1, firstSequence - 1, journalHeader(purpose))]);
}

export interface ReadJournal extends RecoveredLines {
  /** What comes after the last payload. */
  readonly nextSequence: number;
}

/** Reads every payload, in order. Throws `journal-corrupt` with the offset for damage that no crash explains, and for a journal of another purpose. */
export async function readJournalFile(path: string, purpose: string, onPayload: (payload: string) => void): Promise<ReadJournal> {
  let next: number | undefined;
  const recovered = await recoverLines(path, {
    accept: (bytes) => {
      const line = decodeLine(bytes);
      if (line === undefined || (next !== undefined && line.sequence !== next)) return false;
      if (next === undefined) checkHeader(path, journalHeader(purpose), line.payload);
      else onPayload(line.payload);
      next = line.sequence + 1;
      return true;
    },
    nextSequence: () => next ?? 0,
    commitOf: (bytes) => decodeLine(bytes)?.commit,
  });
  invariant(next !== undefined, 'a journal that was read has a header');
  return { ...recovered, nextSequence: next };
}

export interface JournalLine {
  readonly sequence: number;
  readonly commit: number;
  readonly payload: string;
}

/** The place of a line's checksum, which is reckoned from the bytes that follow. */
const unchecked = '00000000 ';

/** `payload` must not hold a newline. */
export function encodeLine(sequence: number, commit: number, payload: string): Buffer {
  const head = `${unchecked}${sequence} ${commit} `;
  const line = Buffer.allocUnsafe(head.length + Buffer.byteLength(payload) + 1);
  line.write(head, 'latin1');
  line.write(payload, head.length);
  line.write('\n', line.length - 1);
  line.write(crc32(line.subarray(unchecked.length, -1)).toString(16).padStart(8, '0'), 'latin1');
  return line;
}

/** The line without its newline, or undefined where its checksum does not match. */
export function decodeLine(line: Buffer): JournalLine | undefined {
  const space = 0x20;
  if (line[8] !== space || crc32(line.subarray(9)).toString(16).padStart(8, '0') !== line.toString('latin1', 0, 8)) return undefined;
  const afterSequence = line.indexOf(space, 9);
  const afterCommit = line.indexOf(space, afterSequence + 1);
  return {
    sequence: Number(line.toString('latin1', 9, afterSequence)),
    commit: Number(line.toString('latin1', afterSequence + 1, afterCommit)),
    payload: line.toString('utf8', afterCommit + 1),
  };
}

function checkHeader(path: string, expected: string, found: string): void {
  if (found === expected) return;
  throw new SallyportError('journal-corrupt', `${JSON.stringify(path)} begins with ${found} instead of ${expected}`, {
    place: `${path}:0`,
    hint: 'it belongs to something else or was written by a newer version: point to the right directory, or use that version',
  });
}
