import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { xdsPage } from '../support/xds-reference.ts';

const file = new URL('../../docs/reference/xds.md', import.meta.url);

describe('the reference of the xDS library', () => {
  it('says what the library exports', () => {
    const text = xdsPage();
    if (process.env['UPDATE_GOLDEN'] === '1') writeFileSync(file, text);
    assert.equal(readFileSync(file, 'utf8'), text, 'UPDATE_GOLDEN=1 writes it again');
  });

  it('explains everything that it names', () => {
    const unexplained = [...xdsPage().matchAll(/^## (\w+)\n\n```ts/gm)].map(([, name]) => name);
    assert.deepEqual(unexplained, []);
  });
});
