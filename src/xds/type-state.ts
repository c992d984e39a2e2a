import type { ResourceMap } from './resource.ts';
import { NO_RESOURCES } from './resource.ts';
import { changedNames } from './snapshot-diff.ts';
import { covers, isEmpty, NO_SUBSCRIPTION } from './subscription.ts';
import type { Subscription, SubscriptionChange } from './subscription.ts';

/**
 * What the client holds of a resource that is due: this version, nothing, or one of several (it has rejected a response, or
 * has asked again for what it was sent).
 */
export type Holding = { readonly version: string } | 'nothing' | 'unknown';

/**
 * How a response says what has changed. Delta: `changes`, with removals. SotW: `whole`, all that there is, so that what is
 * missing is gone; or `named`, changed resources only, of types that have no way to say that one is gone.
 */
export type DeliveryMode = 'changes' | 'whole' | 'named';

/** A response that the client has neither accepted nor rejected yet. There is at most one a type. */
export interface Outstanding {
  readonly nonce: string;
  readonly names: readonly string[];
  readonly version: string;
  readonly sentAtMs: number;
  /** The names whose time to live it prolongs, without their resources. */
  readonly refreshed: readonly string[];
  /** What the client goes on holding, should it reject this; only kept where anything has a time to live. */
  readonly before: Rejected;
}

/** Names of one response, each with what the client holds in its place: what of that has a time to live is kept alive. */
export type Rejected = ReadonlyMap<string, Holding>;

export interface Rejection {
  readonly version: string;
  readonly message: string;
  readonly atMs: number;
}

/**
 * One type on one stream. What is not `due`, `outstanding` or in `rejected` is held by the client as it stands in `current`,
 * so a client that is up to date costs no memory a resource.
 */
export interface TypeState {
  readonly subscription: Subscription;
  /** The resources of the latest snapshot. */
  readonly current: ResourceMap;
  /** What differs from `current` and the client was not sent. Each is covered by the subscription. */
  readonly due: ReadonlyMap<string, Holding>;
  /** A response is owed even where nothing is due: the client waits to learn that there is nothing. */
  readonly answerDue: boolean;
  readonly outstanding: Outstanding | undefined;
  /**
   * The names in responses that were unanswered when the client had dropped everything of the type. It may leave them so
   * (grpc/grpc-java#11232), but it may also take what they hold, should it subscribe again before they arrive.
   */
  readonly abandoned: ReadonlySet<string>;
  /**
   * The names of each response that was rejected, disjoint. Nothing of it is sent again until it changes, or until another
   * resource of the same response is accepted or no longer wanted: then the fault was elsewhere, or has been mended.
   */
  readonly rejected: readonly Rejected[];
  readonly versionSent: string | undefined;
  readonly versionAcked: string | undefined;
  readonly rejection: Rejection | undefined;
  /** When resources with this time to live are to be refreshed; at once where nothing is known. */
  readonly refreshAtMs: ReadonlyMap<number, number>;
  /** The client has asked for something since the last response, so it is not made to wait for changes to come to rest. */
  readonly isAsking: boolean;
  /** Names that were asked for and do not exist, of which the owner may yet say otherwise: they are not removed till then. */
  readonly awaited: ReadonlySet<string>;
}

const NO_NAMES: ReadonlySet<string> = new Set();
export const NOTHING_DUE: ReadonlyMap<string, Holding> = new Map();
const NOTHING_REJECTED = { rejected: [], rejection: undefined } as const;

export const NEW_TYPE: TypeState = {
  subscription: NO_SUBSCRIPTION,
  current: NO_RESOURCES,
  due: NOTHING_DUE,
  answerDue: false,
  outstanding: undefined,
  abandoned: NO_NAMES,
  ...NOTHING_REJECTED,
  versionSent: undefined,
  versionAcked: undefined,
  refreshAtMs: new Map(),
  isAsking: false,
  awaited: NO_NAMES,
};

