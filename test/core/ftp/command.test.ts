import assert from 'node:assert/strict';
import { parseCommand } from '../../../src/core/ftp/index.ts';

const IAC = '\xff';
const INTERRUPT = '\xf4';
const DATA_MARK = '\xf2';

describe('ftp command', () => {
  const understood: readonly (readonly [spelling: string, line: string, verb: string, argument: string])[] = [
    ['CRLF', 'NOOP\r', 'NOOP', ''],
    ['a bare LF', 'NOOP', 'NOOP', ''],
    ['lower case', 'retr a.txt\r', 'RETR', 'a.txt'],
    ['an argument with spaces', 'STOR  two  spaces \r', 'STOR', ' two  spaces '],
    ['a verb alone with a space behind', 'PWD \r', 'PWD', ''],
    ['three letters', 'CWD /\r', 'CWD', '/'],
    ['UTF-8 in a path', 'RETR \xc3\xa9\r', 'RETR', '\xc3\xa9'],
    ['a tab in a path', 'RETR a\tb\r', 'RETR', 'a\tb'],
    ['a doubled IAC in a path', `RETR ${IAC}${IAC}\r`, 'RETR', `${IAC}${IAC}`],
    ['ABOR behind interrupt and Synch', `${IAC}${INTERRUPT}${IAC}${DATA_MARK}ABOR\r`, 'ABOR', ''],
    ['ABOR whose urgent byte was the mark', `${IAC}${INTERRUPT}${IAC}ABOR\r`, 'ABOR', ''],
    ['ABOR whose urgent byte was the IAC', `${IAC}${INTERRUPT}${DATA_MARK}ABOR\r`, 'ABOR', ''],
    ['ABOR whose interrupt was urgent', `${IAC}${IAC}${DATA_MARK}ABOR\r`, 'ABOR', ''],
  ];
  for (const [spelling, line, verb, argument] of understood) {
    it(`is understood with ${spelling}`, () => {
      assert.deepEqual(parseCommand(line), { ok: true, command: { verb, argument } });
    });
  }

  const refused: readonly (readonly [what: string, line: string, code: number])[] = [
    ['a bare CR, behind which another command may hide', 'NOOP\rPORT 1,2,3,4,5,6\r', 501],
    ['two CRs', 'NOOP\r\r', 501],
    ['a NUL', 'RETR a\0b\r', 501],
    ['an escape character', 'RETR \x1b[2J\r', 501],
    ['DEL', 'RETR a\x7f\r', 501],
    ['a Telnet command within an argument', `RETR a${IAC}${INTERRUPT}b\r`, 501],
    ['an odd number of IACs', `RETR ${IAC}${IAC}${IAC}\r`, 501],
    ['a Telnet command within a verb', `PO${IAC}${INTERRUPT}RT 1,2,3,4,5,6\r`, 501],
    ['a Telnet option before the verb', `${IAC}\xfb\x01NOOP\r`, 501],
    ['an empty line', '\r', 500],
    ['a space before the verb', ' NOOP\r', 500],
    ['a tab for a space', 'RETR\ta\r', 500],
    ['a verb of 17 letters', `${'A'.repeat(17)}\r`, 500],
    ['a verb with a full stop', 'NO.P\r', 500],
    ['a letter beyond ASCII', 'NOOP\xc5\xbf\r', 500],
  ];
  for (const [what, line, code] of refused) {
    it(`is refused for ${what}`, () => {
      const parse = parseCommand(line);
      assert.equal(parse.ok, false);
      assert.equal(Number(parse.reply.slice(0, 3)), code);
    });
  }
});
