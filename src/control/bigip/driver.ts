/**
 * Holds one gateway of class bigip, a box or a pair, to what it is to do (docs/decisions/0810). What is taken away goes first, by the data groups, and
 * waits for nothing; a change that is all in data groups is made there, and AS3 is told of it afterwards; anything else is declared.
 * After each change the box is asked whether it is so. Where it cannot be reached, or refuses, it keeps what it has, and is asked again later.
 */
import { hash } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';
import { fixedNames, isRefusal, pathOf } from '../../backends/bigip/index.ts';
import { backOffMs } from '../../core/back-off.ts';
import { SallyportError, invariant } from '../../core/errors.ts';
import type { Revision } from '../../core/plan/plan.ts';
import type { Box, DeclarationOutcome } from './box.ts';
import { restricted, sameRecords, transition, type Records } from './data-group-changes.ts';
import { dataGroupsIn, keyPairIn, sameStructure, tenantOf, type JsonObject } from './tenant.ts';
import type { HeldKeyPair, KeyPair } from './server-certificates.ts';

/** What a gateway is to do: a value. */
export interface Wanted {
  /** An `ADC` with one tenant. */
  readonly declaration: JsonObject;
  readonly revision: Revision;
}

export interface Timings {
  /** Between two looks whether somebody has changed its data groups. */
  readonly lookEveryMs: number;
  /** Between two questions to AS3 whether it would change anything. */
  readonly trialEveryMs: number;
  /** AS3 is told of changed data groups so long after the first. */
  readonly noteAfterMs: number;
  /** For the other one of a pair to have what was changed. */
  readonly synchronisedWithinMs: number;
  readonly pollEveryMs: number;
  /** Whether this one leads, where replicas do, is asked so often. */
  readonly standbyMs: number;
  readonly backOff: { readonly baseMs: number; readonly maxMs: number };
}

export const defaultTimings: Timings = {
  lookEveryMs: 60_000,
  trialEveryMs: 600_000,
  noteAfterMs: 60_000,
  synchronisedWithinMs: 60_000,
  pollEveryMs: 1_000,
  standbyMs: 2_000,
  backOff: { baseMs: 1_000, maxMs: 60_000 },
};

export interface BigIpDriverOptions {
  readonly gateway: string;
  readonly partition: string;
  readonly repairsDrift: () => boolean;
  /** One, or both of a pair. */
  readonly boxes: readonly Box[];
  /** What it shows workloads, given what it has. */
  readonly keyPair: (found: KeyPair | undefined) => Promise<HeldKeyPair>;
  /** What it is to do with that certificate. */
  readonly want: (keyPair: KeyPair) => Wanted;
  /** Called when the box was seen to be as it is to be. */
  readonly onHeld?: () => void;
  /** Where replicas are, only one may. */
  readonly mayWrite: () => boolean;
  readonly timings: Timings;
  readonly now: () => number;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  readonly log: Pick<Logger, 'error' | 'info' | 'warn'>;
}

export interface BigIpStatus {
  /** Of the plan that the box was last seen to hold. */
  readonly held: Revision | null;
  /** Boxes that answer. */
  readonly connected: number;
  readonly connectedSinceMs: number | null;
  /** Why it is not, or not all, as it is to be; null for nothing. */
  readonly trouble: { readonly reason: string; readonly atMs: number; readonly count: number } | null;
  /** What somebody has changed by hand, and a pair that is not in step: a sentence each. */
  readonly findings: readonly string[];
}

export interface BigIpDriver {
  readonly status: BigIpStatus;
  /** Something has changed that `want` or `keyPair` go by. */
  wake(): void;
  close(): Promise<void>;
}

/** That something was taken away of what the plan before allows: by which plan, and what the settings were. */
interface Less {
  readonly revision: Revision;
  readonly settings: Records;
}

/** What stands where a key pair is yet to be found: it decides nothing of a data group. */
const noKeyPair: KeyPair = { certificateChainPem: '', privateKeyPem: '' };

type Groups = ReadonlyMap<string, Records>;
type GroupsThere = ReadonlyMap<string, Records | undefined>;

