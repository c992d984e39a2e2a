import assert from 'node:assert/strict';
import fc from 'fast-check';
import { applyChange, describeRef, emptyDesiredState, type DesiredState } from '../../../src/core/desired-state.ts';
import { build } from '../../../src/core/plan/build.ts';
import { collect, emptyCollection, isAccepted, readSource, rivalFaults, standingsOf, type Collection } from '../../../src/kubernetes/desired/collection.ts';
import type { ApiObject } from '../../../src/kubernetes/watch/reflection.ts';
import { trustDomain } from '../../core/world.ts';

interface Told {
  readonly name: string;
  readonly namespace?: string;
  readonly spec: object;
  readonly createdAt?: number;
  readonly accepted?: boolean;
}

const apiObject = (apiVersion: string, kind: string, { name, namespace, spec, createdAt = 0, accepted = false }: Told) =>
  ({
    apiVersion,
    kind,
    metadata: { name, uid: `${kind}-${name}`, resourceVersion: '1', generation: 3, creationTimestamp: new Date(createdAt).toISOString(), managedFields: [], ...(namespace === undefined ? {} : { namespace }) },
    spec,
    status: accepted ? { conditions: [{ type: 'Accepted', status: 'True', observedGeneration: 3 }] } : {},
  }) as ApiObject;
const pool = (told: Told) => apiObject('sallyport.dev/v1alpha1', 'SnatPool', told);
const older = (name: string, address: string, more: Partial<Told> = {}) =>
  apiObject('externalservice.example.com/v1alpha1', 'ExternalService', { name, namespace: 'default', spec: { targetIP: '192.0.2.7', sources: [{ service: { namespace: 'ns1', name: 's1' }, sourceIP: address }], ports: [{ port: 8000 }] }, ...more });

const nothing = emptyCollection('sallyport-system');

function gather(...objects: readonly ApiObject[]): { readonly collection: Collection; readonly desired: DesiredState } {
  const { collection, change } = collect(nothing, objects.map((after) => ({ name: after.metadata.name, before: null, after })));
  return { collection, desired: applyChange(emptyDesiredState, change) };
}

