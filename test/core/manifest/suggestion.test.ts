import assert from 'node:assert/strict';
import fc from 'fast-check';
import { suggest } from '../../../src/core/manifest/suggestion.ts';

const fields = ['addresses', 'hosts', 'ports', 'gateway', 'serverNames', 'subjectAltNames'];

describe('did you mean', () => {
  for (const [word, meant] of [
    ['adresses', 'addresses'],
    ['address', 'addresses'],
    ['PORTS', 'ports'],
    ['prots', 'ports'],
    ['gatway', 'gateway'],
    ['gatewya', 'gateway'],
    ['servernames', 'serverNames'],
    ['hostts', 'hosts'],
    ['x', undefined],
    ['', undefined],
    ['protocol', undefined],
    ['p'.repeat(65), undefined],
  ] as const) {
    it(`${JSON.stringify(word.slice(0, 20))} means ${meant ?? 'nothing'}`, () => assert.equal(suggest(word, fields), meant));
  }

  it('prefers the nearest candidate', () => assert.equal(suggest('prot', ['port', 'prom', 'pro']), 'port'));

  it('finds a word of some length with one letter lost, doubled or changed', () => {
    fc.assert(
      fc.property(fc.constantFrom(...fields), fc.nat(), fc.constantFrom('lost', 'doubled', 'changed'), (word, place, how) => {
        const at = place % word.length;
        const middle = how === 'lost' ? '' : how === 'doubled' ? word.charAt(at).repeat(2) : '_';
        assert.equal(suggest(word.slice(0, at) + middle + word.slice(at + 1), fields), word);
      }),
    );
  });
});
