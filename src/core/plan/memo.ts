/**
 * Memory between two compilations. A stage makes one value of each item of a map, from the item and from what it finds
 * in its lookups. Where all of that is the very same as last time, so is the value. Incremental equals full because a
 * value depends on nothing else.
 */
interface Memo<T, V> {
  readonly item: T;
  readonly found: readonly unknown[];
  readonly value: V;
}

/** The values of a stage, with what they were made from. Never changed once made: a compilation that fails leaves no trace. */
export interface Stage<T, V> {
  readonly source: ReadonlyMap<string, T>;
  readonly lookups: readonly unknown[];
  /** The same map as last time where no value is another. */
  readonly memos: ReadonlyMap<string, Memo<T, V>>;
  /** The values that are not last time's. */
  readonly made: readonly V[];
}

export interface StageRules<T, V> {
  /** Makes the value; `last` is that of the same key last time, to keep parts of. */
  readonly make: (item: T, key: string, last: V | undefined) => V;
  /** Whatever `make` would now find in the lookups for the item whose value this is, by identity. Asked for only where a lookup has changed. */
  readonly find: (value: V, item: T, key: string) => readonly unknown[];
}

/** What groups and sums need of a stage. */
export interface Values<V> {
  readonly memos: ReadonlyMap<string, { readonly value: V }>;
}

/** Runs a stage over `source`. `lookups` are the collections that `find` reads. */
export function runStage<T, V>(previous: Stage<T, V> | undefined, source: ReadonlyMap<string, T>, lookups: readonly unknown[], { find, make }: StageRules<T, V>): Stage<T, V> {
  const sameLookups = previous !== undefined && sameItems(previous.lookups, lookups);
  if (sameLookups && previous.source === source) return previous.made.length === 0 ? previous : { ...previous, made: [] };

  const changed: [string, Memo<T, V>][] = [];
  let kept = 0;
  for (const [key, item] of source) {
    const last = previous?.memos.get(key);
    if (last?.item === item && sameLookups) {
      kept += 1;
      continue;
    }
    if (last?.item === item && sameItems(last.found, find(last.value, item, key))) {
      kept += 1;
      continue;
    }
    const value = make(item, key, last?.value);
    changed.push([key, { item, found: find(value, item, key), value }]);
  }
  const made = changed.map(([, { value }]) => value);
  if (previous === undefined) return { source, lookups, memos: new Map(changed), made };
  if (made.length === 0 && kept === previous.memos.size) return { source, lookups, memos: previous.memos, made };
  const memos = new Map(previous.memos);
  for (const [key, memo] of changed) memos.set(key, memo);
  if (memos.size > source.size) for (const key of previous.memos.keys()) if (!source.has(key)) memos.delete(key);
  return { source, lookups, memos, made };
}

/** Values by group. A group whose members are last time's is the very array of last time. */
export interface Groups<V> {
  readonly memos: unknown;
  readonly byKey: ReadonlyMap<string, readonly V[]>;
}

/** Groups the values of a stage; `keysOf` names the groups that a value is in. */
export function groupValues<V>(previous: Groups<V> | undefined, stage: Values<V>, keysOf: (value: V) => Iterable<string>): Groups<V> {
  if (previous?.memos === stage.memos) return previous;
  const byKey = new Map<string, V[]>();
  for (const { value } of stage.memos.values()) {
    for (const key of keysOf(value)) {
      const group = byKey.get(key);
      if (group === undefined) byKey.set(key, [value]);
      else group.push(value);
    }
  }
  if (previous !== undefined) {
    for (const [key, group] of byKey) {
      const last = previous.byKey.get(key);
      if (last !== undefined && sameItems(last, group)) byKey.set(key, last as V[]);
    }
  }
  return { memos: stage.memos, byKey };
}

function sameItems(a: readonly unknown[], b: readonly unknown[]): boolean {
  if (a.length !== b.length) return false;
  for (let index = 0; index < a.length; index += 1) if (a[index] !== b[index]) return false;
  return true;
}