/** Applies a change of subscription. `initialVersions` is what the client holds from an earlier stream: it is not sent again. */
export function subscribe(before: TypeState, change: SubscriptionChange, mode: DeliveryMode, initialVersions: Readonly<Record<string, string>>): TypeState {
  const { subscription } = change;
  if (subscription === before.subscription) return before;
  // What is on its way the client may take under the old subscription or under the new one.
  const inFlight = new Set([...before.abandoned, ...(before.outstanding?.names ?? [])]);
  const due = dueAfter(before, change, inFlight, initialVersions);
  if (isEmpty(subscription)) {
    return { ...NEW_TYPE, current: before.current, subscription, due, abandoned: inFlight, versionSent: before.versionSent, versionAcked: before.versionAcked };
  }

  // Who no longer wants a part of what he has rejected may want the rest.
  const isPartlyDropped = (group: Rejected): boolean => ![...group.keys()].every((name) => covers(subscription, name));
  const isAnswerDue =
    before.answerDue ||
    (change.askedForAll && Object.keys(initialVersions).length === 0) ||
    // Only a list without it tells that a resource does not exist, or no longer does.
    (mode === 'whole' && (change.asked.length > 0 || before.rejection !== undefined));
  const answerDue = isAnswerDue && (subscription.wildcard || mode === 'whole');
  return {
    ...before,
    ...release(before, due, before.current, isPartlyDropped, (name) => covers(subscription, name)),
    subscription,
    due,
    answerDue,
    isAsking: before.isAsking || ((change.askedForAll || change.asked.length > 0) && (answerDue || due.size > 0)),
    awaited: change.dropped.length === 0 ? before.awaited : before.awaited.difference(new Set(change.dropped)),
  };
}

/** Of the names that are asked for, those that do not exist wait for what the owner says of them. */
export function awaitOwner(before: TypeState, names: readonly string[]): TypeState {
  return { ...before, awaited: new Set([...before.awaited, ...names]) };
}

/** The owner has been heard: what he calls `absent`, and is not there, the client is told of as removed. */
export function hearOwner(before: TypeState, names: readonly string[], absent: readonly string[], mode: DeliveryMode): TypeState {
  const due = new Map(before.due);
  const isMissing = (name: string): boolean => before.subscription.names.has(name) && !before.current.has(name);
  const missing = absent.filter(isMissing);
  for (const name of missing) owe(due, before.current, name, 'unknown');
  const answerDue = before.answerDue || (mode === 'whole' && missing.length > 0);
  return { ...before, due, answerDue, awaited: before.awaited.difference(new Set(names)), isAsking: before.isAsking || missing.length > 0 };
}

/** What is due once a subscription has changed. */
function dueAfter(before: TypeState, change: SubscriptionChange, inFlight: ReadonlySet<string>, initialVersions: Readonly<Record<string, string>>): Map<string, Holding> {
  const { subscription } = change;
  const { current } = before;
  const due = new Map(before.due);
  const mayHold = (name: string): boolean => inFlight.has(name) || (covers(before.subscription, name) && current.has(name));
  // What the client asks for it is sent, also when it should have it: it may have forgotten (xds_protocol, "Subscribing to Resources").
  for (const name of change.askedForAll ? [...current.keys(), ...inFlight] : change.asked) {
    owe(due, current, name, (due.get(name) ?? 'nothing') !== 'nothing' || mayHold(name) ? 'unknown' : 'nothing');
  }
  // A client that still has the wildcard cannot know whether that has the name too ("Unsubscribing from Resources").
  if (subscription.wildcard) for (const name of change.dropped) owe(due, current, name, 'unknown');
  for (const [name, version] of Object.entries(initialVersions)) owe(due, current, name, { version });
  for (const name of due.keys()) if (!covers(subscription, name)) due.delete(name);
  return due;
}

/**
 * Moves to the resources of another snapshot. What changes several times before it is sent is sent once, as it is then.
 * What was rejected and is gone is no fault any more where there is no way to say that it is gone.
 */
export function moveTo(before: TypeState, current: ResourceMap, mode: DeliveryMode): TypeState {
  const names = changedNames(before.current, current);
  if (names.length === 0) return before.current === current ? before : { ...before, current };
  const due = new Map(before.due);
  for (const name of names) {
    if (!covers(before.subscription, name)) continue;
    owe(due, current, name, due.get(name) ?? before.current.get(name) ?? 'nothing');
  }
  const provided = before.awaited.size === 0 ? [] : names.filter((name) => before.awaited.has(name) && current.has(name));
  const isPartlyGone = (group: Rejected): boolean => mode === 'named' && ![...group.keys()].every((name) => current.has(name));
  return {
    ...before,
    current,
    due,
    ...release(before, due, current, isPartlyGone, (name) => current.has(name)),
    ...(provided.length === 0 ? {} : { isAsking: true, awaited: before.awaited.difference(new Set(provided)) }),
  };
}

