import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const root = new URL('../../', import.meta.url).pathname;
const tracked = execFileSync('git', ['ls-files', '-co', '--exclude-standard'], { cwd: root, encoding: 'utf8' }).split('\n').filter((file) => file !== '');
// A file may go while the tests run: an editor's temporary one, for example.
const read = (file: string) => (existsSync(join(root, file)) ? readFileSync(join(root, file), 'utf8') : '');

describe('the repository', () => {
  it('holds no private key', () => {
    const keyBlock = new RegExp(`-----BEGIN [A-Z ]*PRIVATE KEY-----\\s+[A-Za-z0-9+/]{20}`);
    assert.deepEqual(tracked.filter((file) => keyBlock.test(read(file))), []);
  });

  it('names no path of a machine', () => {
    const place = new RegExp(['/ro' + 'ot/', '/wo' + 'rk/', '/home/[a-z]+/'].join('|'));
    assert.deepEqual(tracked.filter((file) => file !== 'package-lock.json' && place.test(read(file))), []);
  });

  it('keeps every source file to one subject of a readable length', () => {
    const long = tracked.filter((file) => file.startsWith('src/') && !file.startsWith('src/proto/') && file.endsWith('.ts')).filter((file) => read(file).split('\n').length > 400);
    assert.deepEqual(long, []);
  });

  it('says at the door of each room what lives there', () => {
    const rooms = readdirSync(join(root, 'src')).filter((room) => tracked.includes(`src/${room}/index.ts`));
    assert.ok(rooms.length >= 6, rooms.join());
    for (const room of rooms) assert.match(read(`src/${room}/index.ts`), /^\/\*\*/, room);
  });
});
