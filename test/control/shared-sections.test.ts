import assert from 'node:assert/strict';
import fc from 'fast-check';
import { decodeShared, differenceOf, encodeShared, noEntries, refusalForSize, textBytesMax, tokensBytesMax, withoutExpired, withPut, type SharedEntries, type SharedPut } from '../../src/control/shared-sections.ts';
import type { SpiffeId } from '../../src/core/spiffe-id.ts';

const minuteMs = 60_000;
const place = 'Secret a/state';
const plain = { noNullPrototype: true } as const;
const identity = fc.constantFrom('spiffe://cluster.local/ns/a/sa/b', 'spiffe://cluster.local/ns/a/sa/c') as fc.Arbitrary<SpiffeId>;
const time = fc.integer({ min: 0, max: 60 }).map((minutes) => minutes * minuteMs);
const token = fc.record({ spiffeId: identity, expiresAtMs: time, proxyLifetimeMs: time, spentBy: fc.constantFrom('k1', 'k2') }, { requiredKeys: ['spiffeId', 'expiresAtMs'], ...plain });
const pod = fc.record({ name: fc.constant('p'), uid: fc.constantFrom('u1', 'u2'), node: fc.option(fc.constant('n')) }, plain);
const revocation = fc.record({ spiffeId: identity, notAfterMs: time, pod }, { requiredKeys: ['spiffeId', 'notAfterMs'], ...plain });
const order = fc.record({ orderedAtMs: time, expiresAtMs: time }, plain);
const key = fc.constantFrom('a', 'b', 'c', 'd', 'spiffe://cluster.local/ns/a/sa/b');

const put: fc.Arbitrary<SharedPut> = fc.record({ tokens: fc.dictionary(key, fc.option(token), plain), revocations: fc.dictionary(key, fc.option(revocation), plain), orders: fc.dictionary(key, fc.option(order), plain) }, { requiredKeys: [], ...plain });
const entries: fc.Arbitrary<SharedEntries> = fc.array(put, { maxLength: 4 }).map((puts) => puts.reduce(withPut, noEntries));

describe('sections that replicas share', () => {
  it('are read as they were written', () => {
    fc.assert(fc.property(entries, (each) => assert.deepEqual(decodeShared(encodeShared(each), place), each)));
    assert.equal(decodeShared(undefined, place), noEntries);
  });

  it('differ by what leads from one to the other, also where they were read anew', () => {
    fc.assert(
      fc.property(entries, entries, (before, after) => {
        assert.deepEqual(withPut(before, differenceOf(before, after)), after);
        assert.deepEqual(differenceOf(after, decodeShared(encodeShared(after), place)), { tokens: {}, revocations: {}, orders: {} });
      }),
    );
  });

  it('stay the same object where nothing changes', () => {
    fc.assert(fc.property(entries, (each) => assert.equal(withPut(each, { tokens: { unknown: null }, revocations: Object.fromEntries(each.revocations) }), each)));
    fc.assert(fc.property(entries, (each) => assert.equal(withoutExpired(each, 0, () => true), each)));
  });

  it('are forgotten some time after they have expired, since clocks differ: a token after minutes, a revocation after hours, a pod’s once the pod is gone too', () => {
    fc.assert(
      fc.property(entries, fc.integer({ min: 0, max: 240 }), fc.constantFrom('u1', 'u2', ''), (before, minutes, gone) => {
        const nowMs = minutes * minuteMs;
        const counts = (expiresAtMs: number): boolean => expiresAtMs > nowMs - 120 * minuteMs;
        const { tokens, revocations, orders } = withoutExpired(before, nowMs, ({ pod }) => pod?.uid === gone);
        assert.deepEqual([...tokens], [...before.tokens].filter(([, { expiresAtMs }]) => expiresAtMs > nowMs - 5 * minuteMs));
        assert.deepEqual([...revocations], [...before.revocations].filter(([, each]) => counts(each.notAfterMs) || (each.pod !== undefined && each.pod.uid !== gone)));
        assert.deepEqual([...orders], [...before.orders].filter(([, { expiresAtMs }]) => counts(expiresAtMs)));
      }),
    );
  });

  for (const text of ['', '{', '{"version":2,"tokens":{},"revocations":{},"orders":{}}', '{"version":1,"tokens":{"a":{}},"revocations":{},"orders":{}}']) {
    it(`are not read from ${JSON.stringify(text)}`, () => {
      assert.throws(() => decodeShared(text, place), /what is in Secret a\/state is not what was written there/);
    });
  }

  const many = <Entry>(count: number, entry: Entry): Readonly<Record<string, Entry>> => Object.fromEntries(Array.from({ length: count }, (_, index) => [index.toString(16).padStart(64, '0'), entry]));
  const spiffeId = 'spiffe://cluster.local/ns/bookinfo/sa/productpage' as SpiffeId;
  const tokens = (count: number): SharedEntries => withPut(noEntries, { tokens: many(count, { spiffeId, expiresAtMs: 0 }) });
  const tokensMax = Math.floor(tokensBytesMax / (encodeShared(tokens(2)).length - encodeShared(tokens(1)).length));

  it('have room for so many join tokens, all of which can be spent and revoked, and for no more', () => {
    const [full, more] = [tokens(tokensMax - 1), tokens(tokensMax + 1)];
    assert.equal(refusalForSize(noEntries, full, place), undefined);
    assert.equal(refusalForSize(full, more, place)?.code, 'unavailable');
    assert.match(refusalForSize(full, more, place)!.message, /no room for another join token: there are [0-9]+$/);
    const spent = withPut(full, { tokens: many(tokensMax - 1, { spiffeId, expiresAtMs: 0, spentBy: 'f'.repeat(64) }) });
    assert.equal(refusalForSize(full, spent, place), undefined);
    assert.equal(refusalForSize(spent, withPut(spent, { orders: { [spiffeId]: { orderedAtMs: 0, expiresAtMs: 0 } } }), place), undefined);
  });

  it('refuse a revocation that they have no room for, and never that something goes', () => {
    const full = withPut(noEntries, { revocations: many(textBytesMax / 100, { spiffeId, notAfterMs: 0 }) });
    assert.match(refusalForSize(noEntries, full, place)!.message, /no room for another revocation/);
    assert.equal(refusalForSize(full, withPut(full, { revocations: { [[...full.revocations.keys()][0]!]: null } }), place), undefined);
  });
});
