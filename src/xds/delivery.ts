import type { Resource } from './resource.ts';
import { byTtl, isTooLate, refreshTime } from './time-to-live.ts';
import { covers } from './subscription.ts';
import { NOTHING_DUE } from './type-state.ts';
import type { DeliveryMode, Holding, TypeState } from './type-state.ts';

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
  /** Whether it lists everything, and so also what was rejected before. */
  readonly isWhole: boolean;
  /** By time to live. */
  readonly refreshAtMs: ReadonlyMap<number, number>;
}

/** The next response of a type, or undefined where there is nothing to say. Removals wait while `keepRemovals`. */
export function deliver(type: TypeState, mode: DeliveryMode, keepRemovals: boolean, atMs: number): Delivery | undefined {
  const ageing = ageingOf(type, atMs);
  if (type.due.size === 0 && !type.answerDue && ageing.length === 0) return undefined;
  const changed: Resource[] = [];
  const removed: string[] = [];
  const waiting = new Map<string, Holding>();
  for (const [name, holding] of type.due) {
    const resource = type.current.get(name);
    if (resource !== undefined) changed.push(resource);
    else if (keepRemovals || mode === 'named' || type.awaited.has(name)) waiting.set(name, holding);
    else removed.push(name);
  }
  if (changed.length === 0 && removed.length === 0 && !type.answerDue && ageing.length === 0) return undefined;

  const remaining = waiting.size === 0 ? NOTHING_DUE : waiting; // one for all streams that are up to date
  // Only Delta has a word for "keep it" that clients agree on: in SotW what is to be kept is sent again (decision 0303).
  const repeated = ageing.filter(({ isLate }) => isLate || mode !== 'changes').map(({ resource }) => resource);
  const refreshed = ageing.filter(({ isLate }) => !isLate && mode === 'changes').map(({ resource }) => resource);
  const names = [...changed.map(({ name }) => name), ...removed, ...repeated.map(({ name }) => name)];
  if (mode !== 'whole') {
    const resources = [...changed, ...repeated];
    return { resources, removed, refreshed, names, remaining, isWhole: false, refreshAtMs: refreshTimes(type, [...resources, ...refreshed], ageing, atMs) };
  }
  const rejected = type.rejected.flatMap((group) => [...group]).filter((name) => !type.due.has(name));
  const resources = [...everything(type), ...stillHeld(remaining)];
  return { resources, removed: [], refreshed, names: [...names, ...rejected], remaining, isWhole: true, refreshAtMs: refreshTimes(type, resources, ageing, atMs) };
}

/** Whether the client has yet to be sent something. Times to live do not count: it holds what it should. */
export function isBehind(type: TypeState, mode: DeliveryMode): boolean {
  for (const name of type.due.keys()) if (type.current.has(name) || (mode !== 'named' && !type.awaited.has(name))) return true;
  return type.answerDue;
}

/** When the next of the resources that the client holds is to be refreshed; Infinity where none has a time to live. */
export function nextRefreshAt(type: TypeState, atMs: number): number {
  let nextAtMs = Infinity;
  for (const [ttlMs, resources] of byTtl(type.current)) {
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

/** What the client holds and is to be told to keep. Of what it has rejected it is not known which version that would be. */
function ageingOf(type: TypeState, atMs: number): readonly Ageing[] {
  const groups = byTtl(type.current);
  if (groups.size === 0) return [];
  const ageing: Ageing[] = [];
  for (const [ttlMs, resources] of groups) {
    // Not known: the client has brought it from another stream, so it holds it now.
    const dueAtMs = type.refreshAtMs.get(ttlMs) ?? atMs;
    if (dueAtMs > atMs) continue;
    const isLate = isTooLate(ttlMs, dueAtMs, atMs);
    for (const resource of resources) {
      const { name } = resource;
      if (covers(type.subscription, name) && !type.due.has(name) && !type.rejected.some((group) => group.has(name))) ageing.push({ resource, isLate });
    }
  }
  return ageing;
}

/** A time to live that is running is not put off by what is sent beside: of its resources some are older. */
function refreshTimes(type: TypeState, sent: readonly Resource[], ageing: readonly Ageing[], atMs: number): ReadonlyMap<number, number> {
  if (byTtl(type.current).size === 0) return type.refreshAtMs;
  const times = new Map(type.refreshAtMs);
  for (const { resource } of ageing) times.delete(resource.ttlMs!);
  for (const { ttlMs } of sent) if (ttlMs !== undefined && !times.has(ttlMs)) times.set(ttlMs, refreshTime(ttlMs, atMs));
  return times;
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
  for (const holding of remaining.values()) if (typeof holding === 'object' && 'value' in holding) yield holding as Resource;
}
