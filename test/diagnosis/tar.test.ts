import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { tarOf } from '../../src/diagnosis/index.ts';

describe('an archive', () => {
  it('is what tar unpacks: names with their folders, contents of any length, and times', () => {
    const directory = mkdtempSync(join(tmpdir(), 'sallyport-tar-'));
    try {
      const files = [
        { path: 'plain.txt', text: 'é\n' },
        { path: `${'d'.repeat(63)}/${'e'.repeat(63)}/${'f'.repeat(96)}.txt`, text: 'x'.repeat(512) },
        { path: 'a/empty', text: '' },
        { path: 'a/long', text: 'line\n'.repeat(1_000) },
      ];
      const { status, stderr } = spawnSync('tar', ['x', '-C', directory], { input: tarOf(files, 1_700_000_000_000) });
      assert.deepEqual([status, stderr.toString()], [0, '']);
      for (const { path, text } of files) assert.equal(readFileSync(join(directory, path), 'utf8'), text);
      assert.match(spawnSync('tar', ['tv'], { input: tarOf(files, 1_700_000_000_000), env: { TZ: 'UTC' }, encoding: 'utf8' }).stdout, /^-rw------- 0\/0 +3 2023-11-14 22:13 plain\.txt\n/);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});
