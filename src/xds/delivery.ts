import type { Resource } from './resource.ts';
import { byTtl, groupByTtl, isTooLate, refreshTime } from './time-to-live.ts';
import type { ResourcesByTtl } from './time-to-live.ts';
import { covers } from './subscription.ts';
import { isRejected, NOTHING_DUE } from './type-state.ts';
import type { DeliveryMode, Holding, Rejected, TypeState } from './type-state.ts';

/** The content of a response. */
export interface Delivery {
  readonly resources: readonly Resource[];
  readonly removed: readonly string[];
  /** Resources that the client holds and is only to keep: their time to live goes out without them. */
  readonly refreshed: readonly Resource[];
  /** The names that it brings up to date; of those that wait in `remaining` it says nothing new. */
  readonly names: readonly string[];
  /** What is due afterwards. */
  readonly remaining: ReadonlyMap<string, Holding>;
  /** What is still rejected afterwards. */
  readonly rejected: TypeState['rejected'];
  /** By time to live. */
  readonly refreshAtMs: ReadonlyMap<number, number>;
}

/** The next response of a type, or undefined where there is nothing to say. Removals wait while `keepRemovals`. */
export function deliver(type: TypeState, mode: DeliveryMode, keepRemovals: boolean, atMs: number): Delivery | undefined {
  const ageing = ageingOf(type, mode, atMs);
  if (type.due.size === 0 && !type.answerDue && ageing.length === 0) return undefined;
  // A client that has taken a part of what it rejected does not know what it is to keep: it shall not reject news for that.
  const isForItself = mode === 'changes' && ageing.some(({ resource }) => isRejected(type, resource.name));
  const changed: Resource[] = [];
  const removed: string[] = [];
  const waiting = new Map<string, Holding>();
  for (const [name, holding] of type.due) {
    const resource = type.current.get(name);
    if (isForItself) waiting.set(name, holding);
    else if (resource !== undefined) changed.push(resource);
    else if (keepRemovals || mode === 'named' || type.awaited.has(name)) waiting.set(name, holding);
    else removed.push(name);
  }
  if (changed.length === 0 && removed.length === 0 && !type.answerDue && ageing.length === 0) return undefined;

  const remaining = waiting.size === 0 ? NOTHING_DUE : waiting; // one for all streams that are up to date
  // Only Delta has a word for "keep it" that clients agree on: in SotW what is to be kept is sent again (decision 0303).
  const repeated = ageing.filter(({ isLate }) => isLate || mode !== 'changes').map(({ resource }) => resource);
  const refreshed = ageing.filter(({ isLate }) => !isLate && mode === 'changes').map(({ resource }) => resource);
  // What goes out in the place of something rejected says nothing about that.
  const renewed = repeated.filter(({ name }) => !isRejected(type, name));
  const names = [...changed.map(({ name }) => name), ...removed, ...renewed.map(({ name }) => name)];
  if (mode !== 'whole') {
    const resources = [...changed, ...repeated];
    return { resources, removed, refreshed, names, remaining, rejected: type.rejected, refreshAtMs: refreshTimes(type, [...resources, ...refreshed], atMs) };
  }
  const rejected = type.rejected.filter((group) => isReplaceable(type, group));
  const again = type.rejected.filter((group) => !rejected.includes(group)).flatMap((group) => [...group.keys()].filter((name) => !type.due.has(name)));
  const resources = [...listed(type, rejected), ...stillHeld(remaining)];
  return { resources, removed: [], refreshed, names: [...names, ...again], remaining, rejected, refreshAtMs: refreshTimes(type, resources, atMs) };
}

/**
 * Whether a list of everything may go on without what was rejected: where it is known what the client holds in its place. Only
 * for the sake of what has a time to live, since else the client might be led back from a part that it has taken after all.
 */
function isReplaceable(type: TypeState, group: Rejected): boolean {
  const rejected = [...group].filter(([name]) => type.current.has(name));
  return rejected.some(([, holding]) => isMortal(holding)) && rejected.every(([name, holding]) => !type.due.has(name) && (holding === 'nothing' || isResource(holding)));
}

