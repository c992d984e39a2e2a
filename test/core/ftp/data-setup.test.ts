import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import { readsClient, readsServer } from '../../../src/core/ftp/index.ts';
import type { FtpEvent } from '../../../src/core/ftp/index.ts';
import { begin, clientPort, greeted, serverPort, toServer } from './session-driver.ts';
import type { SessionOptions } from './session-driver.ts';

const activeClient: SessionOptions = { clientFacingAddress: '127.0.0.1', clientAddress: '127.0.0.1' };
const activeServer: SessionOptions = { serverFacingAddress: '198.51.100.9' };
const notOpened = "425 Can't open data connection.\r\n";

describe('ftp session with an active client', () => {
  it('asks the server by PASV for what PORT needs, and by EPSV for what EPRT does', () => {
    const session = greeted(activeClient);
    session.client('PORT 127,0,0,1,195,80\r\n');
    assert.equal(session.asked(), 'PASV\r\n');
    session.server('227 (192,0,2,7,195,90)\r\n');
    assert.equal(session.received(), '200 PORT command successful.\r\n');
    session.client('EPRT |1|127.0.0.1|50001|\r\n');
    assert.equal(session.asked(), 'EPSV\r\n');
    session.server('229 (|||6446|)\r\n');
    assert.equal(session.received(), '200 EPRT command successful.\r\n');
    assert.deepEqual(session.seen.channels, [{ client: 50_000, server: 50_010 }, { client: 50_001, server: 6446 }]);
  });

  it('asks a server over IPv6 by EPSV, whatever the client said', () => {
    const session = greeted({ ...activeClient, serverAddress: '2001:db8::7' });
    session.client('PORT 127,0,0,1,195,80\r\n');
    assert.equal(session.asked(), 'EPSV\r\n');
  });

  it('connects to the client when the server begins, once', () => {
    const session = greeted(activeClient);
    session.client('PORT 127,0,0,1,195,80\r\nRETR a\r\n');
    session.server('227 (192,0,2,7,195,90)\r\n');
    assert.deepEqual(session.seen.done, []);
    session.server('110 MARK 1 = 1\r\n125-it\r\n');
    assert.deepEqual(session.seen.done, []);
    session.server('125 comes\r\n');
    assert.deepEqual(session.seen.done, ['dial-client']);
    session.server('150 and comes\r\n226 done\r\n');
    assert.deepEqual(session.seen.done, ['dial-client']);
    assert.equal(session.received(), '200 PORT command successful.\r\n110 MARK 1 = 1\r\n125-it\r\n125 comes\r\n150 and comes\r\n226 done\r\n');
  });

  it('tells the client of the transfer when it is connected to, and reads on from there', () => {
    const session = greeted({ ...activeClient, dials: 'held' });
    session.client('PORT 127,0,0,1,195,80\r\nRETR a\r\n');
    session.server('227 (192,0,2,7,195,90)\r\n150-it\r\n150 comes\r\n226 done\r\n');
    assert.deepEqual([session.received(), session.seen.done], ['200 PORT command successful.\r\n', ['dial-client']]);
    assert.ok(!readsServer(session.state()) && readsClient(session.state()));
    session.client('ABOR\r\n');
    session.feed({ type: 'client-dialled' });
    session.server('225 nothing to abort\r\n');
    assert.equal(session.received(), '150-it\r\n150 comes\r\n226 done\r\n225 nothing to abort\r\n');
  });

  it('connects to the client also where the server skips its preliminary reply', () => {
    for (const verb of ['LIST', 'NLST', 'MLSD', 'RETR', 'STOR', 'STOU', 'APPE']) {
      const session = greeted(activeClient);
      session.client(`PORT 127,0,0,1,195,80\r\n${verb} x\r\n`);
      session.server('227 (192,0,2,7,195,90)\r\n226 done\r\n');
      assert.deepEqual(session.seen.done, ['dial-client'], verb);
      session.server('150 by the way\r\n');
      assert.deepEqual(session.seen.done, ['dial-client'], verb);
    }
  });

  it('does not connect to the client for what is no transfer, or is refused', () => {
    const session = greeted(activeClient);
    session.client('PORT 127,0,0,1,195,80\r\nNOOP\r\nRETR a\r\n');
    session.server('227 (192,0,2,7,195,90)\r\n200 ok\r\n550 no such file\r\n');
    assert.deepEqual(session.seen.done, []);
    session.client('SITE INDEX\r\n'); // a verb unknown here; its 150 says that it transfers
    session.server('150 here it comes\r\n226 done\r\n');
    assert.deepEqual(session.seen.done, ['dial-client']);
  });

  it('does not connect to the client of a channel that another took the place of', () => {
    const session = greeted(activeClient);
    session.client('PORT 127,0,0,1,195,80\r\nPASV\r\nRETR a\r\n');
    session.server('227 (192,0,2,7,195,90)\r\n227 (192,0,2,7,195,91)\r\n150 go\r\n226 done\r\n');
    assert.deepEqual(session.seen.done, []);
  });

  for (const [what, command, code] of [
    ['at a third party (the bounce attack of RFC 2577)', 'PORT 192,0,2,66,195,80', 504],
    ['at the server itself', 'EPRT |1|192.0.2.7|50000|', 504],
    ['at our own address', 'PORT 10,0,0,5,195,80', 504],
    ['at a well-known service', 'PORT 127,0,0,1,0,25', 504],
    ['at a well-known service, by EPRT', 'EPRT |1|127.0.0.1|1023|', 504],
    ['nowhere', 'PORT 127,0,0,1,0,0', 501],
    ['at half an address', 'PORT 127,0,0,1,4', 501],
    ['at numbers that are none', 'PORT 127,0,0,1,4,1,', 501],
    ['at a number above 255', 'PORT 127,0,0,1,256,1', 501],
    ['at a name', 'EPRT |1|localhost|50000|', 501],
    ['at a port above 65535', 'EPRT |1|127.0.0.1|65536|', 501],
    ['over IPv6, where the control connection is IPv4', 'EPRT |2|::1|50000|', 522],
    ['over a protocol that nobody knows', 'EPRT |3|127.0.0.1|50000|', 522],
  ] as const) {
    it(`refuses with ${code} a client that awaits the connection ${what}`, () => {
      const session = greeted(activeClient);
      session.client(`${command}\r\n`);
      assert.equal(session.received().slice(0, 4), `${code} `);
      assert.equal(session.asked(), '');
      assert.deepEqual(session.seen.channels, []);
      assert.equal(session.seen.notices.length, code === 504 ? 1 : 0);
    });
  }

  it('is recorded with what it named', () => {
    const session = greeted(activeClient);
    session.client('PORT 192,0,2,66,195,80\r\nPORT 127,0,0,1,0,25\r\n');
    assert.deepEqual(session.seen.notices, [
      { reason: 'ftp-command-refused', detail: 'PORT names 192.0.2.66, and the client is 127.0.0.1' },
      { reason: 'ftp-command-refused', detail: 'PORT names port 25' },
    ]);
  });

  it('over IPv6 says EPRT, and any other delimiter will do', () => {
    const session = greeted({ clientFacingAddress: '::1', clientAddress: '::1' });
    session.client('EPRT !2!0:0::1!50000!\r\n');
    session.server('229 (|||6446|)\r\n');
    assert.deepEqual(session.seen.channels, [{ client: 50_000, server: 6446 }]);
    session.client('PORT 127,0,0,1,195,80\r\n');
    assert.match(session.received(), /^200 .*\r\n504 /);
  });

  it('is told of the server’s own refusal, and of a channel that cannot be opened', () => {
    const refused = greeted(activeClient);
    refused.client('EPRT |1|127.0.0.1|50000|\r\n');
    refused.server('500 EPSV not understood\r\n');
    assert.equal(refused.received(), '500 EPSV not understood\r\n');
    const failed = greeted({ ...activeClient, channels: 'failed' });
    failed.client('PORT 127,0,0,1,195,80\r\nNOOP\r\n');
    failed.server('227 (192,0,2,7,195,90)\r\n200 ok\r\n');
    assert.equal(failed.received(), `${notOpened}200 ok\r\n`);
  });
});

