/**
 * Sends the ledger on to a collector: at least once, in order, a batch at a time. The ledger itself is the buffer, and beside it stands how much
 * of it has been acknowledged; in memory is the batch that is under way, and whoever writes the ledger waits for nothing here.
 */
import { setImmediate, setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';
import { backOffMs } from '../../core/back-off.ts';
import { otlpLogOf } from '../../core/otlp-log.ts';
import { printable } from '../../core/printable.ts';
import type { Ledger, LedgerLine, LedgerReader } from '../../store/index.ts';
import type { Collector } from './collector.ts';
import { judge, type Verdict } from './otlp-answer.ts';
import { encodeLogs, type OtlpSource } from './otlp-request.ts';

export interface LedgerExportOptions {
  readonly ledger: Pick<Ledger, 'head' | 'read' | 'readCursor' | 'writeCursor'>;
  readonly collector: Collector;
  readonly source: OtlpSource;
  readonly now: () => number;
  readonly random: () => number;
  readonly log: Pick<Logger, 'error' | 'info' | 'warn'>;
}

export interface LedgerExportStatus {
  /** Everything up to here is with the collector, or is counted below. */
  readonly sequence: number;
  readonly waitingRecords: number;
  /** Why nothing is taken; null where all is well. */
  readonly standstill: { readonly sinceMs: number; readonly reason: string } | null;
  /** That the collector did not want, since this process started. */
  readonly refusedRecords: number;
  /** That were deleted here before it had them. */
  readonly deletedRecords: number;
}

export interface LedgerExport {
  status(): LedgerExportStatus;
  /** Waits up to `deliveryMs` for what the ledger has, while the collector takes it. */
  close(deliveryMs: number): Promise<void>;
}

const backOff = { baseMs: 1_000, maxMs: 60_000 };
/** Records wait this long for company: a batch costs both ends about the same, however few it holds. */
const gatherMs = 1_000;
const sliceRecords = 32;
const reasonCharsMax = 500;

type NotTaken = Omit<Extract<Verdict, { readonly kind: 'not-taken' }>, 'kind'>;

export function startLedgerExport({ ledger, collector, source, now, random, log }: LedgerExportOptions): LedgerExport {
  const finishing = new AbortController(); // waits for nothing new
  const aborting = new AbortController(); // nor for an answer
  let reader: LedgerReader | undefined;
  let pending: readonly LedgerLine[] = [];
  let sequence = 0;
  let failures = 0;
  let standstill: LedgerExportStatus['standstill'] = null;
  let refusedRecords = 0;
  let deletedRecords = 0;

  async function run(): Promise<void> {
    for (;;) {
      const failure = await advance().catch((error: unknown): NotTaken => ({ message: reasonOf(error), afterMs: 0 }));
      if (failure !== undefined) {
        if (finishing.signal.aborted) return;
        await pause(noteFailure(failure));
      } else if (pending.length === 0) {
        if (finishing.signal.aborted) return;
        await reader!.grown(finishing.signal);
        await pause(gatherMs);
      }
    }
  }

  /** Sends what a read brings; nothing is pending afterwards, unless it was not taken, where nothing is left to read. */
  async function advance(): Promise<NotTaken | undefined> {
    reader ??= await begin();
    for (;;) {
      if (pending.length === 0) pending = await reader.next();
      const [first] = pending;
      if (first === undefined) return undefined;
      noteGap(first);
      const failure = await deliver(pending);
      if (failure !== undefined) return failure;
      if (standstill !== null) log.info({ waiting: waiting() }, 'the ledger is sent on again');
      standstill = null;
      failures = 0;
    }
  }

  /** After what has been acknowledged, or with the oldest that is there. */
  async function begin(): Promise<LedgerReader> {
    const cursor = await ledger.readCursor();
    if (cursor !== undefined) {
      const begun = ledger.read(cursor.sequence);
      const lines = await begun.next();
      const acknowledged = lines.find(({ kind, sequence }) => kind === 'record' && sequence === cursor.sequence);
      if (cursor.sequence <= ledger.head.sequence && (acknowledged === undefined || acknowledged.hash === cursor.hash)) {
        sequence = cursor.sequence;
        pending = lines.filter((line) => line.sequence > cursor.sequence);
        return begun;
      }
      log.warn({ sequence: cursor.sequence }, 'what was sent on was of another ledger: this one is sent on from its beginning');
    }
    const begun = ledger.read(1);
    pending = await begun.next();
    sequence = (pending[0]?.sequence ?? 1) - 1; // what was deleted before was not for anybody
    return begun;
  }

  function noteGap(first: LedgerLine): void {
    const deleted = first.sequence - sequence - 1;
    if (deleted <= 0) return;
    deletedRecords += deleted;
    log.error({ first: sequence + 1, last: first.sequence - 1 }, 'ledger records were deleted here before the collector had them');
    sequence = first.sequence - 1;
  }

  /** In order, and in halves where the whole is refused for what it is: one record does not cost its neighbours. */
  async function deliver(lines: readonly LedgerLine[]): Promise<NotTaken | undefined> {
    const verdict = judge(await collector.post(await encodeInSlices(source, lines), aborting.signal), now());
    switch (verdict.kind) {
      case 'not-taken':
        return verdict;
      case 'taken':
        if (verdict.refused > 0) noteRefused(lines, verdict.refused, verdict.message);
        else if (verdict.message !== '') log.info({ said: brief(verdict.message) }, 'the collector has something to say of ledger records');
        break;
      case 'refused':
        if (lines.length > 1) return (await deliver(lines.slice(0, lines.length / 2))) ?? (await deliver(lines.slice(lines.length / 2)));
        noteRefused(lines, 1, verdict.message);
    }
    await acknowledge(lines);
    return undefined;
  }

  function noteRefused(lines: readonly LedgerLine[], count: number, message: string): void {
    refusedRecords += count;
    log.error({ refused: count, first: lines[0]!.sequence, last: lines.at(-1)!.sequence, said: brief(message) }, 'ledger records that the collector refuses for good are passed over; they are in the ledger here');
  }

  async function acknowledge(lines: readonly LedgerLine[]): Promise<void> {
    const last = lines.findLast(({ kind }) => kind === 'record');
    if (last !== undefined) {
      await ledger.writeCursor({ sequence: last.sequence, hash: last.hash });
      sequence = last.sequence;
    }
    pending = pending.slice(lines.length);
  }

  /** How long to wait. One failure alone is not told: most often it is a connection that was closed for being idle. */
  function noteFailure({ message, afterMs }: NotTaken): number {
    const delayMs = Math.max(backOffMs(backOff, failures, random()), afterMs);
    failures += 1;
    standstill = { sinceMs: standstill?.sinceMs ?? now(), reason: brief(message) };
    if (failures > 1) log.warn({ reason: standstill.reason, retryInMs: Math.round(delayMs), waiting: waiting() }, 'the ledger cannot be sent on');
    return delayMs;
  }

  const waiting = (): number => Math.max(0, ledger.head.sequence - sequence);

  async function pause(ms: number): Promise<void> {
    await delay(ms, undefined, { signal: finishing.signal }).catch(() => undefined);
  }

  const running = run();
  return {
    status: () => ({ sequence, waitingRecords: waiting(), standstill, refusedRecords, deletedRecords }),
    async close(deliveryMs) {
      const timer = setTimeout(() => aborting.abort(), failures > 0 ? 0 : deliveryMs);
      finishing.abort();
      await running;
      clearTimeout(timer);
      collector.close();
    },
  };
}

/** A millisecond or two a turn of the event loop. Messages of protobuf in a row are one, with the repeated fields of all. */
async function encodeInSlices(source: OtlpSource, lines: readonly LedgerLine[]): Promise<Uint8Array> {
  const slices: Uint8Array[] = [];
  for (let at = 0; at < lines.length; at += sliceRecords) {
    await setImmediate();
    slices.push(encodeLogs(source, lines.slice(at, at + sliceRecords).map(logOf)));
  }
  return Buffer.concat(slices);
}

const logOf = ({ kind, sequence, hash, bytes }: LedgerLine) => otlpLogOf({ kind, sequence, hash, text: bytes.toString() });

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** What others say, fit for a line of the log and of the status. */
const brief = (text: string): string => printable(text.slice(0, reasonCharsMax));
