import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { lockDirectory } from '../../src/store/directory-lock.ts';
import { hasCode, inDirectory } from './support/directory.ts';

describe('directory lock', () => {
  it('is one at a time, also within a process, and can be taken again after its release', () =>
    inDirectory(async (directory) => {
      const lock = await lockDirectory(directory);
      await assert.rejects(lockDirectory(directory, { waitMs: 0 }), hasCode('journal-locked', directory));
      lock.release();
      (await lockDirectory(directory, { waitMs: 0 })).release();
    }));

  it('keeps another process out, and is free as soon as its holder was killed', () =>
    inDirectory(async (directory) => {
      const program = `
        import { lockDirectory } from ${JSON.stringify(new URL('../../src/store/directory-lock.ts', import.meta.url).href)};
        globalThis.lock = await lockDirectory(${JSON.stringify(directory)});
        console.log('locked');
        setInterval(() => {}, 1_000_000);`;
      const holder = spawn(process.execPath, ['--input-type=module-typescript', '--eval', program], { stdio: ['ignore', 'pipe', 'inherit'] });
      try {
        await once(holder.stdout, 'data');
        await assert.rejects(lockDirectory(directory, { waitMs: 0 }), hasCode('journal-locked', directory));
      } finally {
        holder.kill('SIGKILL');
      }
      (await lockDirectory(directory)).release();
    }));
});
