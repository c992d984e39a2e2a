import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { adminPaths } from '../../src/api/admin.ts';
import { errorCodes } from '../../src/core/errors.ts';
import { connectionReasons } from '../../src/core/ledger-record.ts';
import { parseManifests } from '../../src/core/manifest/manifest.ts';
import { kinds } from '../../src/core/objects/index.ts';
import { denyReasons } from '../../src/core/plan/plan.ts';
import { conformancePage } from '../conformance/page.ts';
import { analysesPage, checksPage } from '../support/diagnosis-pages.ts';
import { permissionsPage } from '../support/permissions-page.ts';
import { cliPage, kindsPage, kindTexts } from '../support/reference-pages.ts';

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

  it('explain every reason that only FTP sessions or UDP flows know', () => {
    const explained = [...page('decisions.md').matchAll(/^\| `((?:ftp|udp)-[a-z-]+)` \|/gm)].map(([, reason]) => reason);
    assert.deepEqual(explained.sort(), connectionReasons.filter((reason) => /^(ftp|udp)-/.test(reason)));
  });

  it('explain every type of record in the ledger, and every field of a transfer', () => {
    const source = readFileSync(new URL('../../src/core/ledger-record.ts', import.meta.url), 'utf8');
    const text = page('ledger.md');
    const types = [...source.matchAll(/readonly type: (.*);/g)].flatMap(([, union]) => [...union!.matchAll(/'([a-z-]+)'/g)].map(([, type]) => type!));
    assert.ok(types.length > 8);
    const fields = /interface FtpTransferFields [^]*?^}|interface FtpTransfer [^]*?^}/gm;
    const names = [...source.matchAll(fields)].flatMap(([block]) => [...block.matchAll(/readonly (\w+)\??:/g)].map(([, name]) => name!)).filter((name) => name !== 'type');
    assert.ok(names.includes('sha256') && names.includes('snatPort'));
    for (const word of [...types, ...names]) assert.ok(text.includes(`\`${word}\``), word);
  });

  for (const [name, write] of [
    ['kinds.md', kindsPage],
    ['cli.md', cliPage],
    ['analyses.md', analysesPage],
    ['checks.md', checksPage],
    ['conformance.md', conformancePage],
    ['permissions.md', permissionsPage],
  ] as const) {
    it(`say in ${name} what the program says`, () => {
      const text = write();
      if (process.env['UPDATE_GOLDEN'] === '1') writeFileSync(new URL(`../../docs/reference/${name}`, import.meta.url), text);
      assert.equal(page(name), text, 'UPDATE_GOLDEN=1 writes it again');
    });
  }

  it('have a section for every kind, with an example that is valid', () => {
    assert.deepEqual(kindTexts.map(({ schema }) => schema).sort(), [...kinds, 'OlderExternalService'].sort());
    for (const { schema, example } of kindTexts) assert.deepEqual(parseManifests([{ file: schema, text: example }]).faults(), [], schema);
  });
});
