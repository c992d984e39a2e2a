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

  it('has from before whatever is as it was, and nothing else', () => {
    const known = keepOfDesired(told(), undefined);
    const later = keepOfDesired(told({ resourceVersion: '8' }, { observedGeneration: 1, revision: 'b' }), known);
    assert.deepEqual([later.spec === known.spec, later.metadata.annotations === known.metadata.annotations], [true, true]);
    assert.deepEqual([later.metadata.resourceVersion, later.status], ['8', { observedGeneration: 1, revision: 'b' }]);
    const changed = keepOfDesired({ ...told({ generation: 2 }), spec: { addresses: ['192.0.2.2'] } }, known);
    assert.deepEqual(changed.spec, { addresses: ['192.0.2.2'] });
    const { status: _, ...bare } = told();
    assert.equal('status' in keepOfDesired(bare, known), false);
  });
});
