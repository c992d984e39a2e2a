import assert from 'node:assert/strict';
import { applyChange, emptyDesiredState, refOf } from '../../src/core/desired-state.ts';
import { schemas } from '../../src/core/objects/index.ts';

const namespace = (name: string) => schemas.Namespace.parse({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } });

describe('desired state', () => {
  it('shares the kinds that a change does not touch, and leaves the state before as it was', () => {
    const next = applyChange(emptyDesiredState, { put: [namespace('bookinfo')], remove: [] });
    assert.equal(next.SnatPool, emptyDesiredState.SnatPool);
    assert.deepEqual([...next.Namespace.keys()], ['bookinfo']);
    assert.equal(emptyDesiredState.Namespace.size, 0);
  });

  it('is the very same where the same change is applied to the same state again', () => {
    const change = { put: [namespace('bookinfo')], remove: [] };
    assert.equal(applyChange(emptyDesiredState, change), applyChange(emptyDesiredState, change));
  });

  it('follows from the state that a change is applied to, also when the change was applied to another before', () => {
    const removal = { put: [], remove: [refOf(namespace('reports'))] };
    const both = applyChange(emptyDesiredState, { put: [namespace('bookinfo'), namespace('reports')], remove: [] });
    assert.equal(applyChange(emptyDesiredState, removal).Namespace.size, 0);
    assert.deepEqual([...applyChange(both, removal).Namespace.keys()], ['bookinfo']);
  });
});
