/**
 * The journal: an append-only file of numbered lines of text with a checksum each, made durable in groups.
 *
 *     CRC-32 SEQUENCE COMMIT PAYLOAD
 *
 * The checksum covers the rest of the line; COMMIT is the sequence number with which the line's group commit began. The
 * first line is the header. Readable with a pager; zlib's crc32 checks it.
 */
import { existsSync } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { crc32 } from 'node:zlib';
import { SallyportError, invariant } from '../core/errors.ts';
import { openCommitQueue } from './commit-queue.ts';
import { createDurably, openDurableFile, syncDirectory, unfinishedSuffix, writeDurably, type DurableFile, type OpenDurableFile } from './durable-file.ts';
import { recoverLines, type TornEnd } from './line-file.ts';

export interface Journal {
  readonly path: string;
  /** Length of the file. */
  readonly bytes: number;
  /** What the next payload to be written gets. */
  readonly nextSequence: number;
  /** Why `append` would refuse a payload at this moment, or undefined. */
  refusal(payload: string): SallyportError | undefined;
  /**
   * Adds a payload, a text without newlines, and resolves with its sequence number once it is durable. Rejects with
   * `unavailable` when too much is waiting, with `store-failed` once a write has failed (nothing is written after that).
   */
  append(payload: string): Promise<number>;
  /**
   * Replaces the content by `payloads`, followed by everything that was appended since this call. Appending goes on
   * meanwhile, and `payloads` may already show what was appended while it is read. A crash leaves the old journal or the
   * new one. Rejects and keeps the old one if the new one cannot be written.
   */
  rewrite(payloads: Iterable<string>): Promise<void>;
  close(): Promise<void>;
}

export interface JournalOptions {
  readonly path: string;
  /** What it is a journal of: one that says otherwise is refused. */
  readonly purpose: string;
  /** Sequence number of the first payload of a journal that does not exist yet; by default 1. */
  readonly firstSequence?: number;
  /** Gets every payload that is there, in order, with the offset of its line. */
  readonly onPayload: (payload: string, sequence: number, offset: number) => void;
  readonly openFile?: OpenDurableFile;
}

const formatVersion = 1;

/** Opens a journal, or creates it, and reads it back. Throws `journal-corrupt` with the offset for damage that no crash explains. The caller holds the directory's lock. */
export async function openJournal({ path, purpose, firstSequence = 1, onPayload, openFile = openDurableFile }: JournalOptions): Promise<{ readonly journal: Journal; readonly torn: TornEnd | null }> {
  const header = JSON.stringify({ journal: purpose, version: formatVersion });
  await rm(path + unfinishedSuffix, { force: true });
  if (!existsSync(path)) await createDurably(path, [encodeLine(firstSequence - 1, firstSequence - 1, header)]);

  let next: number | undefined;
  const recovered = await recoverLines(path, {
    accept: (bytes, offset) => {
      const line = decodeLine(bytes);
      if (line === undefined) return false;
      if (next === undefined) checkHeader(path, header, line.payload);
      else if (line.sequence === next) onPayload(line.payload, line.sequence, offset);
      else return false;
      next = line.sequence + 1;
      return true;
    },
    nextSequence: () => next ?? 0,
    commitOf: (bytes) => decodeLine(bytes)?.commit,
  });
  const file = await openFile(path, recovered.bytes);
  return { journal: startJournal({ path, header, file, nextSequence: next!, openFile }), torn: recovered.torn };
}

interface OpenedJournal {
  readonly path: string;
  readonly header: string;
  readonly file: DurableFile;
  readonly nextSequence: number;
  readonly openFile: OpenDurableFile;
}

function startJournal(opened: OpenedJournal): Journal {
  const { path, header, openFile } = opened;
  let { file, nextSequence } = opened;
  let appendedSinceRewriteBegan: string[] | undefined;

  const queue = openCommitQueue<string, number>({
    name: path,
    write: async (payloads) => {
      const commit = nextSequence;
      await file.append(Buffer.concat(payloads.map((payload, index) => encodeLine(commit + index, commit, payload))));
      nextSequence += payloads.length;
      appendedSinceRewriteBegan?.push(...payloads);
      return payloads.map((_, index) => commit + index);
    },
  });

  async function rewrite(payloads: Iterable<string>): Promise<void> {
    const unfinished = path + unfinishedSuffix;
    const appended: string[] = (appendedSinceRewriteBegan = []);
    let sequence = 0;
    const number = (payload: string): Buffer => encodeLine(sequence, sequence++, payload);
    try {
      const bytes = await writeDurably(unfinished, linesOf(header, payloads, number));
      await queue.exclusive(async () => {
        const next = await openFile(unfinished, bytes);
        await next.append(Buffer.concat(appended.map(number)));
        await rename(unfinished, path);
        const old = file;
        file = next;
        nextSequence = sequence;
        await syncDirectory(dirname(path)).catch((error: unknown) => queue.fail(error)); // which of the two a restart would find is not known
        await old.close();
      });
    } finally {
      appendedSinceRewriteBegan = undefined;
      await rm(unfinished, { force: true });
    }
  }

  return {
    path,
    get bytes() {
      return file.bytes;
    },
    get nextSequence() {
      return nextSequence;
    },
    refusal: (payload) => queue.refusal(payload.length),
    append: (payload) => {
      invariant(!payload.includes('\n'), 'a journal payload is one line');
      return queue.push(payload, payload.length);
    },
    rewrite,
    close: async () => {
      await queue.close();
      await file.close();
    },
  };
}

const rewriteChunkBytes = 128 * 1024;

/** Lines in pieces of a size that a write is worth; the event loop turns between them. */
function* linesOf(header: string, payloads: Iterable<string>, number: (payload: string) => Buffer): Generator<Buffer> {
  let lines = [number(header)];
  let bytes = 0;
  for (const payload of payloads) {
    const line = number(payload);
    lines.push(line);
    bytes += line.length;
    if (bytes >= rewriteChunkBytes) {
      yield Buffer.concat(lines);
      lines = [];
      bytes = 0;
    }
  }
  yield Buffer.concat(lines);
}

export interface JournalLine {
  readonly sequence: number;
  readonly commit: number;
  readonly payload: string;
}

function encodeLine(sequence: number, commit: number, payload: string): Buffer {
  const checked = `${sequence} ${commit} ${payload}`;
  return Buffer.from(`${crc32(checked).toString(16).padStart(8, '0')} ${checked}\n`);
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
