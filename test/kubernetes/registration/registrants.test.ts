import assert from 'node:assert/strict';
import { applyChange, emptyDesiredState } from '../../../src/core/desired-state.ts';
import { collect, emptyCollection } from '../../../src/kubernetes/desired/collection.ts';
import { registrantsOf } from '../../../src/kubernetes/registration/registrants.ts';
import { nameOf, type ApiObject } from '../../../src/kubernetes/watch/reflection.ts';

describe('who is to be registered', () => {
  const ownersOf = (...objects: readonly object[]) => {
    const { collection, change } = collect(emptyCollection('sallyport-system'), (objects as readonly ApiObject[]).map((after) => ({ name: nameOf(after), before: null, after })));
    return [...registrantsOf(applyChange(emptyDesiredState, change).ExternalService, collection)].map(([key, { owner }]) => [key, owner]);
  };
  const service = (metadata: object = {}) => ({ apiVersion: 'sallyport.dev/v1alpha1', kind: 'ExternalService', metadata: { namespace: 'bookinfo', name: 'proxy', uid: 'u', resourceVersion: '1', ...metadata }, spec: { addresses: ['192.0.2.7'], ports: [{ port: 21 }] } });
  const older = (namespace: string) => ({
    apiVersion: 'externalservice.example.com/v1alpha1',
    kind: 'ExternalService',
    metadata: { namespace, name: 'proxy', uid: 'o', resourceVersion: '1' },
    spec: { targetIP: '192.0.2.7', sources: [{ service: { namespace: 'ns1', name: 's1' }, sourceIP: '192.0.2.9' }], ports: [{ port: 8000 }] },
  });

  it('is every external service, for the custom resource that says it', () => assert.deepEqual(ownersOf(service()), [['bookinfo/proxy', { apiVersion: 'sallyport.dev/v1alpha1', name: 'proxy', uid: 'u' }]]));

  it('is for nobody where the custom resource is in another namespace, as the older form mostly is', () => {
    assert.deepEqual(ownersOf(older('default')), [['external-services/proxy', null]]);
    assert.deepEqual(ownersOf(older('external-services')), [['external-services/proxy', { apiVersion: 'externalservice.example.com/v1alpha1', name: 'proxy', uid: 'o' }]]);
  });

  it('is nobody who is being deleted, which may wait for its Service to go', () => assert.deepEqual(ownersOf(service({ deletionTimestamp: '2026-01-01T00:00:00Z' })), []));
});
