import assert from 'node:assert/strict';
import { fruit, play } from './stream-play.ts';

const settings = { quietMs: 100, quietWaitMaxMs: 250 };

describe('debouncing of changes', () => {
  function synced() {
    const stream = play('delta', fruit('r1', { apple: '1' }), settings);
    stream.delta({ responseNonce: stream.delta({ subscribe: ['*'] })!.nonce });
    return stream;
  }

  it('sends what changed once it has been quiet for a while, all in one response', () => {
    const stream = synced();
    assert.equal(stream.snapshot(fruit('r2', { apple: '2' })), undefined);
    assert.deepEqual(stream.effects(), [{ kind: 'wake', atMs: 100 }]);
    stream.passTime(60);
    assert.equal(stream.snapshot(fruit('r3', { apple: '2', pear: '1' })), undefined);
    assert.deepEqual(stream.effects(), [{ kind: 'wake', atMs: 160 }]);
    assert.equal(stream.tickAfter(99), undefined);
    assert.deepEqual(stream.tickAfter(1)?.says, ['apple@2', 'pear@1']);
  });

  it('does not wait beyond its bound, however often there is another change', () => {
    const stream = synced();
    const sentAtMs: number[] = [];
    for (let at = 0; at <= 600; at += 50) {
      const sent = stream.snapshot(fruit(`r${at}`, { apple: `at ${at}` })) ?? stream.tickAfter(0);
      if (sent !== undefined) {
        sentAtMs.push(at);
        stream.delta({ responseNonce: sent.nonce });
      }
      stream.passTime(50);
    }
    assert.deepEqual(sentAtMs, [250, 550]);
  });

  it('does not make a client wait for what it asks for', () => {
    const stream = play('delta', fruit('r1', { apple: '1', pear: '1' }), settings);
    stream.delta({ responseNonce: stream.delta({ subscribe: ['apple'] })!.nonce });
    stream.snapshot(fruit('r2', { apple: '2', pear: '1' }));
    assert.deepEqual(stream.delta({ subscribe: ['pear'] })?.says, ['apple@2', 'pear@1']);
  });

  it('makes a client that came back unchanged wait as any other', () => {
    const stream = play('delta', fruit('r1', { apple: '1' }), settings);
    stream.delta({ subscribe: ['*'], initial: { apple: '1' } });
    assert.equal(stream.snapshot(fruit('r2', { apple: '2' })), undefined);
    assert.deepEqual(stream.tickAfter(100)?.says, ['apple@2']);
  });
});
