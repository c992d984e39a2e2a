import assert from 'node:assert/strict';
import { fromBinary } from '@bufbuild/protobuf';
import { durationMs } from '@bufbuild/protobuf/wkt';
import { DeltaDiscoveryResponseSchema, DiscoveryResponseSchema, ResourceSchema } from '../../src/proto/envoy/service/discovery/v3/discovery_pb.ts';
import { composeSnapshots, createResource, createSnapshot } from '../../src/xds/index.ts';
import { encodeResponse } from '../../src/xds/wire.ts';
import { fruit, FRUIT, mortalFruit, play } from './stream-play.ts';

const TTL_MS = 10_000;
const basket = mortalFruit('r1', { apple: '1', pear: '1' }, TTL_MS);
const ack = (responseNonce: string) => ({ responseNonce });
const wakes = (stream: ReturnType<typeof play>) => stream.effects().flatMap((effect) => (effect.kind === 'wake' ? [effect.atMs] : []));

describe('a resource with a time to live', () => {
  describe('on a Delta stream', () => {
    function synced() {
      const stream = play('delta', basket);
      stream.delta(ack(stream.delta({ subscribe: ['*'] })!.nonce));
      return stream;
    }

    it('is kept alive in the middle of its time by a word without it, again and again', () => {
      const stream = synced();
      assert.deepEqual(wakes(stream), [5_000]);
      assert.equal(stream.tickAfter(4_999), undefined);
      for (const at of [5_000, 10_000, 15_000]) {
        const beat = stream.tickAfter(at === 5_000 ? 1 : 5_000)!;
        assert.deepEqual(beat.says, ['~apple@1', '~pear@1']);
        assert.equal(stream.status().state, 'SYNCED');
        stream.delta(ack(beat.nonce));
        assert.deepEqual(wakes(stream), [at + 5_000]);
      }
    });

    it('is sent with the next word to those that changed beside it', () => {
      const stream = synced();
      stream.passTime(5_000);
      assert.deepEqual(stream.snapshot(mortalFruit('r2', { apple: '2', pear: '1' }, TTL_MS))?.says, ['apple@2', '~pear@1']);
    });

    it('is sent whole when the word comes so late that the client may have dropped it', () => {
      const stream = synced();
      assert.deepEqual(stream.tickAfter(TTL_MS)?.says, ['apple@1', 'pear@1']);
    });

    it('is sent whole once the client has rejected the word', () => {
      const stream = synced();
      const beat = stream.tickAfter(5_000)!;
      const whole = stream.delta({ responseNonce: beat.nonce, errorDetail: { message: 'what is that' } })!;
      assert.deepEqual(whole.says, ['apple@1', 'pear@1']);
      assert.equal(stream.delta(ack(whole.nonce)), undefined);
      assert.equal(stream.status().state, 'SYNCED');
    });

    it('is kept alive at once for a client that comes back with it, and not sent', () => {
      const stream = play('delta', basket);
      assert.deepEqual(stream.delta({ subscribe: ['*'], initial: { apple: '1', pear: '1' } })?.says, ['~apple@1', '~pear@1']);
    });

    describe('that the client has rejected', () => {
      const nack = (responseNonce: string, message = 'apple is rotten') => ({ responseNonce, errorDetail: { message } });

      /** Holds the basket, and has rejected another apple and a plum, which it never had. */
      function spoilt(ttlMs = TTL_MS) {
        const stream = synced();
        const bad = stream.snapshot(composeSnapshots('r2', [mortalFruit('r2', { apple: 'rotten', plum: 'rotten' }, ttlMs), mortalFruit('r2', { pear: '1' }, TTL_MS)]))!;
        assert.deepEqual(bad.says, ['apple@rotten', 'plum@rotten']);
        stream.delta(nack(bad.nonce));
        return stream;
      }

      for (const [whichTime, ttlMs] of [['the same time', TTL_MS], ['a shorter time', 4_000]] as const) {
        it(`goes on in its last good version, again and again, and stays rejected (it came with ${whichTime})`, () => {
          const stream = spoilt(ttlMs);
          for (let round = 0; round < 3; round += 1) {
            let beat = stream.tickAfter(4_000);
            beat ??= stream.tickAfter(1_000)!;
            assert.deepEqual(beat.says, ['~apple@1', '~pear@1']);
            stream.delta(ack(beat.nonce));
            assert.deepEqual([stream.status().state, stream.status().lastError?.message, stream.status().versionAcked], ['NACKED', 'apple is rotten', 'r1']);
          }
        });
      }

      it('is sent whole in its last good version where the client may have dropped that, and stays rejected', () => {
        const stream = spoilt();
        const whole = stream.tickAfter(TTL_MS)!;
        assert.deepEqual(whole.says, ['apple@1', 'pear@1']);
        assert.equal(stream.delta(ack(whole.nonce)), undefined);
        assert.equal(stream.status().state, 'NACKED');
      });

      it('goes on where the client does not like that word either, and the reason is that of the rejection', () => {
        const stream = spoilt();
        const beat = stream.tickAfter(5_000)!;
        assert.deepEqual(stream.delta(nack(beat.nonce, 'what is that'))?.says, ['pear@1']);
        assert.equal(stream.status().lastError?.message, 'apple is rotten');
      });

      it('goes on before anything else is sent, so that nothing else is rejected where the client has taken the other one after all', () => {
        const stream = spoilt();
        stream.passTime(5_000);
        const beat = stream.snapshot(mortalFruit('r3', { apple: 'rotten', plum: 'rotten', pear: '2' }, TTL_MS))!;
        assert.deepEqual(beat.says, ['~apple@1']);
        assert.deepEqual(stream.delta(nack(beat.nonce))?.says, ['pear@2']);
      });

      it('is nothing special any more once it is mended', () => {
        const stream = spoilt();
        const good = stream.snapshot(mortalFruit('r3', { apple: '2', pear: '1' }, TTL_MS))!;
        assert.deepEqual(good.says, ['apple@2', '-plum']);
        stream.delta(ack(good.nonce));
        assert.equal(stream.status().state, 'SYNCED');
        assert.deepEqual(stream.tickAfter(5_000)?.says, ['~apple@2', '~pear@1']);
      });

      it('goes on in what was held before it was rejected twice', () => {
        const stream = spoilt();
        stream.delta(nack(stream.snapshot(mortalFruit('r3', { apple: 'mouldy', pear: '1' }, TTL_MS))!.nonce));
        assert.deepEqual(stream.tickAfter(5_000)?.says, ['~apple@1', '~pear@1']);
      });
    });

    it('is kept alive for those who subscribe to it only', () => {
      const stream = play('delta', basket);
      stream.delta(ack(stream.delta({ subscribe: ['pear'] })!.nonce));
      assert.deepEqual(stream.tickAfter(5_000)?.says, ['~pear@1']);
      stream.delta({ responseNonce: '2', unsubscribe: ['pear'] });
      assert.deepEqual(wakes(stream), []);
      assert.equal(stream.tickAfter(5_000), undefined);
    });

    it('waits for the answer to the response before it', () => {
      const stream = play('delta', basket);
      const { nonce } = stream.delta({ subscribe: ['*'] })!;
      assert.equal(stream.tickAfter(6_000), undefined);
      assert.deepEqual(stream.delta(ack(nonce))?.says, ['~apple@1', '~pear@1']);
    });

    it('has its own rhythm beside others', () => {
      const both = composeSnapshots('r1', [basket, mortalFruit('r1', { plum: '1', pear: '2' }, 4_000), fruit('r1', { leek: '1' })]);
      const stream = play('delta', both);
      stream.delta(ack(stream.delta({ subscribe: ['*'] })!.nonce));
      const heard: unknown[] = [];
      for (let second = 1; second <= 6; second += 1) {
        const beat = stream.tickAfter(1_000);
        if (beat === undefined) continue;
        heard.push([second, beat.says]);
        stream.delta(ack(beat.nonce));
      }
      assert.deepEqual(heard, [[2, ['~pear@2', '~plum@1']], [4, ['~pear@2', '~plum@1']], [5, ['~apple@1']], [6, ['~pear@2', '~plum@1']]]);
    });
  });

  describe('on a SotW stream', () => {
    it('is sent again in the middle of its time, since clients agree on no other word (Envoy 1.40 takes none)', () => {
      const stream = play('sotw', basket);
      stream.sotw(['pear'], ack(stream.sotw(['pear'])!.nonce));
      const beat = stream.tickAfter(5_000)!;
      assert.deepEqual(beat.says, ['pear@1']);
      stream.sotw(['pear'], ack(beat.nonce));
      assert.deepEqual(wakes(stream), [10_000]);
    });

    it('is sent again with everything else of a type whose responses list everything', () => {
      const stream = play('sotw', composeSnapshots('r1', [basket, fruit('r1', { leek: '1' })]), { fullStateTypes: [FRUIT] });
      stream.sotw([], ack(stream.sotw([])!.nonce));
      assert.deepEqual(stream.tickAfter(5_000)?.says, ['apple@1', 'leek@1', 'pear@1']);
    });

    it('is sent again in its last good version where the client has rejected another, of a type that is asked for by name', () => {
      const stream = play('sotw', basket);
      stream.sotw(['apple', 'pear'], ack(stream.sotw(['apple', 'pear'])!.nonce));
      const bad = stream.snapshot(mortalFruit('r2', { apple: 'rotten', pear: '1' }, TTL_MS))!;
      stream.sotw(['apple', 'pear'], { responseNonce: bad.nonce, errorDetail: { message: 'apple is rotten' } });
      const beat = stream.tickAfter(5_000)!;
      assert.deepEqual(beat.says, ['apple@1', 'pear@1']);
      assert.equal(stream.sotw(['apple', 'pear'], ack(beat.nonce)), undefined);
      assert.equal(stream.status().state, 'NACKED');
    });

    it('stands in its last good version in a list of everything, until what was rejected changes', () => {
      const stream = play('sotw', basket, { fullStateTypes: [FRUIT] });
      stream.sotw([], ack(stream.sotw([])!.nonce));
      const bad = stream.snapshot(mortalFruit('r2', { apple: 'rotten', pear: '1' }, TTL_MS))!;
      assert.deepEqual(bad.says, ['apple@rotten', 'pear@1']);
      stream.sotw([], { responseNonce: bad.nonce, errorDetail: { message: 'apple is rotten' } });
      const beat = stream.tickAfter(5_000)!;
      assert.deepEqual(beat.says, ['apple@1', 'pear@1']);
      stream.sotw([], ack(beat.nonce));
      assert.equal(stream.status().state, 'NACKED');
      const good = stream.snapshot(mortalFruit('r3', { apple: '2', pear: '1' }, TTL_MS))!;
      assert.deepEqual(good.says, ['apple@2', 'pear@1']);
      stream.sotw([], ack(good.nonce));
      assert.equal(stream.status().state, 'SYNCED');
    });
  });

  describe('on the wire', () => {
    const mortal = createResource({ name: 'apple', version: '1', typeUrl: FRUIT, value: Buffer.from('x'), ttlMs: 1_500 });
    const response = { typeUrl: FRUIT, version: 'r1', nonce: '1', removed: [] };

    it('stands in Delta with its time, and to be kept alive without its content', () => {
      const decoded = (part: { resources: (typeof mortal)[]; refreshed: (typeof mortal)[] }) => fromBinary(DeltaDiscoveryResponseSchema, Buffer.concat(encodeResponse('delta', { ...response, ...part }))).resources[0]!;
      const whole = decoded({ resources: [mortal], refreshed: [] });
      const word = decoded({ resources: [], refreshed: [mortal] });
      assert.deepEqual([whole, word].map(({ name, version, ttl, resource }) => [name, version, durationMs(ttl!), resource?.typeUrl]), [['apple', '1', 1_500, FRUIT], ['apple', '1', 1_500, undefined]]);
    });

    it('is wrapped in SotW, and only where it has such a time', () => {
      const { resources } = fromBinary(DiscoveryResponseSchema, Buffer.concat(encodeResponse('sotw', { ...response, resources: [mortal, { ...mortal, ttlMs: undefined } as never], refreshed: [] })));
      assert.deepEqual(resources.map(({ typeUrl }) => typeUrl), ['type.googleapis.com/envoy.service.discovery.v3.Resource', FRUIT]);
      const { name, ttl, resource } = fromBinary(ResourceSchema, resources[0]!.value);
      assert.deepEqual([name, durationMs(ttl!), resource?.typeUrl], ['apple', 1_500, FRUIT]);
    });
  });

  it('is another version where the time is another, and must be a time', () => {
    const make = (ttlMs?: number) => createResource({ name: 'apple', typeUrl: FRUIT, value: Buffer.from('x'), ...(ttlMs === undefined ? {} : { ttlMs }) });
    assert.equal(new Set([make(), make(1), make(2)].map(({ version }) => version)).size, 3);
    for (const ttlMs of [0, -1, 0.5, Infinity]) assert.throws(() => make(ttlMs), new RangeError(`the time to live of "apple" is ${ttlMs} ms`));
    assert.equal(createSnapshot('2', [make(2)], createSnapshot('1', [make(1)])).types.get(FRUIT)?.get('apple')?.ttlMs, 2);
  });
});
