import assert from 'node:assert/strict';
import { fruit, FRUIT, play, snapshotOf } from './stream-play.ts';

const basket = fruit('r1', { apple: '1', pear: '1' });
const nack = (responseNonce: string) => ({ responseNonce, errorDetail: { message: 'apple is rotten' } });

describe('a Delta stream', () => {
  describe('asked for everything', () => {
    it('sends everything to a client that names nothing in its first request', () => {
      assert.deepEqual(play('delta', basket).delta()?.says, ['apple@1', 'pear@1']);
    });

    it('sends everything to a client that asks for "*"', () => {
      assert.deepEqual(play('delta', basket).delta({ subscribe: ['*'] })?.says, ['apple@1', 'pear@1']);
    });

    it('answers with nothing, once, where there is nothing, so that the client need not wait', () => {
      const stream = play('delta', fruit('r1', {}));
      const answer = stream.delta({ subscribe: ['*'] })!;
      assert.deepEqual(answer, { typeUrl: FRUIT, version: 'r1', nonce: '1', says: [] });
      assert.equal(stream.delta({ responseNonce: answer.nonce }), undefined);
    });

    it('waits for a snapshot, then answers', () => {
      const stream = play('delta', undefined);
      assert.equal(stream.delta(), undefined);
      assert.deepEqual(stream.snapshot(basket)?.says, ['apple@1', 'pear@1']);
    });

    it('sends only what a new snapshot changes, adds and removes', () => {
      const stream = play('delta', basket);
      stream.delta({ responseNonce: stream.delta()!.nonce });
      assert.deepEqual(stream.snapshot(fruit('r2', { apple: '2', plum: '1' })), { typeUrl: FRUIT, version: 'r2', nonce: '2', says: ['apple@2', 'plum@1', '-pear'] });
    });

    it('sends nothing for a snapshot that changes nothing of the type, and counts the client as up to date with it', () => {
      const stream = play('delta', basket);
      stream.delta({ responseNonce: stream.delta()!.nonce });
      assert.equal(stream.snapshot(fruit('r2', { apple: '1', pear: '1' })), undefined);
      assert.deepEqual(stream.status(), { typeUrl: FRUIT, state: 'SYNCED', versionSent: 'r1', versionAcked: 'r2', unansweredSinceMs: undefined, lastError: undefined });
    });

    it('keeps the wildcard of a client that names nothing at first and a name later', () => {
      const stream = play('delta', basket);
      stream.delta({ responseNonce: stream.delta()!.nonce });
      const answer = stream.delta({ subscribe: ['apple'] })!;
      assert.deepEqual(answer.says, ['apple@1']);
      stream.delta({ responseNonce: answer.nonce });
      assert.deepEqual(stream.snapshot(fruit('r2', { apple: '1', pear: '2' }))?.says, ['pear@2']);
    });

    it('goes on with the names when "*" is unsubscribed', () => {
      const stream = play('delta', basket);
      stream.delta({ responseNonce: stream.delta({ subscribe: ['*', 'apple'] })!.nonce });
      assert.equal(stream.delta({ unsubscribe: ['*'] }), undefined);
      assert.deepEqual(stream.snapshot(fruit('r2', { apple: '2', pear: '2' }))?.says, ['apple@2']);
    });

    for (const [what, first] of [['by naming nothing', {}], ['as "*"', { subscribe: ['*'] }]] as const) {
      it(`sends nothing more to a client that asked for everything ${what} and unsubscribes "*"`, () => {
        const stream = play('delta', basket);
        stream.delta({ responseNonce: stream.delta(first)!.nonce });
        assert.equal(stream.delta({ unsubscribe: ['*'] }), undefined);
        assert.equal(stream.snapshot(fruit('r2', { apple: '2' })), undefined);
        assert.deepEqual(stream.delta({ subscribe: ['*'] })?.says, ['apple@2']);
      });
    }

    it('takes an empty subscription that has named something before as nothing, not as everything', () => {
      const stream = play('delta', basket);
      stream.delta({ responseNonce: stream.delta({ subscribe: ['apple'] })!.nonce });
      stream.delta({ unsubscribe: ['apple'] });
      assert.equal(stream.delta(), undefined);
      assert.equal(stream.snapshot(fruit('r2', { apple: '2' })), undefined);
    });

    it('sends everything again to a client that asks for "*" again', () => {
      const stream = play('delta', basket);
      stream.delta({ responseNonce: stream.delta({ subscribe: ['*'] })!.nonce });
      assert.deepEqual(stream.delta({ subscribe: ['*'] })?.says, ['apple@1', 'pear@1']);
    });

    for (const [what, named, says] of [
      ['sends a name that is unsubscribed beside the wildcard when the wildcard has it', { apple: '1', pear: '1' }, ['apple@1']],
      ['reports a name that is unsubscribed beside the wildcard as removed when the wildcard has it not', { pear: '1' }, ['-apple']],
    ] as const) {
      it(what, () => {
        const stream = play('delta', fruit('r1', named));
        stream.delta({ responseNonce: stream.delta({ subscribe: ['*', 'apple'] })!.nonce });
        assert.deepEqual(stream.delta({ unsubscribe: ['apple'] })?.says, says);
      });
    }
  });

  describe('asked for names', () => {
    it('sends those and no others', () => {
      assert.deepEqual(play('delta', basket).delta({ subscribe: ['pear'] })?.says, ['pear@1']);
    });

    it('still tells of updates after it has answered at once (go-control-plane#458)', () => {
      const stream = play('delta', basket);
      stream.delta({ responseNonce: stream.delta({ subscribe: ['pear'] })!.nonce });
      assert.deepEqual(stream.snapshot(fruit('r2', { pear: '2' }))?.says, ['pear@2']);
    });

    it('does not report a resource that does not exist as removed, and sends it once it does (go-control-plane#488)', () => {
      const stream = play('delta', basket);
      assert.equal(stream.delta({ subscribe: ['plum'] }), undefined);
      assert.equal(stream.snapshot(fruit('r2', { apple: '1' })), undefined);
      assert.deepEqual(stream.snapshot(fruit('r3', { plum: '1' }))?.says, ['plum@1']);
    });

    it('says nothing of a resource that came and went before it could be sent', () => {
      const stream = play('delta', fruit('r1', { apple: '1' }));
      const { nonce } = stream.delta({ subscribe: ['apple', 'plum'] })!;
      stream.snapshot(fruit('r2', { apple: '1', plum: '1' }));
      stream.snapshot(fruit('r3', { apple: '1' }));
      assert.equal(stream.delta({ responseNonce: nonce }), undefined);
    });

    it('reports what did exist as removed', () => {
      const stream = play('delta', basket);
      stream.delta({ responseNonce: stream.delta({ subscribe: ['apple', 'pear'] })!.nonce });
      assert.deepEqual(stream.snapshot(fruit('r2', { pear: '1' }))?.says, ['-apple']);
    });

    it('sends again what is unsubscribed and subscribed again (go-control-plane#583)', () => {
      const stream = play('delta', basket);
      stream.delta({ responseNonce: stream.delta({ subscribe: ['apple'] })!.nonce });
      stream.delta({ unsubscribe: ['apple'] });
      assert.deepEqual(stream.delta({ subscribe: ['apple'] })?.says, ['apple@1']);
    });

    it('sends again what is subscribed again without having been dropped: the client may have forgotten it (go-control-plane#1450)', () => {
      const stream = play('delta', basket);
      stream.delta({ responseNonce: stream.delta({ subscribe: ['apple'] })!.nonce });
      assert.deepEqual(stream.delta({ subscribe: ['apple'] })?.says, ['apple@1']);
    });

    it('does not answer an unsubscription, also not of a name that was never subscribed', () => {
      const stream = play('delta', basket);
      stream.delta({ responseNonce: stream.delta({ subscribe: ['apple'] })!.nonce });
      assert.equal(stream.delta({ unsubscribe: ['apple', 'phantom'] }), undefined);
    });
  });

  describe('reconnecting with what the client holds', () => {
    it('sends nothing to a client whose resources are unchanged', () => {
      const stream = play('delta', basket);
      assert.equal(stream.delta({ subscribe: ['*'], initial: { apple: '1', pear: '1' } }), undefined);
      assert.equal(stream.status().state, 'SYNCED');
      assert.equal(stream.status().versionAcked, 'r1');
    });

    it('sends nothing for names that are unchanged, though they are newly subscribed on this stream', () => {
      assert.equal(play('delta', basket).delta({ subscribe: ['apple'], initial: { apple: '1' } }), undefined);
    });

    it('sends what has changed, what is new and what is gone since', () => {
      assert.deepEqual(play('delta', basket).delta({ initial: { apple: '0', plum: '1' } })?.says, ['apple@1', 'pear@1', '-plum']);
    });

    it('remembers what the client holds until there is a snapshot', () => {
      const stream = play('delta', undefined);
      stream.delta({ initial: { apple: '1', plum: '1' } });
      assert.deepEqual(stream.snapshot(basket)?.says, ['pear@1', '-plum']);
    });

    it('takes no heed of versions of what is not subscribed to', () => {
      const stream = play('delta', basket);
      assert.equal(stream.delta({ subscribe: ['apple'], initial: { apple: '1', plum: '7' } }), undefined);
    });

    it('takes no heed of versions in a later request', () => {
      const stream = play('delta', basket);
      stream.delta({ responseNonce: stream.delta({ subscribe: ['apple'] })!.nonce });
      assert.deepEqual(stream.delta({ subscribe: ['pear'], initial: { pear: '1' } })?.says, ['pear@1']);
    });
  });

  describe('answered by its client', () => {
    it('has one response outstanding; what changes meanwhile goes out with the next, once (as istio does)', () => {
      const stream = play('delta', basket);
      const { nonce } = stream.delta()!;
      assert.equal(stream.snapshot(fruit('r2', { apple: '2', pear: '1' })), undefined);
      assert.equal(stream.snapshot(fruit('r3', { apple: '3', pear: '1', plum: '1' })), undefined);
      assert.deepEqual(stream.delta({ responseNonce: nonce })?.says, ['apple@3', 'plum@1']);
    });

    it('sends nothing for a change that was taken back meanwhile', () => {
      const stream = play('delta', basket);
      const { nonce } = stream.delta()!;
      stream.snapshot(fruit('r2', { apple: '2', pear: '1' }));
      stream.snapshot(basket);
      assert.equal(stream.delta({ responseNonce: nonce }), undefined);
    });

    it('sends no other response of any type while one is in the transport', () => {
      const stream = play('delta', basket);
      stream.delta({ responseNonce: stream.delta()!.nonce });
      const other = 'type.googleapis.com/test.Vegetable';
      stream.delta({ responseNonce: stream.delta({ typeUrl: other, subscribe: ['*'] })!.nonce, typeUrl: other });
      assert.deepEqual(stream.snapshotUnread(snapshotOf('r2', { [FRUIT]: { apple: '2' }, [other]: { leek: '1' } }))?.typeUrl, FRUIT);
      assert.equal(stream.snapshotUnread(snapshotOf('r3', { [FRUIT]: { apple: '3' }, [other]: { leek: '2' } })), undefined);
      assert.deepEqual(stream.written()?.says, ['leek@2']);
    });

    it('names each response by a nonce of its own, also where two carry one version (cilium#45288)', () => {
      const stream = play('delta', basket);
      const first = stream.delta({ subscribe: ['apple'] })!;
      stream.delta({ responseNonce: first.nonce });
      const second = stream.delta({ subscribe: ['pear'] })!;
      assert.equal(second.version, first.version);
      assert.notEqual(second.nonce, first.nonce);
    });

    it('is not moved by a stale nonce, but by the subscription beside it (envoy#16659)', () => {
      const stream = play('delta', basket);
      const first = stream.delta({ subscribe: ['apple'] })!;
      stream.delta({ responseNonce: first.nonce });
      const second = stream.snapshot(fruit('r2', { apple: '2', pear: '1' }))!;
      assert.equal(stream.delta({ responseNonce: first.nonce, subscribe: ['pear'] }), undefined);
      assert.equal(stream.status().state, 'STALE');
      assert.deepEqual(stream.delta({ responseNonce: second.nonce })?.says, ['pear@1']);
    });

    it('does not hang on a nonce of an earlier stream (java-control-plane#70)', () => {
      const stream = play('delta', basket);
      const first = stream.delta({ subscribe: ['*'], responseNonce: '99' })!;
      assert.deepEqual(first.says, ['apple@1', 'pear@1']);
      stream.delta({ responseNonce: first.nonce });
      assert.deepEqual(stream.snapshot(fruit('r2', { apple: '2', pear: '1' }))?.says, ['apple@2']);
    });

    it('takes names from a client that repeats its last nonce with them (service-fabric-rs#322)', () => {
      const stream = play('delta', basket);
      const { nonce } = stream.delta({ subscribe: ['apple'] })!;
      stream.delta({ responseNonce: nonce });
      assert.deepEqual(stream.delta({ responseNonce: nonce, subscribe: ['pear'] })?.says, ['pear@1']);
    });

    it('goes on for a client that leaves unanswered what it no longer wants (grpc-java#11232)', () => {
      const stream = play('delta', basket);
      stream.delta({ subscribe: ['apple'] });
      stream.delta({ unsubscribe: ['apple'] });
      assert.equal(stream.status().state, 'SYNCED');
      assert.deepEqual(stream.delta({ subscribe: ['pear'] })?.says, ['pear@1']);
    });

    it('reports as removed what a client may hold from a response that was on its way while it changed its mind', () => {
      const stream = play('delta', basket);
      stream.delta({ subscribe: ['apple'] });
      stream.delta({ unsubscribe: ['apple'] });
      stream.snapshot(fruit('r2', { pear: '2' }));
      stream.delta({ subscribe: ['pear'] });
      assert.equal(stream.delta({ subscribe: ['apple'] }), undefined);
      assert.deepEqual(stream.delta({ responseNonce: '2' })?.says, ['-apple']);
    });
  });

  describe('rejected by its client', () => {
    const rotten = () => {
      const stream = play('delta', fruit('r1', { apple: '1', pear: '1', plum: '1' }));
      stream.delta({ responseNonce: stream.delta({ subscribe: ['*'] })!.nonce });
      const { nonce } = stream.snapshot(fruit('r2', { apple: 'rotten', pear: '2', plum: '1' }))!;
      return { stream, answer: stream.delta(nack(nonce)) };
    };

    it('tells of it and does not send the same again', () => {
      const { stream, answer } = rotten();
      assert.equal(answer, undefined);
      assert.deepEqual(stream.effects(), [{ kind: 'rejected', typeUrl: FRUIT, version: 'r2', message: 'apple is rotten', names: ['apple', 'pear'] }]);
      assert.deepEqual(stream.status(), {
        typeUrl: FRUIT,
        state: 'NACKED',
        versionSent: 'r2',
        versionAcked: 'r1',
        unansweredSinceMs: undefined,
        lastError: { version: 'r2', message: 'apple is rotten', atMs: 0, resources: ['apple'] },
      });
      assert.equal(stream.snapshot(fruit('r3', { apple: 'rotten', pear: '2', plum: '1' })), undefined);
    });

    it('still sends what changes elsewhere, without what was rejected, and counts no revision as held for that', () => {
      const { stream } = rotten();
      const next = stream.snapshot(fruit('r3', { apple: 'rotten', pear: '2', plum: '3' }))!;
      assert.deepEqual(next.says, ['plum@3']);
      assert.equal(stream.delta({ responseNonce: next.nonce }), undefined);
      assert.equal(stream.status().state, 'NACKED');
      assert.equal(stream.status().versionAcked, 'r1');
    });

    it('sends what was rejected beside it too, once the fault is mended', () => {
      const { stream } = rotten();
      const mended = stream.snapshot(fruit('r3', { apple: '3', pear: '2', plum: '1' }))!;
      assert.deepEqual(mended.says, ['apple@3']);
      const rest = stream.delta({ responseNonce: mended.nonce })!;
      assert.deepEqual(rest.says, ['pear@2']);
      assert.equal(stream.delta({ responseNonce: rest.nonce }), undefined);
      assert.deepEqual(stream.status(), { typeUrl: FRUIT, state: 'SYNCED', versionSent: 'r3', versionAcked: 'r3', unansweredSinceMs: undefined, lastError: undefined });
    });

    it('sends what goes back to its earlier version', () => {
      const { stream } = rotten();
      assert.deepEqual(stream.snapshot(fruit('r3', { apple: '1', pear: '2', plum: '1' }))?.says, ['apple@1']);
    });

    it('sends the rest once the client drops a part of it', () => {
      const stream = play('delta', fruit('r1', { apple: 'rotten', pear: '1' }));
      stream.delta(nack(stream.delta({ subscribe: ['apple', 'pear'] })!.nonce));
      assert.deepEqual(stream.delta({ unsubscribe: ['apple'] })?.says, ['pear@1']);
    });

    it('does not loop for a client that rejects everything', () => {
      const { stream } = rotten();
      let responses = 0;
      for (let round = 0; round < 20; round += 1) {
        let heard = stream.snapshot(fruit(`r${String(round + 3)}`, { apple: 'rotten', pear: '2', plum: String(round + 3) }));
        for (; heard !== undefined; responses += 1) heard = stream.delta(nack(heard.nonce));
      }
      assert.equal(responses, 20);
    });

    it('keeps no more of a message than its limit', () => {
      const stream = play('delta', basket, { messageCharactersMax: 5 });
      stream.delta(nack(stream.delta()!.nonce));
      assert.equal(stream.status().lastError?.message, 'apple');
    });
  });

  describe('given what it cannot take', () => {
    const refused = (stream: ReturnType<typeof play>) => stream.effects().map((effect) => (effect.kind === 'refuse' ? [effect.fault, effect.reason] : effect.kind));

    it('refuses a request without a type', () => {
      const stream = play('delta', basket);
      stream.delta({ typeUrl: '' });
      assert.deepEqual(refused(stream), [['malformed', 'a request names no type']]);
    });

    it('refuses more types than its limit', () => {
      const stream = play('delta', basket, { typesMax: 1 });
      stream.delta();
      stream.delta({ typeUrl: 'another' });
      assert.deepEqual(refused(stream), [['too-much', 'more than 1 types on one stream']]);
    });

    it('refuses more names than its limit, over all types', () => {
      const stream = play('delta', basket, { namesMax: 3 });
      stream.delta({ subscribe: ['a', 'b'] });
      stream.delta({ typeUrl: 'another', subscribe: ['c'] });
      assert.deepEqual(refused(stream), []);
      stream.delta({ typeUrl: 'another', subscribe: ['d'] });
      assert.deepEqual(refused(stream), [['too-much', 'more than 3 names on one stream']]);
      assert.equal(stream.state().types.get('another')?.subscription.names.size, 1);
    });

    it('serves a type that nobody knows with nothing', () => {
      assert.deepEqual(play('delta', basket).delta({ typeUrl: 'unheard.of' })?.says, []);
    });
  });

  it('leaves a client as it is when its snapshot is cleared, and sends the difference when there is one again', () => {
    const stream = play('delta', basket);
    stream.delta({ responseNonce: stream.delta()!.nonce });
    assert.equal(stream.snapshot(undefined), undefined);
    assert.equal(stream.delta({ subscribe: ['apple'] }), undefined);
    assert.deepEqual(stream.snapshot(fruit('r2', { apple: '1', pear: '2' }))?.says, ['apple@1', 'pear@2']);
  });
});
