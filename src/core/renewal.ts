/**
 * When to ask for a certificate: a reducer over instants that are passed in. A shell (`identity.ts` of src/identity,
 * `proxy-svids.ts` of src/control) holds the timer and makes the calls; it asks `wakeAtMs` when to look again and calls out
 * when `attemptIsDue`.
 */
import { backOffMs } from './back-off.ts';

/** Where the life of an identity stands. Without a valid certificate only a token helps, with one it renews itself. */
export type Renewal =
  | { readonly phase: 'enrolling' | 'expired'; readonly failures: number; readonly attemptAtMs: number }
  | { readonly phase: 'valid' | 'renewing'; readonly failures: number; readonly attemptAtMs: number; readonly expiresAtMs: number };

export type RenewalEvent =
  /**
   * A certificate is held. `heldSinceMs` is when its life began for us: its receipt, or its start where the receipt is not known. It is good for
   * no longer than `lifetimeMs`, which is less than until it expires where our clock is behind its issuer's.
   */
  | { readonly type: 'issued'; readonly heldSinceMs: number; readonly expiresAtMs: number; readonly lifetimeMs?: number; readonly random: number }
  | { readonly type: 'failed'; readonly nowMs: number; readonly random: number }
  | { readonly type: 'requested'; readonly nowMs: number }
  | { readonly type: 'woken'; readonly nowMs: number };

const firstBackoffMs = 500;
/** Also the longest that an agent needs to notice that its control plane is back. */
export const backoffMaxMs = 30_000;
const renewalIntervalMinMs = 500;
/** A wall clock may jump (suspend, NTP) while a timer counts monotonic time: look again this often. */
const sleepMaxMs = 60_000;

export function startEnrolling(nowMs: number): Renewal {
  return { phase: 'enrolling', failures: 0, attemptAtMs: nowMs };
}

/** `random` in events is uniform in [0, 1). */
export function stepRenewal(state: Renewal, event: RenewalEvent): Renewal {
  switch (event.type) {
    case 'issued':
      return { phase: 'valid', failures: 0, attemptAtMs: renewalAtMs(event), expiresAtMs: event.expiresAtMs };
    case 'failed': {
      const current = stepRenewal(state, { type: 'woken', nowMs: event.nowMs });
      return { ...current, failures: current.failures + 1, attemptAtMs: event.nowMs + backoffMs(current.failures, event.random) };
    }
    case 'requested':
      return { ...state, attemptAtMs: Math.min(state.attemptAtMs, event.nowMs) };
    case 'woken':
      if (!('expiresAtMs' in state)) return state;
      if (event.nowMs >= state.expiresAtMs) return { phase: 'expired', failures: 0, attemptAtMs: event.nowMs };
      return state.phase === 'valid' && attemptIsDue(state, event.nowMs) ? { ...state, phase: 'renewing' } : state;
  }
}

export function attemptIsDue(state: Renewal, nowMs: number): boolean {
  return nowMs >= state.attemptAtMs;
}

/** When the state may change by itself: the next attempt, the expiry, or the longest sleep. */
export function wakeAtMs(state: Renewal, nowMs: number): number {
  return Math.min(state.attemptAtMs, 'expiresAtMs' in state ? state.expiresAtMs : Infinity, nowMs + sleepMaxMs);
}

/** Half of the life, give or take a tenth of it, so that a fleet started at once does not renew at once. */
function renewalAtMs({ heldSinceMs, expiresAtMs, lifetimeMs = Infinity, random }: Extract<RenewalEvent, { type: 'issued' }>): number {
  return heldSinceMs + Math.max(renewalIntervalMinMs, Math.round(Math.min(lifetimeMs, expiresAtMs - heldSinceMs) * (0.4 + 0.2 * random)));
}

function backoffMs(failures: number, random: number): number {
  return Math.round(backOffMs({ baseMs: firstBackoffMs, maxMs: backoffMaxMs }, failures, random));
}
