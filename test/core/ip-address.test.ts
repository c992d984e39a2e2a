import assert from 'node:assert/strict';
import { isIPv4, isIPv6 } from 'node:net';
import fc from 'fast-check';
import { addressToNumber, familyOf, numberToAddress, parseAddress, parseAddressRange, rangeContains, rangesOverlap, type IpAddress } from '../../src/core/ip-address.ts';
import { anyAddress, anyAddressRange, anyIpv6 } from '../support/arbitraries.ts';

describe('addresses', () => {
  for (const [text, canonical] of [
    ['0.0.0.0', '0.0.0.0'],
    ['10.4.0.201', '10.4.0.201'],
    ['255.255.255.255', '255.255.255.255'],
    ['::', '::'],
    ['::1', '::1'],
    ['FD00::00C8', 'fd00::c8'],
    ['2001:0db8:0000:0000:0000:0000:0000:0001', '2001:db8::1'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'], // RFC 5952 section 4.2.2: one zero group is not shortened
    ['2001:0:0:1:0:0:0:1', '2001:0:0:1::1'], // 4.2.3: the longest run
    ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'], // 4.2.3: the first of equals
    ['1:2:3:4:5:6:7::', '1:2:3:4:5:6:7:0'],
    ['::ffff:10.0.0.1', '10.0.0.1'],
    ['::ffff:a00:1', '10.0.0.1'],
    ['64:ff9b::10.0.0.1', '64:ff9b::a00:1'],
  ] as const) {
    it(`${text} is ${canonical}`, () => assert.equal(parseAddress(text), canonical));
  }

  for (const text of [
    '', ' ', 'localhost', '10.0.0', '10.0.0.0.1', '10.0.0.256', '10.0.0.-1', '010.0.0.1', '10.0.0.01', '0x0a.0.0.1', '0x0a000001', '167772161', '10.1', '10.0.0.1 ', ' 10.0.0.1', '10.0.0.1\n', '10.0.0.1/32', '10.0.0.1:80', '1e1.0.0.1', '\u0661\u0660.0.0.1',
    ':', ':::', '1::2::3', '1:2:3:4:5:6:7', '1:2:3:4:5:6:7:8:9', '12345::', 'g::', '[::1]', '::1/128', 'fe80::1%eth0', 'fe80::1%', '::ffff:10.0.0.256', '::ffff:010.0.0.1', '::10.0.0', '::1 ', '1:2:3:4:5:6:7:8::', '::1:2:3:4:5:6:7:8',
  ]) {
    it(`${JSON.stringify(text)} is none`, () => assert.equal(parseAddress(text), undefined));
  }

  it('keep their canonical form, and their number', () => {
    fc.assert(
      fc.property(anyAddress, (address) => {
        assert.equal(parseAddress(address), address);
        assert.equal(numberToAddress(familyOf(address), addressToNumber(address)), address);
        assert.ok(familyOf(address) === 'ipv4' ? isIPv4(address) : isIPv6(address));
      }),
    );
  });

  it('are spelt as the URL standard spells them, which is RFC 5952', () => {
    fc.assert(fc.property(anyIpv6, (address) => assert.equal(new URL(`http://[${address}]/`).hostname, `[${address}]`)));
  });

  it('agree with the runtime on what is an address at all', () => {
    const text = fc.stringMatching(/^[0-9a-f:.]{0,20}$/);
    fc.assert(fc.property(text, (candidate) => assert.equal(parseAddress(candidate) !== undefined, isIPv4(candidate) || isIPv6(candidate), candidate)), { numRuns: 2_000 });
    const nearly = fc.array(fc.constantFrom('0', '1', '::', ':', 'ffff', '10.0.0.1', '.', '1a'), { maxLength: 9 }).map((parts) => parts.join(''));
    fc.assert(fc.property(nearly, (candidate) => assert.equal(parseAddress(candidate) !== undefined, isIPv4(candidate) || isIPv6(candidate), candidate)), { numRuns: 2_000 });
  });
});

describe('address ranges', () => {
  for (const [text, first, last] of [
    ['10.0.0.1', '10.0.0.1', '10.0.0.1'],
    ['10.0.0.1-10.0.0.1', '10.0.0.1', '10.0.0.1'],
    ['10.0.0.1-10.0.1.9', '10.0.0.1', '10.0.1.9'],
    ['10.0.0.0/30', '10.0.0.0', '10.0.0.3'],
    ['10.0.0.1/32', '10.0.0.1', '10.0.0.1'],
    ['0.0.0.0/0', '0.0.0.0', '255.255.255.255'],
    ['fd00::/126', 'fd00::', 'fd00::3'],
    ['fd00::1-fd00::ff', 'fd00::1', 'fd00::ff'],
    ['::/0', '::', 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'],
  ] as const) {
    it(`${text} is from ${first} to ${last}`, () => {
      const parsed = parseAddressRange(text);
      assert.ok(parsed.ok);
      assert.deepEqual([numberToAddress(parsed.range.family, parsed.range.first), numberToAddress(parsed.range.family, parsed.range.last)], [first, last]);
      assert.equal(parsed.range.text, text);
    });
  }

  for (const [text, reason] of [
    ['', 'is not an address, a range "first-last" or a CIDR block'],
    ['10.0.0.1-', 'is not an address, a range "first-last" or a CIDR block'],
    ['-10.0.0.1', 'is not an address, a range "first-last" or a CIDR block'],
    ['10.0.0.1-10.0.0.2-10.0.0.3', 'is not an address, a range "first-last" or a CIDR block'],
    ['10.0.0.1-9', 'is not an address, a range "first-last" or a CIDR block'],
    ['10.0.0.1 - 10.0.0.2', 'is not an address, a range "first-last" or a CIDR block'],
    ['10.0.0.2-10.0.0.1', 'ends before it begins'],
    ['10.0.0.1-fd00::1', 'mixes IPv4 and IPv6'],
    ['10.0.0.1/24', 'has host bits set; the block is 10.0.0.0/24'],
    ['fd00::1/64', 'has host bits set; the block is fd00::/64'],
    ['10.0.0.0/33', 'has a prefix length that is not from 0 to 32'],
    ['fd00::/129', 'has a prefix length that is not from 0 to 128'],
    ['10.0.0.0/', 'has a prefix length that is not from 0 to 32'],
    ['10.0.0.0/-1', 'has a prefix length that is not from 0 to 32'],
    ['10.0.0.0/024', 'has a prefix length that is not from 0 to 32'],
    ['10.0.0.0/255.255.255.0', 'has a prefix length that is not from 0 to 32'],
    ['10.0.0.0/24/24', 'has a prefix length that is not from 0 to 32'],
    ['10.0.0/24', 'is not an address range'],
    ['10.0.0.0-10.0.0.0/30', 'is not an address range'],
  ] as const) {
    it(`${JSON.stringify(text)} ${reason}`, () => assert.deepEqual(parseAddressRange(text), { ok: false, reason: `${JSON.stringify(text)} ${reason}` }));
  }

  it('contain their ends and what lies between, and nothing beside', () => {
    fc.assert(
      fc.property(anyAddressRange, anyAddress, (range, address) => {
        const at = (value: bigint): IpAddress => numberToAddress(range.family, value);
        assert.ok(rangeContains(range, at(range.first)) && rangeContains(range, at(range.last)) && rangeContains(range, at((range.first + range.last) / 2n)));
        if (range.first > 0n) assert.ok(!rangeContains(range, at(range.first - 1n)));
        const value = addressToNumber(address);
        assert.equal(rangeContains(range, address), familyOf(address) === range.family && range.first <= value && value <= range.last);
      }),
    );
  });

  it('overlap exactly where one contains an end of the other', () => {
    fc.assert(
      fc.property(anyAddressRange, anyAddressRange, (a, b) => {
        const holdsEnd = (outer: typeof a, inner: typeof a) => outer.family === inner.family && [inner.first, inner.last].some((value) => outer.first <= value && value <= outer.last);
        assert.equal(rangesOverlap(a, b), holdsEnd(a, b) || holdsEnd(b, a));
        assert.equal(rangesOverlap(a, b), rangesOverlap(b, a));
      }),
    );
  });
});
