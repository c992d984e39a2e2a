import assert from 'node:assert/strict';
import fc from 'fast-check';
import { withSharedStrings } from '../../../src/kubernetes/watch/shared-strings.ts';

describe('values with shared strings', () => {
  it('say what they said', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        assert.deepEqual(withSharedStrings(value), value);
      }),
    );
  });
});
