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
