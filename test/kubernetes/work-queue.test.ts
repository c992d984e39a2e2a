import assert from 'node:assert/strict';
import { setImmediate } from 'node:timers/promises';
import { createWorkQueue, type WorkQueue } from '../../src/kubernetes/work-queue.ts';

describe('work by key', () => {
  /** Work that ends when it is told to. */
  function tracked(concurrency?: number): { readonly queue: WorkQueue; readonly begun: string[]; readonly failed: string[]; readonly end: (key: string, error?: Error) => Promise<void> } {
    const begun: string[] = [];
    const failed: string[] = [];
    const ends = new Map<string, (error?: Error) => void>();
    const queue = createWorkQueue({
      work: (key) => {
        begun.push(key);
        return new Promise((resolve, reject) => void ends.set(key, (error) => (error === undefined ? resolve() : reject(error))));
      },
      onFailure: (key) => failed.push(key),
      random: () => 0,
      ...(concurrency === undefined ? {} : { concurrency }),
    });
    return {
      queue,
      begun,
      failed,
      async end(key, error) {
        ends.get(key)!(error);
        await setImmediate();
      },
    };
  }

  it('works on a key once more where it was added meanwhile, however often, and never twice at a time', async () => {
    const { queue, begun, end } = tracked();
    for (let times = 0; times < 3; times += 1) queue.add('a');
    assert.deepEqual(begun, ['a']);
    queue.add('a');
    queue.add('a');
    await end('a');
    assert.deepEqual(begun, ['a', 'a']);
    await end('a');
    await queue.idle();
    assert.deepEqual(begun, ['a', 'a']);
  });

  it('works on no more keys at a time than it may, in the order in which they came', async () => {
    const { queue, begun, end } = tracked(2);
    for (const key of ['a', 'b', 'c', 'd']) queue.add(key);
    assert.deepEqual(begun, ['a', 'b']);
    await end('b');
    assert.deepEqual(begun, ['a', 'b', 'c']);
  });

  it('tries again what has failed, after a pause', async () => {
    const { queue, begun, failed, end } = tracked();
    queue.add('a');
    await end('a', new Error('away'));
    assert.deepEqual(failed, ['a']);
    assert.deepEqual(begun, ['a']);
    const idle = queue.idle();
    const startedMs = performance.now();
    while (begun.length < 2) await setImmediate();
    assert.ok(performance.now() - startedMs >= 90);
    await end('a');
    await idle;
  });

  it('does not wait for the pause where the key is added again', async () => {
    const { queue, begun, end } = tracked();
    queue.add('a');
    await end('a', new Error('away'));
    queue.add('a');
    assert.deepEqual(begun, ['a', 'a']);
    await end('a');
    await queue.idle();
  });

  it('works again on a key that has written after a rest, which grows until it has nothing more to write', async () => {
    const { queue, begun, end } = tracked();
    /** The pause before it is worked on again, having written; nothing that is added shortens it. */
    async function restsAfterMs(): Promise<number> {
      const works = begun.length;
      queue.rest('a');
      await end('a');
      const startedMs = performance.now();
      while (begun.length === works) {
        queue.add('a');
        await setImmediate();
      }
      return performance.now() - startedMs;
    }
    queue.add('a');
    const [first, second, third] = [await restsAfterMs(), await restsAfterMs(), await restsAfterMs()];
    assert.ok(first >= 95 && second >= 195 && third >= 395, `${first} ms, ${second} ms, ${third} ms`);
    await end('a');
    queue.add('a');
    assert.ok((await restsAfterMs()) < 395);
    await end('a');
    await queue.close();
  });

  it('does not wait for the rest where something else is wanted', async () => {
    const { queue, begun, end } = tracked();
    queue.add('a');
    queue.rest('a');
    await end('a');
    queue.renew('a');
    assert.deepEqual(begun, ['a', 'a']);
    await end('a');
    await queue.close();
  });

  it('lets what is under way end when it is closed, and begins nothing more', async () => {
    const { queue, begun, end } = tracked(1);
    queue.add('a');
    queue.add('b');
    const closed = queue.close();
    await end('a');
    await closed;
    queue.add('c');
    assert.deepEqual(begun, ['a']);
  });
});
