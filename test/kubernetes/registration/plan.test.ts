import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { IpAddress } from '../../../src/core/ip-address.ts';
import { schemas, type ExternalService } from '../../../src/core/objects/index.ts';
import type { TrustDomain } from '../../../src/core/spiffe-id.ts';
import { isOurs, keepOfStored, patchOf, planRegistration, saysAlready, type Action, type Existing, type Plan, type StoredObject } from '../../../src/kubernetes/registration/plan.ts';
import { registrationOf, type OwnedObject, type Registration } from '../../../src/kubernetes/registration/registration.ts';

const trustDomain = 'cluster.local' as TrustDomain;
const owner = { apiVersion: 'sallyport.dev/v1alpha1', name: 'proxy', uid: 'owner-1' };
const external = (spec: object = {}, metadata: object = {}): ExternalService =>
  schemas.ExternalService.parse({ apiVersion: 'sallyport.dev/v1alpha1', kind: 'ExternalService', metadata: { name: 'proxy', namespace: 'bookinfo', ...metadata }, spec: { addresses: ['192.0.2.7'], ports: [{ port: 3128 }], ...spec } });
const registered = (addresses: readonly string[] | null = ['192.0.2.7'], spec?: object, metadata?: object): Registration => registrationOf(external(spec, metadata), owner, addresses as readonly IpAddress[] | null, trustDomain);

type Json = Readonly<Record<string, unknown>>;

/** RFC 7396. */
function merge(target: unknown, patch: unknown): unknown {
  if (typeof patch !== 'object' || patch === null || Array.isArray(patch)) return patch;
  const fields: Json = typeof target === 'object' ? { ...target } : {};
  const merged = Object.entries(patch).map(([name, value]) => [name, value === null ? undefined : merge(fields[name], value)] as const);
  return Object.fromEntries(Object.entries({ ...fields, ...Object.fromEntries(merged) }).filter(([, value]) => value !== undefined));
}

let versions = 0;
/** As the API server stores what it is sent: with a version, who has written which label, and what it fills in. */
function stored(object: OwnedObject, writer = 'sallyport'): StoredObject {
  versions += 1;
  const { labels = {}, annotations = {} } = object.metadata;
  const fields = (names: object): object => Object.fromEntries(['.', ...Object.keys(names).map((name) => `f:${name}`)].map((name) => [name, {}]));
  const written = { manager: writer, fieldsV1: { 'f:metadata': { 'f:labels': fields(labels), 'f:annotations': fields(annotations) } } };
  const filledIn = object.kind === 'Service' ? { spec: { clusterIP: '10.0.0.7', sessionAffinity: 'None' } } : {};
  return merge(filledIn, merge(merge({}, object), { metadata: { uid: `uid-${versions}`, resourceVersion: String(versions), managedFields: [written] } })) as StoredObject;
}

/** What comes of the actions, as the API server would do them. */
function perform(objects: readonly StoredObject[], actions: readonly Action[]): readonly StoredObject[] {
  let now = [...objects];
  for (const action of actions) {
    const found = now.find(({ kind, metadata }) => kind === action.object.kind && metadata.name === action.object.metadata.name);
    if (action.type === 'create') {
      assert.equal(found, undefined, 'nothing is created that is there');
      now.push(stored(action.object));
      continue;
    }
    assert.equal(found, action.object);
    now = now.filter((object) => object !== found);
    if (action.type === 'change') now.push({ ...stored(merge(found, { ...action.patch, metadata: { ...(action.patch as { metadata: object }).metadata, managedFields: null } }) as StoredObject) });
  }
  return now;
}

const existingOf = (objects: readonly StoredObject[]): Existing => ({ service: objects.find(({ kind }) => kind === 'Service') ?? null, slices: objects.filter(({ kind }) => kind === 'EndpointSlice') });
const planFor = (objects: readonly StoredObject[], wanted: Registration | null) => planRegistration('proxy', existingOf(objects), wanted);
const inWords = (actions: readonly Action[]): readonly string[] => actions.map(({ type, object }) => `${type} ${object.kind} ${object.metadata.name}`);
const storedAll = ({ service, slices }: Registration): readonly StoredObject[] => [service, ...(slices ?? [])].map((object) => stored(object));
const changed = (object: StoredObject, patch: object): StoredObject => merge(object, patch) as StoredObject;

