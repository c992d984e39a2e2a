import assert from 'node:assert/strict';
import fc from 'fast-check';
import { emptyReflection, nextRequest, stepReflection, type ApiObject, type ObjectChange, type Reflection, type ReflectionEffect, type ReflectionEvent } from '../../../src/kubernetes/watch/reflection.ts';

const item = (name: string, resourceVersion: number): ApiObject => ({ metadata: { name, uid: name, resourceVersion: String(resourceVersion) } });
const random = 0;

/** A mirror as its shell holds it. */
function mirror(...events: readonly ReflectionEvent<ApiObject>[]) {
  let state: Reflection<ApiObject> = emptyReflection;
  const objects = new Map<string, ApiObject>();
  const told: ObjectChange<ApiObject>[] = [];
  let effects: readonly ReflectionEffect<ApiObject>[] = [nextRequest(state)];
  const feed = (event: ReflectionEvent<ApiObject>) => {
    const step = stepReflection(state, objects, event);
    state = step.state;
    effects = step.effects;
    for (const effect of effects) {
      if (effect.type !== 'changed') continue;
      for (const change of effect.changes) {
        told.push(change);
        if (change.after === null) objects.delete(change.name);
        else objects.set(change.name, change.after);
      }
    }
    return effects;
  };
  for (const event of events) feed(event);
  return { feed, objects, told, effects: () => effects, requests: () => effects.filter(({ type }) => type !== 'changed') };
}

const listed = (resourceVersion: number, ...items: readonly ApiObject[]): ReflectionEvent<ApiObject> => ({ type: 'listed', items, resourceVersion: String(resourceVersion), continueToken: '' });
const watched = (type: 'ADDED' | 'MODIFIED' | 'DELETED', object: ApiObject): ReflectionEvent<ApiObject> => ({ type: 'watched', event: { type, object } });
const ended = (status: number | null = null, failed = false): ReflectionEvent<ApiObject> => ({ type: 'watch-ended', status, failed, random });

