import type { ResourceMap } from './resource.ts';
import { NO_RESOURCES } from './resource.ts';
import { changedNames } from './snapshot-diff.ts';
import { covers, NO_SUBSCRIPTION } from './subscription.ts';
import type { Subscription, SubscriptionChange } from './subscription.ts';

/**
 * What the client holds of a resource that is due: this version, nothing, or one of several (it has rejected a response, or
 * has asked again for what it was sent).
 */
export type Holding = { readonly version: string } | 'nothing' | 'unknown';

/** A response that the client has neither accepted nor rejected yet. There is at most one a type. */
export interface Outstanding {
  readonly nonce: string;
  readonly names: readonly string[];
  readonly version: string;
  readonly sentAtMs: number;
}

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
   * The names of each response that was rejected, disjoint. Nothing of it is sent again until it changes, or until another
   * resource of the same response is accepted: then the fault was elsewhere, or has been mended.
   */
  readonly rejected: readonly ReadonlySet<string>[];
  readonly versionSent: string | undefined;
  readonly versionAcked: string | undefined;
  readonly rejection: Rejection | undefined;
}

export const NEW_TYPE: TypeState = {
  subscription: NO_SUBSCRIPTION,
  current: NO_RESOURCES,
  due: new Map(),
  answerDue: false,
  outstanding: undefined,
  rejected: [],
  versionSent: undefined,
  versionAcked: undefined,
  rejection: undefined,
};

/** Applies a change of subscription. `initialVersions` is what the client holds from an earlier stream: it is not sent again. */
export function subscribe(before: TypeState, change: SubscriptionChange, initialVersions: Readonly<Record<string, string>>): TypeState {
  const { subscription } = change;
  if (subscription === before.subscription) return before;
  const { current } = before;
  const due = new Map(before.due);
  const holdingOf = (name: string): Holding => due.get(name) ?? (current.has(name) && covers(before.subscription, name) ? 'unknown' : 'nothing');
  // What the client asks for it is sent, also when it should have it: it may have forgotten (xds_protocol, "Subscribing to Resources").
  for (const name of change.askedForAll ? current.keys() : change.asked) {
    owe(due, current, name, holdingOf(name) === 'nothing' ? 'nothing' : 'unknown');
  }
  for (const name of change.dropped) {
    // The client cannot know whether the wildcard has it too, so it must be told (xds_protocol, "Unsubscribing from Resources").
    if (subscription.wildcard) owe(due, current, name, 'unknown');
  }
  const held = Object.entries(initialVersions);
  for (const [name, version] of held) if (covers(subscription, name)) owe(due, current, name, { version });
  for (const name of due.keys()) if (!covers(subscription, name)) due.delete(name);
  return {
    ...before,
    subscription,
    due,
    answerDue: subscription.wildcard && (before.answerDue || (change.askedForAll && held.length === 0)),
    rejected: before.rejected.map((group) => new Set([...group].filter((name) => covers(subscription, name)))).filter((group) => group.size > 0),
  };
}

/** Moves to the resources of another snapshot. What changes several times before it is sent is sent once, as it is then. */
export function moveTo(before: TypeState, current: ResourceMap): TypeState {
  const names = changedNames(before.current, current);
  if (names.length === 0) return before.current === current ? before : { ...before, current };
  const due = new Map(before.due);
  for (const name of names) {
    if (!covers(before.subscription, name)) continue;
    const isRejected = before.rejected.some((group) => group.has(name));
    owe(due, current, name, due.get(name) ?? (isRejected ? 'unknown' : (before.current.get(name) ?? 'nothing')));
  }
  return { ...before, current, due };
}

/** The client has accepted the outstanding response. */
export function accept(before: TypeState, outstanding: Outstanding): TypeState {
  const accepted = new Set(outstanding.names);
  const due = new Map(before.due);
  const rejected = before.rejected.filter((group) => {
    if (!overlap(group, accepted)) return true;
    for (const name of group) if (!accepted.has(name)) owe(due, before.current, name, 'unknown');
    return false;
  });
  return { ...before, due, rejected, outstanding: undefined, versionAcked: outstanding.version, rejection: rejected.length === 0 ? undefined : before.rejection };
}

/** The client has rejected the outstanding response: it keeps what it held, wholly or in part, which only it knows. */
export function reject(before: TypeState, outstanding: Outstanding, message: string, atMs: number): TypeState {
  const names = outstanding.names.filter((name) => covers(before.subscription, name));
  const touched = before.rejected.filter((other) => overlap(other, new Set(names)));
  const others = before.rejected.filter((other) => !touched.includes(other));
  const group = new Set([...names, ...touched.flatMap((other) => [...other])]);
  const due = new Map(before.due);
  for (const name of group) if (due.has(name)) due.set(name, 'unknown');
  return {
    ...before,
    due,
    outstanding: undefined,
    rejected: group.size === 0 ? others : [...others, group],
    rejection: { version: outstanding.version, message, atMs },
  };
}

/** Notes that a name is due, or that it is not: what the client holds may be just what it should. */
function owe(due: Map<string, Holding>, current: ResourceMap, name: string, holding: Holding): void {
  const resource = current.get(name);
  const isRight = resource === undefined ? holding === 'nothing' : typeof holding === 'object' && holding.version === resource.version;
  if (isRight) due.delete(name);
  else due.set(name, holding);
}

function overlap(one: ReadonlySet<string>, other: ReadonlySet<string>): boolean {
  for (const name of one) if (other.has(name)) return true;
  return false;
}
