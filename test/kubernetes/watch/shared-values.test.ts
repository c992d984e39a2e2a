import assert from 'node:assert/strict';
import fc from 'fast-check';
import { shared, withSharedValues } from '../../../src/kubernetes/watch/shared-values.ts';

describe('shared values', () => {
  it('say what they said', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        assert.deepEqual(shared(structuredClone(value)), value);
      }),
    );
  });

  it('are one where two say the same, within a value that is no other', () => {
    const read = (): { readonly conditions: readonly object[]; readonly name: string } => withSharedValues(structuredClone({ conditions: [{ type: 'Accepted', status: 'True' }], name: 'a' }));
    assert.equal(read().conditions, read().conditions);
    assert.notEqual(read(), read());
  });

  it('are one where only a part is the same', () => {
    const read = (...types: readonly string[]): readonly object[] => withSharedValues({ conditions: types.map((type) => ({ type })) }).conditions;
    assert.equal(read('Accepted', 'Programmed')[1], read('Conflicted', 'Programmed')[1]);
  });

  it('do not take a string for what it would be as JSON', () => {
    assert.deepEqual(shared([{ a: 1 }, '{"a":1}', {}, '{}', [], '[]']), [{ a: 1 }, '{"a":1}', {}, '{}', [], '[]']);
  });
});
