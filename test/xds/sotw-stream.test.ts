import assert from 'node:assert/strict';
import { fruit, FRUIT, play } from './stream-play.ts';

const basket = fruit('r1', { apple: '1', pear: '1' });
const ack = (responseNonce: string) => ({ responseNonce });
const nack = (responseNonce: string) => ({ responseNonce, errorDetail: { message: 'apple is rotten' } });

describe('a SotW stream', () => {
  it('sends everything to a client that names nothing, and everything again when one resource changes', () => {
    const stream = play('sotw', basket);
    const first = stream.sotw([])!;
    assert.deepEqual(first.says, ['apple@1', 'pear@1']);
    assert.equal(stream.sotw([], ack(first.nonce)), undefined);
    assert.deepEqual(stream.snapshot(fruit('r2', { apple: '2', pear: '1' }))?.says, ['apple@2', 'pear@1']);
  });

  it('tells that a resource is gone by leaving it out of everything', () => {
    const stream = play('sotw', basket);
    stream.sotw(['*'], ack(stream.sotw(['*'])!.nonce));
    assert.deepEqual(stream.snapshot(fruit('r2', { pear: '1' }))?.says, ['pear@1']);
  });

  it('walks through the example of the protocol: everything, "*" and a name, the name, nothing', () => {
    const stream = play('sotw', basket);
    let nonce = stream.sotw([])!.nonce;
    nonce = stream.sotw(['*', 'apple'], ack(nonce))!.nonce;
    const named = stream.sotw(['apple'], ack(nonce));
    assert.equal(named, undefined);
    assert.deepEqual(stream.state().types.get(FRUIT)?.subscription, { wildcard: false, names: new Set(['apple']), hasNamed: true });
    stream.sotw([], ack(nonce));
    assert.equal(stream.snapshot(fruit('r2', { apple: '2' })), undefined);
  });

  it('sends only changed resources of the names of other types, and says nothing of one that is gone', () => {
    const stream = play('sotw', basket);
    const first = stream.sotw(['apple', 'pear'])!;
    stream.sotw(['apple', 'pear'], ack(first.nonce));
    assert.deepEqual(stream.snapshot(fruit('r2', { apple: '2', pear: '1' }))?.says, ['apple@2']);
    stream.sotw(['apple', 'pear'], ack('2'));
    assert.equal(stream.snapshot(fruit('r3', { apple: '2' })), undefined);
    assert.equal(stream.status().state, 'SYNCED');
  });

  it('lists everything that is named of full-state types, so that what is missing is known not to exist', () => {
    const stream = play('sotw', basket, { fullStateTypes: [FRUIT] });
    const first = stream.sotw(['apple', 'plum'])!;
    assert.deepEqual(first.says, ['apple@1']);
    stream.sotw(['apple', 'plum'], ack(first.nonce));
    assert.deepEqual(stream.snapshot(fruit('r2', { apple: '1', plum: '1' }))?.says, ['apple@1', 'plum@1']);
  });

  describe('of a full-state type', () => {
    const start = (named: Readonly<Record<string, string>>) => play('sotw', fruit('r1', named), { fullStateTypes: [FRUIT] });

    it('answers with nothing where nothing that is named exists', () => {
      assert.deepEqual(start({}).sotw(['plum'])?.says, []);
    });

    it('lists what is left once the client drops a part of what it has rejected', () => {
      const stream = start({ apple: 'rotten' });
      stream.sotw(['apple', 'plum'], nack(stream.sotw(['apple', 'plum'])!.nonce));
      assert.deepEqual(stream.sotw(['plum'])?.says, []);
    });

    it('counts what it repeats of an earlier rejection as rejected with the rest', () => {
      const stream = start({ apple: 'rotten' });
      stream.sotw(['apple', 'pear'], nack(stream.sotw(['apple', 'pear'])!.nonce));
      const both = stream.snapshot(fruit('r2', { apple: 'rotten', pear: '1' }))!;
      assert.deepEqual(both.says, ['apple@rotten', 'pear@1']);
      assert.equal(stream.sotw(['apple', 'pear'], nack(both.nonce)), undefined);
      assert.deepEqual(stream.state().types.get(FRUIT)?.rejected.map((group) => [...group.keys()].sort()), [['apple', 'pear']]);
      assert.deepEqual(stream.sotw(['pear'])?.says, ['pear@1']);
    });
  });

  it('takes a rejected resource that is gone for no fault any more, where it cannot say so', () => {
    const stream = play('sotw', fruit('r1', { apple: 'rotten', pear: '1' }));
    stream.sotw(['apple', 'pear'], nack(stream.sotw(['apple', 'pear'])!.nonce));
    const rest = stream.snapshot(fruit('r2', { pear: '1' }))!;
    assert.deepEqual(rest.says, ['pear@1']);
    stream.sotw(['apple', 'pear'], ack(rest.nonce));
    assert.equal(stream.status().state, 'SYNCED');
  });

  it('sends again what is unsubscribed and subscribed again (go-control-plane#583, #585)', () => {
    const stream = play('sotw', basket);
    const first = stream.sotw(['apple', 'pear'])!;
    stream.sotw(['pear'], ack(first.nonce));
    assert.deepEqual(stream.sotw(['apple', 'pear'], ack(first.nonce))?.says, ['apple@1']);
  });

  it('compares names and not nonces: the last nonce with another set of names is a new subscription (service-fabric-rs#322)', () => {
    const stream = play('sotw', basket);
    const { nonce } = stream.sotw(['apple'])!;
    stream.sotw(['apple'], ack(nonce));
    assert.deepEqual(stream.sotw(['apple', 'pear'], ack(nonce))?.says, ['pear@1']);
  });

  it('is not moved by a stale nonce, but by the names beside it (envoy#16659)', () => {
    const stream = play('sotw', basket);
    const first = stream.sotw(['apple'])!;
    stream.sotw(['apple'], ack(first.nonce));
    const second = stream.snapshot(fruit('r2', { apple: '2', pear: '1' }))!;
    assert.equal(stream.sotw(['apple', 'pear'], ack(first.nonce)), undefined);
    assert.equal(stream.status().versionAcked, 'r1');
    assert.deepEqual(stream.sotw(['apple', 'pear'], ack(second.nonce))?.says, ['pear@1']);
  });

  it('does not repeat what was rejected, keeps the last acknowledged version, and sends what comes after', () => {
    const stream = play('sotw', basket);
    stream.sotw([], ack(stream.sotw([])!.nonce));
    const bad = stream.snapshot(fruit('r2', { apple: 'rotten', pear: '1' }))!;
    assert.equal(stream.sotw([], nack(bad.nonce)), undefined);
    assert.equal(stream.snapshot(fruit('r3', { apple: 'rotten', pear: '1' })), undefined);
    assert.deepEqual([stream.status().state, stream.status().versionAcked], ['NACKED', 'r1']);
    const mended = stream.snapshot(fruit('r4', { apple: '2', pear: '1' }))!;
    assert.deepEqual(mended.says, ['apple@2', 'pear@1']);
    assert.equal(stream.sotw([], ack(mended.nonce)), undefined);
    assert.deepEqual([stream.status().state, stream.status().versionAcked], ['SYNCED', 'r4']);
  });

  it('answers everything with nothing where there is nothing', () => {
    assert.deepEqual(play('sotw', fruit('r1', {})).sotw([])?.says, []);
  });
});
