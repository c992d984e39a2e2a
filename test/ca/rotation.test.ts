import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { createDemoPki, noSlots, renewDemoIntermediate, trustAnchorOf, trustBundle, type Issuer, type RotationEffect, type RotationEvent, type RotationState } from '../../src/ca/index.ts';
import { createCsr } from '../../src/core/x509/csr.ts';
import { SallyportError } from '../../src/core/errors.ts';
import { rotate } from '../../src/ca/rotation.ts';
import { demoAuthority, keyOf, productpage, trustDomain } from './openssl.ts';

const minuteMs = 60_000;
const hourMs = 60 * minuteMs;
const startMs = Date.UTC(2026, 10, 21);
const waitMs = 10 * minuteMs;

describe('rotation of the CA', () => {
  let issuers: readonly Issuer[]; // each under its own root
  let sibling: Issuer; // under the first one's root
  before(async () => {
    const pkis = await Promise.all(Array.from({ length: 4 }, () => createDemoPki({ trustDomain, nowMs: startMs, randomBytes })));
    issuers = pkis.map(({ intermediate }) => intermediate);
    sibling = await renewDemoIntermediate(pkis[0]!, { trustDomain, nowMs: startMs, randomBytes });
  });

  /** Runs events; a refused one must be the last, and gives its reason. */
  const run = (...events: readonly RotationEvent[]): { state: RotationState; effects: readonly RotationEffect[]; refused: string | undefined } => {
    let state = noSlots;
    let effects: readonly RotationEffect[] = [];
    for (const event of events) {
      const step = rotate(state, event, { waitMs });
      if (!step.ok) return { state, effects, refused: step.reason };
      ({ state, effects } = step);
    }
    return { state, effects, refused: undefined };
  };
  const initialize = (): RotationEvent => ({ type: 'initialize', issuer: issuers[0]!, nowMs: startMs });
  const prepare = (): RotationEvent => ({ type: 'prepare', issuer: issuers[1]! });
  const published = (nowMs = startMs): RotationEvent => ({ type: 'published', fingerprint: issuers[1]!.chain.fingerprint, nowMs });
  const acknowledged = (): RotationEvent => ({ type: 'acknowledged', fingerprint: issuers[1]!.chain.fingerprint });
  const activate = (nowMs: number): RotationEvent => ({ type: 'activate', nowMs });
  const reserve = (untilMs: number, issuer = issuers[0]!): RotationEvent => ({ type: 'reserve', fingerprint: issuer.chain.fingerprint, untilMs });
  const anchor = (issuer: Issuer): Buffer => trustAnchorOf(issuer.chain).der;

  it('signs with the first CA at once', () => {
    const { state, effects } = run(initialize());
    assert.equal(state.active?.issuer, issuers[0]);
    assert.deepEqual(effects, [{ type: 'record', step: 'initialized', fingerprint: issuers[0]!.chain.fingerprint }]);
    assert.deepEqual(trustBundle(state), [anchor(issuers[0]!)]);
  });

  it('puts a prepared CA into the bundle while the active one still signs', () => {
    const { state, effects } = run(initialize(), prepare());
    assert.equal(state.active?.issuer, issuers[0]);
    assert.deepEqual(trustBundle(state), [anchor(issuers[0]!), anchor(issuers[1]!)]);
    assert.deepEqual(effects, [{ type: 'record', step: 'prepared', fingerprint: issuers[1]!.chain.fingerprint }]);
  });

  const refusals: readonly [why: string, reason: string, events: () => readonly RotationEvent[]][] = [
    ['the first CA twice', 'already-initialized', () => [initialize(), initialize()]],
    ['preparing before there is a first', 'not-initialized', () => [prepare()]],
    ['preparing two', 'already-prepared', () => [initialize(), prepare(), { type: 'prepare', issuer: issuers[2]! }]],
    ['preparing what is active', 'known-issuer', () => [initialize(), { type: 'prepare', issuer: issuers[0]! }]],
    ['activating nothing', 'not-prepared', () => [initialize(), activate(startMs)]],
    ['activating what was never published', 'not-published', () => [initialize(), prepare(), activate(startMs + 24 * hourMs)]],
    ['activating what was published a moment ago', 'not-published', () => [initialize(), prepare(), published(), activate(startMs + waitMs - 1)]],
    ['activating on a late word about another', 'not-published', () => [initialize(), prepare(), { type: 'discard' }, { type: 'prepare', issuer: issuers[2]! }, published(), acknowledged(), activate(startMs + waitMs)]],
    ['activating one that is not valid any more', 'not-valid', () => [initialize(), prepare(), published(), activate(issuers[1]!.chain.notAfterMs + 1)]],
    ['discarding nothing', 'not-prepared', () => [initialize(), { type: 'discard' }]],
    ['signing with a CA that is retired', 'unknown-issuer', () => [initialize(), reserve(startMs + hourMs, issuers[3])]],
  ];
  for (const [why, reason, events] of refusals) it(`refuses ${why}`, () => assert.equal(run(...events()).refused, reason));

  it('activates once the bundle is out long enough, or everyone acknowledged it', () => {
    for (const events of [[published(), activate(startMs + waitMs)], [published(), acknowledged(), activate(startMs)], [acknowledged(), activate(startMs)]]) {
      const { state, effects, refused } = run(initialize(), prepare(), ...events);
      assert.equal(refused, undefined);
      assert.equal(state.active?.issuer, issuers[1]);
      assert.equal(state.prepared, null);
      assert.deepEqual(effects, [{ type: 'record', step: 'activated', fingerprint: issuers[1]!.chain.fingerprint }]);
    }
  });

  it('activates a new CA under a root that everyone holds without waiting', () => {
    const { state, refused } = run(initialize(), { type: 'prepare', issuer: sibling }, activate(startMs));
    assert.equal(refused, undefined);
    assert.equal(state.active?.issuer, sibling);
    assert.deepEqual(trustBundle(state), [anchor(sibling)], 'one root, once');
  });

  it('keeps the old CA in the bundle until the last certificate it signed has ended, without its key', () => {
    const endsMs = startMs + 30 * 24 * hourMs;
    const rotated = [initialize(), reserve(endsMs), prepare(), published(), activate(startMs + waitMs)];
    const { state } = run(...rotated);
    assert.deepEqual(Object.keys(state.old[0]!).toSorted(), ['chain', 'retireAtMs']);
    assert.ok(state.old[0]!.retireAtMs >= endsMs);
    assert.deepEqual(trustBundle(run(...rotated, { type: 'tick', nowMs: endsMs - 1 }).state), [anchor(issuers[1]!), anchor(issuers[0]!)]);
    const retired = run(...rotated, { type: 'tick', nowMs: endsMs + hourMs });
    assert.deepEqual(trustBundle(retired.state), [anchor(issuers[1]!)]);
    assert.deepEqual(retired.effects, [{ type: 'record', step: 'retired', fingerprint: issuers[0]!.chain.fingerprint }]);
  });

  it('keeps an old CA longer for a certificate that was being signed as it was rotated out', () => {
    const late = startMs + 90 * 24 * hourMs;
    const { state } = run(initialize(), prepare(), acknowledged(), activate(startMs), reserve(late));
    assert.equal(state.old[0]!.retireAtMs, late);
  });

  it('never reserves beyond the end of the CA itself', () => {
    const endMs = issuers[0]!.chain.notAfterMs;
    assert.equal(run(initialize(), reserve(endMs)).state.active?.issuedUntilMs, endMs);
  });

  it('in any order of events keeps every CA trusted before it signs and until what it signed has ended', () => {
    const pick = fc.nat(3);
    const event: fc.Arbitrary<(nowMs: number, state: RotationState) => RotationEvent> = fc.oneof(
      pick.map((index) => (): RotationEvent => ({ type: 'prepare', issuer: issuers[index]! })),
      pick.map((index) => (nowMs: number): RotationEvent => ({ type: 'published', fingerprint: issuers[index]!.chain.fingerprint, nowMs })),
      fc.constant((nowMs: number): RotationEvent => ({ type: 'activate', nowMs })),
      fc.constant((): RotationEvent => ({ type: 'discard' })),
      fc.constant((nowMs: number): RotationEvent => ({ type: 'tick', nowMs })),
      fc.integer({ min: 1, max: 48 }).map((hours) => (nowMs: number, state: RotationState): RotationEvent => ({ type: 'reserve', fingerprint: state.active!.issuer.chain.fingerprint, untilMs: nowMs + hours * hourMs })),
    );
    fc.assert(
      fc.property(fc.array(fc.tuple(event, fc.nat(90)), { maxLength: 60 }), (events) => {
        let state = run(initialize()).state;
        let nowMs = startMs;
        const trustedSince = new Map<Buffer, number>([[anchor(issuers[0]!), -Infinity]]);
        const signed: { anchor: Buffer; untilMs: number }[] = [];
        for (const [make, minutes] of events) {
          nowMs += minutes * minuteMs;
          const next = make(nowMs, state);
          const before = state;
          const step = rotate(state, next, { waitMs });
          if (!step.ok) continue;
          state = step.state;
          const bundle = trustBundle(state);
          if (next.type === 'published' && state !== before) trustedSince.set(anchor(state.prepared!.issuer), nowMs);
          for (const der of trustedSince.keys()) if (!bundle.includes(der)) trustedSince.delete(der);
          if (next.type === 'reserve') signed.push({ anchor: anchor(state.active!.issuer), untilMs: next.untilMs });
          assert.ok(bundle.includes(anchor(state.active!.issuer)));
          assert.ok(nowMs - trustedSince.get(anchor(state.active!.issuer))! >= waitMs, 'signs before it is trusted');
          for (const certificate of signed) if (certificate.untilMs > nowMs) assert.ok(bundle.includes(certificate.anchor), 'a live certificate lost its root');
        }
      }),
      { numRuns: 300 },
    );
  });

  it('by the authority takes effect after it is saved, one step after the other', async () => {
    const saves: RotationState[] = [];
    let fail = false;
    const { authority, clock } = await demoAuthority({
      propagationMs: waitMs,
      save: async (slots) => {
        await new Promise(setImmediate);
        if (fail) throw new Error('disk full');
        saves.push(slots);
      },
    });
    const first = authority.slots.active!.issuer;
    const next = issuers[1]!;
    clock.nowMs = Math.max(clock.nowMs, startMs);
    fail = true;
    await assert.rejects(authority.rotate({ type: 'prepare', issuer: next }), /disk full/);
    assert.equal(authority.slots.prepared, null, 'what was not saved did not happen');
    fail = false;
    const steps = [authority.rotate({ type: 'prepare', issuer: next }), authority.rotate({ type: 'published', fingerprint: next.chain.fingerprint, nowMs: clock.nowMs }), authority.rotate({ type: 'activate', nowMs: clock.nowMs + waitMs })];
    assert.equal(authority.trustBundle.length, 1);
    await Promise.all(steps);
    assert.equal(saves.at(-1), authority.slots);
    assert.equal(authority.trustBundle.length, 2);
    const { issuerFingerprint } = await authority.issueSvid({ spiffeId: productpage, csr: createCsr(keyOf('P-256')) });
    assert.equal(issuerFingerprint, next.chain.fingerprint);
    assert.notEqual(issuerFingerprint, first.chain.fingerprint);
    await assert.rejects(authority.rotate({ type: 'activate', nowMs: clock.nowMs }), (error) => error instanceof SallyportError && error.code === 'ca-rotation-refused' && error.hint !== undefined);
    await assert.rejects(authority.rotate({ type: 'initialize', issuer: first, nowMs: clock.nowMs }), (error) => error instanceof SallyportError && error.code === 'ca-already-initialized');
  });
});
