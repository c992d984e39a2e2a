import assert from 'node:assert/strict';
import fc from 'fast-check';
import { encodeObject, renderObject } from '../../../src/core/manifest/manifest-text.ts';
import { parseManifests, type ParsedManifests } from '../../../src/core/manifest/manifest.ts';
import { refOf } from '../../../src/core/desired-state.ts';
import { anyDesiredObject } from '../../support/arbitraries.ts';

function objectsOf(parsed: ParsedManifests) {
  assert.deepEqual(parsed.faults(), []);
  return parsed.objects.map(({ object }) => object);
}

describe('printing objects', () => {
  it('gives YAML that reads back as an equal object, for every kind', () => {
    fc.assert(
      fc.property(anyDesiredObject, (object) => {
        assert.deepEqual(objectsOf(parseManifests([{ file: 'a.yaml', text: renderObject(object) }])), [object]);
      }),
      { numRuns: 300 },
    );
  });

  it('gives values that JSON holds and that read back as an equal object', () => {
    fc.assert(
      fc.property(anyDesiredObject, (object) => {
        assert.deepEqual(objectsOf(parseManifests([{ file: 'a.json', text: JSON.stringify(encodeObject(object), null, '\t') }])), [object]);
      }),
      { numRuns: 100 },
    );
  });

  it('gives documents that can be joined in any number', () => {
    fc.assert(
      fc.property(fc.uniqueArray(anyDesiredObject, { maxLength: 5, selector: (object) => JSON.stringify(refOf(object)) }), (objects) => {
        assert.deepEqual(objectsOf(parseManifests([{ file: 'a.yaml', text: objects.map(renderObject).join('---\n') }])), objects);
      }),
      { numRuns: 50 },
    );
  });

  it('writes spans and ranges as a user would', () => {
    const text = `apiVersion: sallyport.dev/v1alpha1
kind: SnatPool
metadata:
  name: eu
spec:
  addresses:
    - 10.0.0.0/30
    - 10.0.1.1-10.0.1.9
  exclude: []
  quarantine: 1d12h
  sharing:
    mode: Exclusive
`;
    assert.deepEqual(objectsOf(parseManifests([{ file: 'a.yaml', text }])).map(renderObject), [text]);
  });
});
