/** How long to wait before the next try of something that has failed. */
export interface BackOff {
  readonly baseMs: number;
  readonly maxMs: number;
}

/** More doublings lead beyond every bound there is, and in the end to no number. */
const doublingsMax = 16;

/**
 * In milliseconds: twice as long with each failure, up to a bound; the upper half is left to chance, so that not all try at once.
 *
 * @param failures before this one's pause, from 0
 * @param random uniform in [0, 1)
 */
export function backOffMs({ baseMs, maxMs }: BackOff, failures: number, random: number): number {
  return Math.min(maxMs, baseMs * 2 ** Math.min(failures, doublingsMax)) * (0.5 + random / 2);
}
