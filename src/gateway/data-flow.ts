/** What one FTP data connection carries: counted, digested where that is wanted, and held to the limits of the transfer that it is for. */
import { createHash, type Hash } from 'node:crypto';
import { bytesMaxOf, rateOf, type TransferLimit } from '../core/ftp/index.ts';
import type { ConnectionReason } from '../core/ledger-record.ts';
import type { Splice, SpliceWatch } from '../relay/splice.ts';
import type { OpenedRecord } from './protocol.ts';

/** From the workload's end `a` to the server's end `b`, or back. */
export type FlowDirection = keyof FlowTotals;

export interface FlowTotals {
  readonly a: number;
  readonly b: number;
}

export interface LimitedTransfer {
  readonly from: FlowDirection;
  readonly limits: readonly TransferLimit[];
  /** No more of it can pass. May be called again. */
  settle(isTooLarge: boolean): void;
}

/** The life of a data connection, from the moment that it is prepared; in this order. */
export interface DataFlow extends SpliceWatch {
  /** One end is there, and the other is being seen to. May be called again. */
  begin(): void;
  /** Both ends are known. */
  open(record: OpenedRecord): void;
  join(splice: Splice<ConnectionReason>): void;
  /** Nothing is left of it; `reason` is null where it never carried anything. */
  finish(reason: ConnectionReason | null): void;

  /**
   * Has it carry a transfer, and keep to its limits. A server that fails a transfer may serve the next over the same connection, and only it
   * knows which of those that were asked for meanwhile: then all of their limits hold.
   */
  take(transfer: LimitedTransfer): void;
  /** Whether one of its ends has come. */
  readonly isBegun: boolean;
  readonly record: OpenedRecord | undefined;
  readonly bytes: FlowTotals;
  /** Hexadecimal, of what has come from there; undefined where none is made. */
  digest(from: FlowDirection): string | undefined;
  /** Resolves when it is finished, with the reason. */
  readonly done: Promise<ConnectionReason | null>;
}

/** Pauses shorter than this are put off: timers are not so exact. */
const pauseMsMin = 10;

export function createDataFlow({ now, isDigested }: { readonly now: () => number; readonly isDigested: boolean }): DataFlow {
  const bytes = { a: 0, b: 0 };
  const hasEnded = { a: false, b: false };
  const hashes: Readonly<Record<FlowDirection, Hash>> | undefined = isDigested ? { a: createHash('sha256'), b: createHash('sha256') } : undefined;
  const { promise: done, resolve } = Promise.withResolvers<ConnectionReason | null>();
  let isBegun = false;
  let record: OpenedRecord | undefined;
  let splice: Splice<ConnectionReason> | undefined;
  const transfers: LimitedTransfer[] = [];
  let debtMs = 0; // by how much the transfer is ahead of its rate
  let countedAtMs = now();

  function pauseFor(chunkBytes: number, rate: number): number {
    const nowMs = now();
    debtMs = Math.max(0, debtMs - Math.max(0, nowMs - countedAtMs)) + (chunkBytes / rate) * 1_000;
    countedAtMs = nowMs;
    return debtMs < pauseMsMin ? 0 : debtMs;
  }

  return {
    begin: () => (isBegun = true),
    open: (opened) => (record = opened),
    join: (joined) => (splice = joined),
    chunk(chunk, from) {
      bytes[from] += chunk.length;
      hashes?.[from].update(chunk);
      const limits = transfers.filter((transfer) => transfer.from === from && transfer.limits.length > 0).map((transfer) => transfer.limits);
      if (limits.length === 0) return 0;
      if (limits.some((each) => bytes[from] > (bytesMaxOf(each) ?? Infinity))) {
        for (const transfer of transfers) transfer.settle(true);
        splice?.destroy('ftp-transfer-too-large');
        return 0;
      }
      return pauseFor(chunk.length, Math.min(...limits.map((each) => rateOf(each, bytes[from]) ?? Infinity)));
    },
    end(from) {
      hasEnded[from] = true;
      for (const transfer of transfers) if (transfer.from === from) transfer.settle(false);
    },
    finish(reason) {
      if (reason !== 'ftp-transfer-too-large') for (const transfer of transfers) transfer.settle(false);
      resolve(reason);
    },
    take(taken) {
      transfers.push(taken);
      if (hasEnded[taken.from]) taken.settle(false);
    },
    get isBegun() {
      return isBegun;
    },
    get record() {
      return record;
    },
    bytes,
    digest: (from) => hashes?.[from].copy().digest('hex'),
    done,
  };
}
