/**
 * Long work in steps: a generator that yields wherever whoever runs it may do something else first. Run at once or a piece at a
 * time it gives the same, for nothing that it reads changes meanwhile. A step is to take a fraction of a millisecond.
 */
export type Steps<Result> = Generator<undefined, Result, undefined>;

/** Runs all steps at once. */
export function runThrough<Result>(steps: Steps<Result>): Result {
  let step = steps.next();
  while (step.done !== true) step = steps.next();
  return step.value;
}

/** Visits each item, so many a step. */
export function* forEachInSteps<Item>(items: Iterable<Item>, itemsPerStep: number, visit: (item: Item) => unknown): Steps<void> {
  let visited = 0;
  for (const item of items) {
    visit(item);
    visited += 1;
    if (visited % itemsPerStep === 0) yield;
  }
}

/** What `make` makes of each item, so many a step. */
export function* mapInSteps<Item, Result>(items: Iterable<Item>, itemsPerStep: number, make: (item: Item) => Result): Steps<Result[]> {
  const results: Result[] = [];
  yield* forEachInSteps(items, itemsPerStep, (item) => results.push(make(item)));
  return results;
}

/** The items that are wanted, so many looked at a step. */
export function* filterInSteps<Item>(items: Iterable<Item>, itemsPerStep: number, isWanted: (item: Item) => boolean): Steps<Item[]> {
  const wanted: Item[] = [];
  yield* forEachInSteps(items, itemsPerStep, (item) => isWanted(item) && wanted.push(item));
  return wanted;
}

/** Items that are sorted, or merged, in one step. */
const sortedPerStep = 128;

/** A sorted copy, as `toSorted` gives it, with equal items in the order in which they came. */
export function* sortInSteps<Item>(items: readonly Item[], compare: (a: Item, b: Item) => number): Steps<Item[]> {
  let runs: Item[][] = [];
  for (let from = 0; from < items.length; from += sortedPerStep) {
    runs.push(items.slice(from, from + sortedPerStep).sort(compare));
    yield;
  }
  while (runs.length > 1) {
    const merged: Item[][] = [];
    for (let index = 0; index < runs.length; index += 2) merged.push(yield* mergeInSteps(runs[index]!, runs[index + 1] ?? [], compare));
    runs = merged;
  }
  return runs[0] ?? [];
}

function* mergeInSteps<Item>(left: readonly Item[], right: readonly Item[], compare: (a: Item, b: Item) => number): Steps<Item[]> {
  const merged: Item[] = [];
  let [fromLeft, fromRight] = [0, 0];
  while (fromLeft < left.length && fromRight < right.length) {
    merged.push(compare(left[fromLeft]!, right[fromRight]!) <= 0 ? left[fromLeft++]! : right[fromRight++]!);
    if (merged.length % sortedPerStep === 0) yield;
  }
  return merged.concat(left.slice(fromLeft), right.slice(fromRight));
}
