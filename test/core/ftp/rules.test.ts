import assert from 'node:assert/strict';
import fc from 'fast-check';
import { parseCommand } from '../../../src/core/ftp/index.ts';
import { bytesOfText, type FtpPath } from '../../../src/core/ftp/path.ts';
import { bytesMaxOf, createFtpRules, rateOf, type FtpConstraints, type SessionFacts } from '../../../src/core/ftp/rules.ts';

const free: FtpConstraints = { readOnly: false, noDelete: false, paths: null, users: null, maxTransferBytes: null, maxBytesPerSecond: null, unknownCommands: 'Refuse' };
const loggedIn: SessionFacts = { user: 'ada', directory: '/' as FtpPath, renaming: null };

/** The code of the refusal, or `allowed`. */
function ask(constraints: Partial<FtpConstraints> | readonly Partial<FtpConstraints>[], line: string, facts: Partial<SessionFacts> = {}): string {
  const parse = parseCommand(line);
  assert.ok(parse.ok);
  const alternatives = Array.isArray(constraints) ? (constraints as readonly Partial<FtpConstraints>[]) : [constraints as Partial<FtpConstraints>];
  const verdict = createFtpRules(alternatives.map((each) => ({ ...free, ...each }))).check(parse.command, { ...loggedIn, ...facts });
  return verdict.allowed ? 'allowed' : verdict.reply.slice(0, 3);
}

const reading = ['RETR a', 'SIZE a', 'MDTM a', 'MLST a', 'MLSD', 'LIST', 'LIST -la', 'NLST *.csv', 'STAT a', 'STAT', 'XSHA256 a', 'CWD a', 'CDUP', 'PWD', 'REST 5', 'ALLO 100', 'TYPE I', 'NOOP', 'SITE HELP', 'FEAT', 'QUIT', 'ABOR'];
const storing = ['STOR a', 'APPE a', 'STOU', 'STOU a', 'MKD a', 'XMKD a', 'MFMT 20260101000000 a', 'MFCT 20260101000000 a', 'MFF Modify=20260101000000; a', 'MDTM 20260101000000 a', 'SITE CHMOD 600 a', 'SITE UTIME 202601010000 a', 'RNFR a', 'RNTO a'];
const deleting = ['DELE a', 'RMD a', 'XRMD a'];
const unknown = ['SITE EXEC id', 'SITE CPFR a', 'SITE SYMLINK a b', 'XRCP a b', 'SMNT /', 'COMB a b'];

