/** FTPS that the workload speaks with the server itself (RFC 4217): what a session still sees of it, and what it leaves alone. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { begin } from './session-driver.ts';

const hello = '\x16\x03\x01\x02\x00\x01\x00\xfc\x03\x03PASV\r\n227 \n\xff\xf4\0';

describe('an ftp session whose client may speak TLS with the server', () => {
  function secured() {
    const session = begin({ tlsPassedThrough: true });
    session.server('220 ready\r\n');
    session.client('AUTH TLS\r\n');
    session.server('234 go on\r\n');
    session.seen.client = session.seen.server = '';
    return session;
  }

  it('passes AUTH on, and whatever follows 234 as it comes, however it is split', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(hello.length), { maxLength: 6 }), (cuts) => {
        const session = secured();
        const places = [0, ...cuts.toSorted((a, b) => a - b), hello.length];
        for (const [index, place] of places.entries()) {
          session.client(hello.slice(place, places[index + 1]));
          session.server(hello.slice(place, places[index + 1]));
        }
        assert.deepEqual([session.seen.server, session.seen.client, session.seen.channels], [hello, hello, []]);
      }),
    );
  });

  it('passes on what came in one piece with the 234', () => {
    const session = begin({ tlsPassedThrough: true });
    session.server('220 ready\r\n');
    session.client('AUTH TLS\r\n');
    session.server(`234 go on\r\n${hello}`);
    assert.equal(session.seen.client, `220 ready\r\n234 go on\r\n${hello}`);
  });

  it('goes on in plain where the server refuses', () => {
    const session = begin({ tlsPassedThrough: true });
    session.server('220 ready\r\n');
    session.client('AUTH TLS\r\n');
    session.server('502 no\r\n');
    session.client('PASV\r\n');
    session.server('227 (192,0,2,7,195,80)\r\n');
    assert.equal(session.seen.channels.length, 1);
  });

  it('takes a 234 to anything else for what it is', () => {
    const session = begin({ tlsPassedThrough: true });
    session.server('220 ready\r\n');
    session.client('NOOP\r\n');
    session.server('234 go on\r\n');
    session.client('PASV\r\n');
    session.server('227 (192,0,2,7,195,80)\r\n');
    assert.equal(session.seen.channels.length, 1);
  });

  it('lets a client hear of TLS in FEAT only where it is passed on', () => {
    for (const [tlsPassedThrough, heard] of [[true, '211-f\r\n AUTH TLS\r\n211 e\r\n'], [false, '211-f\r\n211 e\r\n']] as const) {
      const session = begin({ tlsPassedThrough });
      session.server('220 ready\r\n');
      session.client('FEAT\r\n');
      session.server('211-f\r\n AUTH TLS\r\n211 e\r\n');
      assert.equal(session.seen.client, `220 ready\r\n${heard}`);
    }
  });

  it('ends without a word in plain, and when either side does', () => {
    const stopped = secured();
    stopped.feed({ type: 'stop', reason: 'policy-revoked' });
    assert.deepEqual([stopped.seen.client, stopped.seen.end], ['', 'policy-revoked']);
    const over = secured();
    over.feed({ type: 'client-ended' });
    assert.equal(over.seen.serverEnded, true);
    over.feed({ type: 'server-ended' });
    assert.equal(over.seen.end, 'finished');
  });
});
