import assert from 'node:assert/strict';
import { serviceAccountsAnnotation } from '../../../src/core/objects/kubernetes.ts';
import { createAccountsBehind, keepOfPod, keepOfService, keepOfSlice, type AccountsBehind, type ServiceObject, type SliceObject } from '../../../src/kubernetes/desired/accounts-behind.ts';
import type { PodObject } from '../../../src/kubernetes/desired/addressed-pods.ts';
import type { ApiObject, ObjectChange } from '../../../src/kubernetes/watch/reflection.ts';

const metadata = (name: string, more: object = {}) => ({ name, namespace: 'ns', uid: `uid-${name}`, resourceVersion: '1', ...more });
const service = (name: string, { selects = true, annotation = '' } = {}): ServiceObject =>
  keepOfService({ apiVersion: 'v1', kind: 'Service', metadata: metadata(name, annotation === '' ? {} : { annotations: { [serviceAccountsAnnotation]: annotation, other: 'x' } }), spec: selects ? { selector: { app: name } } : {} });
const slice = (name: string, of: string, pods: readonly string[]): SliceObject =>
  keepOfSlice({ metadata: metadata(name, { labels: { 'kubernetes.io/service-name': of } }), endpoints: pods.map((pod) => ({ targetRef: { kind: 'Pod', name: pod } })) });
const pod = (name: string, serviceAccountName: string, phase = 'Running'): PodObject => keepOfPod({ metadata: metadata(name), spec: { serviceAccountName }, status: { phase } });
const come = <Item extends ApiObject>(...items: readonly Item[]): ObjectChange<Item>[] => items.map((after) => ({ name: `ns/${after.metadata.name}`, before: null, after }));
const gone = <Item extends ApiObject>(...items: readonly Item[]): ObjectChange<Item>[] => items.map((before) => ({ name: `ns/${before.metadata.name}`, before, after: null }));
const become = <Item extends ApiObject>(before: Item, after: Item): ObjectChange<Item>[] => [{ name: `ns/${before.metadata.name}`, before, after }];

/** `SERVICE=ACCOUNTS` of what is told; `-SERVICE` where it is gone. */
function told(changes: readonly ObjectChange<ApiObject>[]): string[] {
  return changes.map(({ name, after }) => (after === null ? `-${name}` : `${name}=${(after.metadata as { readonly annotations?: Record<string, string> }).annotations?.[serviceAccountsAnnotation] ?? ''}`));
}

describe('the service accounts behind a Service', () => {
  let behind: AccountsBehind;
  beforeEach(() => {
    behind = createAccountsBehind();
  });

  it('are those of the pods that its slices name, in whatever order things come', () => {
    assert.deepEqual(told(behind.takePods(come(pod('p1', 'b'), pod('p2', 'a')))), []);
    assert.deepEqual(told(behind.takeSlices(come(slice('s1', 'web', ['p1'])))), []);
    assert.deepEqual(told(behind.takeServices(come(service('web')))), ['ns/web=b']);
    assert.deepEqual(told(behind.takeSlices(come(slice('s2', 'web', ['p2', 'p3'])))), ['ns/web=a,b']);
    assert.deepEqual(told(behind.takePods(come(pod('p3', 'c')))), ['ns/web=a,b,c']);
  });

  it('go with their pods and slices, and with the Service', () => {
    behind.takeServices(come(service('web')));
    behind.takePods(come(pod('p1', 'a'), pod('p2', 'b'), pod('p3', 'b')));
    behind.takeSlices(come(slice('s1', 'web', ['p1', 'p2', 'p3'])));
    assert.deepEqual(told(behind.takePods(gone(pod('p3', 'b')))), []);
    assert.deepEqual(told(behind.takePods(become(pod('p2', 'b'), pod('p2', 'b', 'Succeeded')))), ['ns/web=a']);
    assert.deepEqual(told(behind.takeSlices(become(slice('s1', 'web', ['p1']), slice('s1', 'web', [])))), ['ns/web=']);
    assert.deepEqual(told(behind.takePods(become(pod('p1', 'a'), pod('p1', 'z')))), []);
    assert.deepEqual(told(behind.takeServices(gone(service('web')))), ['-ns/web']);
  });

  it('are told once: what changes nothing about them says nothing', () => {
    behind.takeServices(come(service('web')));
    behind.takePods(come(pod('p1', 'a')));
    behind.takeSlices(come(slice('s1', 'web', ['p1'])));
    assert.deepEqual(told(behind.takeSlices(become(slice('s1', 'web', ['p1']), slice('s1', 'web', ['p1', 'p1'])))), []);
    assert.deepEqual(told(behind.takeServices(become(service('web'), service('web')))), []);
  });

  it('are what somebody wrote where it selects no pods, and not that where it does', () => {
    assert.deepEqual(told(behind.takeServices(come(service('external', { selects: false, annotation: 'a,b' }), service('web', { annotation: 'forged' })))), ['ns/external=a,b', 'ns/web=']);
  });

  it('may be shared with pods beside it', () => {
    behind.takeServices(come(service('web')));
    behind.takePods(come(pod('p1', 'default'), pod('p2', 'own'), pod('p3', 'default')));
    behind.takeSlices(come(slice('s1', 'web', ['p1', 'p2'])));
    assert.deepEqual(behind.sharedAccounts('ns/web'), ['default']);
    behind.takePods(gone(pod('p3', 'default')));
    assert.deepEqual(behind.sharedAccounts('ns/web'), []);
  });
});
