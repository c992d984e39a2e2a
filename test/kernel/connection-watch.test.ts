import assert from 'node:assert/strict';
import { waitFor } from '../../src/demo/processes.ts';
import { watchConnections, type ConnectionWatch } from '../../src/kernel/connection-watch.ts';
import type { StartLineProgram } from '../../src/kernel/lines.ts';

const event = '[1795325908.914751]\t    [NEW] ipv4     2 tcp      6 120 SYN_SENT src=192.0.2.2 dst=203.0.113.10 sport=48084 dport=7000 [UNREPLIED] src=203.0.113.10 dst=203.0.113.11 sport=7000 dport=48084 mark=7 id=4007050202';
const listed = 'ipv4     2 tcp      6 431998 ESTABLISHED src=192.0.2.2 dst=203.0.113.10 sport=48084 dport=7000 src=203.0.113.10 dst=203.0.113.11 sport=7000 dport=48084 [ASSURED] mark=7 use=1 id=4007050202';

/** A conntrack that says what it is told to. */
function scripted(dumpStatus = 0) {
  const told: string[] = [];
  const followers: { readonly line: (text: string) => void; readonly complain: (text: string) => void; readonly end: () => void }[] = [];
  const start: StartLineProgram = (_program, args, onLine, onComplaint) => {
    const over = Promise.withResolvers<number | null>();
    if (args.includes('--event')) followers.push({ line: onLine, complain: onComplaint, end: () => over.resolve(1) });
    else {
      queueMicrotask(() => {
        onLine(listed);
        over.resolve(dumpStatus);
      });
    }
    return { ended: over.promise, stop: () => over.resolve(null) };
  };
  let losses = 0;
  const warnings: unknown[] = [];
  const watch: ConnectionWatch = watchConnections({
    start,
    onEvent: ({ kind, connection }) => told.push(`${kind} ${connection.mark}`),
    onDump: () => (connection) => told.push(connection === null ? 'all' : `there ${connection.mark}`),
    onLoss: () => (losses += 1),
    random: () => 0,
    log: { warn: (...said: readonly unknown[]) => void warnings.push(said) },
  });
  return { watch, told, followers, warnings, losses: () => losses };
}

const looks = (told: readonly string[], count: number) => waitFor(`${count} looks`, 5_000, () => (told.filter((each) => each === 'all').length >= count ? true : undefined));

describe('the watch over the kernel\'s connections', () => {
  it('looks at all there are when it begins, and again a moment later, and tells of each that follows', async () => {
    const { watch, told, followers } = scripted();
    await looks(told, 2);
    followers[0]!.line(event);
    followers[0]!.line('no line of events');
    assert.deepEqual(told, ['there 7', 'all', 'there 7', 'all', 'opened 7']);
    await watch.stop();
  });

  it('notices that events are lost, and looks at all there are', async () => {
    const { watch, told, followers, losses } = scripted();
    await looks(told, 2);
    followers[0]!.complain('WARNING: We have hit ENOBUFS! We are losing events.');
    followers[0]!.complain('This message means that the current netlink socket buffer size is too small.');
    assert.equal(losses(), 1);
    await looks(told, 4);
    await watch.stop();
  });

  it('starts anew what has ended, says so, and looks at all there are', async () => {
    const { watch, told, followers, warnings } = scripted();
    await looks(told, 1);
    followers[0]!.complain('Operation failed: such process was killed');
    followers[0]!.end();
    await waitFor('another', 5_000, () => followers[1]);
    assert.match(JSON.stringify(warnings), /such process was killed.*conntrack has ended/);
    await looks(told, 2);
    await watch.stop();
    assert.equal(followers.length, 2);
  });

  it('takes a look that fails for none, and says so', async () => {
    const { watch, told, warnings } = scripted(1);
    await waitFor('the warning', 5_000, () => warnings[0]);
    assert.deepEqual([...new Set(told)], ['there 7']);
    await watch.stop();
  });
});
