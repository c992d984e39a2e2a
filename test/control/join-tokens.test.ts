import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import type { SpiffeId } from '../../src/core/spiffe-id.ts';
import { makeTokenText, publicKeyHash, redeem, tokenKey } from '../../src/control/join-tokens.ts';

describe('join tokens', () => {
  it('carry 256 bits and are never the same', () => {
    const text = makeTokenText(randomBytes);
    assert.equal(Buffer.from(text.slice('sallyport-join-'.length), 'base64url').length, 32);
    assert.notEqual(text, makeTokenText(randomBytes));
  });

  it('are stored under a hash from which the token cannot be read', () => {
    const text = makeTokenText(() => Buffer.alloc(32, 7));
    const key = tokenKey(text)!;
    assert.match(key, /^[0-9a-f]{64}$/);
    assert.ok(!key.includes(Buffer.alloc(32, 7).toString('hex')));
    assert.equal(key, tokenKey(text));
  });

  for (const text of ['', 'sallyport-join-', 'x'.repeat(1_000_000), 'sallyport-join-' + '!'.repeat(43), 'sallyport-join-' + 'a'.repeat(44)]) {
    it(`does not look up ${JSON.stringify(text.slice(0, 24))} (${text.length} characters)`, () => assert.equal(tokenKey(text), undefined));
  }

  const token = { spiffeId: 'spiffe://cluster.local/ns/a/sa/b' as SpiffeId, expiresAtMs: 1_000 };
  const [key, otherKey] = [publicKeyHash(Buffer.from('a key')), publicKeyHash(Buffer.from('another'))];

  it('are spent by the first key, which may come again until they expire', () => {
    const spent = redeem(token, key, 0);
    assert.deepEqual(spent, { ...token, spentBy: key });
    assert.equal(redeem(spent, key, 999), spent, 'nothing new to keep');
  });

  it('give nothing to another key, nor to anyone once expired, nor where they are unknown', () => {
    const spent = redeem(token, key, 0);
    assert.equal(redeem(spent, otherKey, 0), undefined);
    for (const expired of [token, spent]) assert.equal(redeem(expired, key, 1_000), undefined);
    assert.equal(redeem(undefined, key, 0), undefined);
  });
});