describe('desired state out of custom resources', () => {
  it('is what the same objects say in a file', () => {
    const { desired } = gather(pool({ name: 'eu', spec: { addresses: ['192.0.2.0/30'] } }));
    assert.deepEqual([...desired.SnatPool.values()].map(({ metadata, spec }) => [metadata, spec.quarantine]), [[{ name: 'eu' }, 86_400_000]]);
  });

  it('leaves out what cannot be read, and says why, with the place', () => {
    const { collection, desired } = gather(pool({ name: 'eu', spec: { addresses: ['192.0.2.9-192.0.2.1'] } }), pool({ name: 'us', spec: { addresses: ['192.0.2.1'] } }));
    assert.deepEqual([...desired.SnatPool.keys()], ['us']);
    const [source] = [...collection.sources.values()];
    assert.deepEqual(source!.faults.map(({ code, path, object }) => [code, path, object]), [['address-invalid', ['spec', 'addresses', 0], { kind: 'SnatPool', namespace: '', name: 'eu' }]]);
  });

  it('is not read again of what says the same, as after each change of a status', () => {
    const first = pool({ name: 'eu', spec: { addresses: ['192.0.2.1'] } });
    const isReadAgain = (after: ApiObject): boolean => {
      const { collection } = gather(first);
      const [before] = [...collection.sources.values()];
      const [source] = [...collect(collection, [{ name: 'eu', before: first, after }]).collection.sources.values()];
      assert.equal(source!.apiObject, after);
      return source!.objects !== before!.objects;
    };
    assert.equal(isReadAgain({ ...first, status: { conditions: [] } } as ApiObject), false);
    assert.equal(isReadAgain({ ...first, spec: { addresses: ['192.0.2.1'] } } as ApiObject), true, 'whoever gives another spec may say something else');
    assert.equal(isReadAgain({ ...first, metadata: { ...first.metadata, labels: { a: 'b' } } } as ApiObject), true);
  });

  it('keeps what an object said before, where it has become unreadable, and also what only its status has kept of it', () => {
    const good = pool({ name: 'eu', spec: { addresses: ['192.0.2.1'] } });
    const bad = pool({ name: 'eu', spec: { addresses: ['192.0.2.9-192.0.2.1'] } });
    const addresses = (of: Collection) => [...of.sources.values()].flatMap(({ objects, faults }) => objects.map((object) => [object.kind === 'SnatPool' && object.spec.addresses.map(({ text }) => text).join(), faults.length]));
    const { collection } = gather(good);
    const { collection: after, change } = collect(collection, [{ name: 'eu', before: good, after: bad }]);
    assert.deepEqual(change, { put: [], remove: [] });
    assert.deepEqual(addresses(after), [['192.0.2.1', 1]]);
    assert.deepEqual(addresses(collect(after, [{ name: 'eu', before: bad, after: good }]).collection), [['192.0.2.1', 0]]);
    assert.deepEqual(addresses(gather({ ...bad, status: { inForce: { spec: { addresses: ['192.0.2.3'] } } } } as ApiObject).collection), [['192.0.2.3', 1]]);
  });

  it('takes the older form in whatever namespace, as of its own', () => {
    const { desired } = gather(older('partner', '192.0.2.1'));
    assert.deepEqual([[...desired.ExternalService.keys()], [...desired.SnatPool.keys()]], [['external-services/partner'], ['older-192.0.2.1']]);
  });

  it('lets the older form speak about everyone, from the root namespace', () => {
    const { desired } = gather(older('partner', '192.0.2.1'));
    assert.deepEqual([[...desired.EgressPolicy.keys()], [...desired.SnatBinding.keys()]], [['sallyport-system/partner'], ['sallyport-system/partner.ns1.s1']]);
    assert.ok(build(desired, [], { trustDomain, now: 0, rootNamespace: 'sallyport-system' }).ok);
  });

  it('keeps what two say alike until neither does', () => {
    const [a, b] = [older('a', '192.0.2.1'), older('b', '192.0.2.1')];
    const { collection, desired } = gather(a, b);
    const without = collect(collection, [{ name: 'default/a', before: a, after: null }]);
    assert.deepEqual([...applyChange(desired, without.change).SnatPool.keys()], ['older-192.0.2.1']);
    const empty = collect(without.collection, [{ name: 'default/b', before: b, after: null }]);
    assert.equal(applyChange(applyChange(desired, without.change), empty.change).SnatPool.size, 0);
    assert.equal(empty.collection.makers.size, 0);
  });

  const [first, second] = [pool({ name: 'older-192.0.2.1', spec: { addresses: ['192.0.2.1', '192.0.2.2'] }, createdAt: 2_000 }), older('a', '192.0.2.1', { createdAt: 1_000 })];
  it('lets the older speak where two say otherwise of one, and the other hear of it', () => {
    const { collection, desired } = gather(first, second);
    assert.equal(desired.SnatPool.get('older-192.0.2.1')!.spec.addresses.length, 1);
    assert.deepEqual([...collection.sources.values()].map((source) => rivalFaults(collection, source).map(({ code }) => code)), [['object-duplicate'], []]);
  });

  it('but what is in force before it', () => {
    const { desired } = gather({ ...first, status: { conditions: [{ type: 'Accepted', status: 'True', observedGeneration: 3 }] } } as ApiObject, second);
    assert.equal(desired.SnatPool.get('older-192.0.2.1')!.spec.addresses.length, 2);
  });

  it('counts an object as in force by the generation that its status speaks of', () => {
    const object = pool({ name: 'eu', spec: { addresses: ['192.0.2.1'] }, accepted: true });
    assert.equal(isAccepted(readSource(object, 'sallyport-system')), true);
    assert.equal(isAccepted(readSource({ ...object, metadata: { ...object.metadata, generation: 4 } }, 'sallyport-system')), false);
    const { collection } = gather(object);
    assert.deepEqual(standingsOf(collection, () => null)({ kind: 'SnatPool', namespace: '', name: 'eu' }), { isAccepted: true, createdAt: 0, fallback: null });
  });

  it('is the same by whatever way it came to be', () => {
    const someObject = fc.oneof(
      fc.record({ name: fc.constantFrom('a', 'b'), address: fc.constantFrom('192.0.2.1', '192.0.2.2'), createdAt: fc.nat(3) }).map(({ name, address, createdAt }) => older(name, address, { createdAt: createdAt * 1_000 })),
      fc.record({ name: fc.constantFrom('older-192.0.2.1', 'eu'), address: fc.constantFrom('192.0.2.1', '192.0.2.2', 'nonsense'), createdAt: fc.nat(3), accepted: fc.boolean() }).map(({ name, address, createdAt, accepted }) => pool({ name, spec: { addresses: [address] }, createdAt: createdAt * 1_000, accepted })),
    );
    /** As the control plane writes it into the status of what has become unreadable. */
    const withInForce = (object: ApiObject, before: ApiObject | null): ApiObject => {
      const { objects } = before === null ? { objects: [] } : [...gather(before).collection.sources.values()][0]!;
      const [said] = objects;
      return readSource(object, 'sallyport-system').faults.length === 0 || said?.kind !== 'SnatPool' ? object : ({ ...object, status: { ...(object as { readonly status?: object }).status, inForce: { spec: { addresses: said.spec.addresses.map(({ text }) => text) } } } } as ApiObject);
    };
    const nameIn = ({ kind, metadata }: ApiObject): string => `${kind ?? ''} ${metadata.name}`;
    fc.assert(
      fc.property(fc.array(fc.tuple(someObject, fc.boolean()), { maxLength: 25 }), (steps) => {
        const held = new Map<string, ApiObject>();
        let collection: Collection = nothing;
        let desired = emptyDesiredState;
        for (const [object, isGone] of steps) {
          const before = held.get(nameIn(object)) ?? null;
          if (isGone && before === null) continue;
          const after = isGone ? null : withInForce(object, before);
          if (after === null) held.delete(nameIn(object));
          else held.set(nameIn(object), after);
          const step = collect(collection, [{ name: object.metadata.name, before, after }]);
          collection = step.collection;
          desired = applyChange(desired, step.change);
        }
        const fresh = gather(...held.values());
        const contentOf = (state: DesiredState) => Object.values(state).flatMap((objects) => [...(objects as DesiredState['SnatPool']).values()]).map((object) => JSON.stringify([describeRef({ kind: object.kind, namespace: '', name: object.metadata.name }), object.spec], (_, value: unknown) => (typeof value === 'bigint' ? String(value) : value))).sort();
        assert.deepEqual(contentOf(desired), contentOf(fresh.desired));
        assert.deepEqual([...collection.sources.keys()].sort(), [...fresh.collection.sources.keys()].sort());
      }),
      { numRuns: 300 },
    );
  });
});
