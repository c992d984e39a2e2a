import assert from 'node:assert/strict';
import { parseReplyLine } from '../../../src/core/ftp/index.ts';

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
