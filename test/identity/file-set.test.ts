import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { readFileSet, replaceFileSet } from '../../src/identity/index.ts';

describe('file set', () => {
  let directory: string;
  beforeEach(async () => {
    directory = join(await mkdtemp(join(tmpdir(), 'sallyport-file-set-')), 'set');
  });
  afterEach(() => rm(join(directory, '..'), { recursive: true, force: true }));

  it('holds what was written last, with no trace of what was before', async () => {
    await replaceFileSet(directory, { a: '1', b: '1' });
    await replaceFileSet(directory, { a: '2', b: '2' });
    assert.deepEqual(await readFileSet(directory, ['a', 'b']), { a: '2', b: '2' });
    assert.equal(await readFile(join(directory, 'a'), 'utf8'), '2');
    assert.equal((await readdir(directory)).filter((name) => name.startsWith('..generation-')).length, 1);
  });

  it('lets nobody but its owner read', async () => {
    await replaceFileSet(directory, { key: 'secret' });
    assert.equal((await stat(join(directory, 'key'))).mode & 0o777, 0o600);
    assert.equal((await stat(directory)).mode & 0o777, 0o700);
  });

  it('replaces plain files of the same names', async () => {
    await mkdir(directory);
    await writeFile(join(directory, 'key'), 'older');
    await replaceFileSet(directory, { key: 'newer' });
    assert.equal(await readFile(join(directory, 'key'), 'utf8'), 'newer');
  });

  it('holds nothing where nothing was written', async () => {
    assert.equal(await readFileSet(directory, ['a']), undefined);
  });

  it('is one whole generation after its writer was killed at any moment', async () => {
    const fileSetUrl = new URL('../../src/identity/file-set.ts', import.meta.url).href;
    const program = `import { replaceFileSet } from ${JSON.stringify(fileSetUrl)};
      process.stdout.write('x');
      for (let count = 0; ; count += 1) await replaceFileSet(${JSON.stringify(directory)}, { a: String(count), b: String(count), c: String(count) });`;
    for (let round = 0; round < 6; round += 1) {
      const writer = spawn(process.execPath, ['--input-type=module', '--eval', program], { stdio: ['ignore', 'pipe', 'inherit'] });
      try {
        await new Promise((resolve) => writer.stdout.once('data', resolve));
        await sleep(5 + 11 * round); // the moment of the kill: any will do
      } finally {
        writer.kill('SIGKILL');
        await new Promise((resolve) => writer.once('close', resolve));
      }
      const files = await readFileSet(directory, ['a', 'b', 'c']);
      if (files !== undefined) assert.equal(new Set(Object.values(files)).size, 1);
      assert.ok(round < 3 || files !== undefined, 'the writer got to write');
    }
    await replaceFileSet(directory, { a: 'last', b: 'last', c: 'last' });
    assert.equal((await readdir(directory)).filter((name) => name.startsWith('..generation-')).length, 1);
  });
});
