/**
 * The ledger: every decision, connection, certificate and address assignment, appended and never changed. Kept in
 * segments of JSON lines, chained by hashes (ledger-line.ts). An operator ends retention by deleting the oldest segments
 * with their indexes; nothing else may be deleted.
 */
import { EventEmitter } from 'node:events';
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { SallyportError } from '../core/errors.ts';
import type { LedgerRecord } from '../core/ledger-record.ts';
import type { Changes } from './change.ts';
import { openCommitQueue } from './commit-queue.ts';
import { findInFile } from './connection-index.ts';
import { lockDirectory } from './directory-lock.ts';
import { createDurably, makeDirectory, openDurableFile, type DurableFile, type OpenDurableFile } from './durable-file.ts';
import { followHead, readHead, writeHead, type ChainHead } from './ledger-chain.ts';
import { chainBeginning, chainLine, recordContent, type LedgerEntry, type SpoolPlace } from './ledger-line.ts';
import { openLedgerReader, type LedgerReader, type ReadableLedger } from './ledger-reader.ts';
import { createSegment, listSegments, listUnfinished, readEntry, rebuildIndex, recoverSegment, type RecoveredSegment, type Segment } from './ledger-segment.ts';
import { tailLedger, type TailOptions } from './ledger-tail.ts';
import { verifyLedger, type LedgerVerification } from './ledger-verification.ts';
import type { TornEnd } from './line-file.ts';
import { findConnections, type EventSource, type WhoisAnswer, type WhoisQuery } from './whois.ts';

export interface Ledger {
  /** The last durable record. Whoever must prove the ledger's end keeps a copy elsewhere. */
  readonly head: ChainHead;
  /** What opening dropped. */
  readonly torn: TornEnd | null;
  /**
   * Appends a record; resolves with its sequence number once it is durable. Rejects with `request-invalid` for a time that
   * is none, `request-too-large`, `unavailable` where too much is waiting, and `store-failed` once the disk has refused.
   */
  append(record: LedgerRecord): Promise<number>;
  /**
   * Appends what a gateway's spool holds from `firstSequence` on, without what the ledger already has of it. Resolves with
   * the spool's sequence number up to which all is durable. A spool's calls must come in its order. Rejects like `append`.
   */
  appendFrom(spool: string, firstSequence: number, records: readonly LedgerRecord[]): Promise<number>;
  whois(query: WhoisQuery): Promise<WhoisAnswer>;
  /** Checks everything that is durable now. */
  verify(): Promise<LedgerVerification>;
  tail(options?: TailOptions): AsyncGenerator<LedgerEntry>;
  /** Its lines as they are, headers of segments too, from a record on, or from the oldest that is there. */
  read(from: number): LedgerReader;
  /** How far somebody else has the ledger, as it was last noted; undefined before. It survives the process. */
  readCursor(): Promise<ChainHead | undefined>;
  writeCursor(head: ChainHead): Promise<void>;
  close(): Promise<void>;
}

export interface LedgerOptions {
  /** Made if missing; this process's alone until `close`. */
  readonly directory: string;
  readonly now: () => number;
  /** A segment that has grown to this is followed by a new one; by default 64 MiB, some 100,000 records, which opening reads in half a second. */
  readonly segmentBytesMax?: number;
  readonly openFile?: OpenDurableFile;
}

interface QueuedRecord {
  readonly record: LedgerRecord;
  readonly json: string;
  readonly from: SpoolPlace | null;
}

const recordCharsMax = 1 << 20;
const batchCharsMax = 16 << 20;
/** Spools whose last sequence is remembered, the most recently heard of first. */
const spoolsMax = 10_000;

/** Opens a ledger, or begins one. Throws `journal-locked`, `journal-corrupt` for damage within the last segment, `ledger-chain-broken` where its end is missing. */
export async function openLedger({ directory, now, segmentBytesMax = 64 << 20, openFile = openDurableFile }: LedgerOptions): Promise<Ledger> {
  await makeDirectory(directory);
  const lock = await lockDirectory(directory);
  try {
    for (const path of await listUnfinished(directory)) await rm(path);
    const segments = await listSegments(directory);
    const recovered = segments.length === 0 ? await createSegment(directory, { firstSequence: 1, previous: chainBeginning, created: new Date(now()).toISOString(), spools: new Map() }) : await recoverSegment(segments.pop()!);
    const known = await readHead(directory);
    if (known !== undefined) checkEnd(directory, recovered.head, known);
    const file = await openFile(recovered.segment.path, recovered.bytes);
    return startLedger({ directory, now, segmentBytesMax, openFile, segments, active: { ...recovered, file }, releaseLock: () => lock.release() });
  } catch (error) {
    lock.release();
    throw error;
  }
}

function checkEnd(directory: string, found: ChainHead, known: ChainHead): void {
  const step = followHead(found, known);
  if (step.ok) return;
  throw new SallyportError('ledger-chain-broken', step.message, { place: directory, hint: 'restore the missing segments from a backup; to go on without what is missing, delete ledger.head' });
}

/** The segment that grows. */
interface ActiveSegment extends Omit<RecoveredSegment, 'bytes'> {
  readonly file: DurableFile;
}

interface OpenedLedger extends Required<LedgerOptions> {
  /** All but the active one, oldest first. */
  readonly segments: Segment[];
  readonly active: ActiveSegment;
  readonly releaseLock: () => void;
}

