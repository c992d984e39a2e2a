import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import { extendedPassiveReply, parseExtendedPassive, parsePassive, parseReplyLine, passiveReply } from '../../../src/core/ftp/index.ts';
import { numberToAddress } from '../../../src/core/ip-address.ts';

describe('ftp reply line', () => {
  const lines: readonly (readonly [line: string, expected: ReturnType<typeof parseReplyLine>])[] = [
    ['220 ready', { code: 220, last: true }],
    ['220-welcome', { code: 220, last: false }],
    ['220', { code: 220, last: true }],
    ['220 ', { code: 220, last: true }],
    ['120 in 5 minutes', { code: 120, last: true }],
    ['2200 no', undefined],
    ['22 no', undefined],
    ['020 no', undefined],
    ['620 no', undefined],
    [' 220 no', undefined],
    ['220\tno', undefined],
    ['', undefined],
    ['SSH-2.0-OpenSSH', undefined],
  ];
  for (const [line, expected] of lines) {
    it(`reads ${JSON.stringify(line)} as ${JSON.stringify(expected)}`, () => assert.deepEqual(parseReplyLine(line), expected));
  }
});

describe('227 reply', () => {
  const understood = [
    '227 Entering Passive Mode (10,1,2,3,195,80)',
    '227 Entering Passive Mode (10,1,2,3,195,80).',
    '227 Entering Passive Mode 10,1,2,3,195,80',
    '227 Entering Passive Mode. 10,1,2,3,195,80',
    '227 =10,1,2,3,195,80',
    '227 10,1,2,3,195,80',
    '227 ok, data at 10,1,2,3,195,80, come soon',
    '227 Entering Passive Mode (10, 1, 2, 3, 195, 80)',
    '227 Entering Passive Mode (010,001,002,003,195,080)',
    '227 at 12:30 on 2026,11,21: (10,1,2,3,195,80)',
    '227 (10,1,2,3,195,80) (10,1,2,3,195,80)',
    '227-Entering Passive Mode\n227 (10,1,2,3,195,80)',
    '227-Entering Passive Mode (10,1,2,3,195,80)\n 226 not a reply\n227 End',
  ];
  for (const text of understood) {
    it(`is understood as ${JSON.stringify(text)}`, () => assert.deepEqual(parsePassive(text), { address: '10.1.2.3', port: 195 * 256 + 80 }));
  }

  const refused: readonly (readonly [why: string, text: string])[] = [
    ['has no numbers', '227 Entering Passive Mode'],
    ['has five numbers', '227 (10,1,2,3,195)'],
    ['has seven numbers', '227 (10,1,2,3,195,80,1)'],
    ['has a number above 255', '227 (10,1,2,3,256,80)'],
    ['has an address above 255', '227 (10,1,2,300,195,80)'],
    ['has port 0', '227 (10,1,2,3,0,0)'],
    ['has a negative number', '227 (-10,1,2,3,195,80)'],
    ['names two places', '227 (10,1,2,3,195,80) or (10,1,2,3,195,81)'],
    ['is torn over lines', '227-(10,1,2,\n227 3,195,80)'],
    ['is a 229', '227 Entering Extended Passive Mode (|||6446|)'],
  ];
  for (const [why, text] of refused) {
    it(`is refused where it ${why}`, () => assert.equal(parsePassive(text), undefined));
  }

  it('that we write is read back to the same place', () => {
    fc.assert(
      fc.property(fc.bigInt(0n, 0xffffffffn), fc.integer({ min: 1, max: 65535 }), (number, port) => {
        const address = numberToAddress('ipv4', number);
        assert.deepEqual(parsePassive(passiveReply(address, port)), { address, port });
      }),
    );
  });

  it('of 64 KiB of any repetition is read in bounded time', () => {
    for (const piece of ['1', '1,', '1 ,', ' ', '1 ', '11,', '(1,2,3,4,5', ',']) {
      const text = `227 ${piece.repeat(65536 / piece.length)}`;
      const begin = performance.now();
      parsePassive(text);
      parseExtendedPassive(text);
      assert.ok(performance.now() - begin < 500, JSON.stringify(piece));
    }
  });
});

describe('229 reply', () => {
  const understood = [
    '229 Entering Extended Passive Mode (|||6446|)',
    '229 Entering Extended Passive Mode (|||6446|).',
    '229 Entering Extended Passive Mode |||6446|',
    '229 ok (!!!6446!)',
    '229 ok (///6446/)',
    '229 ok (~~~6446~)',
    '229 ok (aaa6446a)',
    '229-Entering\n229 (|||6446|)',
  ];
  for (const text of understood) {
    it(`is understood as ${JSON.stringify(text)}`, () => assert.deepEqual(parseExtendedPassive(text), { address: null, port: 6446 }));
  }
  it('may name a protocol and an address, though the standard wants them empty', () => {
    assert.deepEqual(parseExtendedPassive('229 (|1|10.0.0.9|6446|)'), { address: '10.0.0.9', port: 6446 });
    assert.deepEqual(parseExtendedPassive('229 (|2|2001:db8::9|6446|)'), { address: '2001:db8::9', port: 6446 });
  });

  const refused: readonly (readonly [why: string, text: string])[] = [
    ['has no port', '229 (||||)'],
    ['has port 0', '229 (|||0|)'],
    ['has a port above 65535', '229 (|||65536|)'],
    ['has a port of six digits', '229 (|||123456|)'],
    ['mixes delimiters', '229 (|||6446!)'],
    ['uses a digit as delimiter', '229 (11164461)'],
    ['uses a space as delimiter', '229 (   6446 )'],
    ['names two ports', '229 (|||6446|) (|||6447|)'],
    ['has words only', '229 Entering Extended Passive Mode'],
  ];
  for (const [why, text] of refused) {
    it(`is refused where it ${why}`, () => assert.equal(parseExtendedPassive(text), undefined));
  }

  it('that we write is read back to the same port', () => {
    fc.assert(fc.property(fc.integer({ min: 1, max: 65535 }), (port) => assert.deepEqual(parseExtendedPassive(extendedPassiveReply(port)), { address: null, port })));
  });
});
