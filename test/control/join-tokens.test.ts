import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { SallyportError } from '../../src/core/errors.ts';
import type { SpiffeId } from '../../src/core/spiffe-id.ts';
import { makeTokenText, redeem, tokenKey } from '../../src/control/join-tokens.ts';

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

  it('prove their SPIFFE ID until they expire, and say the same of an unknown and an expired one', () => {
    const token = { spiffeId: 'spiffe://cluster.local/ns/a/sa/b' as SpiffeId, expiresAtMs: 1_000 };
    assert.equal(redeem(token, 999), token.spiffeId);
    const messageOf = (run: () => unknown) => {
      try {
        run();
      } catch (error) {
        assert.ok(error instanceof SallyportError);
        return `${error.code} ${error.message}`;
      }
      return assert.fail('was accepted');
    };
    assert.equal(messageOf(() => redeem(token, 1_000)), messageOf(() => redeem(undefined, 0)));
  });
});