describe('what a policy allows within an ftp session', () => {
  const rows: readonly (readonly [what: string, constraints: Partial<FtpConstraints>, allowed: readonly string[], refused: Readonly<Record<string, readonly string[]>>])[] = [
    ['without limits', {}, [...reading, ...storing, ...deleting], { 502: unknown }],
    ['unknown commands let pass', { unknownCommands: 'Pass' }, [...reading, ...storing, ...deleting, ...unknown], {}],
    ['read only', { readOnly: true }, reading, { 553: ['STOR a', 'APPE a', 'STOU', 'STOU a', 'RNTO a'], 550: [...storing.filter((line) => !/^(STOR|APPE|STOU|RNTO)/.test(line)), ...deleting], 502: unknown }],
    ['without deleting', { noDelete: true }, [...reading, ...storing], { 550: deleting }],
    ['below a path, from the root', { paths: ['/out'] }, ['RETR out/a', 'RETR /out/a', 'STOR /out/sub/a', 'LIST /out', 'LIST -la /out', 'NLST out/*.csv', 'LIST -a -l out', 'CWD out', 'CWD /out/sub', 'CWD /', 'DELE out/a', 'MFMT 20260101000000 /out/a', 'SITE CHMOD 600 /out/a', 'STAT', 'PWD', 'NOOP'], {
      550: ['RETR a', 'RETR /etc/passwd', 'LIST', 'LIST -la', 'NLST', 'MLSD', 'LIST /', 'LIST /out /etc', 'LIST /out/a /etc', 'LIST -l /out/a -- /etc', 'LIST out etc', 'LIST -la /out /etc', 'NLST ..', 'STAT /', 'CWD /incoming', 'CWD ~', 'SIZE /outside', 'MDTM /etc/passwd', 'MDTM 20260101000000 /etc/x', 'MFMT 20260101000000 /etc/x', 'SITE CHMOD 600 /etc/x', 'SITE UTIME 202601010000 /etc/x', 'DELE /a', 'RMD /', 'RNFR /a', 'MKD /new', 'RETR /out/../etc/passwd', 'RETR /Out/a', 'RETR /out\\..\\a'],
      553: ['STOR a', 'STOR /out/../a', 'APPE /a', 'STOU', 'RNTO /a'],
    }],
    ['below either of two paths', { paths: ['/in', '/out'] }, ['RETR /in/a', 'STOR /out/a', 'CWD /'], { 550: ['RETR /a', 'CWD /a'] }],
    ['for certain users', { users: ['ada', 'größe'] }, ['USER ada', `USER ${bytesOfText('größe')}`, 'PASS x', 'RETR a', 'NOOP'], { 530: ['USER bob', 'USER Ada', 'USER ada ', 'USER'] }],
    ['up to a size', { maxTransferBytes: 10 }, ['RETR a', 'MODE S', 'MODE s'], { 504: ['MODE B', 'MODE C', 'MODE Z'] }],
  ];
  for (const [what, constraints, allowed, refused] of rows) {
    for (const line of allowed) it(`${what}: ${line}`, () => assert.equal(ask(constraints, line), 'allowed'));
    for (const [code, lines] of Object.entries(refused)) for (const line of lines) it(`${what}: not ${line} (${code})`, () => assert.equal(ask(constraints, line), code));
  }

  it('counts from the session’s directory', () => {
    const at = (directory: string | null) => ({ directory: directory as FtpPath | null });
    assert.equal(ask({ paths: ['/out'] }, 'STOR a', at('/out/sub')), 'allowed');
    assert.equal(ask({ paths: ['/out'] }, 'MLSD', at('/out')), 'allowed');
    assert.equal(ask({ paths: ['/out'] }, 'MDTM 20260101000000 a', at('/out')), 'allowed');
    assert.equal(ask({ paths: ['/out'] }, 'CDUP', at('/out')), 'allowed');
    assert.equal(ask({ paths: ['/out'] }, 'STOR ../../a', at('/out/sub')), '553');
    assert.equal(ask({ paths: ['/out'] }, 'LIST my file', at('/out')), 'allowed');
  });

  it('lets nothing be named relative to a directory that is not known', () => {
    const lost = { directory: null };
    for (const line of ['RETR a', 'LIST', 'CWD a', 'CDUP', 'LIST /out a']) assert.equal(ask({ paths: ['/out'] }, line, lost), '550', line);
    for (const line of ['RETR /out/a', 'CWD /out', 'NOOP']) assert.equal(ask({ paths: ['/out'] }, line, lost), 'allowed', line);
  });

  it('lets nobody in particular do nothing where users are named', () => {
    for (const line of ['RETR a', 'LIST', 'CWD /', 'XRCP a b']) assert.equal(ask({ users: ['ada'], unknownCommands: 'Pass' }, line, { user: null }), '530', line);
    assert.equal(ask({ users: ['ada'] }, 'PASS x', { user: null }), 'allowed');
  });

  it('takes one alternative that allows it, and the user’s own', () => {
    const alternatives = [{ users: ['reader'], readOnly: true }, { users: ['writer'], paths: ['/out'] }];
    assert.deepEqual(['reader', 'writer'].map((user) => ask(alternatives, 'STOR /out/a', { user })), ['553', 'allowed']);
    assert.deepEqual(['reader', 'writer'].map((user) => ask(alternatives, 'RETR /etc/a', { user })), ['allowed', '550']);
    assert.deepEqual(['reader', 'writer', 'other'].map((user) => ask(alternatives, `USER ${user}`)), ['allowed', 'allowed', '530']);
  });

  it('renames by one alternative only', () => {
    const alternatives = [{ paths: ['/kept'], noDelete: true }, { paths: ['/free'] }];
    assert.equal(ask(alternatives, 'RNFR /kept/a'), 'allowed');
    assert.equal(ask(alternatives, 'RNTO /free/a', { renaming: '/kept/a' }), '553');
    assert.equal(ask(alternatives, 'RNTO /kept/b', { renaming: '/kept/a' }), 'allowed');
  });

  it('says why with the alternative that came nearest', () => {
    const verdict = createFtpRules([{ ...free, users: ['bob'] }, { ...free, paths: ['/out'] }, { ...free, readOnly: true, paths: ['/out'] }]).check({ verb: 'STOR', argument: '/a' }, loggedIn);
    assert.deepEqual(verdict, { allowed: false, reply: '553 Refused by policy: the path is outside of those allowed.', detail: 'STOR "/a": the path is outside of those allowed' });
  });

  it('allows nothing without an alternative', () => assert.equal(ask([], 'NOOP'), '550'));

  it('follows the directory only where paths count', () => {
    assert.equal(createFtpRules([free]).followsDirectory, false);
    assert.equal(createFtpRules([free, { ...free, paths: ['/a'] }]).followsDirectory, true);
  });

  it('says in a record what was refused, made printable, and nothing that may be a password', () => {
    const details = ['USER b\tb', 'STOR /a\xe9', 'SITE CHMOD 600 /a', 'SITE PSWD old new', 'XAUT secret', 'LIST'].map((line) => {
      const parse = parseCommand(line);
      const verdict = parse.ok ? createFtpRules([{ ...free, paths: ['/out'], users: ['ada'] }]).check(parse.command, loggedIn) : undefined;
      return verdict?.allowed === false ? verdict.detail.split(': ')[0] : undefined;
    });
    assert.deepEqual(details, ['USER "b\\u{9}b"', 'STOR "/a\\xe9"', 'SITE "CHMOD 600 /a"', 'SITE', 'XAUT', 'LIST']);
  });

  it('says in a reply nothing that the client sent', () => {
    const anyText = fc.string({ unit: fc.integer({ min: 0x20, max: 0xfe }).map((code) => String.fromCharCode(code)), maxLength: 20 });
    fc.assert(
      fc.property(fc.constantFrom('USER', 'STOR', 'LIST', 'SITE', 'RNTO', 'XXXX'), anyText, (verb, argument) => {
        const verdict = createFtpRules([{ ...free, paths: ['/out'], users: ['ada'] }]).check({ verb, argument }, loggedIn);
        if (!verdict.allowed) assert.match(verdict.reply, /^[0-9]{3} [\x20-\x7e]+$/);
      }),
    );
  });
});

