/**
 * Memory between two compilations. A stage makes one value of each item of a map, from the item and from what it finds
 * in its lookups. Where all of that is the very same as last time, so is the value. Incremental equals full because a
 * value depends on nothing else.
 */
import { keptList } from '../kept-list.ts';
import { forEachInSteps, type Steps } from '../steps.ts';

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
  /**
   * Adds to `found` whatever `make` would now find in the lookups for the item whose value this is, by identity. Asked for only
   * where a lookup has changed, and then for every item.
   */
  readonly find: (found: unknown[], value: V, item: T, key: string) => void;
}

/** What groups and sums need of a stage. */
export interface Values<V> {
  readonly memos: ReadonlyMap<string, { readonly value: V }>;
}

/** Items of a step in which nothing is made. */
const itemsPerStep = 256;

/** Runs a stage over `source`, each value that it makes a step. `lookups` are the collections that `find` reads. */
export function* runStage<T, V>(previous: Stage<T, V> | undefined, source: ReadonlyMap<string, T>, lookups: readonly unknown[], { find, make }: StageRules<T, V>): Steps<Stage<T, V>> {
  const sameLookups = previous !== undefined && sameItems(previous.lookups, lookups);
  if (sameLookups && previous.source === source) return previous.made.length === 0 ? previous : { ...previous, made: [] };

  const changed: [string, Memo<T, V>][] = [];
  const scratch: unknown[] = []; // one for all: an array for each of 20,000 items is a tenth of what a small change costs
  const findFor = (item: T, key: string, value: V): readonly unknown[] => {
    scratch.length = 0;
    find(scratch, value, item, key);
    return scratch;
  };
  let kept = 0;
  /** Whether the value is kept. */
  const visit = (key: string, item: T, last: Memo<T, V> | undefined): boolean => {
    if (last?.item === item && (sameLookups || sameItems(last.found, findFor(item, key, last.value)))) {
      kept += 1;
      return true;
    }
    const value = make(item, key, last?.value);
    changed.push([key, { item, found: keptList(findFor(item, key, value)), value }]);
    return false;
  };
  if (previous?.source === source) { // spares a look-up for each item
    for (const [key, memo] of previous.memos) if (!visit(key, memo.item, memo) || kept % itemsPerStep === 0) yield;
  } else {
    for (const [key, item] of source) if (!visit(key, item, previous?.memos.get(key)) || kept % itemsPerStep === 0) yield;
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
export function* groupValues<V>(previous: Groups<V> | undefined, stage: Values<V>, keysOf: (value: V) => Iterable<string>): Steps<Groups<V>> {
  if (previous?.memos === stage.memos) return previous;
  const byKey = new Map<string, V[]>();
  yield* forEachInSteps(stage.memos.values(), itemsPerStep, ({ value }) => {
    for (const key of keysOf(value)) {
      const group = byKey.get(key);
      if (group === undefined) byKey.set(key, [value]);
      else group.push(value);
    }
  });
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