describe('the plan of a registration', () => {
  it('creates what is missing, the Service before what leads to it', () => {
    assert.deepEqual(inWords(planFor([], registered(['192.0.2.7', '2001:db8::1'])).actions), ['create Service proxy', 'create EndpointSlice proxy-ipv4', 'create EndpointSlice proxy-ipv6']);
  });

  it('does nothing where all is as wanted, whatever the API server has filled in', () => assert.deepEqual(planFor(storedAll(registered()), registered()).actions, []));

  it('changes what differs only, and deletes what is not wanted any more', () => {
    const before = storedAll(registered(['192.0.2.7', '2001:db8::1']));
    assert.deepEqual(inWords(planFor(before, registered(['192.0.2.8'])).actions), ['change EndpointSlice proxy-ipv4', 'delete EndpointSlice proxy-ipv6']);
    assert.deepEqual(inWords(planFor(before, null).actions), ['delete EndpointSlice proxy-ipv4', 'delete EndpointSlice proxy-ipv6', 'delete Service proxy']);
  });

  it('leaves the slices as they are while the addresses are not known', () => assert.deepEqual(inWords(planFor(storedAll(registered()), registered(null, { ports: [{ port: 21 }] })).actions), ['change Service proxy']));

  it('puts back what somebody has changed', () => {
    const [service, slice] = storedAll(registered()) as [StoredObject, StoredObject];
    for (const patch of [{ spec: { selector: { app: 'x' } } }, { spec: { type: 'LoadBalancer' } }, { spec: { externalIPs: ['192.0.2.1'] } }, { spec: { ports: [] } }, { metadata: { ownerReferences: null } }]) {
      assert.deepEqual(inWords(planFor([changed(service, patch), slice], registered()).actions), ['change Service proxy'], JSON.stringify(patch));
    }
    for (const patch of [{ endpoints: [] }, { endpoints: [{ addresses: ['192.0.2.7'], conditions: { ready: false } }] }, { metadata: { labels: { 'kubernetes.io/service-name': 'other' } } }, { ports: null }]) {
      assert.deepEqual(inWords(planFor([service, changed(slice, patch)], registered()).actions), ['change EndpointSlice proxy-ipv4'], JSON.stringify(patch));
    }
    assert.deepEqual(inWords(planFor([service, changed(slice, { addressType: 'FQDN' })], registered()).actions), ['delete EndpointSlice proxy-ipv4'], 'which cannot be changed');
  });

  it('leaves labels and annotations alone that others have added, and takes back its own', () => {
    const service = stored(registered(['192.0.2.7'], { subjectAltNames: ['spiffe://cluster.local/ns/bookinfo/sa/a'] }, { labels: { apps: 'bigip', tier: 'edge' } }).service);
    const annotated = changed(service, { metadata: { labels: { theirs: 'x' }, annotations: { 'networking.istio.io/exportTo': '.' } } });
    const patch = patchOf(annotated, registered(undefined, {}, { labels: { tier: 'edge' } }).service);
    const { metadata } = merge(annotated, patch) as StoredObject;
    assert.deepEqual(metadata.labels, { 'tier': 'edge', 'app.kubernetes.io/managed-by': 'sallyport.dev', 'theirs': 'x' });
    assert.deepEqual(metadata.annotations, { 'networking.istio.io/exportTo': '.' });
  });

  it('holds for the version that was looked at only', () => {
    const [, slice] = storedAll(registered()) as [StoredObject, StoredObject];
    const patch = patchOf(slice, registered(['192.0.2.8']).slices![0]!) as { readonly metadata: { readonly resourceVersion: string } };
    assert.equal(patch.metadata.resourceVersion, slice.metadata.resourceVersion);
  });

  it('waits for what is being deleted', () => {
    const [service, slice] = storedAll(registered()).map((object) => changed(object, { metadata: { deletionTimestamp: '2026-01-01T00:00:00Z' } })) as [StoredObject, StoredObject];
    assert.deepEqual(planFor([service, slice], registered(['192.0.2.8'])).actions, []);
    assert.deepEqual(planFor([stored(registered().service), slice], registered(['192.0.2.8'])).actions, []);
    assert.deepEqual(planFor([service, slice], null).actions, []);
  });

  it("takes its slices off a Service that is somebody else's, and does no more about that", () => {
    const [service, slice] = storedAll(registered()) as [StoredObject, StoredObject];
    const theirs = changed(service, { metadata: { labels: { 'app.kubernetes.io/managed-by': 'Helm' } } });
    const { actions, stranger } = planFor([theirs, slice], registered(['192.0.2.8']));
    assert.deepEqual(inWords(actions), ['delete EndpointSlice proxy-ipv4']);
    assert.equal(stranger, theirs);
    assert.deepEqual(planFor([theirs], null), { actions: [], stranger: null });
  });

  it('never takes over what somebody else has made', () => {
    const service = stored(registered().service);
    const by = (patch: object): StoredObject => changed(service, { metadata: patch });
    const reference = (patch: object): object => ({ ownerReferences: [{ ...service.metadata.ownerReferences![0]!, ...patch }] });
    assert.equal(isOurs(service, 'proxy'), true);
    assert.equal(isOurs(by({ ownerReferences: null }), 'proxy'), true);
    assert.equal(isOurs(by({ labels: null }), 'proxy'), false);
    assert.equal(isOurs(by({ labels: { 'app.kubernetes.io/managed-by': 'Helm' } }), 'proxy'), false);
    assert.equal(isOurs(by(reference({ uid: 'older' })), 'proxy'), true, 'the same, deleted and made anew');
    assert.equal(isOurs(by(reference({ apiVersion: 'externalservice.example.com/v1alpha1' })), 'proxy'), true, 'the older form');
    assert.equal(isOurs(by(reference({ name: 'other' })), 'proxy'), false);
    assert.equal(isOurs(by(reference({ kind: 'Deployment', apiVersion: 'apps/v1' })), 'proxy'), false);
    const selecting = { ...registered().service, spec: { selector: { app: 'sallyport' } } };
    assert.equal(isOurs(stored(selecting, 'kubectl'), 'proxy'), false, 'a Service of pods with our label');
    assert.equal(isOurs(stored(selecting), 'proxy'), true, 'ours, to which somebody has added a selector');
  });

  it('finds that an object says something already where every field of a patch is there, and none that is not to be', () => {
    const rows: readonly (readonly [unknown, unknown, boolean])[] = [
      [{ a: 1, b: 2 }, { a: 1 }, true],
      [{ a: 1 }, { a: 2 }, false],
      [{}, { a: null }, true],
      [{ a: 1 }, { a: null }, false],
      [{}, { a: {} }, true],
      [{}, { a: { b: 1 } }, false],
      [{ a: 'x' }, { a: { b: 1 } }, false],
      [{ a: [{ b: 1, c: 2 }] }, { a: [{ b: 1 }] }, true],
      [{ a: [{ b: 1 }, { b: 2 }] }, { a: [{ b: 1 }] }, false],
      [{}, { a: [] }, false],
    ];
    for (const [known, patch, expected] of rows) assert.equal(saysAlready(known, patch), expected, JSON.stringify([known, patch]));
  });
});

