/** Our own clock and the API server's, neither of which is known to be right. */
import type { ApiClient } from './client.ts';

/** As a `BuildContext` has them. */
export interface TimeSpan {
  /** By the clock that is behind. */
  readonly now: number;
  /** By the one that is ahead. */
  readonly latest: number;
}

/**
 * When it is now. What is given away after a time begins to count by the later clock and ends by the earlier one: so whichever of them is
 * wrong, by whatever it is, the time is not shorter than it is to be.
 */
export function timeSpan({ serverTime }: Pick<ApiClient, 'serverTime'>, now: number): TimeSpan {
  const server = serverTime() ?? now;
  return { now: Math.min(now, server), latest: Math.max(now, server) };
}

/** More is no delay of an answer, nor the second to which it is dated. `sallyport check` says the same. */
const aheadMsMax = 10_000;

/** What is to be said of our own clock; undefined where it agrees with the API server's, or nothing is known. */
export function clockCondition({ serverTime }: Pick<ApiClient, 'serverTime'>, now: number): string | undefined {
  const aheadMs = now - (serverTime() ?? now);
  if (Math.abs(aheadMs) <= aheadMsMax) return undefined;
  return `the clock of this replica is ${Math.round(Math.abs(aheadMs) / 1000)} s ${aheadMs > 0 ? 'ahead of' : 'behind'} the API server's: certificates that it issues may be refused as not yet valid, or as expired`;
}
