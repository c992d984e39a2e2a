import assert from 'node:assert/strict';
import type { Variant } from '../../src/xds/stream-state.ts';
import { play, snapshotOf } from './stream-play.ts';
import type { Heard } from './stream-play.ts';

const CLUSTER = 'test.Cluster';
const ENDPOINT = 'test.Endpoint';
const LISTENER = 'test.Listener';
const SECRET = 'test.Secret';
const typeOrder = [[CLUSTER, ENDPOINT], [LISTENER]];

const before = snapshotOf('r1', { [CLUSTER]: { old: '1' }, [ENDPOINT]: { old: '1' }, [LISTENER]: { front: 'old' }, [SECRET]: { key: '1' } });
const after = snapshotOf('r2', { [CLUSTER]: { new: '1' }, [ENDPOINT]: { new: '1' }, [LISTENER]: { front: 'new' }, [SECRET]: { key: '2' } });

/** A client that holds `before`, and how to answer for each variant. */
function synced(variant: Variant) {
  const stream = play(variant, before, { typeOrder, fullStateTypes: [CLUSTER, LISTENER] });
  const say = (typeUrl: string, responseNonce: string): Heard | undefined =>
    variant === 'delta' ? stream.delta({ typeUrl, responseNonce, subscribe: responseNonce === '' ? ['*'] : [] }) : stream.sotw(['*'], { typeUrl, responseNonce });
  for (const typeUrl of [CLUSTER, ENDPOINT, LISTENER, SECRET]) say(typeUrl, say(typeUrl, '')!.nonce);
  return { stream, say };
}

/** The responses of the last event: the transport takes each at once, so several may follow from one event. */
const heard = (stream: ReturnType<typeof play>): readonly string[] =>
  stream.effects().flatMap((effect) =>
    effect.kind === 'respond' ? [`${effect.response.typeUrl.slice(5)} ${[...effect.response.resources.map(({ name, version }) => `${name}@${version}`), ...effect.response.removed.map((name) => `-${name}`)].join(' ')}`] : [],
  );

const nonceOf = (stream: ReturnType<typeof play>, typeUrl: string): string => stream.state().types.get(typeUrl)!.outstanding!.nonce;

describe('make before break on one stream', () => {
  it('Delta: what is referred to comes first, what refers to it once that is acknowledged, and removals last', () => {
    const { stream, say } = synced('delta');
    stream.snapshot(after);
    assert.deepEqual(heard(stream), ['Secret key@2', 'Cluster new@1', 'Endpoint new@1']);
    say(CLUSTER, nonceOf(stream, CLUSTER));
    assert.deepEqual(heard(stream), []);
    say(ENDPOINT, nonceOf(stream, ENDPOINT));
    assert.deepEqual(heard(stream), ['Listener front@new']);
    say(LISTENER, nonceOf(stream, LISTENER));
    assert.deepEqual(heard(stream), ['Cluster -old', 'Endpoint -old']);
  });

  it('SotW: a cluster that is gone stays in the list until the listeners are acknowledged', () => {
    const { stream, say } = synced('sotw');
    stream.snapshot(after);
    assert.deepEqual(heard(stream), ['Secret key@2', 'Cluster new@1 old@1', 'Endpoint new@1 old@1']);
    say(CLUSTER, nonceOf(stream, CLUSTER));
    say(ENDPOINT, nonceOf(stream, ENDPOINT));
    assert.deepEqual(heard(stream), ['Listener front@new']);
    say(LISTENER, nonceOf(stream, LISTENER));
    assert.deepEqual(heard(stream), ['Cluster new@1', 'Endpoint new@1']);
  });

  it('does not wait for ever: after the limit the later stage goes out unacknowledged', () => {
    const { stream } = synced('delta');
    stream.snapshot(after);
    assert.deepEqual(stream.effects().filter(({ kind }) => kind === 'wake'), [{ kind: 'wake', atMs: 1_000 }]);
    stream.tickAfter(999);
    assert.deepEqual(heard(stream), []);
    stream.tickAfter(1);
    assert.deepEqual(heard(stream), ['Listener front@new']);
  });

  it('keeps what the listeners may still refer to while the client rejects the new ones', () => {
    const { stream, say } = synced('delta');
    stream.snapshot(after);
    say(CLUSTER, nonceOf(stream, CLUSTER));
    say(ENDPOINT, nonceOf(stream, ENDPOINT));
    stream.delta({ typeUrl: LISTENER, responseNonce: nonceOf(stream, LISTENER), errorDetail: { message: 'no' } });
    assert.deepEqual(heard(stream), []);
    stream.snapshot(snapshotOf('r3', { [CLUSTER]: { new: '1' }, [ENDPOINT]: { new: '1' }, [LISTENER]: { front: 'newer' }, [SECRET]: { key: '2' } }));
    assert.deepEqual(heard(stream), ['Listener front@newer']);
    say(LISTENER, nonceOf(stream, LISTENER));
    assert.deepEqual(heard(stream), ['Cluster -old', 'Endpoint -old']);
  });

  it('sends a listener update at once where no earlier stage has a change', () => {
    const { stream } = synced('delta');
    stream.snapshot(snapshotOf('r2', { [CLUSTER]: { old: '1' }, [ENDPOINT]: { old: '1' }, [LISTENER]: { front: 'other' }, [SECRET]: { key: '1' } }));
    assert.deepEqual(heard(stream), ['Listener front@other']);
  });
});
