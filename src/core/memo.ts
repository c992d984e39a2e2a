/**
 * Memory between two compilations. A stage makes one value a key from named inputs; where every input is the very
 * object of last time, so is the value. Incremental equals full because a value depends on nothing but its inputs.
 */
interface Memo<V> {
  readonly inputs: readonly unknown[];
  readonly value: V;
}

/** Values by key, with what they were made from. Never changed once made: a compilation that fails leaves no trace. */
export interface Stage<V> {
  readonly inputs: readonly unknown[];
  readonly memos: ReadonlyMap<string, Memo<V>>;
}

/** Gives the value of `key`: last time's if it came from the same inputs, else a new one by `make`. */
export type Remember<V> = (key: string, inputs: readonly unknown[], make: () => V) => V;

/** Runs a stage: `fill` names every key. With the same `inputs` as last time it is not even called, and the stage of last time is returned. */
export function runStage<V>(previous: Stage<V> | undefined, inputs: readonly unknown[], fill: (remember: Remember<V>) => void): Stage<V> {
  if (previous !== undefined && sameItems(previous.inputs, inputs)) return previous;
  const memos = new Map<string, Memo<V>>();
  fill((key, keyInputs, make) => {
    const last = previous?.memos.get(key);
    const memo = last !== undefined && sameItems(last.inputs, keyInputs) ? last : { inputs: keyInputs, value: make() };
    memos.set(key, memo);
    return memo.value;
  });
  return { inputs, memos };
}

function sameItems(a: readonly unknown[], b: readonly unknown[]): boolean {
  return a.length === b.length && a.every((item, index) => item === b[index]);
}
