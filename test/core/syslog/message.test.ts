import assert from 'node:assert/strict';
import fc from 'fast-check';
import { parseSyslogMessage, type SyslogMessage } from '../../../src/core/syslog/message.ts';
import { printSyslogMessage } from '../../support/syslog.ts';

const parse = (text: string | Buffer) => parseSyslogMessage(Buffer.from(text as string));
const read = (text: string | Buffer): SyslogMessage => {
  const parsed = parse(text);
  assert.ok(parsed.ok, JSON.stringify(parsed));
  return parsed.message;
};

const printable = (lengthMax: number, without = '') => fc.string({ unit: fc.integer({ min: 0x21, max: 0x7e }).map((code) => String.fromCharCode(code)).filter((character) => !without.includes(character)), minLength: 1, maxLength: lengthMax });
const nil = <Value>(arbitrary: fc.Arbitrary<Value>) => fc.option(arbitrary, { nil: null });
const field = (lengthMax: number) => nil(printable(lengthMax).filter((text) => text !== '-'));
const anyName = printable(32, '="]');
const anyText = fc.string({ unit: 'grapheme' }).filter((text) => !text.startsWith('\ufeff'));
const anyMessage: fc.Arbitrary<SyslogMessage> = fc.record({
  facility: fc.nat(23),
  severity: fc.nat(7),
  timeMs: nil(fc.date({ min: new Date('0001-01-01T00:00:00Z'), max: new Date('9999-12-31T23:59:59.999Z'), noInvalidDate: true }).map(Number)),
  hostName: field(255),
  appName: field(48),
  processId: field(128),
  messageId: field(32),
  structuredData: fc.uniqueArray(fc.record({ id: anyName, parameters: fc.array(fc.record({ name: anyName, value: anyText }, { noNullPrototype: true }), { maxLength: 3 }) }, { noNullPrototype: true }), { selector: ({ id }) => id, maxLength: 3 }),
  text: nil(anyText),
}, { noNullPrototype: true });

describe('messages of syslog', () => {
  it('say after being printed what they said before', () => {
    fc.assert(fc.property(anyMessage, (message) => assert.deepEqual(parseSyslogMessage(printSyslogMessage(message)), { ok: true, message })));
  });

  it('are read or refused, whatever they are', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => typeof parseSyslogMessage(Buffer.from(bytes)).ok === 'boolean'));
    // Something that is nearly one.
    fc.assert(fc.property(anyMessage, fc.nat(), fc.nat(255), (message, at, byte) => {
      const bytes = printSyslogMessage(message);
      bytes[at % bytes.length] = byte;
      return typeof parseSyslogMessage(bytes).ok === 'boolean';
    }));
  });

  it('are read as RFC 5424, section 6.5, has them', () => {
    assert.deepEqual(read("<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - \u{feff}'su root' failed for lonvick on /dev/pts/8"), {
      facility: 4,
      severity: 2,
      timeMs: Date.UTC(2003, 9, 11, 22, 14, 15, 3),
      hostName: 'mymachine.example.com',
      appName: 'su',
      processId: null,
      messageId: 'ID47',
      structuredData: [],
      text: "'su root' failed for lonvick on /dev/pts/8",
    });
    const second = read('<165>1 2003-08-24T05:14:15.000003-07:00 192.0.2.1 myproc 8710 - - %% It\'s time to make the do-nuts.');
    assert.deepEqual([second.timeMs, second.processId, second.messageId], [Date.UTC(2003, 7, 24, 12, 14, 15), '8710', null]);
    const structured = '<165>1 2003-10-11T22:14:15.003Z mymachine.example.com evntslog - ID47 [exampleSDID@32473 iut="3" eventSource="Application" eventID="1011"][examplePriority@32473 class="high"]';
    assert.deepEqual([read(structured).structuredData.map(({ id }) => id), read(structured).text], [['exampleSDID@32473', 'examplePriority@32473'], null]);
    assert.equal(read(`${structured} An application event`).text, 'An application event');
  });

  const header = '<134>1 2026-11-22T02:00:00Z bigip sallyport - connection-opened';
  it('keep a backslash that escapes nothing (section 6.3.3)', () => {
    assert.equal(read(`${header} [x v="a\\b\\\\c\\"d\\]e"]`).structuredData[0]?.parameters[0]?.value, 'a\\b\\c"d]e');
  });

  it('tell an empty text from none, and take bytes that are not UTF-8', () => {
    assert.equal(read(`${header} -`).text, null);
    assert.equal(read(`${header} - `).text, '');
    assert.equal(read(Buffer.concat([Buffer.from(`${header} - `), Buffer.from([0xff])])).text, '\ufffd');
    assert.equal(read(`${header} - [not data]`).text, '[not data]');
  });

  for (const [text, reason] of [
    ['', /priority/],
    ['<192>1 - - - - - -', /priority/],
    ['<034>1 - - - - - -', /priority/],
    ['<34>2 - - - - - -', /version/],
    ['<34>Oct 11 22:14:15 mymachine su: RFC 3164', /version/],
    ['<34>1 2003-08-24T05:14:15.000000003-07:00 - - - - -', /timestamp/], // section 6.2.3.1, example 5
    ['<34>1 2003-02-29T05:14:15Z - - - - -', /timestamp/],
    ['<34>1 2003-13-01T05:14:15Z - - - - -', /timestamp/],
    ['<34>1 2003-02-28T24:00:00Z - - - - -', /timestamp/],
    ['<34>1 2016-12-31T23:59:60Z - - - - -', /timestamp/], // no leap seconds
    ['<34>1 2003-02-28t05:14:15z - - - - -', /timestamp/],
    ['<34>1 2003-02-28T05:14:15 - - - - -', /timestamp/],
    [`<34>1 - ${'h'.repeat(256)} - - - -`, /host name/],
    [`<34>1 - - ${'a'.repeat(49)} - - -`, /application name/],
    [`<34>1 - - - ${'p'.repeat(129)} - -`, /process id/],
    [`<34>1 - - - - ${'m'.repeat(33)} -`, /message id/],
    ['<34>1 - - - - -', /message id/],
    ['<34>1 - - - - - ', /structured data/],
    ['<34>1 - - - - - text', /structured data/],
    ['<34>1 - - - - - -text', /structured data/],
    ['<34>1 - - - - - [a b="c]"]', /does not end/],
    ['<34>1 - - - - - [a b="c" d]', /does not end/],
    ['<34>1 - - - - - [a b="c"', /does not end/],
    ['<34>1 - - - - - [a]text', /does not end/],
    ['<34>1 - - - - - [a][a]', /one id twice/],
    ['<34>1 - - - - - []', /structured data/],
  ] as const) {
    it(`are not ${JSON.stringify(text.slice(0, 60))}`, () => {
      const parsed = parse(text);
      assert.ok(!parsed.ok);
      assert.match(parsed.reason, reason);
    });
  }

  it('of 64 KiB are read within 50 ms, however they are made', () => {
    for (const text of [`[a b="${'\\'.repeat(65_000)}`, `[a b="${'x'.repeat(65_000)}"]`, '[a]'.repeat(21_000), `[a${' b=""'.repeat(13_000)}`]) {
      const startedAt = performance.now();
      parse(`<34>1 - - - - - ${text}`);
      assert.ok(performance.now() - startedAt < 50, text.slice(0, 10));
    }
  });
});
