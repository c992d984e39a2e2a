import assert from 'node:assert/strict';
import fc from 'fast-check';
import { withSharedValues } from '../../../src/kubernetes/watch/shared-values.ts';

describe('shared values', () => {
  it('say what they said', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        assert.deepEqual(withSharedValues(structuredClone(value)), value);
      }),
    );
  });

  it('are one where two say the same', () => {
    const read = (): { readonly conditions: readonly object[]; readonly revision: string } => withSharedValues(structuredClone({ conditions: [{ type: 'Accepted', status: 'True' }], revision: 'abc' }));
    assert.equal(read().conditions[0], read().conditions[0]);
  });

  it('do not take a string for the object that it would be as JSON', () => {
    assert.deepEqual(withSharedValues([{ a: 1 }, '{"a":1}', {}, '{}']), [{ a: 1 }, '{"a":1}', {}, '{}']);
  });
});