export function startBigIpDriver({ gateway, partition, repairsDrift, boxes, keyPair, want, onHeld, mayWrite, timings, now, random, log }: BigIpDriverOptions): BigIpDriver {
  const settings = pathOf(partition, fixedNames.settings);
  const closing = new AbortController();
  const { signal } = closing;
  let sleeping = new AbortController();
  let isStale = true;
  let active: Box | undefined;
  /** What AS3 has of the tenant, once that was asked; it is asked anew after a change of the box or of the leader, and where something went wrong. */
  let declared: { readonly tenant: JsonObject | undefined } | undefined;
  let shown: HeldKeyPair | undefined;
  /** What the box was seen to do. */
  let verified: Wanted | undefined;
  let noteAtMs = Infinity;
  let trialAtMs = 0;
  let wouldChange = false;
  let held: Revision | null = null;
  /** What was taken away, while the revision is still the one before. */
  let less: Less | undefined;
  /** What stands in the place of a revision where less is allowed than by `held`, and not all yet that is to be. */
  let inBetween: string | undefined;
  let trouble: BigIpStatus['trouble'] = null;
  let drift: string | undefined;
  let lag: string | undefined;

  async function run(): Promise<void> {
    while (!signal.aborted) {
      sleeping = new AbortController();
      const pauseMs = await step();
      if (isUpToDate()) await delay(pauseMs, undefined, { signal: AbortSignal.any([signal, sleeping.signal]) }).catch(() => undefined);
    }
  }

  /** Gives how long to wait for the next one. */
  async function step(): Promise<number> {
    isStale = false;
    try {
      if (!mayWrite()) {
        await standBy();
        return timings.standbyMs;
      }
      await turn();
      if (trouble !== null) log.info({ gateway, revision: held }, 'the BIG-IP is as it is to be again');
      trouble = null;
      if (isUpToDate()) onHeld?.();
      return Math.max(0, Math.min(timings.lookEveryMs, noteAtMs - now(), shown!.renewAtMs - now()));
    } catch (error) {
      return signal.aborted ? 0 : noteTrouble(error);
    }
  }

  /** Nobody has said meanwhile that something has changed. */
  const isUpToDate = (): boolean => !isStale;

  async function standBy(): Promise<void> {
    forget();
    active = undefined;
    trouble = null;
    drift = undefined;
    lag = undefined;
    await Promise.all(boxes.map((box) => box.rest()));
  }

  async function turn(): Promise<void> {
    const box = await chooseBox();
    // Data groups depend on no certificate: what is taken away waits neither for AS3 nor for the CA.
    const ahead = want(shown ?? noKeyPair);
    if (verified?.declaration !== ahead.declaration) await takeAway(box, ahead);
    try {
      declared ??= { tenant: await box.declared(signal) };
      shown = await keyPair(declared.tenant === undefined ? undefined : keyPairIn(declared.tenant));
      const wanted = want(shown);
      const isHeld = verified?.declaration === wanted.declaration && now() < noteAtMs;
      if (isHeld) await look(box, wanted);
      else await push(box, wanted, wouldChange || now() >= noteAtMs);
      if (boxes.length > 1) await awaitSynchronisation(box, isHeld ? 0 : timings.synchronisedWithinMs);
    } catch (error) {
      await markLess(box).catch(() => undefined); // another time: what has gone wrong first is what is told
      throw error;
    }
  }

  /** The one that is active, of a pair: what it is told, the other one gets from it. */
  async function chooseBox(): Promise<Box> {
    const answers = boxes.length === 1 ? [] : await Promise.allSettled(boxes.map((box) => box.isActive(signal)));
    const box = boxes.length === 1 ? boxes[0] : boxes.find((_, index) => isTrue(answers[index]!));
    if (box === undefined) throw answers.find((answer) => answer.status === 'rejected')?.reason ?? new SallyportError('unavailable', `neither ${boxes.map(({ place }) => place).join(' nor ')} is active`);
    if (active !== box) forget();
    active = box;
    return box;
  }

  function forget(): void {
    declared = undefined;
    verified = undefined;
  }

  async function push(box: Box, wanted: Wanted, mustDeclare: boolean): Promise<void> {
    verified = undefined;
    const tenant = tenantIn(wanted);
    const groups = dataGroupsIn(tenant, partition);
    const there = await recordsOf(box, groups.keys());
    const known = declared?.tenant;
    if (mustDeclare || known === undefined || !sameStructure(known, tenant) || [...there.values()].includes(undefined)) {
      await markLess(box);
      await declare(box, wanted);
      log.info({ gateway, box: box.place, revision: wanted.revision }, 'the BIG-IP was declared what it is to do');
    } else {
      for (const [path, records] of inOrder(groups)) {
        const between = restricted(there.get(path)!, records, isRefusal);
        await change(box, path, there.get(path)!, between);
        await change(box, path, between, records);
      }
      if (!sameGroups(dataGroupsIn(known, partition), groups)) noteAtMs = Math.min(noteAtMs, now() + timings.noteAfterMs);
      await tryIt(box, wanted);
      if (wouldChange) await declare(box, wanted);
      log.info({ gateway, box: box.place, revision: wanted.revision }, 'the data groups of the BIG-IP are as they are to be');
    }
    const different = differing(await recordsOf(box, groups.keys()), groups);
    if (different.length > 0) throw notDone(box, `${different.join(', ')} ${different.length === 1 ? 'is' : 'are'} not as told`);
    verified = wanted;
    less = undefined;
    drift = undefined;
  }

  /** What nobody is to do any more, before all else. */
  async function takeAway(box: Box, wanted: Wanted): Promise<void> {
    const groups = dataGroupsIn(tenantIn(wanted), partition);
    const there = await recordsOf(box, groups.keys());
    for (const [path, records] of groups) {
      const before = there.get(path);
      if (before !== undefined && (await change(box, path, before, restricted(before, records, isRefusal)))) less = { revision: wanted.revision, settings: there.get(settings) ?? [] };
    }
  }

  /** The iRule looks at open connections anew where the revision is another one; until all of the plan is there, it is that of no plan. */
  async function markLess(box: Box): Promise<void> {
    if (less === undefined) return;
    inBetween = hash('sha256', `less than ${less.revision}`);
    await change(box, settings, less.settings, less.settings.map(({ key, value }) => ({ key, value: key === 'revision' ? inBetween! : value })));
    less = undefined;
  }

  async function change(box: Box, path: string, from: Records, to: Records): Promise<boolean> {
    const changes = transition(path, from, to);
    for (const each of changes) await box.change(each, signal);
    return changes.length > 0;
  }

  async function declare(box: Box, wanted: Wanted): Promise<void> {
    declared = undefined; // until it is known what has become of it
    let taken = wanted;
    const meanwhile = async (): Promise<void> => {
      const later = isStale ? want(shown!) : taken;
      if (later.declaration === taken.declaration) return;
      taken = later;
      // What is declared may yet undo it: the turn that comes next sees to it that it stays so.
      await takeAway(box, later);
      await markLess(box);
    };
    const { isSame } = doneOf(box, await box.declare(wanted.declaration, signal, { meanwhile }));
    // Where nothing was to be changed, AS3 has just looked.
    wouldChange = !isSame && !doneOf(box, await box.declare(wanted.declaration, signal, { meanwhile, dryRun: true })).isSame;
    if (wouldChange && taken === wanted) throw notDone(box, 'AS3 would change it again');
    declared = { tenant: tenantIn(wanted) };
    noteAtMs = Infinity;
    trialAtMs = now() + timings.trialEveryMs;
  }

  /** Has AS3 say, now and then, whether the box is what was declared: it looks at the box, not at what it was told before. */
  async function tryIt(box: Box, wanted: Wanted): Promise<void> {
    if (now() < trialAtMs) return;
    const outcome = await box.declare(wanted.declaration, signal, { dryRun: true });
    if (outcome.kind === 'busy') return; // with something of somebody else's: another time
    wouldChange = !doneOf(box, outcome).isSame;
    trialAtMs = now() + timings.trialEveryMs;
  }

  /** Whether somebody has changed it. */
  async function look(box: Box, wanted: Wanted): Promise<void> {
    const groups = dataGroupsIn(tenantIn(wanted), partition);
    const different = differing(await recordsOf(box, groups.keys()), groups);
    await tryIt(box, wanted);
    if (different.length === 0 && !wouldChange) {
      drift = undefined;
      return;
    }
    const found = different.length > 0 ? different.join(', ') : `what is declared in partition ${partition}`;
    log.warn({ gateway, box: box.place, found }, 'somebody has changed the BIG-IP by hand');
    if (repairsDrift()) await push(box, wanted, wouldChange);
    else drift = `somebody has changed ${found} by hand; it stays so until the plan changes, for "drift" is Report`;
  }

  async function awaitSynchronisation(box: Box, withinMs: number): Promise<void> {
    const deadlineMs = now() + withinMs;
    for (;;) {
      const said = await box.syncStatus(signal);
      lag = said === 'In Sync' || said === 'Standalone' ? undefined : `the other one of its pair does not have what ${box.place} has: ${said}`;
      if (lag === undefined || now() >= deadlineMs) return;
      await delay(timings.pollEveryMs, undefined, { signal });
    }
  }

  async function recordsOf(box: Box, paths: Iterable<string>): Promise<GroupsThere> {
    const there = new Map<string, Records | undefined>();
    for (const path of paths) there.set(path, await box.records(path, signal));
    const revision = there.get(settings)?.find(({ key }) => key === 'revision')?.value as Revision | undefined;
    if (revision === undefined || revision !== inBetween) held = revision ?? null;
    return there;
  }

  function tenantIn({ declaration }: Wanted): JsonObject {
    const tenant = tenantOf(declaration, partition);
    invariant(tenant !== undefined, 'a declaration has the tenant that it is for');
    return tenant;
  }

  /** Records of the settings come last: a revision says that all else is there. */
  const inOrder = (groups: Groups) => [...groups].sort(([a], [b]) => Number(a === settings) - Number(b === settings));

  function noteTrouble(error: unknown): number {
    forget();
    const reason = error instanceof Error ? error.message : String(error);
    const count = (trouble?.count ?? 0) + 1;
    trouble = { reason, atMs: now(), count };
    const retryInMs = backOffMs(timings.backOff, count - 1, random());
    log.warn({ gateway, reason, retryInMs: Math.round(retryInMs) }, 'the BIG-IP is not as it is to be, and keeps what it has');
    return retryInMs;
  }

  const running = run();
  return {
    get status() {
      const answering = boxes.map(({ answeringSinceMs }) => answeringSinceMs).filter((sinceMs) => sinceMs !== null);
      return { held, connected: answering.length, connectedSinceMs: answering.length === 0 ? null : Math.min(...answering), trouble, findings: [drift, lag].filter((text) => text !== undefined) };
    },
    wake() {
      isStale = true;
      sleeping.abort();
    },
    async close() {
      closing.abort();
      await running;
      await Promise.all(boxes.map((box) => box.rest()));
    },
  };
}

const isTrue = (answer: PromiseSettledResult<boolean>): boolean => answer.status === 'fulfilled' && answer.value;

/** Throws where it is not done. */
function doneOf({ place }: Box, outcome: DeclarationOutcome): Extract<DeclarationOutcome, { readonly kind: 'done' }> {
  if (outcome.kind === 'done') return outcome;
  const what = { busy: 'is busy', refused: 'refuses what it is declared', unclear: 'does not say what has become of what it was declared' }[outcome.kind];
  throw new SallyportError('unavailable', `${place} ${what}: ${outcome.message}`, { place });
}

const notDone = ({ place }: Box, why: string): SallyportError => new SallyportError('unavailable', `${place} says yes and does not do it: ${why}`, { place });

/** Paths of the data groups that are not as they are to be. */
const differing = (there: GroupsThere, groups: Groups): readonly string[] => [...groups].filter(([path, records]) => !sameRecords(there.get(path) ?? [], records)).map(([path]) => path);

const sameGroups = (a: Groups, b: Groups): boolean => a.size === b.size && [...b].every(([path, records]) => sameRecords(a.get(path) ?? [], records));
