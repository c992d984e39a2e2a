/** What the tests of the iRule rest on: an interpreter that has what a BIG-IP has, and nothing else. */
import assert from 'node:assert/strict';
import { startTcl, type Tcl } from '../../support/bigip/tcl.ts';
import { requirePeer } from '../../support/peers.ts';

describe("the tests' interpreter of iRules", () => {
  let tcl: Tcl;
  before(function () {
    tcl = startTcl(requirePeer(this, 'tclsh'));
  });
  after(() => (tcl as Tcl | undefined)?.stop());

  let connections = 0;
  /** What comes of a script in an event. */
  async function run(script: string, event: 'CLIENT_ACCEPTED' | 'SERVER_CONNECTED' = 'CLIENT_ACCEPTED') {
    await tcl.load(`when ${event} {\n${script}\n}`);
    return await tcl.event((connections += 1), event, { clientAddress: '10.1.0.1', clientPort: 1, virtualAddress: '10.4.0.1', virtualPort: 15443, snatAddress: '10.4.0.65', snatPort: 2, targetAddress: '198.51.100.7', targetPort: 443 });
  }
  const errorOf = async (script: string): Promise<string> => {
    const [effect] = await run(script);
    return effect?.kind === 'error' ? effect.message : '';
  };

  for (const script of [
    'dict create a b', 'lassign {1 2} a b', 'lreverse {1 2}', 'lrepeat 2 a', 'lmap a {1} { set a }', 'apply {{} {}}', 'try { error x } on error {} {}', 'string reverse abc', 'string cat a b',
    'binary decode base64 YQ==', 'binary encode hex a', 'clock milliseconds', 'incr never_set', 'expr { max(1, 2) }', 'expr { isqrt(4) }', 'coroutine a b', 'zlib crc32 a', 'info frame',
  ]) it(`has not what came after Tcl 8.4: ${script}`, async () => assert.notEqual(await errorOf(script), ''));

  for (const script of ['exec id', 'open /etc/passwd', 'socket localhost 1', 'source x', 'puts x', 'proc a {} {}', 'rename set x', 'interp create', 'namespace eval x {}', 'uplevel 1 {}', 'load x', 'file exists /', 'vwait x', 'when CLIENT_CLOSED {}']) {
    it(`has not what F5 has taken away: ${script}`, async () => assert.match(await errorOf(script), /^(invalid command name|can't)/));
  }

  it('has what is left', async () => {
    assert.equal(await errorOf('set a [string map {x y} xx]; foreach {b c} [split 1,2 ,] break; incr b $c; if { $b != 3 || $a ne "yy" || [lsearch -exact {p q} q] != 1 } { error no }; binary scan [binary format H4 0102] cc d e; if { $d + $e != 3 } { error no }'), '');
  });

  it('gives variables to a connection, not to others, and to all its events', async () => {
    await tcl.load('when CLIENT_ACCEPTED { set mine 1 }\nwhen CLIENT_CLOSED { set mine }');
    await tcl.event(10_001, 'CLIENT_ACCEPTED');
    assert.deepEqual(await tcl.event(10_001, 'CLIENT_CLOSED'), []);
    assert.deepEqual((await tcl.event(10_002, 'CLIENT_CLOSED')).map(({ kind }) => kind), ['error']);
  });

  it('tells the two sides of a connection apart', async () => {
    const sides = (event: 'CLIENT_ACCEPTED' | 'SERVER_CONNECTED', wanted: string) => run(`if { "[IP::local_addr] [TCP::local_port] [IP::remote_addr] [TCP::remote_port]" ne "${wanted}" } { error "[IP::local_addr] [IP::remote_addr]" }`, event);
    assert.deepEqual(await sides('CLIENT_ACCEPTED', '10.4.0.1 15443 10.1.0.1 1'), []);
    assert.deepEqual(await sides('SERVER_CONNECTED', '10.4.0.65 2 198.51.100.7 443'), []);
  });

  it('knows a command in those events only that its page names', async () => {
    assert.match(await errorOf('SSL::cert count'), /not valid in CLIENT_ACCEPTED/);
    assert.match(await errorOf('SSL::extensions exists -type 0'), /not valid in CLIENT_ACCEPTED/);
  });

  it('knows nothing that is not on the box', async () => {
    for (const script of ['pool /T/shared/nothing', 'snatpool /T/shared/nothing', 'class match -value -- a equals /T/shared/nothing', 'HSL::open -publisher /T/shared/nothing']) assert.notEqual(await errorOf(script), '', script);
  });

  it('goes on after a reject, and ends at an error', async () => {
    assert.deepEqual((await run('reject\nerror over\nreject')).map(({ kind }) => kind), ['reject', 'error']);
  });
});
