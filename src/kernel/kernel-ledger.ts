/** What the kernel lets out, and refuses, on its way into the ledger: read, spooled, and delivered as an embedded gateway's is. */
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { deniedRecordOf, isOfStranger, type RecordContext } from '../backends/kernel/index.ts';
import type { LedgerRecord } from '../core/ledger-record.ts';
import { createRecordBudget } from '../core/record-budget.ts';
import { deliveryMs, openGatewaySpool, startLedgerShipper, type LedgerShipper } from '../gateway/index.ts';
import type { DeltaEndpoint } from '../xds/index.ts';
import { isInCharge, type Place } from './addresses.ts';
import { createConnectionBook } from './connection-book.ts';
import { openConnectionStore } from './connection-store.ts';
import { watchConnections, type ConnectionWatch } from './connection-watch.ts';
import { takeDenials } from './denial-reader.ts';
import { startLineProgram } from './lines.ts';
import type { RunProgram } from './run-program.ts';

export interface KernelLedgerStatus {
  /** Of the spool. The kernel lets connections out whether or not they can be recorded. */
  readonly state: 'ready' | 'full' | 'failed';
  /** Records that the control plane has not acknowledged. */
  readonly waiting: number;
  /** That are open. */
  readonly connections: number;
  /** Records that found no room in the spool. */
  readonly lost: number;
  /** Times that the kernel told of more connections than could be read. */
  readonly overruns: number;
  /** Refusals that were too many to record one by one. */
  readonly denialsUnrecorded: number;
}

export interface KernelLedgerOptions {
  /** Spool and open connections, each in a directory of its own. */
  readonly stateDirectory: string;
  readonly run: RunProgram;
  /** False for one of a pair: it records what goes through it, which is while it has the SNAT addresses. */
  readonly isAlone: boolean;
  /** Does something while nobody changes the table. */
  readonly undisturbed: <Result>(work: () => Promise<Result>) => Promise<Result>;
  readonly now: () => number;
  readonly random: () => number;
  readonly log: Logger;
}

export interface KernelLedger {
  readonly status: () => KernelLedgerStatus;
  /**
   * Says what will be in force in a moment; called while nobody changes the table. Resolves when it is known what has been refused until now: a table that is
   * replaced takes that with it. Nothing is recorded before the first. Never rejects.
   */
  describe(context: RecordContext, place: Place): Promise<void>;
  /** Delivers from now on. */
  deliver(connect: () => DeltaEndpoint): void;
  close(): Promise<void>;
}

/**
 * Of connections that begin from then on: bytes, the kernel's own times, and that it tells of their end, which by default it does only of those that began while
 * somebody listened (https://docs.kernel.org/networking/nf_conntrack-sysctl.html).
 */
const kernelSettings = ['nf_conntrack_acct', 'nf_conntrack_timestamp', 'nf_conntrack_events'] as const;

/** After refusals, and for who is in charge of a pair. */
const lookMs = 2_000;

export async function openKernelLedger({ stateDirectory, run, isAlone, undisturbed, now, random, log }: KernelLedgerOptions): Promise<KernelLedger> {
  const spool = await openGatewaySpool(stateDirectory, log);
  const store = await openConnectionStore(join(stateDirectory, 'connections'), now, log);
  const strangers = createRecordBudget(now);
  let contexts: readonly RecordContext[] = [];
  let place: Place = { interface: '', addresses: [] };
  let inCharge = isAlone;
  let watch: ConnectionWatch | undefined;
  let shipper: LedgerShipper | undefined;
  let [lost, overruns, withoutRoom] = [0, 0, 0];

  function record(each: LedgerRecord): void {
    if (each.type === 'connection-denied') log.info({ ...each, decision: 'denied' }, each.detail);
    else log.debug(each);
    if (each.type === 'connection-opened' && spool.state !== 'ready') lost += 1;
    else void spool.append(each).catch(() => (lost += 1));
  }

  const book = createConnectionBook({ known: store.known, contexts: () => contexts, isInCharge: () => inCharge, newId: randomUUID, now, onRecord: record, onChange: (key, opened) => store.put(key, opened) });

  async function lookWhoIsInCharge(): Promise<void> {
    if (isAlone) return;
    const wasInCharge = inCharge;
    inCharge = await isInCharge(run, place).catch(() => false); // told by whoever applies the table: there is no such interface
    if (inCharge && !wasInCharge) watch?.look();
  }

  /** While nobody changes the table. */
  async function readDenials(context: RecordContext): Promise<void> {
    try {
      const { denials, unrecorded } = await takeDenials(run, now);
      withoutRoom = unrecorded ?? withoutRoom;
      for (const denial of denials) if (!isOfStranger(denial) || strangers.take()) record(deniedRecordOf(denial, context, randomUUID()));
    } catch (error) {
      log.error({ err: error }, 'refusals cannot be read');
    }
  }

  async function begin(): Promise<void> {
    const { status, stderr } = await run('sysctl', ['-qw', ...kernelSettings.map((name) => `net.netfilter.${name}=1`)]);
    if (status !== 0) log.warn({ complaint: stderr.trim() }, 'records of connections may lack bytes, and ends of some come late: the kernel takes not all of its settings');
    watch = watchConnections({
      start: startLineProgram,
      onEvent: (event) => book.take(event),
      onDump: () => book.compare(),
      onLoss() {
        overruns += 1;
        log.warn({ overruns }, 'the kernel has told of more connections than could be read; those that are open are looked for');
      },
      random,
      log,
    });
  }

  let beginning: Promise<void> | undefined;
  let reading: Promise<unknown> | undefined;
  const looks = setInterval(() => {
    const [context] = contexts;
    if (context === undefined) return;
    reading ??= Promise.all([lookWhoIsInCharge(), undisturbed(() => readDenials(context))]).finally(() => (reading = undefined));
  }, lookMs);

  return {
    status: () => ({ state: spool.state, waiting: spool.lastSequence - (shipper?.acknowledged ?? 0), connections: book.size, lost, overruns, denialsUnrecorded: strangers.refused + withoutRoom }),
    async describe(context, where) {
      place = where;
      await Promise.all([lookWhoIsInCharge(), readDenials(contexts[0] ?? context)]);
      contexts = [context, ...contexts.slice(0, 1)];
      beginning ??= begin();
    },
    deliver(connect) {
      shipper ??= startLedgerShipper({ spool, connect, random, log });
    },
    async close() {
      clearInterval(looks);
      await Promise.all([beginning, reading]);
      for (const context of contexts.slice(0, 1)) await readDenials(context);
      await watch?.stop();
      await Promise.all([store.close(), shipper?.close(deliveryMs)]);
      await spool.close();
    },
  };
}