describe('ftp session with an active server', () => {
  it('says PORT where the client says PASV or EPSV, and answers when the server has taken it', () => {
    const session = greeted(activeServer);
    session.client('PASV\r\n');
    assert.equal(session.asked(), 'PORT 198,51,100,9,234,97\r\n');
    assert.equal(session.received(), '');
    session.server('200-fine\r\n200 PORT command successful. Consider using PASV.\r\n');
    assert.equal(session.received(), '227 Entering Passive Mode (10,0,0,5,195,81).\r\n');
    session.client('EPSV\r\n');
    assert.equal(session.asked(), 'PORT 198,51,100,9,234,97\r\n');
    session.server('200 ok\r\n');
    assert.equal(session.received(), '229 Entering Extended Passive Mode (|||50001|)\r\n');
    assert.deepEqual(session.seen.channels, [{ client: 'awaited', server: 'awaited' }, { client: 'awaited', server: 'awaited' }]);
  });

  it('says EPRT over IPv6', () => {
    const session = greeted({ serverAddress: '2001:db8::7', serverFacingAddress: '2001:db8::9' });
    session.client('PASV\r\n');
    assert.equal(session.asked(), `EPRT |2|2001:db8::9|${serverPort}|\r\n`);
    session.server('200 ok\r\n');
    assert.match(session.received(), /^227 /);
  });

  it('may have an active client too', () => {
    const session = greeted({ ...activeServer, ...activeClient });
    session.client('PORT 127,0,0,1,195,80\r\nRETR a\r\n');
    assert.equal(session.asked(), 'PORT 198,51,100,9,234,97\r\nRETR a\r\n');
    session.server('200 ok\r\n150 go\r\n');
    assert.deepEqual([session.received(), session.seen.done], ['200 PORT command successful.\r\n150 go\r\n', ['dial-client']]);
    assert.deepEqual(session.seen.channels, [{ client: 50_000, server: 'awaited' }]);
  });

  it('lets the client’s later commands wait until it knows its port', () => {
    const session = greeted({ ...activeServer, channels: 'held' });
    session.client('EPSV\r\nRETR a\r\n');
    assert.ok(!readsClient(session.state()) && !readsServer(session.state()));
    assert.equal(session.asked(), '');
    session.feed({ type: 'channel-ready', clientPort, serverPort });
    assert.equal(session.asked(), 'PORT 198,51,100,9,234,97\r\nRETR a\r\n');
  });

  it('that refuses the port is answered for with 425 and recorded, and nothing is awaited any more', () => {
    const session = greeted(activeServer);
    session.client('PWD\r\nEPSV\r\nNOOP\r\n');
    session.server('257 "/"\r\n500-no\r\n500 Illegal PORT command.\r\n200 ok\r\n');
    assert.equal(session.received(), `257 "/"\r\n${notOpened}200 ok\r\n`);
    assert.deepEqual(session.seen.done, ['close-channel']);
    assert.deepEqual(session.seen.notices, [{ reason: 'ftp-active-refused', detail: 'the server refused PORT with 500' }]);
  });

  it('that closes the session instead of taking the port says so to the client', () => {
    const session = greeted(activeServer);
    session.client('PASV\r\n');
    session.server('421 Timeout.\r\n');
    session.feed({ type: 'server-ended' });
    assert.equal(session.received(), '421 Timeout.\r\n');
    assert.equal(session.seen.end, 'finished');
  });

  it('that refuses a second port has the first one’s client left alone', () => {
    const session = greeted({ ...activeServer, ...activeClient });
    session.client('PORT 127,0,0,1,195,80\r\nPORT 127,0,0,1,195,81\r\nRETR a\r\n');
    for (const reply of ['200 ok', '500 Illegal PORT command.', '150 go']) session.server(`${reply}\r\n`);
    assert.deepEqual(session.seen.done, ['close-channel']);
    assert.equal(session.received(), `200 PORT command successful.\r\n${notOpened}150 go\r\n`);
  });

  it('hears nothing where no channel can be opened, and the client gets 425 in its turn', () => {
    const session = greeted({ ...activeServer, channels: 'failed' });
    session.client('NOOP\r\nPASV\r\nPWD\r\n');
    assert.equal(session.asked(), 'NOOP\r\nPWD\r\n');
    session.server('200 ok\r\n257 "/"\r\n');
    assert.equal(session.received(), `200 ok\r\n${notOpened}257 "/"\r\n`);
  });

  it('is not told of another port before its transfer has ended', () => {
    const session = greeted(activeServer);
    session.client('PASV\r\n');
    session.server('200 ok\r\n');
    session.client('RETR a\r\nNOOP\r\nPASV\r\nRETR b\r\n');
    session.server('150 go\r\n');
    assert.equal(session.seen.channels.length, 1);
    assert.ok(!readsClient(session.state()));
    session.server('226 done\r\n');
    assert.equal(session.seen.channels.length, 2);
    assert.equal(session.asked(), 'PORT 198,51,100,9,234,97\r\nRETR a\r\nNOOP\r\nPORT 198,51,100,9,234,97\r\nRETR b\r\n');
    session.server('200 noop\r\n200 port\r\n150 go\r\n226 done\r\n');
    assert.match(session.received(), /^227 .*\r\n150 go\r\n226 done\r\n200 noop\r\n227 .*\r\n150 go\r\n226 done\r\n$/);
  });

  it('keeps its place where it answers ABOR twice or not at all', () => {
    const twice = greeted(activeServer);
    twice.client('RETR a\r\nABOR\r\nPASV\r\n');
    twice.server('150 go\r\n426 aborted\r\n226 done\r\n226 done again\r\n');
    twice.server('200 port\r\n');
    assert.match(twice.received(), /226 done again\r\n227 /);
    const never = greeted(activeServer);
    never.client('RETR a\r\nABOR\r\nLPRT 1\r\nPASV\r\nNOOP\r\n');
    never.server('150 go\r\n226 done\r\n');
    never.server('200 port\r\n200 noop\r\n');
    assert.match(never.received(), /^150 go\r\n226 done\r\n502 .*\r\n227 .*\r\n200 noop\r\n$/);
  });

  it('that offers a port itself ends the session', () => {
    const session = greeted(activeServer);
    session.client('PASV\r\n');
    session.server('227 (192,0,2,7,195,80)\r\n');
    assert.equal(session.seen.end, 'ftp-reply-unparsable');
    assert.equal(session.seen.channels.length, 1, 'the one that we opened');
  });
});