function startLedger(opened: OpenedLedger): Ledger {
  const { directory, now, segmentBytesMax, openFile, segments } = opened;
  const { torn, spools } = opened.active;
  let { active } = opened;
  let { head } = opened.active;
  let closed = false;
  /** The last sequence of each spool that was queued, durable or not. */
  const queuedFrom = new Map(spools);
  const changes: Changes = new EventEmitter<{ change: [] }>().setMaxListeners(0);

  const queue = openCommitQueue<QueuedRecord, number>({
    name: directory,
    write: async (group) => {
      if (active.file.bytes >= segmentBytesMax && head.sequence >= active.segment.firstSequence) await beginSegment();
      const commit = head.sequence + 1;
      let { hash } = head;
      const lines = group.map(({ json, from }, index) => {
        const chained = chainLine(hash, recordContent(commit + index, commit, from, json));
        hash = chained.hash;
        return chained.line;
      });
      let offset = active.file.bytes;
      await active.file.append(Buffer.concat(lines));
      head = { sequence: commit + group.length - 1, hash };
      group.forEach(({ record, from }, index) => {
        active.index.add(record, offset, lines[index]!.length - 1);
        offset += lines[index]!.length;
        if (from !== null) remember(spools, from);
      });
      changes.emit('change');
      return group.map((_, index) => commit + index);
    },
  });

  async function beginSegment(): Promise<void> {
    const full = active;
    const begun = await createSegment(directory, { firstSequence: head.sequence + 1, previous: head.hash, created: new Date(now()).toISOString(), spools });
    active = { ...begun, file: await openFile(begun.segment.path, begun.bytes) };
    head = begun.head;
    segments.push(full.segment);
    await full.file.close();
    await createDurably(full.segment.indexPath, full.index.encode());
    await writeHead(directory, head);
  }

  const rebuilding = new Map<string, ReturnType<typeof rebuildIndex>>();

  function sourceOf(segment: Segment): EventSource {
    return {
      find: async (address, port) => {
        if (segment.firstSequence === active.segment.firstSequence) return active.index.find(address, port);
        const found = await findInFile(segment.indexPath, address, port);
        if (found !== undefined) return found;
        if (!existsSync(segment.path)) return []; // deleted by the operator
        let rebuilt = rebuilding.get(segment.path);
        if (rebuilt === undefined) rebuilding.set(segment.path, (rebuilt = rebuildIndex(segment).finally(() => rebuilding.delete(segment.path))));
        return (await rebuilt).find(address, port);
      },
      read: (event) => readEntry(segment, event.offset, event.bytes),
    };
  }

  const allSegments = (): Segment[] => [...segments, active.segment];
  const readable: ReadableLedger = { segments: allSegments, lastSegmentBytes: () => active.file.bytes, closed: () => closed, changes };

  return {
    torn,
    get head() {
      return head;
    },
    append: async (record) => {
      const json = encodeRecord(record);
      return queue.push({ record, json, from: null }, json.length);
    },
    appendFrom: async (spool, firstSequence, records) => {
      if (!(Number.isSafeInteger(firstSequence) && firstSequence >= 1)) throw new SallyportError('request-invalid', `a batch begins with sequence ${firstSequence}`, { hint: 'sequences count from 1' });
      const had = queuedFrom.get(spool) ?? 0;
      const queued = records.map((record, index) => ({ record, json: encodeRecord(record), from: { spool, sequence: firstSequence + index } })).filter(({ from }) => from.sequence > had);
      const chars = queued.reduce((sum, { json }) => sum + json.length, 0);
      if (chars > batchCharsMax) throw new SallyportError('request-too-large', `a batch of ${chars} characters exceeds ${batchCharsMax}`);
      const refused = queue.refusal(chars);
      if (refused !== undefined) throw refused;
      const durable = queued.map((item) => queue.push(item, item.json.length));
      const last = Math.max(had, firstSequence + records.length - 1);
      remember(queuedFrom, { spool, sequence: last });
      if (durable.length === 0) await queue.exclusive(() => Promise.resolve()); // it may all be waiting still
      await Promise.all(durable);
      return last;
    },
    whois: (query) => findConnections(query, allSegments().map(sourceOf)),
    verify: () => verifyLedger(directory, { lastSegment: active.segment, lastSegmentBytes: active.file.bytes, head }),
    tail: (options = {}) => tailLedger(readable, options),
    read: (from) => openLedgerReader(readable, from),
    readCursor: () => readHead(directory, 'ledger.cursor'),
    writeCursor: (cursor) => writeHead(directory, cursor, 'ledger.cursor'),
    close: async () => {
      await queue.close();
      closed = true;
      changes.emit('change');
      await active.file.close();
      if (queue.failure === undefined) await writeHead(directory, head);
      opened.releaseLock();
    },
  };
}

function encodeRecord(record: LedgerRecord): string {
  const timeMs = Date.parse(record.time);
  if (!(timeMs >= 0)) throw new SallyportError('request-invalid', `a ledger record has the time ${JSON.stringify(record.time)}`, { hint: 'times are RFC 3339, in UTC' });
  const json = JSON.stringify(record);
  if (json.length > recordCharsMax) throw new SallyportError('request-too-large', `a ledger record of ${json.length} characters exceeds ${recordCharsMax}`);
  return json;
}

/** Keeps the latest last, and forgets the one that has been silent longest. */
function remember(spools: Map<string, number>, { spool, sequence }: SpoolPlace): void {
  spools.delete(spool);
  spools.set(spool, sequence);
  if (spools.size > spoolsMax) spools.delete(spools.keys().next().value!);
}
