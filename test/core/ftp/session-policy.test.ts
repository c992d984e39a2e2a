import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import { readsClient, readsServer } from '../../../src/core/ftp/index.ts';
import type { FtpConstraints } from '../../../src/core/ftp/index.ts';
import { begin, greeted } from './session-driver.ts';

/** A session logged in as `user`, in `directory` by the server's word where the rules want to know. */
function loggedIn(rules: readonly Partial<FtpConstraints>[] | undefined, { user = 'ada', directory = '/' } = {}) {
  const session = greeted(rules === undefined ? {} : { rules });
  session.client(`USER ${user}\r\n`);
  session.server('331 password\r\n');
  session.client('PASS secret\r\n');
  session.server('230 in\r\n');
  if (session.asked().endsWith('PWD\r\n')) session.server(`257 "${directory}" is it\r\n`);
  session.received();
  return session;
}

describe('policy in an ftp session', () => {
  it('refuses in the server’s place, in turn, and says so in a record', () => {
    const session = loggedIn([{ readOnly: true }]);
    session.client('SIZE a\r\nDELE a\r\nSTOR b\x80\r\n');
    assert.equal(session.asked(), 'SIZE a\r\n');
    assert.equal(session.received(), '');
    session.server('213 5\r\n');
    assert.equal(session.received(), '213 5\r\n550 Refused by policy: read only.\r\n553 Refused by policy: read only.\r\n');
    assert.deepEqual(session.seen.notices, [
      { reason: 'ftp-policy-refused', detail: 'DELE "a": read only' },
      { reason: 'ftp-policy-refused', detail: 'STOR "b\\x80": read only' },
    ]);
  });

  it('asks for the directory after the login, and keeps the answer to itself', () => {
    const session = greeted({ rules: [{ paths: ['/out'] }] });
    session.client('USER ada\r\nPASS x\r\nSTOR a\r\n');
    assert.equal(session.asked(), 'USER ada\r\n');
    session.server('331 password\r\n');
    assert.equal(session.asked(), 'PASS x\r\n');
    session.server('230 in\r\n');
    assert.equal(session.asked(), 'PWD\r\n');
    assert.equal(readsClient(session.state()), false);
    session.server('257-"/out/login"\r\n257 is it\r\n');
    assert.equal(session.asked(), 'STOR a\r\n');
    assert.equal(session.received(), '331 password\r\n230 in\r\n');
  });

  it('takes the server’s word for where a CWD led, so that a symbolic link leads nowhere', () => {
    const session = loggedIn([{ paths: ['/out'] }]);
    session.client('CWD out/link\r\nRETR shadow\r\nRETR /out/a\r\n');
    assert.equal(session.asked(), 'CWD out/link\r\n');
    session.server('250 ok\r\n');
    assert.equal(session.asked(), 'PWD\r\n');
    session.server('257 "/etc"\r\n');
    assert.equal(session.asked(), 'RETR /out/a\r\n');
    assert.equal(session.received(), '250 ok\r\n550 Refused by policy: the path is outside of those allowed.\r\n');
  });

  it('stays where it was where a CWD fails', () => {
    const session = loggedIn([{ paths: ['/out'] }], { directory: '/out' });
    session.client('CWD none\r\nRETR a\r\n');
    session.server('550 no\r\n');
    assert.equal(session.asked(), 'CWD none\r\nRETR a\r\n');
  });

  it('knows no directory where the server does not say it, or in a way that cannot be read', () => {
    for (const said of ['550 no', '257 somewhere', "257 \"'HLQ.'\"", '500 what?']) {
      const session = loggedIn([{ paths: ['/out'] }], { directory: '/out' });
      session.client('CWD sub\r\n');
      session.server('250 ok\r\n');
      session.server(`${said}\r\n`);
      session.asked();
      session.client('RETR a\r\nRETR /out/a\r\n');
      assert.equal(session.asked(), 'RETR /out/a\r\n', said);
    }
  });

  it('takes no reply too many for the answer about the directory', () => {
    const session = loggedIn([{ paths: ['/out'] }], { directory: '/out' });
    session.client('CWD /out/a\r\n');
    session.server('226 late\r\n'); // of an ABOR
    session.client('RETR x\r\n');
    assert.equal(session.asked(), 'CWD /out/a\r\n');
    assert.match(session.received(), /^226 late\r\n550 Refused by policy: the name is relative/);
    const second = loggedIn([{ paths: ['/out'] }], { directory: '/out' });
    second.client('CWD /out/a\r\n');
    second.server('250 late\r\n250 ok\r\n257 "/out/a"\r\n');
    second.client('RETR x\r\n');
    assert.equal(second.asked(), 'CWD /out/a\r\nPWD\r\nRETR x\r\n');
    assert.equal(second.received(), '250 late\r\n');
  });

  it('goes by who is logged in, not by who would like to be', () => {
    const rules = [{ users: ['reader'], readOnly: true }, { users: ['writer'] }];
    const session = loggedIn(rules, { user: 'reader' });
    session.client('USER writer\r\nSTOR a\r\nPASS x\r\nSTOR a\r\n');
    session.server('331 password\r\n');
    session.server('530 no\r\n');
    assert.equal(session.asked(), 'USER writer\r\nPASS x\r\n');
    assert.equal(session.received().match(/553 Refused by policy: read only/g)?.length, 2);
    session.client('USER writer\r\nPASS y\r\nSTOR a\r\n');
    session.server('331 password\r\n');
    session.server('230 in\r\n');
    assert.equal(session.asked(), 'USER writer\r\nPASS y\r\nSTOR a\r\n');
  });

  it('knows nobody after REIN, and nobody by a PASS whose USER the server refused', () => {
    const rules = [{ users: ['ada'] }];
    const session = loggedIn(rules);
    session.client('REIN\r\n');
    session.server('220 ready\r\n');
    session.client('RETR a\r\n');
    assert.equal(session.asked(), 'REIN\r\n');
    session.client('USER ada\r\n');
    session.server('530 no\r\n');
    session.client('PASS x\r\n');
    session.server('230 in\r\n');
    session.client('RETR a\r\n');
    assert.equal(session.asked(), 'USER ada\r\nPASS x\r\n');
  });

  it('sends a user name that is not allowed nowhere', () => {
    const session = greeted({ rules: [{ users: ['ada'] }] });
    session.client('USER root\r\n');
    assert.deepEqual([session.asked(), session.received()], ['', '530 Refused by policy: this user may not log in.\r\n']);
  });

  it('renames by one policy only, and forgets what was to be renamed', () => {
    const session = loggedIn([{ paths: ['/kept'] }, { paths: ['/free'] }]);
    session.client('RNFR kept/a\r\n');
    session.server('350 go on\r\n');
    session.client('RNTO /free/a\r\n');
    assert.match(session.received(), /553 Refused by policy/);
    session.client('RNTO /kept/b\r\n');
    session.server('250 ok\r\n');
    session.client('RNTO /free/a\r\n'); // the server has nothing to rename any more
    assert.equal(session.asked(), 'RNFR kept/a\r\nRNTO /kept/b\r\nRNTO /free/a\r\n');
  });

  it('lets no AUTH make the session unreadable', () => {
    const session = greeted({ rules: [{ readOnly: true }], tlsPassedThrough: true });
    session.client('AUTH TLS\r\n');
    assert.match(session.received(), /^534 /);
    assert.equal(session.asked(), '');
  });

  it('sends nothing of its own without rules', () => {
    const session = loggedIn(undefined);
    session.client('CWD a\r\nUSER b\r\nDELE /x\r\n');
    assert.equal(session.asked(), 'CWD a\r\nUSER b\r\nDELE /x\r\n');
  });

  it('lets nothing outside of its paths be named, however commands and replies are split', () => {
    const names = ['a', '../a', '/etc/x', '/out/x', '..', 'link', '/', '/out', '~', '/out/../etc'];
    const anyLine = fc.oneof(fc.tuple(fc.constantFrom('CWD', 'RETR', 'STOR', 'DELE', 'LIST', 'RNFR', 'RNTO', 'MKD'), fc.constantFrom(...names)).map(([verb, name]) => `${verb} ${name}`), fc.constantFrom('CDUP', 'PWD', 'NLST', 'NOOP', 'REIN', 'USER ada', 'PASS x'));
    fc.assert(
      fc.property(fc.array(anyLine, { maxLength: 20 }), fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 10 }), fc.infiniteStream(fc.boolean()), (lines, cuts, succeeds) => {
        const session = begin({ rules: [{ paths: ['/out'] }] });
        const server = fakeServer(succeeds);
        let input = lines.map((line) => `${line}\r\n`).join('');
        session.server('220 ready\r\n');
        for (let turn = 0; turn < 400 && (input !== '' || session.seen.server !== ''); turn += 1) {
          const cut = cuts[turn % cuts.length]!;
          session.client(input.slice(0, cut));
          input = input.slice(cut);
          const asked = session.asked();
          for (const line of asked.split('\r\n').slice(0, -1)) session.server(server.answer(line));
        }
        for (const touched of server.touched) assert.match(touched, /^\/out(\/|$)/);
      }),
      { numRuns: 300 },
    );
  });
});

