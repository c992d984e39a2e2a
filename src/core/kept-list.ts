const none: readonly never[] = [];

/** The same values in a list that takes no more room than they need, and none where there are none: for what is kept ten thousand times over. */
export function keptList<Value>(values: readonly Value[]): readonly Value[] {
  return values.length === 0 ? none : values.slice(); // one that was pushed to has room for 16 more
}
