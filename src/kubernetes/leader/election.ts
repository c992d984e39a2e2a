/**
 * Who of several replicas writes, by a Lease: a reducer. Clocks are never compared: a replica counts, on its own, how long it has seen the
 * Lease unchanged. A leader that could not renew in time stops by itself, before another may begin.
 *
 * https://kubernetes.io/docs/concepts/architecture/leases/, https://pkg.go.dev/k8s.io/client-go/tools/leaderelection
 */

/** `coordination.k8s.io/v1 Lease`, as far as it matters. */
export interface LeaseState {
  /** Empty where the last one has let go. */
  readonly holder: string;
  readonly transitions: number;
  readonly resourceVersion: string;
  /** How long its holder wants to be waited for. */
  readonly durationMs: number;
}

export interface Election {
  readonly self: string;
  /** Until when we lead, on our clock; null while we do not. */
  readonly leadsUntilMs: number | null;
  /** The Lease as last seen, and since when it has been like that. */
  readonly seen: { readonly lease: LeaseState; readonly sinceMs: number } | null;
  /** Whether a request has failed since: then it is to be read before it is written. */
  readonly mayDiffer: boolean;
  /** Whether a Lease with our name is of this process, not of one that had the name before. */
  readonly hasLed: boolean;
  /** When the request that is under way was begun; null: none is. */
  readonly askedAtMs: number | null;
}

/** Times are of a clock that only goes forward. */
export type ElectionEvent =
  | { readonly type: 'woken'; readonly nowMs: number }
  /** Null: there is none. */
  | { readonly type: 'read'; readonly lease: LeaseState | null; readonly nowMs: number }
  | { readonly type: 'written'; readonly lease: LeaseState; readonly nowMs: number }
  /** A request has failed: another was faster, or the API server is away. */
  | { readonly type: 'failed'; readonly nowMs: number };

export type ElectionEffect =
  | { readonly type: 'read' }
  /** Replaces the Lease of this version; null: creates it. */
  | { readonly type: 'write'; readonly transitions: number; readonly resourceVersion: string | null }
  | { readonly type: 'elected' }
  | { readonly type: 'deposed' };

/** How long others wait for a leader that says nothing. */
export const leaseDurationMs = 15_000;
/** How long a leader leads without having renewed: less, so that it has stopped before another begins. */
export const renewWithinMs = 10_000;
/** Between two looks; a leader renews at each. */
export const lookEveryMs = 2_000;

export function beginElection(self: string): Election {
  return { self, leadsUntilMs: null, seen: null, mayDiffer: true, hasLed: false, askedAtMs: null };
}

/** Who leads, as far as is known here; empty: nobody, or it has not been heard of for so long that nobody may. */
export function leaderOf({ self, leadsUntilMs, seen }: Election, nowMs: number): string {
  if (leadsUntilMs !== null && nowMs < leadsUntilMs) return self;
  return seen === null || seen.lease.holder === self || nowMs - seen.sinceMs >= seen.lease.durationMs ? '' : seen.lease.holder;
}

interface Step {
  readonly state: Election;
  readonly effects: readonly ElectionEffect[];
}

/** To be woken every `lookEveryMs`, and at `leadsUntilMs`. */
export function stepElection(state: Election, event: ElectionEvent): Step {
  const { nowMs } = event;
  const isOver = state.leadsUntilMs !== null && nowMs >= state.leadsUntilMs;
  const current: Election = isOver ? { ...state, leadsUntilMs: null } : state;
  const deposed: readonly ElectionEffect[] = isOver ? [{ type: 'deposed' }] : [];
  const { state: next, effects } = stepLiving(current, event);
  return { state: next, effects: [...deposed, ...effects] };
}

function stepLiving(state: Election, event: ElectionEvent): Step {
  const { self, askedAtMs, mayDiffer, hasLed } = state;
  switch (event.type) {
    case 'woken': {
      if (askedAtMs !== null) return { state, effects: [] };
      // One request instead of two, each of which a slow store makes wait: what is seen is ours, and is written only where it still is.
      const own = state.leadsUntilMs === null || mayDiffer ? undefined : state.seen?.lease;
      return { state: { ...state, askedAtMs: event.nowMs }, effects: [own === undefined ? { type: 'read' } : { type: 'write', transitions: own.transitions, resourceVersion: own.resourceVersion }] };
    }
    case 'failed':
      return { state: { ...state, mayDiffer: true, askedAtMs: null }, effects: [] };
    case 'read': {
      const { lease, nowMs } = event;
      if (lease === null) return { state: { ...state, seen: null }, effects: [{ type: 'write', transitions: 0, resourceVersion: null }] };
      const seen = state.seen?.lease.resourceVersion === lease.resourceVersion ? state.seen : { lease, sinceMs: nowMs };
      const isOurs = lease.holder === self && hasLed;
      const isFree = lease.holder === '' || nowMs - seen.sinceMs >= lease.durationMs;
      if (isOurs || isFree) return { state: { ...state, seen }, effects: [{ type: 'write', transitions: lease.transitions + (isOurs ? 0 : 1), resourceVersion: lease.resourceVersion }] };
      const lost = state.leadsUntilMs !== null; // somebody else holds it while we think that we do
      return { state: { ...state, seen, askedAtMs: null, leadsUntilMs: null }, effects: lost ? [{ type: 'deposed' }] : [] };
    }
    case 'written': {
      // From when the request was begun: it may have been written at any time since.
      const leadsUntilMs = (askedAtMs ?? event.nowMs) + renewWithinMs;
      const isNew = state.leadsUntilMs === null;
      const next: Election = { ...state, seen: { lease: event.lease, sinceMs: event.nowMs }, mayDiffer: false, hasLed: true, askedAtMs: null, leadsUntilMs: event.nowMs < leadsUntilMs ? leadsUntilMs : null };
      return { state: next, effects: isNew && next.leadsUntilMs !== null ? [{ type: 'elected' }] : [] };
    }
  }
}