describe('ftp session in which the client promises EPSV only (RFC 2428 section 4)', () => {
  it('refuses it all else, at once', () => {
    const session = greeted(activeClient);
    session.client('EPSV ALL\r\nPASV\r\nPORT 127,0,0,1,195,80\r\nEPRT |1|127.0.0.1|50000|\r\nEPSV\r\n');
    assert.equal(session.asked(), 'EPSV ALL\r\nEPSV\r\n');
    session.server('200 ok\r\n229 (|||6446|)\r\n');
    assert.match(session.received(), /^200 ok\r\n(503 .*\r\n){3}229 /);
    assert.deepEqual(session.seen.channels, toServer(6446));
  });

  it('lets it take back what the server did not understand', () => {
    const session = greeted();
    session.client('EPSV ALL\r\n');
    session.server('500 what?\r\n');
    session.client('PASV\r\n');
    assert.equal(session.asked(), 'EPSV ALL\r\nPASV\r\n');
  });

  it('does not ask an active server, who would refuse our PORT from then on', () => {
    const session = greeted(activeServer);
    session.client('epsv all\r\nPASV\r\nEPSV\r\n');
    assert.equal(session.asked(), 'PORT 198,51,100,9,234,97\r\n');
    session.server('200 ok\r\n');
    assert.match(session.received(), /^200 EPSV ALL .*\r\n503 .*\r\n229 /);
  });
});

