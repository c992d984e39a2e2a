import assert from 'node:assert/strict';
import { fruit, FRUIT, play } from './stream-play.ts';

const onDemand = { isOnDemand: true };
const missing = (stream: ReturnType<typeof play>) => stream.effects().flatMap((effect) => (effect.kind === 'missing' ? [effect.names] : []));

describe('resources on demand', () => {
  it('are asked of the owner where the snapshot does not have them, and sent when it has', () => {
    const stream = play('delta', fruit('r1', { apple: '1' }), onDemand);
    assert.deepEqual(stream.delta({ subscribe: ['*', 'apple', 'plum'] })?.says, ['apple@1']);
    assert.deepEqual(missing(stream), [['plum']]);
    stream.delta({ responseNonce: '1' });
    assert.deepEqual(stream.snapshot(fruit('r2', { apple: '1', plum: '1' }))?.says, ['plum@1']);
  });

  it('are not asked for where nobody provides any', () => {
    const stream = play('delta', fruit('r1', {}));
    stream.delta({ subscribe: ['plum'] });
    assert.deepEqual(missing(stream), []);
  });

  it('are asked for before there is a snapshot at all', () => {
    const stream = play('delta', undefined, onDemand);
    stream.delta({ subscribe: ['plum'] });
    assert.deepEqual(missing(stream), [['plum']]);
    assert.deepEqual(stream.snapshot(fruit('r1', { plum: '1' }))?.says, ['plum@1']);
  });

  it('are reported as removed once the owner says that they do not exist, of which a client must hear to go on', () => {
    const stream = play('delta', fruit('r1', {}), onDemand);
    assert.equal(stream.delta({ subscribe: ['plum', 'quince'] }), undefined);
    assert.deepEqual(stream.heard(['plum', 'quince'], ['plum'])?.says, ['-plum']);
    stream.delta({ responseNonce: '1' });
    assert.deepEqual(stream.snapshot(fruit('r2', { plum: '1', quince: '1' }))?.says, ['plum@1', 'quince@1']);
  });

  it('are told of in SotW by a list without them, of types whose responses list everything', () => {
    const stream = play('sotw', fruit('r1', { apple: '1' }), { ...onDemand, fullStateTypes: [FRUIT] });
    stream.sotw(['apple', 'plum'], { responseNonce: stream.sotw(['apple', 'plum'])!.nonce });
    assert.deepEqual(stream.heard(['plum'], ['plum'])?.says, ['apple@1']);
  });

  it('are not removed from a client that came back with them, until the owner has been heard', () => {
    const stream = play('delta', fruit('r1', {}), onDemand);
    assert.equal(stream.delta({ subscribe: ['plum', 'quince'], initial: { plum: '1', quince: '1' } }), undefined);
    assert.equal(stream.status().state, 'SYNCED');
    assert.equal(stream.snapshot(fruit('r2', { plum: '1' })), undefined);
    assert.deepEqual(stream.heard(['plum', 'quince'])?.says, ['-quince']);
  });

  it('are forgotten with the wish for them', () => {
    const stream = play('delta', fruit('r1', {}), onDemand);
    stream.delta({ subscribe: ['plum', 'quince'] });
    stream.delta({ unsubscribe: ['plum'] });
    assert.deepEqual(stream.heard(['plum', 'quince'], ['plum', 'quince'])?.says, ['-quince']);
  });

  it('are sent at once, also where other changes wait to come to rest', () => {
    const stream = play('delta', fruit('r1', { apple: '1' }), { ...onDemand, quietMs: 100 });
    stream.delta({ responseNonce: stream.delta({ subscribe: ['apple'] })!.nonce });
    stream.delta({ subscribe: ['plum'] });
    assert.deepEqual(stream.snapshot(fruit('r2', { apple: '1', plum: '1' }))?.says, ['plum@1']);
  });
});