/** A server with one symbolic link, /out/link to /etc, that does what it is told and remembers what it touched. */
function fakeServer(succeeds: Iterable<boolean> & { next(): IteratorResult<boolean, unknown> }) {
  let directory = '/start';
  const touched: string[] = [];
  const resolve = (name: string): string => {
    const path: string[] = [];
    for (const segment of (name.startsWith('/') ? name : `${directory}/${name}`).split('/')) {
      if (segment === '..') path.pop();
      else if (segment !== '' && segment !== '.') path.push(segment);
    }
    return `/${path.join('/')}`;
  };
  const followed = (path: string): string => (path === '/out/link' ? '/etc' : path);
  return {
    touched,
    answer(line: string): string {
      const [verb = '', ...rest] = line.split(' ');
      const name = rest.join(' ');
      if (verb === 'PWD') return `257 "${directory}"\r\n`;
      if (verb === 'CWD' || verb === 'CDUP') {
        if (succeeds.next().value === false) return '550 no\r\n';
        directory = followed(resolve(verb === 'CDUP' ? '..' : name));
        return '250 ok\r\n';
      }
      if (verb === 'REIN') {
        directory = '/start';
        return '220 ready\r\n';
      }
      if (verb === 'PASS') return succeeds.next().value === false ? '530 no\r\n' : '230 in\r\n';
      if (['RETR', 'STOR', 'DELE', 'LIST', 'NLST', 'RNFR', 'RNTO', 'MKD'].includes(verb)) touched.push(resolve(name));
      return verb === 'RNFR' ? '350 go on\r\n' : '250 ok\r\n';
    },
  };
}

