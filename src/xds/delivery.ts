import type { Resource } from './resource.ts';
import type { DeliveryMode, Holding, TypeState } from './type-state.ts';

/** The content of a response. */
export interface Delivery {
  readonly resources: readonly Resource[];
  readonly removed: readonly string[];
  /** The names that it brings up to date; of those that wait in `remaining` it says nothing new. */
  readonly names: readonly string[];
  /** What is due afterwards. */
  readonly remaining: ReadonlyMap<string, Holding>;
  /** Whether it lists everything, and so also what was rejected before. */
  readonly isWhole: boolean;
}

/** The next response of a type, or undefined where there is nothing to say. Removals wait while `keepRemovals`. */
export function deliver(type: TypeState, mode: DeliveryMode, keepRemovals: boolean): Delivery | undefined {
  if (type.due.size === 0 && !type.answerDue) return undefined;
  const changed: Resource[] = [];
  const removed: string[] = [];
  const remaining = new Map<string, Holding>();
  for (const [name, holding] of type.due) {
    const resource = type.current.get(name);
    if (resource !== undefined) changed.push(resource);
    else if (keepRemovals || mode === 'named') remaining.set(name, holding);
    else removed.push(name);
  }
  if (changed.length === 0 && removed.length === 0 && !type.answerDue) return undefined;
  const names = [...changed.map(({ name }) => name), ...removed];
  if (mode !== 'whole') return { resources: changed, removed, names, remaining, isWhole: false };
  const repeated = type.rejected.flatMap((group) => [...group]).filter((name) => !type.due.has(name));
  return { resources: [...everything(type), ...stillHeld(remaining)], removed: [], names: [...names, ...repeated], remaining, isWhole: true };
}

/** Whether the client has yet to be sent something. */
export function isBehind(type: TypeState, mode: DeliveryMode): boolean {
  if (mode !== 'named') return type.due.size > 0 || type.answerDue;
  for (const name of type.due.keys()) if (type.current.has(name)) return true;
  return type.answerDue;
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