describe('ftp session, in each pair of modes and for any input', () => {
  const modes: readonly SessionOptions[] = [{ clientFacingAddress: '127.0.0.1' }, activeClient, { ...activeServer, clientFacingAddress: '127.0.0.1' }, { ...activeClient, ...activeServer }];
  const mode = fc.constantFrom(...modes).chain((each) => fc.constantFrom(each, { ...each, channels: 'failed' as const }));
  const commands = ['PASV', 'EPSV', 'EPSV ALL', 'PORT 127,0,0,1,195,80', 'PORT 192,0,2,66,195,80', 'EPRT |1|127.0.0.1|50000|', 'EPRT |1|127.0.0.1|25|', 'RETR x', 'LIST', 'NOOP', 'ABOR'];
  const replies = ['200 ok', '150 go', '125 go', '226 done', '227 (10,9,8,7,195,80)', '227 (192,0,2,7,0,25)', '229 (|||6446|)', '425 no', '500 no', '200-\r\n227 (1,2,3,4,5,6)\r\n200 ok', ''];
  const bytes = fc.uint8Array({ maxLength: 40 }).map((array) => Buffer.from(array).toString('latin1'));
  const event = fc.oneof(
    fc.oneof(fc.constantFrom(...commands).map((line) => `${line}\r\n`), bytes).map((text): FtpEvent => ({ type: 'client-bytes', text })),
    fc.oneof({ weight: 3, arbitrary: fc.constantFrom(...replies).map((line) => `${line}\r\n`) }, { weight: 1, arbitrary: bytes }).map((text): FtpEvent => ({ type: 'server-bytes', text })),
  );

  function play(options: SessionOptions, events: readonly FtpEvent[], split: (text: string) => readonly string[] = (text) => [text]) {
    const session = begin(options);
    for (const each of [{ type: 'server-bytes', text: '220 ready\r\n' } as const, ...events]) {
      if ('text' in each) for (const text of split(each.text)) session.feed({ ...each, text });
    }
    return session.seen;
  }

  it('connects to its own two parties only, and tells the server of no port but ours', () => {
    fc.assert(
      fc.property(mode, fc.array(event, { maxLength: 60 }), (options, events) => {
        const seen = play(options, events);
        for (const { client, server } of seen.channels) {
          assert.ok(client === 'awaited' || (options.clientAddress !== undefined && client >= 1024));
          assert.ok((server === 'awaited') === (options.serverFacingAddress !== undefined) && (server === 'awaited' || server >= 1024));
        }
        const told = seen.server.split('\r\n').filter((line) => /^(PORT|EPRT)/.test(line));
        assert.deepEqual(new Set(told), new Set(told.length === 0 ? [] : ['PORT 198,51,100,9,234,97']));
        assert.ok(seen.done.filter((each) => each === 'dial-client').length <= seen.channels.filter(({ client }) => client !== 'awaited').length);
      }),
      { numRuns: 500 },
    );
  });

  it('does the same however the bytes are split', () => {
    fc.assert(
      fc.property(mode, fc.array(event, { maxLength: 30 }), (options, events) => {
        const whole = play(options, events);
        assert.deepEqual(play(options, events, (text) => text.match(/[^]/g) ?? []), whole);
        assert.deepEqual(play(options, events, (text) => [text.slice(0, 3), text.slice(3, 20), text.slice(20)]), whole);
      }),
      { numRuns: 300 },
    );
  });

  it('answers every command once and in order, for a server that does', () => {
    const finalCodes: Readonly<Record<string, string>> = { PASV: '227', EPSV: '229', NOOP: '200', 'RETR x': '226', LIST: '226', 'PORT 127,0,0,1,195,80': '200', 'EPRT |1|127.0.0.1|50000|': '200', 'PORT 192,0,2,66,195,80': '504', 'AUTH TLS': '534' };
    const answers: Readonly<Record<string, string>> = { PASV: '227 (192,0,2,7,195,80)\r\n', EPSV: '229 (|||6446|)\r\n', 'RETR x': '150 go\r\n226 done\r\n', LIST: '226 done\r\n' };
    fc.assert(
      fc.property(fc.constantFrom(...modes), fc.array(fc.constantFrom(...Object.keys(finalCodes)), { maxLength: 40 }), fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1 }), (options, lines, rhythm) => {
        const session = greeted(options);
        const rest = [...lines];
        const answer = () => {
          for (let asked = session.asked(); asked !== ''; asked = session.asked()) for (const line of asked.split('\r\n').slice(0, -1)) session.server(answers[line] ?? '200 ok\r\n');
        };
        for (let turn = 0; rest.length > 0; turn++) {
          session.client(rest.splice(0, rhythm[turn % rhythm.length]).map((line) => `${line}\r\n`).join(''));
          answer();
        }
        const finals = session.received().split('\r\n').filter((line) => /^[2-5]\d\d /.test(line)).map((line) => line.slice(0, 3));
        const expected = lines.map((line) => (options.clientAddress === undefined && /^(PORT|EPRT)/.test(line) ? '502' : finalCodes[line]));
        assert.deepEqual(finals, expected);
      }),
      { numRuns: 300 },
    );
  });

  it('may be stopped at any moment, and then asks for nothing more', () => {
    fc.assert(
      fc.property(fc.constantFrom(...modes), fc.array(event, { maxLength: 20 }), fc.array(event, { maxLength: 10 }), (options, before, after) => {
        const session = begin({ ...options, channels: 'held' });
        for (const each of before) session.feed(each);
        session.feed({ type: 'stop', reason: 'policy-revoked' });
        const { server, channels } = structuredClone(session.seen);
        for (const each of after) session.feed(each);
        session.feed({ type: 'channel-ready', clientPort: 1, serverPort: 1 });
        session.feed({ type: 'channel-failed' });
        assert.deepEqual([session.seen.server, session.seen.channels], [server, channels]);
        assert.notEqual(session.seen.end, undefined);
      }),
      { numRuns: 200 },
    );
  });
});

