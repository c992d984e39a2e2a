/** Frames of a gateway into the ledger: what is a record is made durable, all else is counted and told. */
import { setTimeout } from 'node:timers/promises';
import type { Logger } from 'pino';
import { readLogLine, type BigipRecord } from '../../backends/bigip/index.ts';
import { backOffMs } from '../../core/back-off.ts';
import { SallyportError } from '../../core/errors.ts';
import type { LedgerRecord } from '../../core/ledger-record.ts';
import type { Plan } from '../../core/plan/plan.ts';
import type { SyslogFrame } from '../../core/syslog/framing.ts';
import { parseSyslogMessage } from '../../core/syslog/message.ts';
import type { Ledger } from '../../store/index.ts';
import type { Remarks } from './remarks.ts';

/** What is counted. */
export interface LineCounts {
  readonly onRecord: (gateway: string) => void;
  readonly onRefused: (gateway: string) => void;
}

export interface LineIntakeOptions extends LineCounts {
  readonly ledger: Pick<Ledger, 'append'>;
  readonly plan: () => Plan;
  /** Whether a record may still be written, of those that strangers can cause. */
  readonly isTaken: (record: LedgerRecord) => boolean;
  readonly remarks: Remarks;
  readonly now: () => number;
  readonly random: () => number;
  readonly log: Logger;
}

export interface LineIntake {
  /**
   * Resolves once the records of all frames are durable, and waits for as long as the ledger has too much to do. Throws what the ledger
   * does where it takes nothing any more, and `signal`'s reason.
   */
  take(gateway: string, frames: readonly SyslogFrame[], signal: AbortSignal): Promise<void>;
  /** Tells of a frame that is not whole and never will be. */
  refuse(gateway: string, reason: string): void;
}

/** Eight times what RFC 5425, section 4.3.1, wants to be taken. */
export const messageBytesMax = 65_536;

const ledgerBackOff = { baseMs: 50, maxMs: 2_000 } as const;

export function createLineIntake({ ledger, plan, isTaken, onRecord, onRefused, remarks, now, random, log }: LineIntakeOptions): LineIntake {
  function tell(gateway: string, subject: string, reason: string): void {
    if (remarks.note(subject, reason)) log.warn({ gateway }, `${subject}: it ${reason}`);
  }

  function refuse(gateway: string, reason: string): void {
    onRefused(gateway);
    tell(gateway, `a syslog line of gateway "${gateway}" was refused`, reason);
  }

  function recordOf(gateway: string, frame: SyslogFrame): BigipRecord | undefined {
    const reading = read(frame, gateway);
    if (!reading.ok) {
      refuse(gateway, reading.reason);
      return undefined;
    }
    if (reading.clockFault !== undefined) tell(gateway, `the record of a syslog line of gateway "${gateway}" has the time at which it came`, reading.clockFault);
    return reading.record;
  }

  function read(frame: SyslogFrame, origin: string): ReturnType<typeof readLogLine> {
    if (frame.kind === 'too-long') return { ok: false, reason: `is longer than ${messageBytesMax} bytes` };
    if (frame.kind === 'out-of-step') return { ok: false, reason: 'begins with neither a length nor "<"' };
    const parsed = parseSyslogMessage(frame.bytes);
    return parsed.ok ? readLogLine(parsed.message, { origin, plan: plan(), nowMs: now() }) : parsed;
  }

  return {
    refuse,
    async take(gateway, frames, signal) {
      const records = frames.flatMap((frame) => recordOf(gateway, frame) ?? []).filter(isTaken);
      let waiting = records;
      for (let failures = 0; waiting.length > 0; failures += 1) {
        if (failures > 0) await setTimeout(backOffMs(ledgerBackOff, failures - 1, random()), undefined, { signal });
        const answers = await Promise.allSettled(waiting.map((record) => ledger.append(record)));
        const final = answers.find((answer) => answer.status === 'rejected' && !isPassing(answer.reason));
        if (final?.status === 'rejected') throw final.reason;
        waiting = waiting.filter((_, index) => answers[index]?.status === 'rejected');
      }
      for (const { origin } of records) onRecord(origin);
    },
  };
}

const isPassing = (fault: unknown): boolean => fault instanceof SallyportError && fault.meaning.retriable;
