import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { adminPaths } from '../../src/api/admin.ts';
import { errorCodes } from '../../src/core/errors.ts';
import { denyReasons } from '../../src/core/plan.ts';

const page = (name: string) => readFileSync(new URL(`../../docs/reference/${name}`, import.meta.url), 'utf8');

describe('reference pages', () => {
  it('explain every error code with the statuses of the table, in its order, and no other', () => {
    const rows = [...page('errors.md').matchAll(/^\| `([a-z-]+)` \| ([0-9]+) \| ([0-9]+) \| (yes|no) \|/gm)].map(([, code, exit, http, again]) => [code, Number(exit), Number(http), again === 'yes']);
    assert.deepEqual(rows, Object.entries(errorCodes).map(([code, { exit, http, retriable }]) => [code, exit, http, retriable]));
  });

  it('keep the error codes sorted', () => {
    const codes = Object.keys(errorCodes);
    assert.deepEqual(codes, codes.toSorted());
  });

  it('name every path of the admin API', () => {
    const text = page('admin-api.md');
    for (const path of Object.values(adminPaths)) assert.match(text, new RegExp(`(GET|POST) ${path.replaceAll('/', '\\/')}[\`?]`), path);
  });

  it('explain every reason for a refusal', () => {
    const text = page('decisions.md');
    for (const reason of denyReasons) assert.ok(text.includes(`\`${reason}\``), reason);
  });
});
