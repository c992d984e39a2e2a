import assert from 'node:assert/strict';
import { keepOfDesired, type DesiredApiObject } from '../../../src/kubernetes/desired/kept-object.ts';

const told = (more: Partial<DesiredApiObject['metadata']> = {}, status: object = { observedGeneration: 1, revision: 'a' }): DesiredApiObject => ({
  apiVersion: 'sallyport.dev/v1alpha1',
  kind: 'SnatPool',
  metadata: { name: 'eu', uid: 'u1', resourceVersion: '7', generation: 1, managedFields: [{ manager: 'kubectl' }], annotations: { 'kubectl.kubernetes.io/last-applied-configuration': '{}', team: 'a' }, ...more },
  spec: { addresses: ['192.0.2.1'] },
  status,
});

describe('what is kept of a custom resource', () => {
  it('is what it says and how it stands, without who wrote which field and what kubectl notes of it', () => {
    assert.deepEqual(keepOfDesired(told(), undefined), {
      apiVersion: 'sallyport.dev/v1alpha1',
      kind: 'SnatPool',
      metadata: { name: 'eu', uid: 'u1', resourceVersion: '7', generation: 1, annotations: { team: 'a' } },
      spec: { addresses: ['192.0.2.1'] },
      status: { observedGeneration: 1, revision: 'a' },
    });
  });

  it('has its very spec from before as long as its generation is the same', () => {
    const known = keepOfDesired(told(), undefined);
    const later = keepOfDesired(told({ resourceVersion: '8' }, { observedGeneration: 1, revision: 'b' }), known);
    assert.equal(later.spec, known.spec);
    assert.deepEqual([later.metadata.resourceVersion, later.status], ['8', { observedGeneration: 1, revision: 'b' }]);
    assert.notEqual(keepOfDesired(told({ generation: 2 }), known).spec, known.spec);
    assert.notEqual(keepOfDesired(told({ uid: 'u2' }), known).spec, known.spec, 'another of its name');
  });
});
