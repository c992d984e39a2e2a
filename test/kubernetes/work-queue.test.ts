import assert from 'node:assert/strict';
import { setImmediate } from 'node:timers/promises';
import { waitFor } from '../../src/demo/processes.ts';
import { ApiRefusal } from '../../src/kubernetes/client.ts';
import { createWorkQueue, type WorkQueue } from '../../src/kubernetes/work-queue.ts';

describe('work by key', () => {
  /** Work that ends when it is told to. */
  function tracked(concurrency?: number): { readonly queue: WorkQueue; readonly begun: string[]; readonly failed: string[]; readonly end: (key: string, error?: Error) => Promise<void>; readonly restsAfterMs: () => Promise<number> } {
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
    async function end(key: string, error?: Error): Promise<void> {
      ends.get(key)!(error);
      await setImmediate();
    }
    return {
      queue,
      begun,
      failed,
      end,
      /** The pause before "a" is worked on again, having written; nothing that is added shortens it. */
      async restsAfterMs() {
        const works = begun.length;
        queue.rest('a');
        await end('a');
        const startedMs = performance.now();
        while (begun.length === works) {
          queue.add('a');
          await setImmediate();
        }
        return performance.now() - startedMs;
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

  it('tries no sooner again than the API server is ready to hear', async () => {
    const { queue, begun, end } = tracked();
    queue.add('a');
    await end('a', new ApiRefusal(429, 'TooManyRequests', 'too much to do', 500));
    const startedMs = performance.now();
    await waitFor('the next try', 5_000, () => (begun.length === 2 ? true : undefined));
    assert.ok(performance.now() - startedMs > 450);
    await end('a');
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
    const { queue, end, restsAfterMs } = tracked();
    queue.add('a');
    const [first, second] = [await restsAfterMs(), await restsAfterMs()];
    assert.ok(first >= 245 && second >= 495, `${first} ms, ${second} ms`);
    await end('a');
    queue.add('a');
    assert.ok((await restsAfterMs()) < 495);
    await end('a');
    await queue.close();
  });

  it('lets a key that has written rest also from what was added while it did, as by hearing of the first of several writes', async () => {
    const { queue, begun, end } = tracked();
    queue.add('a');
    queue.add('a');
    queue.rest('a');
    await end('a');
    assert.deepEqual(begun, ['a']);
    await queue.close();
  });

  it('does not wait for the rest where something else is wanted, also since the work began', async () => {
    const { queue, begun, end } = tracked();
    queue.add('a');
    queue.rest('a');
    await end('a');
    queue.renew('a');
    assert.deepEqual(begun, ['a', 'a']);
    queue.renew('a');
    queue.rest('a');
    await end('a');
    assert.deepEqual(begun, ['a', 'a', 'a']);
    await end('a');
    await queue.close();
  });

  it('rests as briefly as at first where something else is wanted', async () => {
    const { queue, end, restsAfterMs } = tracked();
    queue.add('a');
    await restsAfterMs();
    queue.rest('a');
    await end('a');
    queue.renew('a');
    assert.ok((await restsAfterMs()) < 495);
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
