import assert from 'node:assert/strict';
import { applyChange, emptyDesiredState } from '../../../src/core/desired-state.ts';
import { schemas, type DesiredObject } from '../../../src/core/objects/index.ts';
import { sharedAccountWarnings } from '../../../src/kubernetes/operator/shared-accounts.ts';

const object = (kind: 'EgressPolicy' | 'SnatBinding', name: string, spec: object): DesiredObject => schemas[kind].parse({ apiVersion: 'sallyport.dev/v1alpha1', kind, metadata: { name, namespace: 'shop' }, spec });

describe('service accounts that other pods run under too', () => {
  const desired = applyChange(emptyDesiredState, {
    put: [
      object('SnatBinding', 'by-service', { subject: { service: { name: 'web' } }, pool: 'p' }),
      object('SnatBinding', 'by-account', { subject: { namespace: 'shop', serviceAccount: 'default' }, pool: 'p' }),
      object('EgressPolicy', 'by-service', { subjects: [{ namespace: 'shop' }, { service: { namespace: 'other', name: 'api' } }], to: [{ service: 's' }] }),
    ],
    remove: [],
  });

  it('are told of bindings and policies that name a Service, with their place', () => {
    const found = sharedAccountWarnings(desired, (service) => (service === 'shop/web' ? ['default'] : service === 'other/api' ? ['a', 'b'] : []));
    assert.deepEqual(found.map(({ code, object: ref, path }) => [code, ref?.kind, path]), [['subject-account-shared', 'SnatBinding', ['spec', 'subject']], ['subject-account-shared', 'EgressPolicy', ['spec', 'subjects', 1]]]);
    assert.match(found[0]!.message, /"shop\/web".*default/);
  });

  it('are not told of where each pod has its own', () => {
    assert.deepEqual(sharedAccountWarnings(desired, () => []), []);
  });
});
