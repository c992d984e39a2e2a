import assert from 'node:assert/strict';
import { keptList } from '../../src/core/kept-list.ts';

describe('a list that is kept', () => {
  it('has the values, and does not change with what it was made of', () => {
    const values = [1, 2];
    const kept = keptList(values);
    values.push(3);
    assert.deepEqual(kept, [1, 2]);
  });

  it('is the same one wherever there are none', () => {
    assert.equal(keptList([]), keptList(new Array<string>().concat()));
  });
});
