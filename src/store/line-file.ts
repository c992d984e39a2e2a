/**
 * Append-only files of lines, read back after a crash. Both the journal and the ledger are such files; they differ in how
 * a line proves itself (a CRC, a chained hash), which `LineRules` tells.
 *
 * A crash can only hurt what was not yet durable, the last group commit, and only in two ways: the file ends early, or
 * blocks of it that never reached the disk read as zeros up to the end of their sector. That is a *torn end* and is
 * dropped. Anything else is a *corrupt middle* and is refused: a whole line that does not prove itself, or a torn one that
 * a later group commit follows, for that one was begun only after the torn one was durable.
 */
import { open } from 'node:fs/promises';
import { SallyportError } from '../core/errors.ts';

export interface Line {
  /** Without its newline. A view of a larger buffer: copy what you keep. */
  readonly bytes: Buffer;
  /** Of its first byte in the file. */
  readonly offset: number;
  /** False for a last line that has no newline. */
  readonly ended: boolean;
}

export interface ReadRange {
  readonly start?: number;
  /** Exclusive; by default the end of the file. */
  readonly end?: number;
}

const chunkBytes = 128 * 1024; // a few hundred ledger lines: about a millisecond of the event loop, however they are checked
const newline = 0x0a;

/** The lines of a file, as many at a time as a read brings. */
export async function* readLines(path: string, { start = 0, end = Infinity }: ReadRange = {}): AsyncGenerator<readonly Line[]> {
  const handle = await open(path, 'r');
  try {
    let begun: Buffer[] = []; // the pieces of a line that spans reads
    let offset = start; // of that line
    for (let position = start; ; ) {
      // Who reads the few lines that were added since last time does so often: a whole chunk each time would have the old generation collected.
      const { bytesRead, buffer } = await handle.read(Buffer.allocUnsafe(Math.min(chunkBytes, end - position)), { position });
      if (bytesRead === 0) break;
      position += bytesRead;
      const chunk = buffer.subarray(0, bytesRead);
      const lines: Line[] = [];
      let from = 0;
      for (let to = chunk.indexOf(newline); to !== -1; to = chunk.indexOf(newline, from)) {
        const bytes = begun.length === 0 ? chunk.subarray(from, to) : Buffer.concat([...begun, chunk.subarray(from, to)]);
        lines.push({ bytes, offset, ended: true });
        begun = [];
        offset += bytes.length + 1;
        from = to + 1;
      }
      if (from < chunk.length) begun.push(chunk.subarray(from));
      if (lines.length > 0) yield lines;
    }
    if (begun.length > 0) yield [{ bytes: Buffer.concat(begun), offset, ended: false }];
  } finally {
    await handle.close();
  }
}

export interface LineRules {
  /** Takes a line and returns true if it is the one that must come next. */
  readonly accept: (line: Buffer, offset: number) => boolean;
  /** The sequence number that the next line must have. */
  readonly nextSequence: () => number;
  /** The sequence number with which a line's group commit began, if the line is sound in itself. */
  readonly commitOf: (line: Buffer) => number | undefined;
}

/** What a crash left at the end of a file, and was dropped. None of it had been acknowledged. */
export interface TornEnd {
  readonly path: string;
  readonly offset: number;
  readonly droppedBytes: number;
}

export interface RecoveredLines {
  /** Length of the part that holds. */
  readonly bytes: number;
  readonly torn: TornEnd | null;
}

/** Reads all lines of a file into `rules.accept`. Throws `journal-corrupt`, naming the offset, for anything that a crash cannot have done. */
export async function recoverLines(path: string, rules: LineRules): Promise<RecoveredLines> {
  let bytes = 0;
  let tornAt: number | undefined;
  for await (const lines of readLines(path)) {
    for (const line of lines) {
      const end = line.offset + line.bytes.length + (line.ended ? 1 : 0);
      if (tornAt === undefined) {
        if (line.ended && rules.accept(line.bytes, line.offset)) {
          bytes = end;
          continue;
        }
        if (line.ended && !holdsUnwrittenBlock(line)) throw corruption(path, line.offset, 'does not match its checksum or its place');
        tornAt = line.offset;
      } else if ((rules.commitOf(line.bytes) ?? 0) > rules.nextSequence()) {
        throw corruption(path, tornAt, `is damaged, while what was written after it, at byte ${line.offset}, is sound`);
      }
      if (bytes === 0) throw corruption(path, 0, 'has no header'); // files are created as a whole, header included
    }
  }
  if (bytes === 0) throw corruption(path, 0, 'has no header');
  if (tornAt === undefined) return { bytes, torn: null };
  return { bytes, torn: { path, offset: tornAt, droppedBytes: (await fileBytes(path)) - tornAt } };
}

const sectorBytes = 512;

/** Whether the line's first zero byte begins a run that lasts to the end of its sector; no line that was written holds a zero byte. */
function holdsUnwrittenBlock({ bytes, offset }: Line): boolean {
  const first = bytes.indexOf(0);
  if (first === -1) return false;
  const sectorEnd = first + sectorBytes - ((offset + first) % sectorBytes);
  return sectorEnd <= bytes.length && bytes.subarray(first, sectorEnd).every((byte) => byte === 0);
}

async function fileBytes(path: string): Promise<number> {
  const handle = await open(path, 'r');
  try {
    return (await handle.stat()).size;
  } finally {
    await handle.close();
  }
}

/** `what` completes `the line at byte N of FILE ...`. */
export function corruption(path: string, offset: number, what: string): SallyportError {
  return new SallyportError('journal-corrupt', `the line at byte ${offset} of ${JSON.stringify(path)} ${what}`, {
    place: `${path}:${offset}`,
    hint: 'this is not what a crash leaves but damage or a change: restore the directory from a backup, and look at the disk',
  });
}
