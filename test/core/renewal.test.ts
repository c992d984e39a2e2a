import assert from 'node:assert/strict';
import fc from 'fast-check';
import { attemptIsDue, backoffMaxMs, startEnrolling, stepRenewal, wakeAtMs, type Renewal, type RenewalEvent } from '../../src/core/renewal.ts';

const hourMs = 3_600_000;
const issued = (random: number): RenewalEvent => ({ type: 'issued', heldSinceMs: 1_000, expiresAtMs: 1_000 + hourMs, random });
const after = (...events: RenewalEvent[]): Renewal => events.reduce(stepRenewal, startEnrolling(0));

describe('renewal', () => {
  const table: readonly { readonly it: string; readonly events: readonly RenewalEvent[]; readonly state: Renewal }[] = [
    { it: 'asks for a certificate at once when it has none', events: [], state: { phase: 'enrolling', failures: 0, attemptAtMs: 0 } },
    { it: 'tries again after half a second when that failed', events: [{ type: 'failed', nowMs: 100, random: 1 }], state: { phase: 'enrolling', failures: 1, attemptAtMs: 600 } },
    { it: 'doubles the pause with every failure', events: [0, 1, 2].map(() => ({ type: 'failed', nowMs: 0, random: 1 })), state: { phase: 'enrolling', failures: 3, attemptAtMs: 2_000 } },
    { it: 'leaves up to half of the pause to chance', events: [{ type: 'failed', nowMs: 0, random: 0 }], state: { phase: 'enrolling', failures: 1, attemptAtMs: 250 } },
    { it: 'renews at half of the life', events: [issued(0.5)], state: { phase: 'valid', failures: 0, attemptAtMs: 1_000 + hourMs / 2, expiresAtMs: 1_000 + hourMs } },
    { it: 'renews at the earliest at four tenths of it', events: [issued(0)], state: { phase: 'valid', failures: 0, attemptAtMs: 1_000 + 0.4 * hourMs, expiresAtMs: 1_000 + hourMs } },
    { it: 'renews at half of the life that its issuer gave it, where that is the shorter one', events: [{ type: 'issued', heldSinceMs: 0, expiresAtMs: 2 * hourMs, lifetimeMs: hourMs, random: 0.5 }], state: { phase: 'valid', failures: 0, attemptAtMs: hourMs / 2, expiresAtMs: 2 * hourMs } },
    { it: 'stays valid until then', events: [issued(0), { type: 'woken', nowMs: hourMs / 4 }], state: { phase: 'valid', failures: 0, attemptAtMs: 1_000 + 0.4 * hourMs, expiresAtMs: 1_000 + hourMs } },
    { it: 'is renewing from then on', events: [issued(0), { type: 'woken', nowMs: hourMs / 2 }], state: { phase: 'renewing', failures: 0, attemptAtMs: 1_000 + 0.4 * hourMs, expiresAtMs: 1_000 + hourMs } },
    { it: 'keeps renewing over failures', events: [issued(0), { type: 'woken', nowMs: hourMs / 2 }, { type: 'failed', nowMs: hourMs / 2, random: 1 }], state: { phase: 'renewing', failures: 1, attemptAtMs: hourMs / 2 + 500, expiresAtMs: 1_000 + hourMs } },
    { it: 'has expired at its end', events: [issued(0), { type: 'woken', nowMs: 1_000 + hourMs }], state: { phase: 'expired', failures: 0, attemptAtMs: 1_000 + hourMs } },
    { it: 'has expired when a renewal outlasts it', events: [issued(0), { type: 'woken', nowMs: hourMs / 2 }, { type: 'failed', nowMs: 2 * hourMs, random: 1 }], state: { phase: 'expired', failures: 1, attemptAtMs: 2 * hourMs + 500 } },
    { it: 'is valid again with a new certificate', events: [issued(0), { type: 'woken', nowMs: 2 * hourMs }, { type: 'issued', heldSinceMs: 2 * hourMs, expiresAtMs: 3 * hourMs, random: 0.5 }], state: { phase: 'valid', failures: 0, attemptAtMs: 2.5 * hourMs, expiresAtMs: 3 * hourMs } },
    { it: 'renews at once when asked to', events: [issued(0), { type: 'requested', nowMs: 5_000 }, { type: 'woken', nowMs: 5_000 }], state: { phase: 'renewing', failures: 0, attemptAtMs: 5_000, expiresAtMs: 1_000 + hourMs } },
    { it: 'does not renew in a tight circle where lives are very short', events: [{ type: 'issued', heldSinceMs: 0, expiresAtMs: 10, random: 0 }], state: { phase: 'valid', failures: 0, attemptAtMs: 500, expiresAtMs: 10 } },
  ];
  for (const { it: sentence, events, state } of table) it(sentence, () => assert.deepEqual(after(...events), state));

  const unit = fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true });
  const instant = fc.nat(10 * hourMs);
  const anyEvent: fc.Arbitrary<RenewalEvent> = fc.oneof(
    fc.record({ type: fc.constant('failed' as const), nowMs: instant, random: unit }),
    fc.record({ type: fc.constant('woken' as const), nowMs: instant }),
    fc.record({ type: fc.constant('requested' as const), nowMs: instant }),
    fc.tuple(instant, fc.integer({ min: 1, max: hourMs }), unit).map(([heldSinceMs, lifetimeMs, random]) => ({ type: 'issued' as const, heldSinceMs, expiresAtMs: heldSinceMs + lifetimeMs, random })),
  );

  it('has expired exactly when no certificate that it was given is valid any more, whatever happened', () => {
    fc.assert(
      fc.property(fc.array(anyEvent), instant, (events, nowMs) => {
        const timely = events.map((event) => ('nowMs' in event ? { ...event, nowMs: Math.min(event.nowMs, nowMs) } : event));
        const state = stepRenewal(after(...timely), { type: 'woken', nowMs });
        if ('expiresAtMs' in state) assert.ok(nowMs < state.expiresAtMs);
        else assert.notEqual(state.phase, timely.some(({ type }) => type === 'issued') ? 'enrolling' : 'expired');
      }),
      { numRuns: 200 },
    );
  });

  it('never pauses longer than its limit, nor shorter than a quarter of a second, after a failure', () => {
    fc.assert(
      fc.property(fc.array(anyEvent), instant, unit, (events, nowMs, random) => {
        const { attemptAtMs } = stepRenewal(after(...events), { type: 'failed', nowMs, random });
        assert.ok(attemptAtMs >= nowMs + 250 && attemptAtMs <= nowMs + backoffMaxMs);
      }),
      { numRuns: 200 },
    );
  });

  it('never sleeps past an attempt or an expiry, nor a minute', () => {
    fc.assert(
      fc.property(fc.array(anyEvent), instant, (events, nowMs) => {
        const state = after(...events);
        const wakeMs = wakeAtMs(state, nowMs);
        assert.ok(wakeMs <= nowMs + 60_000 && wakeMs <= state.attemptAtMs && ('expiresAtMs' in state ? wakeMs <= state.expiresAtMs : true));
      }),
      { numRuns: 200 },
    );
  });

  it('renews before the end of any life longer than a second', () => {
    fc.assert(
      fc.property(instant, fc.integer({ min: 1_001, max: hourMs }), unit, (heldSinceMs, lifetimeMs, random) => {
        const state = after({ type: 'issued', heldSinceMs, expiresAtMs: heldSinceMs + lifetimeMs, random });
        assert.ok(attemptIsDue(state, heldSinceMs + 0.6 * lifetimeMs + 1) && !attemptIsDue(state, heldSinceMs + 0.39 * lifetimeMs));
      }),
      { numRuns: 200 },
    );
  });
});
