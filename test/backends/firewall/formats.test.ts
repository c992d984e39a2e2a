import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { allowList, firewallFormats, renderFirewall } from '../../../src/backends/firewall/index.ts';
import { exampleWorld } from './example-world.ts';

describe('an allow list as firewalls read it', () => {
  const list = allowList(exampleWorld());

  for (const format of firewallFormats) {
    it(`is for ${format} as its golden file has it`, () => {
      const file = join(import.meta.dirname, 'golden', `${format}.txt`);
      const text = renderFirewall(format, list);
      if (process.env['UPDATE_GOLDEN'] === '1') writeFileSync(file, text);
      assert.equal(text, readFileSync(file, 'utf8'), 'UPDATE_GOLDEN=1 writes it again');
    });
  }

  it('has no name that is longer than boxes take, or holds what they do not', () => {
    const names = [...renderFirewall('pan-os', list).matchAll(/^set (?:address|service|rulebase security rules) (\S+)/gm), ...renderFirewall('forti-os', list).matchAll(/edit "(.*)"/g), ...renderFirewall('cisco-asa', list).matchAll(/^object network (\S+)/gm)].map(([, name]) => name!);
    assert.ok(names.length > 10);
    for (const name of names) assert.match(name, /^[A-Za-z0-9._-]{1,63}$/);
  });

  it('refers to no object that it does not define', () => {
    const text = renderFirewall('pan-os', list);
    const defined = new Set([...text.matchAll(/^set (?:address|service) (\S+)/gm)].map(([, name]) => name!));
    const used = [...text.matchAll(/ (?:source|destination|service) (\S+)/g)].map(([, name]) => name!).filter((name) => name !== 'any');
    assert.ok(used.length > 0);
    assert.deepEqual(used.filter((name) => !defined.has(name)), []);
  });

  it('keeps to what a remark may hold', () => {
    for (const [, remark] of renderFirewall('cisco-asa', list).matchAll(/ remark (.*)/g)) assert.ok(remark!.length <= 100);
  });
});
