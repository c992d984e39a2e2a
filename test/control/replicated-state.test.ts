import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { ReplicatedState } from '../../src/control/replicated-state.ts';
import { redeem } from '../../src/control/join-tokens.ts';
import { encodeShared, noEntries, tokensBytesMax, withPut } from '../../src/control/shared-sections.ts';
import type { SpiffeId } from '../../src/core/spiffe-id.ts';
import { waitFor } from '../../src/demo/processes.ts';
import { rejection } from '../support/rejection.ts';
import { createSharedText, type SharedText } from './support/shared-text.ts';

const token = { spiffeId: 'spiffe://cluster.local/ns/a/sa/b' as SpiffeId, expiresAtMs: Date.now() + 3_600_000 };
const withinMs = 5_000;

describe('state that replicas share', () => {
  const open = new Set<ReplicatedState>();
  afterEach(() => {
    for (const state of open) state.close();
    open.clear();
  });
  function replicaOf(text: SharedText): ReplicatedState {
    const state = text.state();
    open.add(state);
    return state;
  }

  const make = (state: ReplicatedState, ...keys: readonly string[]): Promise<unknown> => state.change(() => ({ put: { tokens: Object.fromEntries(keys.map((key) => [key, token])) }, result: undefined }));

  /** Whether this key has the token. */
  const spend = async (state: ReplicatedState, key: string, by: string): Promise<boolean> =>
    (await state.change((view) => {
      const spent = redeem(view.get('tokens', key), by, Date.now());
      return { ...(spent === undefined || spent === view.get('tokens', key) ? {} : { put: { tokens: { [key]: spent } } }), result: spent };
    })) !== undefined;

  it('gives a token to one key, whichever replicas are asked, in whatever order their questions come and are answered', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat(3), { minLength: 1, maxLength: 64 }), fc.array(fc.tuple(fc.constantFrom('t1', 't2'), fc.nat(2), fc.constantFrom('k1', 'k2', 'k3')), { minLength: 2, maxLength: 12 }), async (delays, spends) => {
        let turn = 0;
        const text = createSharedText(() => delays[(turn += 1) % delays.length]!);
        const states = [replicaOf(text), replicaOf(text), replicaOf(text)];
        await make(states[0]!, 't1', 't2');
        const results = await Promise.all(spends.map(async ([key, replica, by]) => ({ key, by, has: await spend(states[replica]!, key, by) })));
        for (const key of ['t1', 't2']) {
          const asked = results.filter((each) => each.key === key);
          const owners = new Set(asked.filter(({ has }) => has).map(({ by }) => by));
          assert.equal(owners.size, asked.length === 0 ? 0 : 1);
          assert.deepEqual(asked.filter(({ by }) => owners.has(by)).map(({ has }) => has), asked.filter(({ by }) => owners.has(by)).map(() => true), 'the owner has it as often as he asks');
        }
        for (const state of states) state.close();
      }),
      { numRuns: 40 },
    );
  });

  it('forgets what a pod has had once that has expired and the pod is gone, with the next that is written', async () => {
    let gone = '';
    const text = createSharedText();
    const state = text.state(Date.now, ({ pod }) => pod?.uid === gone);
    open.add(state);
    await state.change(() => ({ put: { revocations: { s: { spiffeId: token.spiffeId, notAfterMs: 0, pod: { name: 'p', uid: 'u', node: null } } } }, result: undefined }));
    await make(state, 't1');
    assert.notEqual(state.get('revocations', 's'), undefined);
    gone = 'u';
    await make(state, 't2');
    assert.equal(state.get('revocations', 's'), undefined);
    assert.doesNotMatch(text.text ?? '', /"s":/);
  });

  it('is asked for anew before somebody is told that there is nothing', async () => {
    const text = createSharedText();
    const [one, other] = [replicaOf(text), replicaOf(text)];
    await Promise.all([one.ready, other.ready]);
    const before = text.reads;
    const made = make(one, 't');
    await made;
    assert.equal(await spend(other, 't', 'k'), true);
    assert.ok(text.reads > before);
  });

  it('is written once for all that comes meanwhile, and an error of one is its own', async () => {
    const text = createSharedText();
    const state = replicaOf(text);
    await state.ready;
    const first = make(state, 'first');
    const more = Array.from({ length: 100 }, (_, index) => make(state, `t${index}`));
    const failing = state.change(() => {
      throw new Error('not this one');
    });
    await assert.rejects(failing, /not this one/);
    await Promise.all([first, ...more]);
    assert.ok(text.writes <= 2, `${text.writes} writes`);
    assert.equal([...state.entries('tokens')].length, 101);
  });

  it('tells what has become known, here and elsewhere, before the change is over', async () => {
    const text = createSharedText();
    const [one, other] = [replicaOf(text), replicaOf(text)];
    const heard: [ReplicatedState, string][] = [];
    for (const state of [one, other]) state.onPut(({ tokens = {} }) => heard.push(...Object.keys(tokens).map((key): [ReplicatedState, string] => [state, key])));
    await Promise.all([one.ready, other.ready]);
    await make(one, 't');
    assert.deepEqual(heard.filter(([state]) => state === one), [[one, 't']]);
    await waitFor('the other to hear of it', withinMs, () => heard.some(([state]) => state === other) || undefined);
    assert.equal(heard.length, 2);
  });

  it('is refused while nobody answers, what was known stays known, and what was missed is heard of', async () => {
    const text = createSharedText();
    const [one, other] = [replicaOf(text), replicaOf(text)];
    await make(one, 't');
    await waitFor('the other to know', withinMs, () => other.get('tokens', 't'));
    text.setAway(true);
    const error = await rejection(spend(other, 't', 'k'));
    assert.deepEqual([error.code, error.meaning.retriable], ['unavailable', true]);
    assert.deepEqual(other.get('tokens', 't'), token);
    text.text = encodeShared(withPut(noEntries, { orders: { [token.spiffeId]: { orderedAtMs: 1, expiresAtMs: Date.now() + 60_000 } } }));
    text.setAway(false);
    await waitFor('the order', withinMs, () => other.get('orders', token.spiffeId));
  });

  it('stays as it is where its text is not what was written, and is ready only when it was read', async () => {
    const text = createSharedText();
    text.text = 'something else';
    const state = replicaOf(text);
    assert.match((await rejection(make(state, 't'))).message, /not what was written there/);
    assert.equal(await Promise.race([state.ready.then(() => 'ready'), new Promise((resolve) => setImmediate(resolve, 'not yet'))]), 'not yet');
    assert.equal(text.text, 'something else');
    text.text = undefined;
    await state.ready;
    await make(state, 't');
    text.text = 'something else again';
    assert.match((await rejection(make(state, 'another'))).message, /not what was written there/);
    assert.match((await rejection(make(state, 'another'))).message, /not what was written there/);
    assert.deepEqual([text.text, state.get('tokens', 't')], ['something else again', token]);
  });

  it('refuses the change that it has no room for, and makes those beside it', async () => {
    const text = createSharedText();
    const state = replicaOf(text);
    await state.ready;
    const first = make(state, 'first');
    const tooMuch = make(state, ...Array.from({ length: tokensBytesMax / 50 }, (_, index) => `${index}`));
    const last = make(state, 'last');
    assert.match((await rejection(tooMuch)).message, /no room for another join token/);
    await Promise.all([first, last]);
    assert.deepEqual([...state.entries('tokens')].map(([key]) => key), ['first', 'last']);
  });
});
