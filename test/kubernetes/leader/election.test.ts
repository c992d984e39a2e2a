import assert from 'node:assert/strict';
import fc from 'fast-check';
import { beginElection, leaderOf, leaseDurationMs, lookEveryMs, renewWithinMs, stepElection, type Election, type ElectionEffect, type ElectionEvent, type LeaseState } from '../../../src/kubernetes/leader/election.ts';

const lease = (holder: string, resourceVersion = '1', transitions = 0): LeaseState => ({ holder, transitions, resourceVersion, durationMs: leaseDurationMs });

function replica(self: string) {
  let state: Election = beginElection(self);
  return {
    feed: (event: ElectionEvent): readonly ElectionEffect[] => {
      const step = stepElection(state, event);
      state = step.state;
      return step.effects;
    },
    leader: (nowMs: number) => leaderOf(state, nowMs),
    leads: (nowMs: number) => state.leadsUntilMs !== null && nowMs < state.leadsUntilMs,
  };
}

describe('the election of a leader', () => {
  it('is won by who makes the Lease', () => {
    const a = replica('a');
    assert.deepEqual(a.feed({ type: 'woken', nowMs: 0 }), [{ type: 'read' }]);
    assert.deepEqual(a.feed({ type: 'read', lease: null, nowMs: 1 }), [{ type: 'write', transitions: 0, resourceVersion: null }]);
    assert.deepEqual(a.feed({ type: 'written', lease: lease('a'), nowMs: 2 }), [{ type: 'elected' }]);
    assert.ok(a.leads(renewWithinMs - 1) && !a.leads(renewWithinMs));
  });

  it('waits for a silent leader as long as it has seen the Lease unchanged itself', () => {
    const b = replica('b');
    const look = (nowMs: number, held: LeaseState) => [...b.feed({ type: 'woken', nowMs }), ...b.feed({ type: 'read', lease: held, nowMs })].filter(({ type }) => type !== 'read');
    assert.deepEqual(look(0, lease('a', '7', 3)), []);
    assert.deepEqual(look(leaseDurationMs - 1, lease('a', '7', 3)), []);
    assert.deepEqual(look(leaseDurationMs, lease('a', '8', 3)), [], 'it was renewed');
    assert.deepEqual(look(2 * leaseDurationMs, lease('a', '8', 3)), [{ type: 'write', transitions: 4, resourceVersion: '8' }]);
  });

  it('does not wait for one that has let go', () => {
    const b = replica('b');
    b.feed({ type: 'woken', nowMs: 0 });
    assert.deepEqual(b.feed({ type: 'read', lease: lease('', '7', 3), nowMs: 0 }), [{ type: 'write', transitions: 4, resourceVersion: '7' }]);
  });

  it('takes no Lease for its own that one of its name held before it began', () => {
    const a = replica('a');
    a.feed({ type: 'woken', nowMs: 0 });
    assert.deepEqual(a.feed({ type: 'read', lease: lease('a', '7', 3), nowMs: 0 }), []);
  });

  const elected = (): ReturnType<typeof replica> => {
    const a = replica('a');
    for (const event of [{ type: 'woken', nowMs: 0 }, { type: 'read', lease: null, nowMs: 0 }, { type: 'written', lease: lease('a'), nowMs: 0 }] as const) a.feed(event);
    return a;
  };

  it('renews by one request, and reads again where that has failed', () => {
    const a = elected();
    assert.deepEqual(a.feed({ type: 'woken', nowMs: 2_000 }), [{ type: 'write', transitions: 0, resourceVersion: '1' }]);
    a.feed({ type: 'written', lease: lease('a', '2'), nowMs: 2_100 });
    assert.deepEqual(a.feed({ type: 'woken', nowMs: 4_000 }), [{ type: 'write', transitions: 0, resourceVersion: '2' }]);
    a.feed({ type: 'failed', nowMs: 4_100 });
    assert.deepEqual(a.feed({ type: 'woken', nowMs: 6_000 }), [{ type: 'read' }]);
    assert.deepEqual(a.feed({ type: 'read', lease: lease('b', '3'), nowMs: 6_100 }), [{ type: 'deposed' }]);
  });

  it('goes to who had it as soon as he is heard again, where nobody else has taken it meanwhile', () => {
    const a = elected();
    assert.deepEqual(a.feed({ type: 'woken', nowMs: renewWithinMs }), [{ type: 'deposed' }, { type: 'read' }]);
    assert.deepEqual(a.feed({ type: 'read', lease: lease('a'), nowMs: renewWithinMs + 1 }), [{ type: 'write', transitions: 0, resourceVersion: '1' }]);
    assert.deepEqual(a.feed({ type: 'written', lease: lease('a', '2'), nowMs: renewWithinMs + 2 }), [{ type: 'elected' }]);
  });

  it('names nobody who has not been heard of for so long that another may begin, nor whoever has stopped by himself', () => {
    const [a, b] = [elected(), replica('b')];
    b.feed({ type: 'woken', nowMs: 0 });
    b.feed({ type: 'read', lease: lease('a'), nowMs: 0 });
    assert.deepEqual([b.leader(0), b.leader(leaseDurationMs - 1), b.leader(leaseDurationMs)], ['a', 'a', '']);
    assert.deepEqual([a.leader(0), a.leader(renewWithinMs - 1), a.leader(renewWithinMs)], ['a', 'a', '']);
  });

  it('ends where another holds the Lease, and where the API server is away for too long', () => {
    const outdone = elected();
    outdone.feed({ type: 'woken', nowMs: 2_000 });
    outdone.feed({ type: 'failed', nowMs: 2_001 });
    outdone.feed({ type: 'woken', nowMs: 4_000 });
    assert.deepEqual(outdone.feed({ type: 'read', lease: lease('b', '9'), nowMs: 4_001 }), [{ type: 'deposed' }]);
    const away = elected();
    away.feed({ type: 'woken', nowMs: 2_000 });
    assert.deepEqual(away.feed({ type: 'failed', nowMs: 4_000 }), []);
    assert.deepEqual(away.feed({ type: 'woken', nowMs: renewWithinMs }), [{ type: 'deposed' }, { type: 'read' }]);
  });

  it('counts a renewal from when it was asked for, however late the answer', () => {
    const a = replica('a');
    for (const event of [{ type: 'woken', nowMs: 0 }, { type: 'read', lease: null, nowMs: 0 }] as const) a.feed(event);
    assert.deepEqual(a.feed({ type: 'written', lease: lease('a'), nowMs: renewWithinMs }), []);
    assert.equal(a.leads(renewWithinMs), false);
  });

  it('never has two leaders at a moment, and always one in the end, whatever is slow or fails', () => {
    const someTurn = fc.record({ who: fc.nat(2), passMs: fc.integer({ min: 0, max: 4_000 }), delayMs: fc.oneof(fc.integer({ min: 0, max: 50 }), fc.integer({ min: 0, max: 12_000 })), outcome: fc.constantFrom('ok', 'ok', 'ok', 'lost', 'answer lost') });
    let elections = 0;
    fc.assert(
      fc.property(fc.array(someTurn, { minLength: 5, maxLength: 120 }), (turns) => {
        const names = ['a', 'b', 'c'];
        const replicas = names.map(replica);
        let held: LeaseState | null = null;
        let version = 0;
        let nowMs = 0;
        const pending: { atMs: number; answer: () => void }[] = [];
        const check = () => assert.ok(replicas.filter((each) => each.leads(nowMs)).length <= 1, `two lead at ${nowMs}`);
        const pass = (ms: number) => {
          const until = nowMs + ms;
          for (;;) {
            pending.sort((x, y) => x.atMs - y.atMs);
            if ((pending[0]?.atMs ?? Infinity) > until) break;
            const { atMs, answer } = pending.shift()!;
            nowMs = atMs;
            answer();
            check();
          }
          nowMs = until;
          check();
        };
        /** The server does it half way through the delay, unless the request is lost. */
        const request = (index: number, effect: ElectionEffect, delayMs: number, outcome: string): void => {
          const perform = (effects: readonly ElectionEffect[], delay: number, how: string) => {
            for (const each of effects) {
              if (each.type === 'elected') elections += 1;
              if (each.type === 'read' || each.type === 'write') request(index, each, delay, how);
            }
          };
          const answerBy = (event: (at: number) => ElectionEvent, atMs: number) => pending.push({ atMs, answer: () => perform(replicas[index]!.feed(event(atMs)), delayMs, 'ok') });
          if (outcome === 'lost') {
            answerBy((at) => ({ type: 'failed', nowMs: at }), nowMs + delayMs);
            return;
          }
          const begunMs = nowMs;
          pending.push({
            atMs: nowMs + delayMs / 2,
            answer: () => {
              const endMs = begunMs + delayMs;
              if (effect.type === 'read') {
                const found = held;
                answerBy((at) => ({ type: 'read', lease: found, nowMs: at }), endMs);
              } else if (effect.type === 'write') {
                const fits = effect.resourceVersion === null ? held === null : held?.resourceVersion === effect.resourceVersion;
                if (fits) held = { holder: names[index]!, transitions: effect.transitions, resourceVersion: String((version += 1)), durationMs: leaseDurationMs };
                const written = held;
                answerBy((at) => (fits && outcome !== 'answer lost' ? { type: 'written', lease: written!, nowMs: at } : { type: 'failed', nowMs: at }), endMs);
              }
            },
          });
        };
        for (const { who, passMs, delayMs, outcome } of turns) {
          for (const effect of replicas[who]!.feed({ type: 'woken', nowMs })) if (effect.type === 'read' || effect.type === 'write') request(who, effect, delayMs, outcome);
          check();
          pass(passMs);
        }
        for (let look = 0; look < 40; look += 1) {
          for (const index of replicas.keys()) for (const effect of replicas[index]!.feed({ type: 'woken', nowMs })) if (effect.type === 'read' || effect.type === 'write') request(index, effect, 10, 'ok');
          pass(lookEveryMs);
        }
        assert.equal(replicas.filter((each) => each.leads(nowMs)).length, 1);
      }),
      { numRuns: 300 },
    );
    assert.ok(elections > 300);
  });
});
