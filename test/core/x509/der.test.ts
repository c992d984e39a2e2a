import assert from 'node:assert/strict';
import fc from 'fast-check';
import { DerFault, DerReader, boolean, constructed, encode, integer, namedBits, objectIdentifier, octetString, sequence, setOf, tags, time } from '../../../src/core/x509/der.ts';

const reader = (hex: string): DerReader => new DerReader(Buffer.from(hex.replaceAll(' ', ''), 'hex'));

describe('DER', () => {
  const cases: readonly [what: string, written: Buffer, hex: string][] = [
    ['zero', integer(0), '020100'],
    ['127', integer(127), '02017f'],
    ['128 with the sign byte', integer(128), '02020080'],
    ['bytes with leading zeros, which are dropped', integer(Buffer.from('000001ff', 'hex')), '020201ff'],
    ['rsaEncryption', objectIdentifier('1.2.840.113549.1.1.1'), '06092a864886f70d010101'],
    ['an arc above 2.40', objectIdentifier('2.999.3'), '0603883703'],
    ['TRUE', boolean(true), '0101ff'],
    ['keyCertSign and cRLSign', namedBits((1 << 5) | (1 << 6)), '03020106'],
    ['digitalSignature', namedBits(1), '03020780'],
    ['no bit', namedBits(0), '030100'],
    ['bit 8', namedBits(1 << 8), '0303070080'],
    ['2049 as UTCTime', time(Date.UTC(2049, 11, 31, 23, 59, 59)), `170d${Buffer.from('491231235959Z').toString('hex')}`],
    ['2050 as GeneralizedTime', time(Date.UTC(2050, 0, 1)), `180f${Buffer.from('20500101000000Z').toString('hex')}`],
    ['a set in order', setOf(octetString(Buffer.of(2)), integer(1)), '3106 020101 040102'],
    ['a length of two bytes', sequence(Buffer.alloc(256)).subarray(0, 4), '30820100'],
  ];
  for (const [what, written, hex] of cases) it(`writes ${what}`, () => assert.equal(written.toString('hex'), hex.replaceAll(' ', '')));

  it('reads every integer, identifier, time and bit mask that it writes', () => {
    const arcs = fc.tuple(fc.integer({ min: 0, max: 2 }), fc.integer({ min: 0, max: 39 }), fc.array(fc.integer({ min: 0, max: 2 ** 31 }), { maxLength: 8 }));
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 48 - 1 }), arcs, fc.integer({ min: Date.UTC(1950, 0, 1) / 1000, max: Date.UTC(9999, 11, 31) / 1000 }), fc.integer({ min: 0, max: 0xffff }), (number, [first, second, rest], seconds, mask) => {
        const id = [first, second, ...rest].join('.');
        const all = new DerReader(sequence(integer(number), objectIdentifier(id), time(seconds * 1000), namedBits(mask))).enter(tags.sequence);
        assert.equal(all.small(), number);
        assert.equal(all.objectIdentifier(), id);
        assert.equal(all.time(), seconds * 1000);
        assert.equal(all.bits().reduce((bits, byte, index) => bits | (Array.from({ length: 8 }, (_, bit) => ((byte & (0x80 >> bit)) !== 0 ? 1 << (index * 8 + bit) : 0)).reduce((a, b) => a | b)), 0), mask);
        all.finish();
      }),
      { numRuns: 300 },
    );
  });

  it('reads every tree that it writes, element by element', () => {
    const { tree } = fc.letrec<{ tree: Buffer }>((tie) => ({
      tree: fc.oneof({ maxDepth: 5 }, fc.uint8Array({ maxLength: 300 }).map((bytes) => octetString(bytes)), fc.array(tie('tree'), { maxLength: 4 }).map((parts) => sequence(...parts))),
    }));
    const rewrite = (bytes: Buffer): Buffer => {
      const cursor = new DerReader(bytes);
      const parts: Buffer[] = [];
      while (!cursor.atEnd) {
        const { tag, content } = cursor.any();
        parts.push(encode(tag, tag === tags.sequence ? rewrite(content) : content));
      }
      return Buffer.concat(parts);
    };
    fc.assert(fc.property(tree, (bytes) => assert.deepEqual(rewrite(bytes), bytes)), { numRuns: 200 });
  });

  const refused: readonly [why: string, read: () => unknown][] = [
    ['an indefinite length', () => reader('3080 0000').any()],
    ['a length padded with a zero', () => reader('0482 0001 00').any()],
    ['a long length that fits the short form', () => reader('0481 01 00').any()],
    ['a length of five bytes', () => reader('0485 0000000001 00').any()],
    ['an element longer than its holder', () => reader('3003 0402 00 00').enter(tags.sequence).any()],
    ['an element cut after its tag', () => reader('04').any()],
    ['nothing', () => reader('').any()],
    ['a tag of several bytes', () => reader('1f81 0100').any()],
    ['another tag', () => reader('0400').read(tags.integer)],
    ['a negative integer', () => reader('0201ff').unsigned()],
    ['a padded integer', () => reader('02020001').unsigned()],
    ['an empty integer', () => reader('0200').unsigned()],
    ['an integer of seven bytes where a small one is meant', () => reader('0207 01000000000000').small()],
    ['a boolean of 01', () => reader('010101').boolean()],
    ['an identifier with a padded arc', () => reader('0603 2a8001').objectIdentifier()],
    ['an identifier that ends within an arc', () => reader('0602 2a86').objectIdentifier()],
    ['an identifier with an endless arc', () => reader('060b 2a ffffffffffffffffff 7f').objectIdentifier()],
    ['a bit string with unused bits set', () => reader('0302 0781 ').bits()],
    ['a bit string of eight unused bits', () => reader('0302 0800').bits()],
    ['a key that does not end at a byte', () => reader('0302 0780').wholeBytes()],
    ['a time with an offset', () => new DerReader(encode(tags.utcTime, Buffer.from('260101000000+0100'))).time()],
    ['a time without seconds', () => new DerReader(encode(tags.utcTime, Buffer.from('2601010000Z'))).time()],
    ['the 30th of February', () => new DerReader(encode(tags.utcTime, Buffer.from('260230000000Z'))).time()],
    ['bytes left over', () => reader('0500 00').finish()],
  ];
  for (const [why, read] of refused) it(`refuses ${why}`, () => assert.throws(read, DerFault));

  it('gives back any bytes or a DerFault, within its bounds', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
        const cursor = new DerReader(Buffer.from(bytes));
        const parts: Buffer[] = [];
        try {
          while (!cursor.atEnd) parts.push(cursor.any().whole);
        } catch (error) {
          assert.ok(error instanceof DerFault);
          return;
        }
        assert.deepEqual(Buffer.concat(parts), Buffer.from(bytes));
      }),
      { numRuns: 300 },
    );
  });

  it('takes two thousand nested elements without descending', () => {
    let bytes: Buffer = Buffer.alloc(0);
    for (let depth = 0; depth < 2_000; depth++) bytes = constructed(0, bytes);
    assert.equal(new DerReader(bytes).any().whole.length, bytes.length);
  });
});
