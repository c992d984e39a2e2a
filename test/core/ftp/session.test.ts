import assert from 'node:assert/strict';
import * as fc from 'fast-check';
import { lineBytesMax, readsClient, readsServer } from '../../../src/core/ftp/index.ts';
import type { FtpEvent } from '../../../src/core/ftp/index.ts';
import { begin, clientPort, greeted, toServer } from './session-driver.ts';

describe('ftp session', () => {
  describe('passes on', () => {
    it('greeting, commands and replies as they are', () => {
      const session = begin();
      session.server('220-hello\r\n 230 inside\r\n220 ready\r\n');
      assert.equal(session.received(), '220-hello\r\n 230 inside\r\n220 ready\r\n');
      session.client('USER anonymous\r\n');
      session.server('331 password\r\n');
      session.client('PASS a@b\r\n');
      session.server('230 in\r\n');
      assert.equal(session.seen.server, 'USER anonymous\r\nPASS a@b\r\n');
      assert.equal(session.received(), '331 password\r\n230 in\r\n');
    });

    it('each command anew, so that the server can read nothing else than was parsed', () => {
      const session = greeted();
      session.client('noop\n\xff\xf4\xff\xf2ABOR\r\nrest 10\r\n');
      assert.equal(session.seen.server, 'NOOP\r\nABOR\r\nREST 10\r\n');
    });

    it('whatever it does not know, with every byte of its argument', () => {
      const session = greeted();
      const commands = ['HOST ftp.partner.example', 'OPTS UTF8 ON', 'TYPE I', 'MODE S', 'STRU F', 'REST 1000000', 'APPE a', 'STOU', 'MLSD /', 'MLST a', 'SITE CHMOD 644 a b', 'XPWD', 'XCWD /tmp', 'XCUP', 'XMKD a', 'XRMD a', 'ALLO 5', 'ACCT x', 'SMNT /', 'MFMT 20260101000000 a', 'HASH a', 'CLNT x', 'REIN', 'RETR  two spaces\xff\xff\xe9 '];
      session.client(commands.map((line) => `${line}\r\n`).join(''));
      assert.deepEqual(session.asked().split('\r\n'), [...commands, '']);
      session.server('200 ok\r\n'.repeat(commands.length));
      assert.equal(session.received(), '200 ok\r\n'.repeat(commands.length));
      assert.equal(session.asked(), '', 'nothing is said that the client did not say');
    });

    it('ABOR, also where its urgent LF never arrives', () => {
      const session = greeted();
      session.client('ABOR\r');
      assert.equal(session.seen.server, 'ABOR\r\n');
      session.client('\nNOOP\r\nABOR\rNOOP\r\n\r\n');
      assert.equal(session.seen.server, 'ABOR\r\nNOOP\r\nABOR\r\nNOOP\r\n');
      session.server('226 ok\r\n200 ok\r\n226 ok\r\n200 ok\r\n');
      assert.match(session.received(), /\r\n200 ok\r\n500 .*\r\n$/); // the last line was empty
    });

    it('replies without the empty lines that some servers put between them', () => {
      const session = begin();
      session.server('\r\n220 ready\r\n\n\r\n');
      session.client('HELP\r\n');
      session.server('214-help\r\n\r\n214 end\r\n');
      assert.equal(session.received(), '220 ready\r\n214-help\r\n\r\n214 end\r\n');
    });

    it('no reply that its client could read as another than we did, where a CR stands alone', () => {
      const session = greeted();
      session.client('NOOP\r\nPASV\r\n');
      session.server('200-ok\r200 ok\r\n200 ok\r227 (192,0,2,66,4,1)\r\r\n');
      assert.equal(session.received(), '200-ok200 ok\r\n200 ok227 (192,0,2,66,4,1)\r\n');
      session.server('227 (192,0,2,7,195,80)\r\n');
      assert.deepEqual(session.seen.channels, toServer(50_000));
    });

    it('long replies line by line, without holding them', () => {
      const session = greeted();
      session.client('STAT /\r\n');
      session.server('213-files\r\n');
      for (let index = 0; index < 100; index++) session.server(`${'x'.repeat(4000)}\r\n`);
      assert.ok(session.received().length > 400_000);
      session.server('213 end\r\n');
      assert.equal(session.received(), '213 end\r\n');
    });

    it('the end of the client, once its last command is through, without the half of a command', () => {
      const session = greeted();
      session.client('QUIT\r\nDELE /important');
      session.feed({ type: 'client-ended' });
      assert.equal(session.seen.server, 'QUIT\r\n');
      assert.ok(session.seen.serverEnded);
      session.server('221 bye\r\n');
      session.feed({ type: 'server-ended' });
      assert.equal(session.received(), '221 bye\r\n');
      assert.equal(session.seen.end, 'finished');
    });
  });

  describe('in passive mode', () => {
    it('turns 227 into one that the client can reach', () => {
      const session = greeted();
      session.client('PASV\r\n');
      session.server('227 Entering Passive Mode (192,0,2,7,195,80)\r\n');
      assert.deepEqual(session.seen.channels, toServer(195 * 256 + 80));
      assert.equal(session.received(), '227 Entering Passive Mode (10,0,0,5,195,81).\r\n');
      assert.deepEqual(session.seen.notices, []);
    });

    it('turns 229 into one with the port of the offer', () => {
      const session = greeted();
      session.client('EPSV\r\n');
      session.server('229 ok (|||6446|)\r\n');
      assert.deepEqual(session.seen.channels, toServer(6446));
      assert.equal(session.received(), '229 Entering Extended Passive Mode (|||50001|)\r\n');
    });

    it('turns a 227 of many lines into one of one line', () => {
      const session = greeted();
      session.client('PASV\r\n');
      session.server('227-Entering\r\n221 not the end\r\n227 (192,0,2,7,195,80)\r\n');
      assert.equal(session.received(), '227 Entering Passive Mode (10,0,0,5,195,81).\r\n');
    });

    it('goes to the server, whatever address its 227 names, and says so once', () => {
      const session = greeted();
      for (let index = 0; index < 3; index++) {
        session.client('PASV\r\n');
        session.server('227 (127,0,0,1,195,80)\r\n');
      }
      assert.deepEqual(session.seen.channels, toServer(50_000, 50_000, 50_000));
      assert.deepEqual(session.seen.notices, [{ reason: 'ftp-passive-address-ignored', detail: "the server's answer to PASV names 127.0.0.1; 192.0.2.7 is used" }]);
    });

    it('refuses a port of the well-known services', () => {
      const session = greeted();
      session.client('EPSV\r\nPASV\r\n');
      session.server('229 (|||1023|)\r\n227 (192,0,2,7,0,25)\r\n');
      assert.equal(session.received(), "425 Can't open data connection.\r\n".repeat(2));
      assert.deepEqual(session.seen.channels, []);
      assert.deepEqual(
        session.seen.notices.map(({ reason, detail }) => [reason, detail]),
        [
          ['ftp-passive-port-refused', "the server's answer to EPSV names port 1023"],
          ['ftp-passive-port-refused', "the server's answer to PASV names port 25"],
        ],
      );
    });

    it('lets later replies wait until the offer is open', () => {
      const session = greeted({ channels: 'held' });
      session.client('PASV\r\nNOOP\r\nPORT 1,2,3,4,5,6\r\n');
      session.server('227 (192,0,2,7,195,80)\r\n200 noop\r\n');
      assert.equal(session.received(), '');
      assert.ok(!readsServer(session.state()));
      session.feed({ type: 'channel-ready', clientPort, serverPort: null });
      assert.match(session.received(), /^227 .*\r\n200 noop\r\n502 .*\r\n$/);
      assert.ok(readsServer(session.state()));
    });

    it('answers 425 where no offer can be opened, and goes on', () => {
      const session = greeted({ channels: 'failed' });
      session.client('PASV\r\nNOOP\r\n');
      session.server('227 (192,0,2,7,195,80)\r\n200 noop\r\n');
      assert.equal(session.received(), "425 Can't open data connection.\r\n200 noop\r\n");
    });

    it("passes on the server's own refusal", () => {
      const session = greeted();
      session.client('EPSV\r\nPASV\r\n');
      session.server('500 unknown\r\n425 no ports\r\n');
      assert.equal(session.received(), '500 unknown\r\n425 no ports\r\n');
      session.client('PORT 1,2,3,4,5,6\r\n');
      assert.match(session.received(), /^502 /); // nothing is owed any more
    });

    it('ends the session with 421 where a 227 or 229 cannot be parsed', () => {
      for (const reply of ['227 Entering Passive Mode', '227 (1,2,3,4,5,600)', '227 (192,0,2,7,0,0)', '227 (|||6446|)']) {
        const session = greeted();
        session.client('PASV\r\n');
        session.server(`${reply}\r\n200 more\r\n`);
        assert.match(session.received(), /^421 .*\r\n$/);
        assert.equal(session.seen.end, 'ftp-reply-unparsable');
        assert.deepEqual(session.seen.channels, []);
      }
    });

    it('ends the session where the server offers a data connection unasked', () => {
      for (const commands of ['', 'NOOP\r\n', 'EPSV\r\n', 'EPSV ALL\r\n']) {
        const session = greeted();
        session.client(commands);
        session.server('227 (192,0,2,7,195,80)\r\n');
        assert.equal(session.seen.end, 'ftp-reply-unparsable');
        assert.deepEqual(session.seen.channels, []);
      }
    });

    it('keeps its place where the server answers ABOR twice or not at all', () => {
      const twice = greeted();
      twice.client('RETR a\r\nABOR\r\nPASV\r\n');
      twice.server('150 go\r\n426 aborted\r\n226 done\r\n226 done again\r\n227 (192,0,2,7,195,80)\r\n');
      assert.deepEqual(twice.seen.channels, toServer(50_000));
      const never = greeted();
      never.client('RETR a\r\nABOR\r\nPORT 1,2,3,4,5,6\r\nPASV\r\n');
      never.server('150 go\r\n226 done\r\n227 (192,0,2,7,195,80)\r\n');
      assert.match(never.received(), /^150 go\r\n226 done\r\n502 .*\r\n227 .*\r\n$/);
    });

    it('takes no line inside another reply for a 227, and pads it so that the client does not either', () => {
      const session = greeted();
      session.client('HELP\r\nPASV\r\n');
      session.server('214-help\r\n227 (192,0,2,7,195,80)\r\n214 end\r\n');
      assert.deepEqual(session.seen.channels, []);
      assert.equal(session.received(), '214-help\r\n 227 (192,0,2,7,195,80)\r\n214 end\r\n');
    });

    it('answers PASV itself where the client came over IPv6', () => {
      const session = greeted({ clientFacingAddress: '2001:db8::5' });
      session.client('PASV\r\n');
      assert.match(session.received(), /^425 .*EPSV/);
      session.client('EPSV\r\n');
      session.server('229 (|||6446|)\r\n');
      assert.match(session.received(), /^229 /);
    });

    it('asks a server over IPv6 by EPSV for what an IPv4 client asks by PASV', () => {
      const session = greeted({ serverAddress: '2001:db8::7' });
      session.client('PASV\r\nNOOP\r\n');
      assert.equal(session.seen.server, 'EPSV\r\nNOOP\r\n');
      session.server('229 ok (|||6446|)\r\n200 ok\r\n');
      assert.deepEqual(session.seen.channels, toServer(6446));
      assert.equal(session.received(), '227 Entering Passive Mode (10,0,0,5,195,81).\r\n200 ok\r\n');
      session.client('PASV\r\n');
      session.server('500 what?\r\n');
      assert.equal(session.received(), '500 what?\r\n');
      session.client('EPSV\r\n');
      session.server('229 ok (|||6447|)\r\n');
      assert.match(session.received(), /^229 /);
    });

    it('asks the server for no family, since its own may be another than the client’s', () => {
      const session = greeted();
      session.client('EPSV 1\r\nEPSV all\r\n');
      assert.equal(session.seen.server, 'EPSV\r\nEPSV ALL\r\n');
      session.server('229 (|||6446|)\r\n200 ok\r\n');
      session.received();
      session.client('EPSV 2\r\n');
      assert.equal(session.received(), '522 Network protocol not supported, use (1).\r\n');
    });
  });

  describe('refuses', () => {
    for (const [command, code] of [['PORT 10,0,0,1,4,1', 502], ['EPRT |1|10.0.0.1|1025|', 502], ['LPRT 4,4', 502], ['LPSV', 502], ['CPSV', 502], ['AUTH TLS', 534], ['PBSZ 0', 503], ['PROT P', 503]] as const) {
      it(`${command} with ${code}, and the server hears nothing of it`, () => {
        const session = greeted();
        session.client(`${command}\r\n`);
        assert.equal(session.received().slice(0, 4), `${code} `);
        assert.equal(session.seen.server, '');
        assert.deepEqual(session.seen.notices, [{ reason: 'ftp-command-refused', detail: `${command.split(' ')[0]!} is not available` }]);
      });
    }

    it('in the order of the commands, behind the replies that the server still owes', () => {
      const session = greeted();
      session.client('PWD\r\nPORT 10,0,0,1,4,1\r\nNO.P\r\nNOOP\r\n');
      assert.equal(session.received(), '');
      session.server('257 "/"\r\n');
      assert.match(session.received(), /^257 "\/"\r\n502 .*\r\n500 .*\r\n$/);
      session.server('200 ok\r\n');
      assert.equal(session.received(), '200 ok\r\n');
    });

    it('nothing before the greeting', () => {
      const session = begin();
      session.client('PORT 10,0,0,1,4,1\r\n');
      session.server('120 soon\r\n');
      assert.equal(session.received(), '120 soon\r\n');
      session.server('220 ready\r\n');
      assert.match(session.received(), /^220 ready\r\n502 /);
    });

    it('to advertise in FEAT what it refuses', () => {
      const session = greeted();
      session.client('FEAT\r\n');
      session.server('211-Features:\r\n AUTH TLS\r\n EPRT\r\n EPSV\r\n MDTM\r\n PASV\r\n PBSZ\r\n PROT\r\n REST STREAM\r\n SIZE\r\n UTF8\r\n211 End\r\n');
      assert.equal(session.received(), '211-Features:\r\n EPSV\r\n MDTM\r\n PASV\r\n REST STREAM\r\n SIZE\r\n UTF8\r\n211 End\r\n');
    });
  });

  describe('is bounded', () => {
    it('in the length of a command', () => {
      const session = greeted();
      session.client('x'.repeat(1_000_000));
      assert.match(session.received(), /^421 .*\r\n$/);
      assert.equal(session.seen.end, 'ftp-line-too-long');
      assert.equal(session.seen.server, '');
    });

    it('in the length of a command that came whole', () => {
      const session = greeted();
      session.client(`RETR ${'x'.repeat(lineBytesMax - 6)}\r\n`);
      assert.equal(session.seen.end, undefined);
      session.client(`RETR ${'x'.repeat(lineBytesMax)}\r\n`);
      assert.equal(session.seen.end, 'ftp-line-too-long');
    });

    it('in the length of a reply line', () => {
      const session = greeted();
      for (let index = 0; index < 9; index++) session.server('2'.repeat(1000));
      assert.equal(session.seen.end, 'ftp-line-too-long');
    });

    it('in the length of a reply that is read as a whole', () => {
      const session = greeted();
      session.client('PASV\r\n');
      session.server('227-\r\n');
      for (let index = 0; index < 70_000 && session.seen.end === undefined; index++) session.server('\n');
      assert.equal(session.seen.end, 'ftp-line-too-long');
    });

    it('in what it tells', () => {
      const session = greeted();
      for (let port = 1; port <= 100; port++) {
        session.client('EPSV\r\nPORT 1,2,3,4,5,6\r\n');
        session.server(`229 (|||${port}|)\r\n`);
      }
      assert.equal(session.seen.notices.length, 32);
    });

    it('in the number of commands that await a reply', () => {
      const session = greeted();
      session.client('NOOP\r\n'.repeat(1000));
      assert.equal(session.seen.server.length, 'NOOP\r\n'.length * 64);
      assert.ok(!readsClient(session.state()));
      session.server('200 ok\r\n'.repeat(10));
      assert.equal(session.seen.server.length, 'NOOP\r\n'.length * 74);
    });
  });

  it('ends where the server sends what is no reply', () => {
    const session = begin();
    session.server('SSH-2.0-OpenSSH_9.2\r\n');
    assert.match(session.received(), /^421 /);
    assert.equal(session.seen.end, 'ftp-reply-unparsable');
  });

  it('tells the client why it is stopped, and ignores everything after', () => {
    const session = greeted();
    session.feed({ type: 'stop', reason: 'policy-revoked' });
    assert.match(session.received(), /^421 .*policy-revoked/);
    assert.equal(session.seen.end, 'policy-revoked');
    session.client('NOOP\r\n');
    session.feed({ type: 'channel-ready', clientPort, serverPort: null });
    assert.equal(session.seen.server, '');
  });

  it('tells nobody of arguments', () => {
    const session = greeted();
    session.client('PASS s3cret\r\nPORT s3cret\r\nAUTH s3cret\r\ns3cret s3cret\r\n');
    assert.ok(!JSON.stringify(session.seen.notices).includes('s3cret'));
  });
});

