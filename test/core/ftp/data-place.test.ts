import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import { extendedPassiveReply, parseExtendedPassive, parseExtendedPort, parsePassive, parsePort, passiveReply, portCommand } from '../../../src/core/ftp/index.ts';
import { numberToAddress } from '../../../src/core/ip-address.ts';

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

describe('PORT and EPRT', () => {
  it('are read as clients write them', () => {
    assert.deepEqual(parsePort('10,1,2,3,195,80'), { address: '10.1.2.3', port: 195 * 256 + 80 });
    assert.deepEqual(parseExtendedPort('|1|10.1.2.3|50000|'), { protocol: 1, address: '10.1.2.3', port: 50_000 });
    assert.deepEqual(parseExtendedPort('!2!2001:DB8:0::3!50000!'), { protocol: 2, address: '2001:db8::3', port: 50_000 });
  });

  for (const argument of ['', '10,1,2,3,195', '10,1,2,3,195,80,1', '10,1,2,3,256,80', '10, 1, 2, 3, 195, 80', '(10,1,2,3,195,80)', '10,1,2,3,0,0', '10.1.2.3,195,80', '-1,1,2,3,195,80']) {
    it(`PORT ${argument} is refused`, () => assert.equal(parsePort(argument), undefined));
  }
  for (const argument of ['', '|||50000|', '|1|10.1.2.3|50000', '|1|10.1.2.3|0|', '|1|10.1.2.3|65536|', '|1|10.1.2.3|50000| ', '11110.1.2.3150000', '|1|10.1.2.3!50000|', '|a|10.1.2.3|50000|']) {
    it(`EPRT ${argument} is refused`, () => assert.equal(parseExtendedPort(argument), undefined));
  }

  it('EPRT with an address that is none names no address, and so none that could be used', () => {
    assert.equal(parseExtendedPort('|1|10.1.2.300|50000|')?.address, null);
  });

  it('that we write are read back to the same place', () => {
    fc.assert(
      fc.property(fc.constantFrom('ipv4' as const, 'ipv6' as const), fc.bigInt(0n, 0xffffffffn), fc.integer({ min: 1, max: 65535 }), (family, number, port) => {
        const address = numberToAddress(family, family === 'ipv4' ? number : number | (0x20010db8n << 96n));
        const { verb, argument } = portCommand(address, port);
        assert.deepEqual(verb === 'PORT' ? parsePort(argument) : parseExtendedPort(argument), { ...(verb === 'EPRT' && { protocol: 2 }), address, port });
      }),
    );
  });
});
