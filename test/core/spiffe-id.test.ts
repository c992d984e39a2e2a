import assert from 'node:assert/strict';
import fc from 'fast-check';
import { parseSpiffeId, parseTrustDomain, trustDomainOf, workloadOf, workloadSpiffeId, type SpiffeId, type TrustDomain } from '../../src/core/spiffe-id.ts';
import { anyDnsLabel, anyDnsName, anySpiffeId } from '../support/arbitraries.ts';

describe('SPIFFE IDs', () => {
  for (const text of [
    'spiffe://cluster.local',
    'spiffe://cluster.local/ns/bookinfo/sa/productpage',
    'spiffe://a',
    'spiffe://127.0.0.1/a',
    'spiffe://a_b-c.d/E.f_g-1/...',
    'spiffe://td/.a',
    'spiffe://td/..a/a..',
    `spiffe://${'a'.repeat(255)}`,
    `spiffe://td/${'a'.repeat(2048 - 'spiffe://td/'.length)}`,
  ]) {
    it(`accept ${text.slice(0, 60)}`, () => assert.deepEqual(parseSpiffeId(text), { ok: true, id: text }));
  }

  for (const [text, reason] of [
    ['', 'is empty; a SPIFFE ID looks like "spiffe://cluster.local/ns/NAMESPACE/sa/ACCOUNT"'],
    ['cluster.local/a', 'does not begin with "spiffe://"'],
    ['https://cluster.local/a', 'does not begin with "spiffe://"'],
    ['spiffe:/td/a', 'does not begin with "spiffe://"'],
    [' spiffe://td/a', 'does not begin with "spiffe://"'],
    ['SPIFFE://td/a', 'must spell its scheme in lower case'],
    ['Spiffe://td/a', 'must spell its scheme in lower case'],
    ['spiffe://', 'has no trust domain'],
    ['spiffe:///a', 'has no trust domain'],
    ['spiffe://Td/a', 'has upper-case letters in its trust domain'],
    ['spiffe://t%64/a', 'has a percent-encoded character in its trust domain'],
    ['spiffe://t d/a', 'has a character in its trust domain other than a-z, 0-9, ".", "-" and "_"'],
    ['spiffe://t\u00e4/a', 'has a character in its trust domain other than a-z, 0-9, ".", "-" and "_"'],
    ['spiffe://[::1]/a', 'has a character in its trust domain other than a-z, 0-9, ".", "-" and "_"'],
    ['spiffe://td\n', 'has a character in its trust domain other than a-z, 0-9, ".", "-" and "_"'],
    ['spiffe://user@td/a', 'has user information before its trust domain'],
    ['spiffe://user:password@td/a', 'has user information before its trust domain'],
    ['spiffe://td:80/a', 'has a port after its trust domain'],
    ['spiffe://td:/a', 'has a port after its trust domain'],
    ['spiffe://td?a', 'has a query, which a SPIFFE ID must not have'],
    ['spiffe://td/a?', 'has a query, which a SPIFFE ID must not have'],
    ['spiffe://td/a?b=c', 'has a query, which a SPIFFE ID must not have'],
    ['spiffe://td#a', 'has a fragment, which a SPIFFE ID must not have'],
    ['spiffe://td/a#', 'has a fragment, which a SPIFFE ID must not have'],
    ['spiffe://td/', 'ends in "/"'],
    ['spiffe://td/a/', 'ends in "/"'],
    ['spiffe://td//', 'ends in "/"'],
    ['spiffe://td//a', 'has an empty path segment'],
    ['spiffe://td/a//b', 'has an empty path segment'],
    ['spiffe://td/.', 'has a relative path segment ("." or "..")'],
    ['spiffe://td/..', 'has a relative path segment ("." or "..")'],
    ['spiffe://td/a/../b', 'has a relative path segment ("." or "..")'],
    ['spiffe://td/%61', 'has a percent-encoded character in its path'],
    ['spiffe://td/%2e%2e/a', 'has a percent-encoded character in its path'],
    ['spiffe://td/a b', 'has a character in its path other than letters, digits, ".", "-" and "_"'],
    ['spiffe://td/a:b', 'has a character in its path other than letters, digits, ".", "-" and "_"'],
    ['spiffe://td/a@b', 'has a character in its path other than letters, digits, ".", "-" and "_"'],
    ['spiffe://td/\u00e4', 'has a character in its path other than letters, digits, ".", "-" and "_"'],
    ['spiffe://td/a\n', 'has a character in its path other than letters, digits, ".", "-" and "_"'],
    ['spiffe://td/a\u0000', 'has a character in its path other than letters, digits, ".", "-" and "_"'],
    [`spiffe://${'a'.repeat(256)}/a`, 'has a trust domain longer than 255 bytes'],
    [`spiffe://td/${'a'.repeat(2049 - 'spiffe://td/'.length)}`, 'is longer than 2048 bytes'],
    [`spiffe://td/${'\u20ac'.repeat(700)}`, 'is longer than 2048 bytes'],
  ] as const) {
    it(`refuse ${JSON.stringify(text.slice(0, 40))}: ${reason}`, () => {
      const parsed = parseSpiffeId(text);
      assert.ok(!parsed.ok);
      assert.equal(parsed.reason, `${JSON.stringify(text.slice(0, 256))} ${reason}`);
    });
  }

  it('are kept as they are written, and consist of trust domain and path', () => {
    fc.assert(fc.property(anySpiffeId, (id) => assert.ok(parseSpiffeId(id).ok && id.startsWith(`spiffe://${trustDomainOf(id)}`))));
  });

  it('are refused by one character that does not belong, wherever it stands', () => {
    fc.assert(
      fc.property(anySpiffeId, fc.nat(), fc.constantFrom(' ', '%', '?', '#', '@', '\\', '\u0000', '\u00e4', '*'), (id, place, wrong) => {
        const at = place % (id.length + 1);
        assert.ok(!parseSpiffeId(id.slice(0, at) + wrong + id.slice(at)).ok);
      }),
    );
  });

  it('name a workload in the Istio form, and only there', () => {
    fc.assert(
      fc.property(anyDnsName, anyDnsLabel, anyDnsName, (domain, namespace, serviceAccount) => {
        const id = workloadSpiffeId(domain as TrustDomain, { namespace, serviceAccount });
        assert.deepEqual(parseSpiffeId(id), { ok: true, id });
        assert.equal(trustDomainOf(id), domain);
        assert.deepEqual(workloadOf(id), { namespace, serviceAccount });
      }),
    );
    for (const other of ['spiffe://td', 'spiffe://td/ns/a', 'spiffe://td/ns/a/sa/b/c', 'spiffe://td/x/ns/a/sa/b', 'spiffe://td/NS/a/sa/b', 'spiffe://td/sa/b/ns/a']) assert.equal(workloadOf(other as SpiffeId), undefined, other);
  });
});

describe('trust domains', () => {
  for (const text of ['cluster.local', 'a', '1.2.3.4', 'a_b-c', 'a'.repeat(255)]) it(`accept ${text.slice(0, 40)}`, () => assert.deepEqual(parseTrustDomain(text), { ok: true, trustDomain: text }));
  for (const text of ['', 'A', 'a/b', 'spiffe://a', 'a:1', 'a b', 'a\n', 'a'.repeat(256)]) it(`refuse ${JSON.stringify(text.slice(0, 40))}`, () => assert.ok(!parseTrustDomain(text).ok));
});