describe('transfers in an ftp session', () => {
  it('are told with their number, user and path, and with the server’s final reply', () => {
    const session = loggedIn(undefined);
    session.client('CWD /out\r\n');
    session.server('250 ok\r\n');
    session.client('STOR sub/a\r\n');
    session.server('150 go\r\n');
    session.server('226-done\r\n226 at last\r\n');
    session.client('LIST -la\r\nRETR ~x\r\n');
    session.server('150 go\r\n226 ok\r\n550 no\r\n');
    assert.deepEqual(session.seen.transfers, [
      { id: 1, verb: 'STOR', path: '/out/sub/a', user: 'ada', limits: [] },
      { id: 2, verb: 'LIST', path: '/out', user: 'ada', limits: [] },
      { id: 3, verb: 'RETR', path: '~x', user: 'ada', limits: [] },
    ]);
    assert.deepEqual(session.seen.transfersEnded, [[1, 226], [2, 226], [3, 550]]);
  });

  it('have the path that the client’s own PWD and CWDs lead to, and the name alone where that is not known', () => {
    const session = loggedIn(undefined);
    session.client('RETR a\r\nPWD\r\nRETR a\r\nCWD sub\r\nRETR a\r\nCDUP\r\nRETR a\r\nCWD ~\r\nRETR a\r\n');
    session.server('226 ok\r\n257 "/start"\r\n226 ok\r\n250 ok\r\n226 ok\r\n200 ok\r\n226 ok\r\n250 ok\r\n226 ok\r\n');
    session.client('RETR a\r\n');
    assert.deepEqual(session.seen.transfers.map(({ path }) => path), ['a', 'a', 'a', 'a', 'a', 'a']); // named before any answer came
    for (const [command, reply, path] of [['PWD', '257 "/start"', '/start/a'], ['CWD sub', '250 ok', '/start/sub/a'], ['CDUP', '200 ok', '/start/a'], ['CWD /x', '550 no', '/start/a'], ['CWD ~', '250 ok', 'a']] as const) {
      session.client(`${command}\r\n`);
      session.server(`226 ok\r\n${reply}\r\n`);
      session.client('RETR a\r\n');
      assert.equal(session.seen.transfers.at(-1)?.path, path, command);
    }
  });

  it('that a server leaves without a reply are told as such', () => {
    const session = loggedIn(undefined);
    session.client('RETR a\r\nEPSV\r\n');
    session.server('229 (|||50000|)\r\n');
    assert.deepEqual(session.seen.transfersEnded, [[1, null]]);
  });

  describe('with a limit of their size', () => {
    const limited = () => {
      const session = loggedIn([{ maxTransferBytes: 10 }]);
      session.client('RETR a\r\n');
      session.server('150 go\r\n226 done\r\n');
      return session;
    };

    it('are not told to have ended before it is known that they have', () => {
      const session = limited();
      assert.equal(session.received(), '150 go\r\n');
      assert.deepEqual(session.seen.done, ['conclude-transfer']);
      assert.equal(readsServer(session.state()), false);
      session.client('NOOP\r\n');
      session.feed({ type: 'transfer-settled', id: 1, isTooLarge: false });
      session.server('200 ok\r\n');
      assert.equal(session.received(), '226 done\r\n200 ok\r\n');
      assert.deepEqual(session.seen.transfersEnded, [[1, 226]]);
    });

    it('end in 552 where they were too large, whatever the server says of it', () => {
      for (const reply of ['226 done', '426 broken', '551-page\r\n551 type']) {
        const session = loggedIn([{ maxTransferBytes: 10 }]);
        session.client('STOR a\r\nNOOP\r\n');
        session.server('150 go\r\n');
        session.feed({ type: 'transfer-settled', id: 1, isTooLarge: true });
        session.server(`${reply}\r\n200 ok\r\n`);
        assert.equal(session.received(), '150 go\r\n552 Refused by policy: the transfer is larger than allowed.\r\n200 ok\r\n');
      }
      const late = limited();
      late.feed({ type: 'transfer-settled', id: 1, isTooLarge: true });
      assert.match(late.received(), /^150 go\r\n552 /);
    });

    it('leave nothing behind where only their rate is limited, or nothing', () => {
      for (const rules of [{ maxBytesPerSecond: 10 }, {}]) {
        const session = loggedIn([rules]);
        session.client('RETR a\r\n');
        session.server('150 go\r\n');
        session.feed({ type: 'transfer-settled', id: 1, isTooLarge: false });
        session.server('226 done\r\n');
        assert.equal(session.received(), '150 go\r\n226 done\r\n');
        assert.deepEqual(session.state().settledTransfers, []);
      }
    });

    it('fail at once where the server says so', () => {
      const session = loggedIn([{ maxTransferBytes: 10 }]);
      session.client('RETR none\r\n');
      session.server('550 no such file\r\n');
      assert.equal(session.received(), '550 no such file\r\n');
      session.feed({ type: 'transfer-settled', id: 1, isTooLarge: true }); // of what is over
      session.client('RETR b\r\n');
      session.server('150 go\r\n');
      session.feed({ type: 'transfer-settled', id: 2, isTooLarge: false });
      session.server('226 done\r\n');
      assert.equal(session.received(), '150 go\r\n226 done\r\n');
      assert.deepEqual(session.state().settledTransfers, [], 'nothing is kept of them');
      assert.deepEqual(session.seen.transfers.map(({ limits }) => limits), [[{ maxTransferBytes: 10, maxBytesPerSecond: null }], [{ maxTransferBytes: 10, maxBytesPerSecond: null }]]);
    });
  });
});