/** The client has accepted the outstanding response. */
export function accept(before: TypeState, outstanding: Outstanding): TypeState {
  const answered = { ...before, rejection: undefined, outstanding: undefined, abandoned: NO_NAMES, versionAcked: outstanding.version };
  if (before.rejected.length === 0) return answered; // as nearly always, so that an update of many streams leaves less to collect
  const accepted = new Set(outstanding.names);
  const due = new Map(before.due);
  const released = release(before, due, before.current, (group) => overlap(group, accepted), (name) => !accepted.has(name));
  const isOver = released.rejected.length === 0;
  return { ...answered, ...released, rejection: isOver ? undefined : released.rejection, versionAcked: isOver ? outstanding.version : before.versionAcked, due };
}

/**
 * The client has rejected the outstanding response: it keeps what it held, wholly or in part, which only it knows. Where a part
 * of it has been dropped meanwhile, the fault may be gone with that part, so the rest is due once more.
 */
export function reject(before: TypeState, outstanding: Outstanding, mode: DeliveryMode, message: string, atMs: number): TypeState {
  const stillStands = (name: string): boolean => covers(before.subscription, name) && (mode !== 'named' || before.current.has(name));
  const names = new Set(outstanding.names.filter(stillStands));
  const isPartlyDropped = names.size < outstanding.names.length;
  const touched = before.rejected.filter((other) => overlap(other, names));
  const others = before.rejected.filter((other) => !touched.includes(other));
  const group = new Map([...touched.flatMap((other) => [...other]), ...Array.from(names, (name) => [name, outstanding.before.get(name) ?? 'unknown'] as const)]);
  const due = new Map(before.due);
  for (const name of group.keys()) if (due.has(name) || isPartlyDropped) owe(due, before.current, name, 'unknown');
  // What it would not keep on a mere word it is sent again.
  for (const name of outstanding.refreshed) if (stillStands(name) && !isRejected(before, name)) owe(due, before.current, name, 'unknown');
  const after = { ...before, due, outstanding: undefined, abandoned: NO_NAMES };
  if (isPartlyDropped) return { ...after, answerDue: before.answerDue || mode === 'whole', rejected: others, rejection: others.length === 0 ? undefined : before.rejection };
  // A word that keeps something alive is no new content: of that there is nothing to say beside what was rejected before.
  if (group.size === 0 && before.rejection !== undefined) return after;
  return { ...after, rejected: group.size === 0 ? others : [...others, group], rejection: { version: outstanding.version, message, atMs } };
}

export function isRejected({ rejected }: TypeState, name: string): boolean {
  return rejected.some((group) => group.has(name));
}

/** What the client goes on holding, should it reject these names. */
export function heldWithout(type: TypeState, names: readonly string[]): Rejected {
  if (type.refreshAtMs.size === 0) return NOTHING_DUE; // nothing with a time to live was ever sent
  const rejected = new Map(type.rejected.flatMap((group) => [...group]));
  return new Map(names.map((name) => [name, rejected.get(name) ?? type.due.get(name) ?? type.current.get(name) ?? 'unknown']));
}

/** Notes that a name is due, or that it is not: what the client holds may be just what it should. */
function owe(due: Map<string, Holding>, current: ResourceMap, name: string, holding: Holding): void {
  const resource = current.get(name);
  const isRight = resource === undefined ? holding === 'nothing' : typeof holding === 'object' && holding.version === resource.version;
  if (isRight) due.delete(name);
  else due.set(name, holding);
}

/** Takes groups out of what is rejected: of their names those that `isOwed` are due again. With the last one the rejection is over. */
function release(
  { rejected, rejection }: TypeState,
  due: Map<string, Holding>,
  current: ResourceMap,
  isReleased: (group: Rejected) => boolean,
  isOwed: (name: string) => boolean,
): Pick<TypeState, 'rejected' | 'rejection'> {
  const released = rejected.filter(isReleased);
  if (released.length === 0) return { rejected, rejection };
  for (const group of released) for (const name of group.keys()) if (isOwed(name)) owe(due, current, name, 'unknown');
  const kept = rejected.filter((group) => !released.includes(group));
  return { rejected: kept, rejection: kept.length === 0 ? undefined : rejection };
}

function overlap(group: Rejected, names: ReadonlySet<string>): boolean {
  for (const name of group.keys()) if (names.has(name)) return true;
  return false;
}
