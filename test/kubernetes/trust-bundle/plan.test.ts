import assert from 'node:assert/strict';
import { planTrustBundle, type ConfigMapFacts } from '../../../src/kubernetes/trust-bundle/plan.ts';
import type { ApiObject } from '../../../src/kubernetes/watch/reflection.ts';

const namespace: ApiObject = { metadata: { name: 'bookinfo', uid: 'n', resourceVersion: '1' } };
const ours: ConfigMapFacts = { metadata: { name: 'sallyport-trust-bundle', namespace: 'bookinfo', uid: 'c', resourceVersion: '7', labels: { 'app.kubernetes.io/managed-by': 'sallyport.dev' } }, data: { 'trust-bundle.pem': 'anchors' } };
const going = <Item extends ApiObject>(item: Item): Item => ({ ...item, metadata: { ...item.metadata, deletionTimestamp: '2026-11-21T00:00:00Z' } });

describe('what is to be done for a namespace to have the trust bundle', () => {
  it('is nothing where it has it', () => {
    assert.equal(planTrustBundle(namespace, ours, 'anchors'), null);
  });

  it('is to make it where it is not', () => {
    assert.deepEqual(planTrustBundle(namespace, undefined, 'anchors'), {
      type: 'create',
      body: { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'sallyport-trust-bundle', labels: { 'app.kubernetes.io/managed-by': 'sallyport.dev' } }, data: { 'trust-bundle.pem': 'anchors' } },
    });
  });

  for (const [what, existing, data] of [
    ['other anchors', { ...ours, data: { 'trust-bundle.pem': 'old anchors' } }, { 'trust-bundle.pem': 'anchors' }],
    ['none', { ...ours, data: {} }, { 'trust-bundle.pem': 'anchors' }],
    ['more than that', { ...ours, data: { 'trust-bundle.pem': 'anchors', note: 'a' } }, { note: null, 'trust-bundle.pem': 'anchors' }],
    ['more than that, which is no text', { ...ours, binaryData: { note: 'YQ==' } }, { 'trust-bundle.pem': 'anchors' }],
  ] as const) {
    it(`is to change it as it is known where it has ${what}`, () => {
      assert.deepEqual(planTrustBundle(namespace, existing, 'anchors'), { type: 'change', body: { metadata: { resourceVersion: '7' }, data, binaryData: null } });
    });
  }

  it('is nothing where somebody else has that name', () => {
    for (const labels of [{}, { 'app.kubernetes.io/managed-by': 'Helm' }]) assert.equal(planTrustBundle(namespace, { ...ours, metadata: { ...ours.metadata, labels } }, 'anchors'), 'taken');
  });

  it('is nothing while the namespace, or what is in it under that name, is going', () => {
    assert.equal(planTrustBundle(undefined, undefined, 'anchors'), null);
    assert.equal(planTrustBundle(going(namespace), undefined, 'anchors'), null);
    assert.equal(planTrustBundle(going(namespace), { ...ours, data: {} }, 'anchors'), null);
    assert.equal(planTrustBundle(namespace, going({ ...ours, data: {} }), 'anchors'), null);
  });
});
