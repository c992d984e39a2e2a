import assert from 'node:assert/strict';
import { open, readFile, stat, writeFile, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { createDurably, openDurableFile } from '../../src/store/durable-file.ts';
import { inDirectory } from './support/directory.ts';

/** Every sync of a file or directory while `work` runs, with its kind: a kill leaves the page cache alone, so only this shows that one is missing. */
async function syncsDuring(directory: string, work: () => Promise<void>): Promise<string[]> {
  const handle = await open(directory, 'r');
  const prototype = Object.getPrototypeOf(handle) as Pick<FileHandle, 'datasync' | 'sync' | 'stat'>;
  await handle.close();
  const { datasync, sync } = prototype;
  const syncs: string[] = [];
  const noting = (name: string, original: () => Promise<void>) =>
    async function (this: FileHandle): Promise<void> {
      await original.call(this);
      syncs.push(`${name} ${(await this.stat()).isDirectory() ? 'directory' : 'file'}`);
    };
  Object.assign(prototype, { datasync: noting('datasync', datasync), sync: noting('sync', sync) });
  try {
    await work();
  } finally {
    Object.assign(prototype, { datasync, sync });
  }
  return syncs;
}

describe('durable file', () => {
  it('has synced what it appends when it says so', () =>
    inDirectory(async (directory) => {
      const path = join(directory, 'file');
      await writeFile(path, 'kept, cut');
      const file = await openDurableFile(path, 4);
      const syncs = await syncsDuring(directory, () => file.append(Buffer.from(' and more')));
      assert.deepEqual(syncs, ['datasync file']);
      assert.equal(file.bytes, 13);
      await file.close();
      assert.equal(await readFile(path, 'utf8'), 'kept and more');
    }));

  it('syncs when it is opened, since a killed writer may have left what it had not synced', () =>
    inDirectory(async (directory) => {
      const path = join(directory, 'file');
      await writeFile(path, 'x');
      assert.deepEqual(await syncsDuring(directory, async () => (await openDurableFile(path, 1)).close()), ['sync file']);
    }));

  it('is created whole: file and directory synced, readable by its owner only', () =>
    inDirectory(async (directory) => {
      const path = join(directory, 'file');
      assert.deepEqual(await syncsDuring(directory, async () => {
        await createDurably(path, [Buffer.from('a'), Buffer.from('b')]);
      }), ['sync file', 'sync directory']);
      assert.equal(await readFile(path, 'utf8'), 'ab');
      assert.equal((await stat(path)).mode & 0o777, 0o600);
    }));
});