describe('ftp session whose other half keeps data connections', () => {
  const agent: SessionOptions = { ...activeClient, keeper: 'server' };
  const gateway: SessionOptions = { keeper: 'client' };

  it('tells the gateway so, in the form that the client has asked for', () => {
    const session = greeted(agent);
    for (const command of ['PASV', 'EPSV', 'PORT 127,0,0,1,195,80', 'EPRT |1|127.0.0.1|50001|']) {
      session.client(`${command}\r\n`);
      session.server(session.asked() === 'PASV KEEP\r\n' ? '227 Kept data connection (192,0,2,7,195,90).\r\n' : '229 Kept data connection (|||50010|)\r\n');
    }
    assert.deepEqual(session.seen.ends.map(({ server }) => server), Array.from({ length: 4 }, () => ({ how: 'dialled', port: 50_010, isKept: true })));
    assert.match(session.received(), /^227 Entering Passive Mode .*\r\n229 Entering Extended Passive Mode .*\r\n200 .*\r\n200 .*\r\n$/, 'the workload hears nothing of it');
  });

  it('uses a data connection once that the gateway does not keep', () => {
    const session = greeted(agent);
    session.client('EPSV\r\n');
    session.server('229 Entering Extended Passive Mode (|||50010|)\r\n');
    assert.deepEqual(session.seen.ends.map(({ server }) => server), [{ how: 'dialled', port: 50_010, isKept: false }]);
  });

  it('says to an agent which connection is kept, after its own words and those of the server', () => {
    for (const [command, asked, reply, told] of [
      ['PASV KEEP', 'PASV', '227 (192,0,2,7,195,90)', '227 Kept data connection (10,0,0,5,195,81).'],
      ['EPSV KEEP', 'EPSV', '229 (|||6446|)', '229 Kept data connection (|||50001|)'],
    ] as const) {
      const session = greeted({ ...gateway, channels: 'held' });
      session.client(`${command}\r\n`);
      assert.equal(session.asked(), `${asked}\r\n`, 'the server hears nothing of it');
      session.server(`${reply}\r\n`);
      assert.deepEqual(session.seen.ends.map(({ client }) => client), [{ how: 'awaited', mayBeKept: true }]);
      session.feed({ type: 'channel-ready', clientPort, serverPort: null, isKept: true });
      assert.equal(session.received(), `${told}\r\n`);
    }
  });

  it('says it also where the server is active', () => {
    const session = greeted({ ...gateway, ...activeServer, channels: 'held' });
    session.client('EPSV KEEP\r\n');
    session.feed({ type: 'channel-ready', clientPort, serverPort, isKept: true });
    session.server('200 fine\r\n');
    assert.equal(session.received(), `229 Kept data connection (|||${clientPort}|)\r\n`);
  });

  it('keeps none for a client that has not asked, and takes nobody else for an agent', () => {
    const session = greeted(gateway);
    session.client('EPSV\r\nEPSV 1\r\n');
    session.server('229 (|||6446|)\r\n229 (|||6446|)\r\n');
    assert.deepEqual(session.seen.ends.map(({ client }) => client), [{ how: 'awaited', mayBeKept: false }, { how: 'awaited', mayBeKept: false }]);
    const workload = greeted(agent);
    workload.client('EPSV KEEP\r\n');
    assert.match(workload.received(), /^522 /);
  });

  it('heeds no such words of a server', () => {
    const session = greeted(gateway);
    session.client('EPSV\r\n');
    session.server('229 Kept data connection (|||6446|)\r\n');
    assert.deepEqual(session.seen.ends.map(({ server }) => server), [{ how: 'dialled', port: 6446, isKept: false }]);
  });
});
