/** What each holder has. */
import type { Assignment, Assignments, Holder } from './assignments.ts';

/** Live assignments by who holds them. */
export type Holdings = ReadonlyMap<Holder, readonly Assignment[]>;

const known = new WeakMap<Assignments, Holdings>();

/** Looked for once as long as the assignments are the same, since plan and statuses both ask. */
export function holdingsOf(assignments: Assignments): Holdings {
  let holdings = known.get(assignments);
  if (holdings === undefined) known.set(assignments, (holdings = Map.groupBy(assignments.filter(({ releasedAt }) => releasedAt === null), ({ holder }) => holder)));
  return holdings;
}
