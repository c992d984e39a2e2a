/**
 * The spool: a gateway's ledger records on their way to the control plane. Numbered from 1 in the life of a spool, which
 * its id names; kept in journal files until they are acknowledged. What is sent is durable here first, so a sequence
 * number never comes to mean another record.
 */
import { EventEmitter } from 'node:events';
import { readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { SallyportError, invariant } from '../core/errors.ts';
import type { LedgerRecord } from '../core/ledger-record.ts';
import { nextChange, type Changes } from './change.ts';
import { openCommitQueue } from './commit-queue.ts';
import { lockDirectory } from './directory-lock.ts';
import { makeDirectory, openDurableFile, type DurableFile, type OpenDurableFile } from './durable-file.ts';
import { createJournalFile, decodeLine, encodeLine, readJournalFile } from './journal-file.ts';
import { corruption, readLines, type TornEnd } from './line-file.ts';

export interface Spool {
  readonly id: string;
  /** `full` while more than the bound waits for acknowledgement, `failed` for good once the disk has refused a write: in both, let no new connection out. */
  readonly state: 'ready' | 'full' | 'failed';
  /** Sequence number of the last durable record; 0 before the first. */
  readonly lastSequence: number;
  /** What opening dropped. */
  readonly torn: TornEnd | null;
  /**
   * Adds a record; resolves with its sequence number once it is durable. Need not be awaited: a failure shows in `state`
   * and is never an unhandled rejection. A full spool still takes what ends or refuses connections, up to a quarter more.
   */
  append(record: LedgerRecord): Promise<number>;
  /** Durable records from a sequence number on, in order: at most `recordsMax` JSON texts. Begins later where earlier ones were acknowledged. */
  pending(fromSequence: number, recordsMax: number): Promise<PendingRecords>;
  /** Returns when the record of that number is durable, when the spool closes, or when the signal fires. */
  reached(sequence: number, signal: AbortSignal): Promise<void>;
  /** Forgets what came up to and including a sequence number, a file at a time. */
  acknowledge(sequence: number): Promise<void>;
  close(): Promise<void>;
}

export interface PendingRecords {
  readonly firstSequence: number;
  readonly records: readonly Uint8Array[];
}

export interface SpoolOptions {
  /** Made if missing; this process's alone until `close`. */
  readonly directory: string;
  /** Names a new spool: at least 64 random bits in letters and digits. */
  readonly newId: () => string;
  /** By default 256 MiB, some half a million records. */
  readonly unacknowledgedBytesMax?: number;
  readonly fileBytesMax?: number;
  readonly openFile?: OpenDurableFile;
}

interface SpoolFile {
  readonly path: string;
  readonly firstSequence: number;
}

/** Opens a spool, or begins one. Throws `journal-locked`, and `journal-corrupt` for damage that no crash explains. */
export async function openSpool(options: SpoolOptions): Promise<Spool> {
  const { directory, newId, openFile = openDurableFile } = options;
  await makeDirectory(directory);
  const lock = await lockDirectory(directory);
  try {
    let files = await listFiles(directory);
    if (files.length === 0) {
      await createJournalFile(pathOf(directory, newId(), 1), purpose);
      files = await listFiles(directory);
    }
    const growing = files.pop()!;
    const { bytes, nextSequence, torn } = await readJournalFile(growing.path, purpose, () => undefined);
    const full = await Promise.all(files.map(async (file) => ({ ...file, bytes: (await stat(file.path)).size })));
    const file = await openFile(growing.path, bytes);
    return startSpool({ ...options, openFile, id: growing.id, full, growing: { ...growing, file }, nextSequence, torn, releaseLock: () => lock.release() });
  } catch (error) {
    lock.release();
    throw error;
  }
}

const purpose = 'spool';
const fileName = /^spool-([A-Za-z0-9]{8,64})-([0-9]{16})\.journal$/;

function pathOf(directory: string, id: string, firstSequence: number): string {
  const name = `spool-${id}-${String(firstSequence).padStart(16, '0')}.journal`;
  invariant(fileName.test(name), 'a spool id is of letters and digits');
  return join(directory, name);
}

/** Oldest first. */
async function listFiles(directory: string): Promise<(SpoolFile & { readonly id: string })[]> {
  const names = (await readdir(directory)).map((name) => fileName.exec(name)).filter((match) => match !== null);
  const files = names.map(([name, id, first]) => ({ path: join(directory, name), id: id!, firstSequence: Number(first) }));
  return files.sort((a, b) => a.firstSequence - b.firstSequence);
}

interface OpenedSpool extends SpoolOptions {
  readonly id: string;
  readonly openFile: OpenDurableFile;
  /** Oldest first. */
  readonly full: (SpoolFile & { readonly bytes: number })[];
  readonly growing: SpoolFile & { readonly file: DurableFile };
  readonly nextSequence: number;
  readonly torn: TornEnd | null;
  readonly releaseLock: () => void;
}

function startSpool(opened: OpenedSpool): Spool {
  const { directory, id, openFile, full, torn, unacknowledgedBytesMax = 256 << 20, fileBytesMax = 4 << 20 } = opened;
  let { growing, nextSequence } = opened;
  let acknowledged = (full[0] ?? growing).firstSequence - 1;
  let closed = false;
  /** Where `pending` left off: a sender asks for what comes next. */
  let cursor = { path: '', sequence: 0, offset: 0 };
  const changes: Changes = new EventEmitter<{ change: [] }>().setMaxListeners(0);

  const queue = openCommitQueue<string, number>({
    name: directory,
    write: async (payloads) => {
      if (growing.file.bytes >= fileBytesMax && nextSequence > growing.firstSequence) await beginFile();
      const commit = nextSequence;
      await growing.file.append(Buffer.concat(payloads.map((payload, index) => encodeLine(commit + index, commit, payload))));
      nextSequence += payloads.length;
      changes.emit('change');
      return payloads.map((_, index) => commit + index);
    },
  });

  async function beginFile(): Promise<void> {
    const path = pathOf(directory, id, nextSequence);
    const file = await openFile(path, await createJournalFile(path, purpose, nextSequence));
    const { file: filled, ...place } = growing;
    full.push({ ...place, bytes: filled.bytes }); // and in the same turn, or `acknowledge` takes it for the last file, and removes it unsent
    growing = { path, firstSequence: nextSequence, file };
    await filled.close();
  }

  function unacknowledgedBytes(): number {
    const durable = acknowledged === nextSequence - 1 ? 0 : full.reduce((sum, { bytes }) => sum + bytes, growing.file.bytes);
    return durable + queue.waitingBytes;
  }

  return {
    id,
    torn,
    get state() {
      if (queue.failure !== undefined) return 'failed';
      return unacknowledgedBytes() < unacknowledgedBytesMax ? 'ready' : 'full';
    },
    get lastSequence() {
      return nextSequence - 1;
    },
    append: (record) => {
      const appended = unacknowledgedBytes() < 1.25 * unacknowledgedBytesMax ? pushRecord(record) : Promise.reject(fullSpool(directory, unacknowledgedBytes()));
      appended.catch(() => undefined); // the caller need not look: see `state`
      return appended;
    },
    pending: async (fromSequence, recordsMax) => {
      const from = Math.max(fromSequence, acknowledged + 1);
      const files = [...full, { ...growing, bytes: growing.file.bytes }];
      const { path, bytes: end } = files.findLast(({ firstSequence }) => firstSequence <= from) ?? files[0]!;
      const records: Uint8Array[] = [];
      const start = cursor.path === path && cursor.sequence <= from ? cursor.offset : 0;
      for await (const lines of readLines(path, { start, end })) {
        for (const { bytes, offset } of lines) {
          const line = decodeLine(bytes);
          if (line === undefined) throw corruption(path, offset, 'does not match its checksum');
          if (line.sequence < from) continue;
          records.push(Buffer.from(line.payload));
          cursor = { path, sequence: line.sequence + 1, offset: offset + bytes.length + 1 };
          if (records.length === recordsMax) return { firstSequence: from, records };
        }
      }
      return { firstSequence: from, records };
    },
    reached: async (sequence, signal) => {
      while (nextSequence <= sequence && !closed && !signal.aborted) await nextChange(changes, signal);
    },
    acknowledge: async (sequence) => {
      acknowledged = Math.max(acknowledged, Math.min(sequence, nextSequence - 1));
      while (full.length > 0 && (full[1] ?? growing).firstSequence <= acknowledged + 1) await rm(full.shift()!.path);
    },
    close: async () => {
      await queue.close();
      closed = true;
      changes.emit('change');
      await growing.file.close();
      opened.releaseLock();
    },
  };

  function pushRecord(record: LedgerRecord): Promise<number> {
    const payload = JSON.stringify(record);
    return queue.push(payload, payload.length);
  }
}

function fullSpool(directory: string, bytes: number): SallyportError {
  return new SallyportError('unavailable', `the spool ${JSON.stringify(directory)} holds ${bytes} bytes that the control plane has not acknowledged`, { place: directory, hint: 'look why the gateway does not reach the control plane: sallyport status' });
}
