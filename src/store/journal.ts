/**
 * The journal: one file of payloads (journal-file.ts), made durable in groups, that can be replaced by a shorter one.
 */
import { existsSync } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { invariant, type SallyportError } from '../core/errors.ts';
import { openCommitQueue } from './commit-queue.ts';
import { openDurableFile, syncDirectory, unfinishedSuffix, writeDurably, type DurableFile, type OpenDurableFile } from './durable-file.ts';
import { createJournalFile, encodeLine, journalHeader, readJournalFile } from './journal-file.ts';
import type { TornEnd } from './line-file.ts';

export interface Journal {
  readonly path: string;
  /** Length of the file. */
  readonly bytes: number;
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
  /** Gets every payload that is there, in order. */
  readonly onPayload: (payload: string) => void;
  readonly openFile?: OpenDurableFile;
}

/** Opens a journal, or creates it, and reads it back. Throws `journal-corrupt` with the offset for damage that no crash explains. The caller holds the directory's lock. */
export async function openJournal({ path, purpose, onPayload, openFile = openDurableFile }: JournalOptions): Promise<{ readonly journal: Journal; readonly torn: TornEnd | null }> {
  await rm(path + unfinishedSuffix, { force: true });
  if (!existsSync(path)) await createJournalFile(path, purpose);
  const { bytes, torn, nextSequence } = await readJournalFile(path, purpose, onPayload);
  return { journal: startJournal({ path, header: journalHeader(purpose), file: await openFile(path, bytes), nextSequence, openFile }), torn };
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
