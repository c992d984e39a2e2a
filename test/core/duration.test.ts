import assert from 'node:assert/strict';
import fc from 'fast-check';
import { formatDuration, parseDuration } from '../../src/core/duration.ts';

describe('time spans', () => {
  for (const [text, milliseconds] of [
    ['0s', 0],
    ['1ms', 1],
    ['1s', 1_000],
    ['1m', 60_000],
    ['90m', 5_400_000],
    ['1h', 3_600_000],
    ['1h30m', 5_400_000],
    ['24h', 86_400_000],
    ['7d', 604_800_000],
    ['1d2h3m4s5ms', 93_784_005],
    ['007s', 7_000],
    ['3650d', 315_360_000_000],
    ['315360000s', 315_360_000_000],
  ] as const) {
    it(`read ${text} as ${milliseconds} ms`, () => assert.equal(parseDuration(text), milliseconds));
  }

  for (const text of ['', '5', 's', '1', '1.5h', '-1s', '+1s', '1 s', ' 1s', '1s ', '1s\n', '1S', '1w', '1y', '1us', '1h30', 'Infinity', '\u0661s', '3651d', '3650d1ms', '999999999d', '1234567890s', '1s'.repeat(100_000) + 'x']) {
    it(`refuse ${JSON.stringify(text.slice(0, 20))}`, () => assert.equal(parseDuration(text), undefined));
  }

  for (const [milliseconds, text] of [
    [0, '0s'],
    [90_000, '1m30s'],
    [86_400_000, '1d'],
    [93_784_005, '1d2h3m4s5ms'],
  ] as const) {
    it(`print ${milliseconds} ms as ${text}`, () => assert.equal(formatDuration(milliseconds), text));
  }

  it('print as what reads back to the same', () => {
    fc.assert(fc.property(fc.integer({ min: 0, max: 315_360_000_000 }), (milliseconds) => assert.equal(parseDuration(formatDuration(milliseconds)), milliseconds)));
  });
});