describe('the plan of a registration, from whatever there is', () => {
  const anyRegistration = fc
    .record({ addresses: fc.option(fc.subarray(['192.0.2.7', '192.0.2.8', '2001:db8::1']), { nil: null }), port: fc.constantFrom(21, 3128), labels: fc.dictionary(fc.constantFrom('a', 'b'), fc.constantFrom('x', 'y')), account: fc.option(fc.constantFrom('s', 't'), { nil: undefined }) })
    .map(({ addresses, port, labels, account }) => registered(addresses, { ports: [{ port }], ...(account === undefined ? {} : { subjectAltNames: [`spiffe://cluster.local/ns/bookinfo/sa/${account}`] }) }, { labels }));
  const anyAlteration = fc.constantFrom<object>(
    {},
    { metadata: { labels: { a: 'z', theirs: 'x' } } },
    { metadata: { annotations: { note: 'x' }, ownerReferences: null } },
    { spec: { selector: { app: 'x' }, type: 'NodePort' } },
    { endpoints: [{ addresses: ['203.0.113.9'] }], ports: [], addressType: 'IPv6' },
    { metadata: { labels: { 'app.kubernetes.io/managed-by': 'Helm' } } },
    { metadata: { labels: null } },
    { metadata: { ownerReferences: [{ apiVersion: 'apps/v1', kind: 'Deployment', name: 'x', uid: 'x', controller: true }] } },
    { metadata: { deletionTimestamp: '2026-01-01T00:00:00Z' } },
  );
  const anyObjects = fc
    .tuple(anyRegistration, fc.array(fc.record({ alteration: anyAlteration, isThere: fc.boolean(), name: fc.constantFrom(undefined, 'proxy-ipv4-2', 'proxy-old') }), { minLength: 4, maxLength: 4 }))
    .map(([registration, fates]) =>
      [registration.service, ...(registration.slices ?? [])].flatMap((object, index) => {
        const { alteration, isThere, name } = fates[index]!;
        return isThere ? [changed(stored(object), merge(alteration, object.kind === 'Service' || name === undefined ? {} : { metadata: { name } }) as object)] : [];
      }),
    )
    .map((objects) => [...new Map(objects.map((object) => [`${object.kind} ${object.metadata.name}`, object])).values()]);

  it('is the same by what is kept of each object', () => {
    const told = ({ actions, stranger }: Plan) => ({ actions: actions.map(({ object, ...action }) => ({ ...action, object: object.metadata.name })), stranger: stranger?.metadata.name });
    fc.assert(fc.property(anyObjects, fc.option(anyRegistration, { nil: null }), (objects, wanted) => assert.deepEqual(told(planFor(objects.map(keepOfStored), wanted)), told(planFor(objects, wanted)))));
  });

  it('comes to what is wanted, touches nothing of others, and then does nothing more', () => {
    fc.assert(
      fc.property(anyObjects, fc.option(anyRegistration, { nil: null }), (objects, wanted) => {
        const strangers = objects.filter((object) => !isOurs(object, 'proxy'));
        let now: readonly StoredObject[] = objects;
        for (let round = 0; ; round += 1) {
          assert.ok(round < 4, JSON.stringify(planFor(now, wanted)));
          const { actions } = planFor(now, wanted);
          now = perform(now, actions);
          const going = now.filter((object) => isOurs(object, 'proxy') && object.metadata.deletionTimestamp !== undefined);
          if (actions.length === 0 && going.length === 0) break;
          now = now.filter((object) => !going.includes(object));
        }
        for (const stranger of strangers) assert.ok(now.includes(stranger));
        const isBarred = now.some((object) => object.kind === 'Service' && strangers.includes(object));
        const expected = wanted === null || isBarred ? [] : [wanted.service, ...(wanted.slices ?? [])];
        for (const object of expected) {
          const found = now.find(({ kind, metadata }) => kind === object.kind && metadata.name === object.metadata.name);
          assert.ok(found !== undefined && (strangers.includes(found) || patchOf(found, object) === null), `${object.kind} ${object.metadata.name}`);
        }
        if (wanted?.slices === null && !isBarred) return;
        const ours = now.filter((object) => isOurs(object, 'proxy'));
        assert.deepEqual(ours.filter(({ kind, metadata }) => !expected.some((object) => object.kind === kind && object.metadata.name === metadata.name)), []);
      }),
    );
  });
});
