/** Numbers by which the kernel tells identities and grants apart: connection marks. */
import { hash } from 'node:crypto';
import { sortedUnique } from '../../core/order.ts';

/**
 * A mark for each key: of the key alone, so that a connection keeps the mark of its grant over changes, restarts and from one router of a
 * pair to the other. Unique, and never 0, which is a connection without a mark. Where two keys hash alike (with 10,000 of them one world in a
 * hundred has such a pair), the later in order is hashed again, and what it is then depends on the other.
 */
export function assignMarks(keys: Iterable<string>, hashOf: (text: string) => number = firstBits): ReadonlyMap<string, number> {
  const taken = new Set([0]);
  const marks = new Map<string, number>();
  for (const key of sortedUnique(keys)) {
    let mark = hashOf(key);
    for (let attempt = 1; taken.has(mark); attempt++) mark = hashOf(`${key} ${attempt}`);
    taken.add(mark);
    marks.set(key, mark);
  }
  return marks;
}

/** 32, as many as a connection mark has. */
function firstBits(text: string): number {
  return hash('sha256', text, 'buffer').readUInt32BE();
}