describe('the limits of a transfer', () => {
  const limits = (...all: readonly (readonly [maxTransferBytes: number | null, maxBytesPerSecond: number | null])[]) => {
    const verdict = createFtpRules(all.map(([maxTransferBytes, maxBytesPerSecond]) => ({ ...free, maxTransferBytes, maxBytesPerSecond }))).check({ verb: 'RETR', argument: 'a' }, loggedIn);
    assert.ok(verdict.allowed);
    return verdict.limits;
  };

  it('are none as soon as one alternative has none', () => assert.deepEqual(limits([100, 10], [null, null]), []));

  it('are those of the most generous alternative at each byte', () => {
    const both = limits([1_000, 10], [100, 500]);
    assert.equal(bytesMaxOf(both), 1_000);
    assert.deepEqual([0, 100, 101, 1_000].map((bytes) => rateOf(both, bytes)), [500, 500, 10, 10]);
  });

  it('leave out what an alternative leaves out', () => {
    assert.equal(bytesMaxOf(limits([100, null], [null, 5])), null);
    assert.deepEqual([0, 101].map((bytes) => rateOf(limits([100, null], [null, 5]), bytes)), [null, 5]);
    assert.deepEqual([bytesMaxOf([]), rateOf([], 5)], [null, null]);
  });
});
