import assert from 'node:assert/strict';
import fc from 'fast-check';
import { printableName } from '../../../src/core/ftp/name-text.ts';
import { bytesOfText } from '../../../src/core/ftp/path.ts';

describe('a name out of a command, for people', () => {
  const names: readonly (readonly [what: string, bytes: string, text: string])[] = [
    ['UTF-8 as it is meant', bytesOfText('/größe/文 🙂.txt'), '/größe/文 🙂.txt'],
    ['bytes that are no UTF-8', 'gr\xf6\xdfe', 'gr\\xf6\\xdfe'],
    ['half a character beside whole ones', `${bytesOfText('ö')}\xc3.txt`, 'ö\\xc3.txt'],
    ['an overlong slash', '..\xc0\xaf', '..\\xc0\\xaf'],
    ['escape sequences', 'a\x1b[2Jb\x7f', 'a\\u{1b}[2Jb\\u{7f}'],
    ['a C1 control', bytesOfText('\u009b31m'), '\\u{9b}31m'],
    ['line ends', bytesOfText('a\r\nb\u2028c'), 'a\\u{d}\\u{a}b\\u{2028}c'],
    ['what turns the direction of writing', bytesOfText('a\u202egpj.exe'), 'a\\u{202e}gpj.exe'],
    ['what is not to be seen', bytesOfText('a\u200bb'), 'a\\u{200b}b'],
    ['a backslash', 'a\\x41', 'a\\\\x41'],
  ];
  for (const [what, bytes, text] of names) it(`shows ${what}`, () => assert.equal(printableName(bytes), text));

  it('is cut where it is long', () => assert.equal(printableName('a'.repeat(5_000)).length, 1_027));

  it('tells any two names apart, and holds nothing but what can be seen', () => {
    const anyBytes = fc.string({ unit: fc.integer({ min: 0, max: 255 }).map((code) => String.fromCharCode(code)), maxLength: 12 });
    fc.assert(
      fc.property(anyBytes, anyBytes, (a, b) => {
        assert.equal(printableName(a) === printableName(b), a === b);
        assert.doesNotMatch(printableName(a), /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u);
      }),
    );
  });
});