describe('ftp session, for any input', () => {
  /** A dialogue of plausible and hostile pieces, each from one side. */
  const clientPiece = fc.constantFrom('PASV\r\n', 'EPSV\r\n', 'EPSV ALL\r\n', 'NOOP\r\n', 'PORT 1,2,3,4,5,6\r\n', 'FEAT\r\n', 'RETR x\r\n', '\xff\xf4\xff\xf2ABOR\r\n', 'ABOR\r', '\r', '\n', 'US', '\0');
  const serverPiece = fc.constantFrom('227 (10,9,8,7,195,80)\r\n', '229 (|||6446|)\r\n', '227-\r\n', '227 (1,2,3,4,0,21)\r\n', '200 ok\r\n', '150 go\r\n', '211-f\r\n PORT\r\n211 e\r\n', '425 no\r\n', '2', '\r', '\n', '230-hi\r\n', '230 in\r\n');
  const piece = fc.oneof(
    clientPiece.map((text): FtpEvent => ({ type: 'client-bytes', text })),
    serverPiece.map((text): FtpEvent => ({ type: 'server-bytes', text })),
  );
  const bytes = fc.uint8Array({ maxLength: 200 }).map((array) => Buffer.from(array).toString('latin1'));
  const noise = fc.oneof(
    piece,
    bytes.map((text): FtpEvent => ({ type: 'client-bytes', text })),
    bytes.map((text): FtpEvent => ({ type: 'server-bytes', text })),
  );

  function play(events: readonly FtpEvent[], split: (text: string) => readonly string[]) {
    const session = begin();
    for (const event of [{ type: 'server-bytes', text: '220 ready\r\n' } as const, ...events]) {
      if ('text' in event) for (const text of split(event.text)) session.feed({ ...event, text });
      else session.feed(event);
    }
    return session.seen;
  }

  it('does the same however the bytes are split', () => {
    fc.assert(
      fc.property(fc.array(noise, { maxLength: 30 }), (events) => {
        const whole = play(events, (text) => [text]);
        assert.deepEqual(play(events, (text) => text.match(/[^]/g) ?? []), whole);
        assert.deepEqual(play(events, (text) => [text.slice(0, 3), text.slice(3, 20), text.slice(20)]), whole);
      }),
      { numRuns: 300 },
    );
  });

  it('never throws, and sends the server whole commands only, none of them refused', () => {
    fc.assert(
      fc.property(fc.array(noise, { maxLength: 60 }), (events) => {
        const seen = play(events, (text) => [text]);
        assert.match(seen.server, /^([A-Z][A-Z0-9]{0,15}( [^\r\n\0]+)?\r\n)*$/);
        assert.doesNotMatch(seen.server, /^(PORT|EPRT|AUTH|LPRT)/m);
        assert.ok(seen.channels.every(({ server }) => server !== 'awaited' && server >= 1024 && server <= 65535));
      }),
      { numRuns: 300 },
    );
  });

  it('lets no passive reply through but its own', () => {
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 60 }), (events) => {
        const seen = play(events, (text) => [text]);
        for (const line of seen.client.split('\r\n')) if (/^22[79] /.test(line)) assert.match(line, /\(10,0,0,5,195,81\)|\(\|\|\|50001\|\)/);
      }),
      { numRuns: 300 },
    );
  });

  it('answers every command once and in order, for a server that does', () => {
    const command = fc.constantFrom('NOOP', 'PASV', 'EPSV', 'PORT 1,2,3,4,5,6', 'AUTH TLS', 'NO.P', 'RETR x', 'FEAT', 'EPSV 2');
    const replyTo: Readonly<Record<string, string>> = { NOOP: '200 ok\r\n', PASV: '227 (192,0,2,7,195,80)\r\n', EPSV: '229 (|||6446|)\r\n', 'RETR x': '150 go\r\n226 done\r\n', FEAT: '211-f\r\n UTF8\r\n211 e\r\n' };
    const codeOf: Readonly<Record<string, string>> = { NOOP: '200', PASV: '227', EPSV: '229', 'PORT 1,2,3,4,5,6': '502', 'AUTH TLS': '534', 'NO.P': '500', 'RETR x': '226', FEAT: '211', 'EPSV 2': '522' };
    fc.assert(
      fc.property(fc.array(command, { maxLength: 40 }), fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1 }), (commands, rhythm) => {
        const session = greeted();
        const rest = [...commands];
        let answered = 0;
        for (let turn = 0; rest.length > 0; turn++) {
          session.client(rest.splice(0, rhythm[turn % rhythm.length]).map((line) => `${line}\r\n`).join(''));
          const asked = session.seen.server.split('\r\n').slice(0, -1);
          session.server(asked.slice(answered).map((line) => replyTo[line]!).join(''));
          answered = asked.length;
        }
        const finals = session.received().split('\r\n').filter((line) => /^[2-5]\d\d /.test(line));
        assert.deepEqual(finals.map((line) => line.slice(0, 3)), commands.map((line) => codeOf[line]!));
      }),
      { numRuns: 200 },
    );
  });
});
