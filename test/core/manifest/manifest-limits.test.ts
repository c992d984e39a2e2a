import assert from 'node:assert/strict';
import { aliasedValuesMax, faultsMax, fileBytesMax, fileTokensMax, nestingMax, yamlFaultsPerDocumentMax } from '../../../src/core/manifest/manifest-faults.ts';
import { parseManifests } from '../../../src/core/manifest/manifest.ts';

/** `line:column code` of each fault. */
function placesOf(text: string): readonly string[] {
  const faults = parseManifests([{ file: 'a.yaml', text }]).faults();
  return faults.map(({ code, position }) => `${position === undefined ? '' : `${position.line}:${position.column} `}${code}`);
}

describe('limits of manifests', () => {
  it('refuse a file of 50 MB by its size, naming the limit', () => {
    const faults = parseManifests([{ file: 'big.yaml', text: 'a'.repeat(50_000_000) }]).faults();
    assert.deepEqual(faults.map(({ code, position }) => [code, position]), [['file-too-large', { file: 'big.yaml', line: 1, column: 1 }]]);
    assert.match(faults[0]!.message, /16 MiB/);
  });

  it('count bytes, not characters', () => {
    assert.deepEqual(placesOf(`# ${'\u20AC'.repeat(fileBytesMax / 3 - 1)}`), []);
    assert.deepEqual(placesOf(`# ${'\u20AC'.repeat(fileBytesMax / 3 + 1)}`), ['1:1 file-too-large']);
  });

  it('refuse a file too dense to be read in reasonable memory, at the place where that shows', () => {
    const [place, ...more] = placesOf(`apiVersion: v1\nkind: [${'1,'.repeat(fileTokensMax / 2)}]`);
    assert.deepEqual(more, []);
    assert.match(place!, /^2:[0-9]{6,7} file-too-large$/);
  });

  for (const [style, nested, column] of [
    ['flow lists', (levels: number) => '['.repeat(levels) + ']'.repeat(levels), nestingMax + 1],
    ['flow mappings', (levels: number) => '{a: '.repeat(levels) + '1' + '}'.repeat(levels), 4 * nestingMax + 1],
    ['block lists', (levels: number) => `${'- '.repeat(levels)}1`, 2 * nestingMax + 1],
    ['keys that are mappings', (levels: number) => `${'? '.repeat(levels)}1`, 2 * nestingMax + 1],
  ] as const) {
    it(`refuse ${style} nested 10,000 levels deep, and ${nestingMax + 1}, but not ${nestingMax}`, () => {
      assert.deepEqual(placesOf(nested(10_000)), [`1:${column} nesting-too-deep`]);
      assert.deepEqual(placesOf(nested(nestingMax + 1)), [`1:${column} nesting-too-deep`]);
      assert.equal(placesOf(nested(nestingMax)).some((place) => place.endsWith('nesting-too-deep')), false);
    });
  }

  it('refuse block mappings nested thousands of levels deep, and one too many, but not one less', () => {
    const nested = (levels: number) => Array.from({ length: levels }, (_, level) => `${' '.repeat(level)}a:`).join('\n');
    assert.deepEqual(placesOf(nested(4_000)), [`${nestingMax + 1}:${nestingMax + 2} nesting-too-deep`]);
    assert.deepEqual(placesOf(`${nested(nestingMax + 1)} 1`), [`${nestingMax + 1}:${nestingMax + 2} nesting-too-deep`]);
    assert.equal(placesOf(`${nested(nestingMax)} 1`).some((place) => place.endsWith('nesting-too-deep')), false);
  });

  it('still read the documents before one that is nested too deep', () => {
    assert.deepEqual(placesOf(`a: 1\n---\n${'['.repeat(100)}`), ['1:1 field-missing', '1:1 field-missing', '3:65 nesting-too-deep']);
  });

  it('refuse aliases that stand for billions of values', () => {
    const text = `a: &a [${Array(9).fill('x').join()}]\n${'bcdefghijk'.split('').map((name, index) => `${name}: &${name} [${Array(9).fill(`*${'abcdefghij'.charAt(index)}`).join()}]`).join('\n')}`;
    assert.deepEqual(placesOf(text), ['5:8 yaml-aliases-excessive']);
  });

  it('count each use of an alias', () => {
    const using = (times: number) => placesOf(`a: &a 1\nb: [${Array(times).fill('*a').join()}]`).filter((place) => place.endsWith('excessive'));
    assert.deepEqual(using(aliasedValuesMax), []);
    assert.equal(using(aliasedValuesMax + 1).length, 1);
  });

  it('name the first faults of very many, and how many more there are', () => {
    const faults = parseManifests([{ file: 'a.yaml', text: '---\n[]\n'.repeat(faultsMax + 7) }]).faults();
    assert.equal(faults.length, faultsMax + 1);
    assert.deepEqual([faults.at(-1)?.code, faults.at(-1)?.message], ['faults-omitted', '7 more faults are not shown']);
  });

  it('name only the first faults of the grammar in one document', () => {
    assert.equal(placesOf(`[${'} '.repeat(1_000)}`).length, yamlFaultsPerDocumentMax);
  });

  it('hold for keys that are there very often', () => {
    assert.equal(placesOf('a: 1\n'.repeat(50_000)).length, faultsMax + 1);
  });
});