describe('the mirror of a resource', () => {
  it('lists, then watches from there', () => {
    const { requests, objects } = mirror(listed(7, item('a', 3)));
    assert.deepEqual(requests(), [{ type: 'watch', resourceVersion: '7' }]);
    assert.deepEqual([...objects.keys()], ['a']);
  });

  it('tells of a list when all its pages are there', () => {
    const { feed, told, requests } = mirror({ type: 'listed', items: [item('a', 1)], resourceVersion: '9', continueToken: 'more' });
    assert.deepEqual([requests(), told], [[{ type: 'list', continueToken: 'more' }], []]);
    feed(listed(9, item('b', 2)));
    assert.deepEqual(told.map(({ name }) => name), ['a', 'b']);
  });

  it('says that all is known also where that is nothing', () => {
    assert.deepEqual(mirror(listed(1)).effects(), [{ type: 'changed', changes: [] }, { type: 'watch', resourceVersion: '1' }]);
  });

  it('goes on watching where the last watch ended, bookmarks counted', () => {
    const { requests } = mirror(listed(7), watched('ADDED', item('a', 8)), { type: 'watched', event: { type: 'BOOKMARK', object: { metadata: { resourceVersion: '20' } } } }, ended());
    assert.deepEqual(requests(), [{ type: 'watch', resourceVersion: '20' }]);
  });

  for (const [what, end] of [['by an answer', [ended(410, true)]], ['by an event', [{ type: 'watched', event: { type: 'ERROR', object: { code: 410 } } } as const, ended()]]] as const) {
    it(`lists again where its place is gone, told ${what}, and tells the difference`, () => {
      const { feed, requests, told } = mirror(listed(7, item('a', 1), item('b', 2), item('c', 3)), ...end);
      if (requests()[0]?.type === 'wait') feed({ type: 'woken' });
      assert.deepEqual(requests(), [{ type: 'list', continueToken: '' }]);
      told.length = 0;
      feed(listed(30, item('a', 1), item('c', 25), item('d', 26)));
      assert.deepEqual(told.map(({ name, before, after }) => [name, before?.metadata.resourceVersion, after?.metadata.resourceVersion]), [['b', '2', undefined], ['c', '3', '25'], ['d', undefined, '26']]);
    });
  }

  it('begins a list anew whose later pages are gone', () => {
    const { feed, requests, told } = mirror({ type: 'listed', items: [item('a', 1)], resourceVersion: '9', continueToken: 'more' }, { type: 'list-failed', status: 410, random });
    assert.deepEqual(requests(), [{ type: 'wait', ms: 100 }]);
    assert.deepEqual(feed({ type: 'woken' }), [{ type: 'list', continueToken: '' }]);
    feed(listed(12, item('b', 2)));
    assert.deepEqual(told.map(({ name }) => name), ['b']);
  });

  it('keeps what it knows while the server is away, and asks less and less often, up to half a minute', () => {
    const { feed, objects } = mirror(listed(7, item('a', 1)));
    const waits = Array.from({ length: 12 }, () => {
      const [effect] = feed(ended(null, true));
      feed({ type: 'woken' });
      return effect?.type === 'wait' ? effect.ms : undefined;
    });
    assert.deepEqual(waits, [100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 15_000, 15_000, 15_000, 15_000]);
    assert.deepEqual([...objects.keys()], ['a']);
    assert.deepEqual(feed({ type: 'watch-ended', status: null, failed: true, random: 1 - Number.EPSILON }), [{ type: 'wait', ms: 30_000 * (1 - Number.EPSILON / 2) }]);
  });

  it('pauses before a third watch where two have ended in order without a word', () => {
    const { feed } = mirror(listed(7), ended());
    assert.equal(feed(ended())[0]?.type, 'wait');
  });

  it('is quick again after a word', () => {
    const { feed } = mirror(listed(7), ended(null, true), ended(null, true), ended(null, true), watched('ADDED', item('a', 8)));
    assert.deepEqual(feed(ended(null, true)), [{ type: 'wait', ms: 100 }]);
  });

  it('holds in the end what the server holds, and has told every step of the way, whatever breaks', () => {
    const someChange = fc.record({ name: fc.constantFrom('a', 'b', 'c', 'd'), gone: fc.boolean() });
    const someMishap = fc.constantFrom('none', 'none', 'none', 'cut', 'gone', 'refused' as const);
    fc.assert(
      fc.property(fc.array(fc.tuple(someChange, someMishap), { maxLength: 60 }), fc.integer({ min: 1, max: 3 }), (changes, page) => {
        const held = new Map<string, ApiObject>();
        const history: { readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'; readonly object: ApiObject }[] = [];
        let revision = 1;
        let forgotten = 0; // up to this revision
        const { feed, objects, told, requests } = mirror();
        /** Answers what is asked until nothing more is to be said. */
        const serve = (): void => {
          for (let turn = 0; turn < 200; turn += 1) {
            const [request] = requests();
            if (request?.type === 'wait') feed({ type: 'woken' });
            else if (request?.type === 'list') {
              const from = Number(request.continueToken);
              const items = [...held.values()];
              feed({ type: 'listed', items: items.slice(from, from + page), resourceVersion: String(revision), continueToken: from + page < items.length ? String(from + page) : '' });
            } else if (request?.type === 'watch') {
              if (Number(request.resourceVersion) < forgotten) {
                feed(ended(410, true));
                continue;
              }
              for (const event of history.filter(({ object }) => Number(object.metadata.resourceVersion) > Number(request.resourceVersion))) feed({ type: 'watched', event });
              return;
            } else return;
          }
          assert.fail('it never comes to rest');
        };
        serve();
        for (const [{ name, gone }, mishap] of changes) {
          revision += 1;
          const known = held.get(name);
          if (gone && known === undefined) continue;
          const object = item(name, revision);
          const event = { type: gone ? 'DELETED' : known === undefined ? 'ADDED' : 'MODIFIED', object } as const;
          history.push(event);
          if (gone) held.delete(name);
          else held.set(name, object);
          if (mishap === 'none') feed({ type: 'watched', event });
          if (mishap === 'gone') forgotten = revision;
          if (mishap !== 'none') {
            feed(ended(mishap === 'gone' ? 410 : null, mishap !== 'cut'));
            serve();
          }
        }
        assert.deepEqual(new Map(objects), held);
        const followed = new Map<string, ApiObject>();
        for (const { name, before, after } of told) {
          assert.equal(followed.get(name) ?? null, before);
          if (after === null) followed.delete(name);
          else followed.set(name, after);
        }
        assert.deepEqual(followed, held);
      }),
      { numRuns: 300 },
    );
  });
});
