import assert from 'node:assert/strict';
import { build } from '../../../src/core/plan/build.ts';
import { applyChange, emptyDesiredState } from '../../../src/core/desired-state.ts';
import { parseManifests } from '../../../src/core/manifest/manifest.ts';
import type { Revision } from '../../../src/core/plan/plan.ts';
import { concernedBy, createPlanOrder, enforcementOf, type Published } from '../../../src/kubernetes/operator/enforcement.ts';
import { trustDomain } from '../../core/world.ts';

const [r1, r2, r3] = ['r1', 'r2', 'r3'] as unknown as [Revision, Revision, Revision];
const known = new Map<string, number>([[r1, 1], [r2, 2], [r3, 3]]);
const published = (revision: Revision, held: Readonly<Record<string, Revision>>, orders = known): Published => ({ revision, orderOf: (each) => orders.get(each), heldBy: (gateway) => held[gateway] ?? null });

describe('the enforcement of an object', () => {
  it('begins with the plan that is in force, and is of the gateways that have it', () => {
    assert.deepEqual(enforcementOf(null, ['b', 'a', 'b'], published(r2, { a: r2, b: r1 })), { revision: r2, gateways: [{ name: 'a', revision: r2 }, { name: 'b', revision: null }] });
  });

  it('says of a gateway the first plan with it that was taken, whatever comes after', () => {
    const first = enforcementOf(null, ['a', 'b'], published(r1, { a: r1 }));
    const second = enforcementOf(first, ['a', 'b'], published(r2, { a: r2, b: r2 }));
    assert.deepEqual(second, { revision: r1, gateways: [{ name: 'a', revision: r1 }, { name: 'b', revision: r2 }] });
    assert.deepEqual(enforcementOf(second, ['a', 'b'], published(r3, { a: r3, b: r3 })), second);
  });

  it('is not of a gateway that holds a plan from before it, nor one that is not known', () => {
    const since = { revision: r2, gateways: [] };
    assert.deepEqual(enforcementOf(since, ['a', 'b', 'c'], published(r3, { a: r1, b: 'unheard of' as Revision, c: r2 })).gateways.map(({ revision }) => revision), [null, null, r2]);
  });

  it('goes on under a new leader, who knows of earlier plans by the status alone', () => {
    const before = { revision: r1, gateways: [{ name: 'a', revision: r1 }, { name: 'b', revision: null }] };
    const orders = new Map<string, number>([[r3, 1]]);
    assert.deepEqual(enforcementOf(before, ['a', 'b'], published(r3, { a: r3 }, orders)), before);
    assert.deepEqual(enforcementOf(before, ['a', 'b'], published(r3, { b: r3 }, orders)).gateways, [{ name: 'a', revision: r1 }, { name: 'b', revision: r3 }]);
  });

  it('goes by the order of the plans of which the last thousand are remembered; one that comes back is the latest', () => {
    const order = createPlanOrder();
    for (const revision of ['a', 'b', 'a', 'c']) order.note(revision);
    assert.ok(order.orderOf('b')! < order.orderOf('a')! && order.orderOf('a')! < order.orderOf('c')!);
    for (let plan = 0; plan < 998; plan += 1) order.note(`p${plan}`);
    assert.deepEqual(['b', 'a', 'c'].map((revision) => order.orderOf(revision) !== undefined), [false, true, true]);
  });

  it('concerns the gateways of the services that it is about', () => {
    const text = `
apiVersion: sallyport.dev/v1alpha1
kind: EgressGateway
metadata: {name: east}
spec: {class: sallyport, listen: [{address: 10.4.0.10, port: 15443}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: EgressGateway
metadata: {name: west}
spec: {class: sallyport, listen: [{address: 10.4.0.11, port: 15443}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatPool
metadata: {name: pool}
spec: {addresses: [10.5.0.0/24]}
---
apiVersion: sallyport.dev/v1alpha1
kind: ExternalService
metadata: {name: one, namespace: a}
spec: {gateway: east, addresses: [192.0.2.1], ports: [{port: 80, protocol: TCP}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: ExternalService
metadata: {name: two, namespace: a}
spec: {gateway: west, addresses: [192.0.2.2], ports: [{port: 81, protocol: TCP}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: EgressPolicy
metadata: {name: both, namespace: a}
spec: {subjects: [{namespace: a}], to: [{service: one}, {service: two}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: EgressPolicy
metadata: {name: west, namespace: a}
spec: {subjects: [{namespace: b}], to: [{service: two}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatBinding
metadata: {name: b, namespace: b}
spec: {subject: {namespace: b}, pool: pool}`;
    const { objects } = parseManifests([{ file: 'world.yaml', text }]);
    const built = build(applyChange(emptyDesiredState, { put: objects.map(({ object }) => object), remove: [] }), [], { trustDomain, now: 0 });
    assert.ok(built.ok);
    const { services, policies, bindings } = concernedBy(built.plan);
    const shown = (of: ReadonlyMap<string, ReadonlySet<string>>) => Object.fromEntries([...of].map(([key, gateways]) => [key, [...gateways].sort().join()]));
    assert.deepEqual([shown(services), shown(policies), shown(bindings)], [{ 'a/one': 'east', 'a/two': 'west' }, { 'a/both': 'east,west', 'a/west': 'west' }, { 'b/b': 'west' }]);
  });
});
