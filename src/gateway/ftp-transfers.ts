/** The transfers of one FTP session: what the control connection says of each, joined with what its data connection carried, in the ledger. */
import { printableName, type FtpTransferStart } from '../core/ftp/index.ts';
import type { ConnectionReason } from '../core/ledger-record.ts';
import type { DataChannel, TransferFollower } from '../relay/ftp-session.ts';
import type { DataFlow, FlowDirection } from './data-flow.ts';
import type { OpenedRecord, TransferFacts } from './protocol.ts';

export interface FtpTransfersOptions {
  /** Of the control connection. */
  readonly record: OpenedRecord;
  readonly flowOf: (channel: DataChannel) => DataFlow | undefined;
  readonly now: () => number;
  readonly progressEveryMs?: number;
}

export interface FtpTransfers extends TransferFollower {
  /** The control connection is over: no reply comes any more. */
  sessionEnded(reason: ConnectionReason): void;
  /** Resolves when every transfer that was begun is recorded. */
  settled(): Promise<void>;
}

/** Between two records of a transfer that runs. */
const progressEveryMsDefault = 10_000;
const uploads: ReadonlySet<string> = new Set(['APPE', 'STOR', 'STOU']);

/** The final reply, or why there will be none. */
type Reply = { readonly code: number } | { readonly code: null; readonly reason: ConnectionReason };

export function createFtpTransfers({ record, flowOf, now, progressEveryMs = progressEveryMsDefault }: FtpTransfersOptions): FtpTransfers {
  const replies = new Map<number, (reply: Reply) => void>();
  const settlers = new Map<number, () => void>();
  const running = new Set<Promise<void>>();

  async function follow({ id, verb, path, user }: FtpTransferStart, from: FlowDirection, flow: DataFlow | undefined): Promise<void> {
    const beganAtMs = now();
    const facts = (): TransferFacts => ({
      user: user === null ? null : printableName(user),
      verb,
      path: printableName(path),
      bytes: flow?.bytes[from] ?? 0,
      durationMs: Math.max(0, now() - beganAtMs),
    });
    const progress = setInterval(() => flow?.record?.transferring(facts()), progressEveryMs);
    const reply = await new Promise<Reply>((resolve) => replies.set(id, resolve));
    // What has not begun, or has failed without a byte, by the final reply is not this transfer's connection, or not any more.
    const isCarried = flow?.isBegun === true && (reply.code === null || reply.code < 400 || flow.bytes[from] > 0);
    const carried = isCarried ? await flow.done : null;
    clearInterval(progress);
    replies.delete(id);
    settlers.delete(id);
    const reason = reasonOf(reply, isCarried, carried);
    const sha256 = carried === null ? undefined : flow?.digest(from);
    (carried === null ? record : (flow?.record ?? record)).transferred(facts(), { outcome: reason === 'finished' ? 'completed' : 'failed', reason, replyCode: reply.code, ...(sha256 === undefined ? {} : { sha256 }) });
  }

  return {
    begun(transfer, channel, settle) {
      const from = uploads.has(transfer.verb) ? 'a' : 'b';
      const flow = channel === undefined ? undefined : flowOf(channel);
      flow?.take({ from, limits: transfer.limits, settle });
      settlers.set(transfer.id, () => {
        if (flow?.isBegun !== true) settle(false);
      });
      const over = follow(transfer, from, flow).finally(() => running.delete(over));
      running.add(over);
    },
    concluding: (id) => settlers.get(id)?.(),
    ended: (id, code) => replies.get(id)?.(code === null ? { code, reason: 'ftp-transfer-failed' } : { code }),
    sessionEnded(reason) {
      for (const end of replies.values()) end({ code: null, reason });
    },
    settled: async () => {
      await Promise.all(running);
    },
  };
}

/** What broke the data connection says more than the reply that follows from it; without either, the server had its own reason. */
function reasonOf(reply: Reply, isCarried: boolean, carried: ConnectionReason | null): ConnectionReason {
  if (carried !== null && carried !== 'finished') return carried;
  if (reply.code === null) return reply.reason === 'finished' ? 'ftp-transfer-failed' : reply.reason; // the session ended in order, but the server has not said that it has it all
  if (isCarried && carried === null) return 'ftp-transfer-failed'; // the server has come for it, and the workload never did
  return reply.code < 400 ? 'finished' : 'ftp-transfer-failed';
}