/** Whether the client has yet to be sent something. Times to live do not count: it holds what it should. */
export function isBehind(type: TypeState, mode: DeliveryMode): boolean {
  for (const name of type.due.keys()) if (type.current.has(name) || (mode !== 'named' && !type.awaited.has(name))) return true;
  return type.answerDue;
}

/** When the next of the resources that the client holds is to be refreshed; Infinity where none has a time to live. */
export function nextRefreshAt(type: TypeState, mode: DeliveryMode, atMs: number): number {
  let nextAtMs = Infinity;
  for (const [ttlMs, resources] of [...byTtl(type.current), ...groupByTtl(lastGood(type, mode))]) {
    const dueAtMs = type.refreshAtMs.get(ttlMs) ?? -Infinity;
    if (dueAtMs > atMs && dueAtMs < nextAtMs && resources.some(({ name }) => covers(type.subscription, name))) nextAtMs = dueAtMs;
  }
  return nextAtMs;
}

interface Ageing {
  readonly resource: Resource;
  /** The client may have dropped it already. */
  readonly isLate: boolean;
}

/** What the client holds and is to be told to keep: in the place of what it has rejected, what it had before. */
function ageingOf(type: TypeState, mode: DeliveryMode, atMs: number): readonly Ageing[] {
  const current = ageingAmong(byTtl(type.current), type, atMs);
  if (type.rejected.length === 0) return current;
  return [...current.filter(({ resource }) => !isRejected(type, resource.name)), ...ageingAmong(groupByTtl(lastGood(type, mode)), type, atMs)];
}

/** What the client holds in the place of what it has rejected, as far as it has a time to live and can be kept. */
function* lastGood(type: TypeState, mode: DeliveryMode): Iterable<Resource> {
  for (const group of type.rejected) {
    if (mode === 'whole' && !isReplaceable(type, group)) continue;
    for (const [name, holding] of group) if (type.current.has(name) && isMortal(holding)) yield holding;
  }
}

function ageingAmong(groups: ResourcesByTtl, type: TypeState, atMs: number): readonly Ageing[] {
  const ageing: Ageing[] = [];
  for (const [ttlMs, resources] of groups) {
    // Not known: the client has brought it from another stream, so it holds it now.
    const dueAtMs = type.refreshAtMs.get(ttlMs) ?? atMs;
    if (dueAtMs > atMs) continue;
    const isLate = isTooLate(ttlMs, dueAtMs, atMs);
    for (const resource of resources) {
      if (covers(type.subscription, resource.name) && !type.due.has(resource.name)) ageing.push({ resource, isLate });
    }
  }
  return ageing;
}

/** A time to live that is running is not put off by what is sent beside: of its resources some are older. */
function refreshTimes(type: TypeState, sent: readonly Resource[], atMs: number): ReadonlyMap<number, number> {
  if (byTtl(type.current).size === 0 && type.rejected.length === 0) return type.refreshAtMs;
  const times = new Map(type.refreshAtMs);
  for (const { ttlMs } of sent) if (ttlMs !== undefined && (times.get(ttlMs) ?? atMs) <= atMs) times.set(ttlMs, refreshTime(ttlMs, atMs));
  return times;
}

/** All that there is, with what the client holds in the place of what it has rejected. */
function* listed(type: TypeState, rejected: readonly Rejected[]): Iterable<Resource> {
  const instead = new Map(rejected.flatMap((group) => [...group]));
  for (const resource of everything(type)) {
    const holding = instead.get(resource.name) ?? resource;
    if (isResource(holding)) yield holding;
  }
}

function* everything({ subscription, current }: TypeState): Iterable<Resource> {
  if (subscription.wildcard) return yield* current.values();
  for (const name of subscription.names) {
    const resource = current.get(name);
    if (resource !== undefined) yield resource;
  }
}

/** Where removals wait, a response that lists everything must go on listing them. */
function* stillHeld(remaining: ReadonlyMap<string, Holding>): Iterable<Resource> {
  for (const holding of remaining.values()) if (isResource(holding)) yield holding;
}

function isResource(holding: Holding): holding is Resource {
  return typeof holding === 'object' && 'value' in holding;
}

function isMortal(holding: Holding): holding is Resource {
  return isResource(holding) && holding.ttlMs !== undefined;
}
