import assert from 'node:assert/strict';
import fc from 'fast-check';
import { accept, type Standing } from '../../../src/core/plan/acceptance.ts';
import { build } from '../../../src/core/plan/build.ts';
import { describeRef, keyOf, refOf } from '../../../src/core/desired-state.ts';
import type { DesiredObject } from '../../../src/core/objects/index.ts';
import { binding, externalService, gateway, policy, pool, state, trustDomain } from '../world.ts';
import { ground, rootNamespace, someObjects as anyObjects, someTenantsObject, tenantsGround } from './random-world.ts';

const context = { now: 0, trustDomain };

/** Objects with what is known of them; by default new, all of one moment. */
function play(...objects: readonly (DesiredObject | readonly [DesiredObject, Partial<Standing>])[]) {
  const entries = objects.map((each) => ('kind' in each ? ([each, {}] as const) : each));
  const standings = new Map(entries.map(([object, standing]) => [describeRef(refOf(object)), { isAccepted: false, createdAt: 0, fallback: null, ...standing }]));
  const acceptance = accept(state(...entries.map(([object]) => object)), [], context, (ref) => standings.get(describeRef(ref))!);
  return {
    ...acceptance,
    refusals: Object.fromEntries([...acceptance.refused].map(([name, { faults, fellBack }]) => [name, `${faults.map(({ code }) => code).join()}${fellBack ? ', as it was' : ''}`])),
  };
}

const world = [gateway('gw'), pool('eu', ['192.0.2.1-192.0.2.9'])] as const;
const taken = { serverNames: ['partner.example.com'] };

describe('acceptance of objects that came one by one', () => {
  it('takes all where all is well', () => {
    const { refused, desired, plan } = play(...world, externalService('a/s'), policy('a/p', { subjects: [{ namespace: 'a' }], to: [{ service: 's' }] }), binding('a/b', { subject: { namespace: 'a' }, pool: 'eu' }));
    assert.equal(refused.size, 0);
    assert.deepEqual([desired.EgressPolicy.size, plan.servicePorts[0]!.grants.length], [1, 1]);
  });

  it('leaves out what has a fault of its own, and nothing else', () => {
    const { refusals, assignments } = play(...world, binding('a/b', { subject: { namespace: 'a' }, pool: 'us' }), binding('b/b', { subject: { namespace: 'b' }, pool: 'eu' }));
    assert.deepEqual(refusals, { 'SnatBinding a/b': 'pool-unknown' });
    assert.deepEqual(assignments.map(({ holder }) => holder), ['ns/b']);
  });

  const rivals: readonly [title: string, a: Partial<Standing>, b: Partial<Standing>, loser: string][] = [
    ['the younger yields', { createdAt: 1 }, { createdAt: 2 }, 'ExternalService b/s'],
    ['whichever is called what', { createdAt: 2 }, { createdAt: 1 }, 'ExternalService a/s'],
    ['by name where they are of one moment', {}, {}, 'ExternalService b/s'],
    ['what is not in force, though it be older', { createdAt: 1 }, { createdAt: 2, isAccepted: true }, 'ExternalService a/s'],
  ];
  for (const [title, a, b, loser] of rivals) {
    it(`of two that want the same: ${title}`, () => {
      const { refusals } = play(...world, [externalService('a/s', taken), a], [externalService('b/s', { ...taken, agentAddress: '127.0.0.2' }), b]);
      assert.deepEqual(Object.keys(refusals), [loser]);
    });
  }

  it('ends also where many are in each other\'s way in many ways, and takes nothing from what is in force', () => {
    const count = 60;
    const namespaces = Array.from({ length: count }, (_, index) => `n${index}`);
    const inForce = { isAccepted: true };
    const { refused, plan } = play(
      gateway('gw'),
      [pool('eu', ['192.0.2.0/24']), inForce],
      [externalService('calm/s', { agentAddress: '127.0.0.9' }), inForce],
      [policy('calm/p', { subjects: [{ namespace: 'n0' }], to: [{ service: 's' }] }), inForce],
      ...namespaces.map((_, index) => [externalService(`crowd/s${index}`), index === 0 ? inForce : { createdAt: 1 }] as const),
      [policy('crowd/p', { subjects: namespaces.map((namespace) => ({ namespace })), to: namespaces.map((_, index) => ({ service: `s${index}` })) }), { createdAt: 1 }],
      // Each of them younger than all that they bring into each other's way.
      ...namespaces.map((namespace, index) => [binding(`${namespace}/b`, { subject: { namespace }, pool: 'eu' }), { createdAt: 2 + index }] as const),
    );
    assert.deepEqual(['ExternalService calm/s', 'ExternalService crowd/s0', 'EgressPolicy calm/p', 'SnatPool eu'].filter((name) => refused.has(name)), []);
    assert.deepEqual(plan.servicePorts.map(({ service }) => service.namespace).filter((namespace) => namespace === 'calm').length, 1);
    assert.ok(refused.size > 0);
  });

  it('lays a conflict that a new policy brings about to the policy, not to the services that were there', () => {
    const inForce = { isAccepted: true };
    const { refusals } = play(
      ...world,
      [externalService('a/s'), inForce],
      [externalService('b/s'), inForce],
      [binding('c/b', { subject: { namespace: 'c' }, pool: 'eu' }), inForce],
      [policy('a/p', { subjects: [{ namespace: 'c' }], to: [{ service: 's' }] }), inForce],
      policy('b/p', { subjects: [{ namespace: 'c' }], to: [{ service: 's' }] }),
    );
    assert.deepEqual(refusals, { 'EgressPolicy b/p': 'agent-listener-conflict' });
  });

  it('keeps the earlier form of what was changed for the worse, and so all that stands on it', () => {
    const [, eu] = world;
    const { refusals, assignments, desired } = play(
      [world[0], { isAccepted: true }],
      [pool('eu', ['192.0.2.1-192.0.2.9'], { exclude: ['192.0.2.5'] }), { fallback: eu }],
      [binding('a/b', { subject: { namespace: 'a' }, addresses: ['192.0.2.5'] }), { isAccepted: true }],
    );
    assert.deepEqual(refusals, { 'SnatPool eu': 'address-excluded, as it was' });
    assert.equal(desired.SnatPool.get('eu'), eu);
    assert.deepEqual(assignments.map(({ address }) => address), ['192.0.2.5']);
  });

  it('leaves out the earlier form too where it is at fault by now', () => {
    const before = binding('a/b', { subject: { namespace: 'a' }, pool: 'gone' });
    const { refusals } = play(...world, [binding('a/b', { subject: { namespace: 'a' }, pool: 'nowhere' }), { fallback: before }]);
    assert.deepEqual(refusals, { 'SnatBinding a/b': 'pool-unknown,pool-unknown' });
  });

  it('names what falls because another fell', () => {
    const { refusals } = play(...world, [pool('more', ['192.0.2.9-192.0.2.20']), { createdAt: 1 }], [binding('a/b', { subject: { namespace: 'a' }, pool: 'more' }), { isAccepted: true }]);
    assert.deepEqual(refusals, { 'SnatPool more': 'pools-overlap', 'SnatBinding a/b': 'pool-unknown' });
  });
});

for (const { what, beginning, someObjects, root } of [
  { what: 'whatever came', beginning: ground, someObjects: anyObjects, root: undefined },
  { what: 'whatever tenants wrote', beginning: tenantsGround, someObjects: fc.array(someTenantsObject, { maxLength: 14, size: 'max' }), root: rootNamespace },
]) {
  describe(`acceptance, ${what}`, () => {
    const context = { now: 0, trustDomain, rootNamespace: root };
    const someStandings = fc.infiniteStream(fc.record({ isAccepted: fc.boolean(), createdAt: fc.nat({ max: 3 }) }));
    const next = <T>(stream: Iterator<T>): T => stream.next().value as T;
    /** With services that agents offer at one address, and bindings to a pool that is not there. */
    const flawed = (object: DesiredObject, chance: number): DesiredObject => {
      if (object.kind === 'ExternalService' && chance < 5) return externalService(keyOf(object.metadata), { ports: [{ name: 'alpha', port: 8080 }] });
      return object.kind === 'SnatBinding' && chance < 2 ? binding(keyOf(object.metadata), { subject: { namespace: 'a' }, pool: 'nowhere' }) : object;
    };
    const someWorlds = fc.tuple(someObjects, someStandings, fc.infiniteStream(fc.nat({ max: 9 }))).map(([objects, standings, chances]) => {
      const all = [...beginning, ...objects.map((object) => flawed(object, next(chances)))];
      const known = new Map(all.map((object) => [describeRef(refOf(object)), { fallback: null, ...next(standings) }]));
      return { all, standingOf: (name: string) => known.get(name)! };
    });

    it('is all that there is where that has no fault, and otherwise the rest without what is refused', () => {
      let refusedOnce = 0;
      fc.assert(
        fc.property(someWorlds, ({ all, standingOf }) => {
          const desired = state(...all);
          const whole = build(desired, [], context);
          const acceptance = accept(desired, [], context, (ref) => standingOf(describeRef(ref)));
          assert.equal(acceptance.refused.size === 0, whole.ok);
          if (whole.ok) assert.equal(acceptance.plan.revision, whole.plan.revision);
          else refusedOnce += 1;
          for (const [kind, objects] of Object.entries(desired)) {
            for (const [key, object] of objects as ReadonlyMap<string, DesiredObject>) {
              const isIn = acceptance.desired[kind as DesiredObject['kind']].has(key);
              assert.equal(isIn, !acceptance.refused.has(describeRef(refOf(object))), `${kind} ${key}`);
            }
          }
          assert.ok(build(acceptance.desired, [], context).ok);
        }),
        { numRuns: 200 },
      );
      assert.ok(refusedOnce > 50, `only ${refusedOnce} worlds had a fault`);
    });

    it('is the same in whatever order they came', () => {
      fc.assert(
        fc.property(someWorlds, fc.infiniteStream(fc.nat()), ({ all, standingOf }, shuffle) => {
          const of = (objects: readonly DesiredObject[]) => accept(state(...objects), [], context, (ref) => standingOf(describeRef(ref)));
          const first = of(unique(all));
          const again = of(unique(all).map((object) => [next(shuffle), object] as const).sort(([a], [b]) => a - b).map(([, object]) => object));
          assert.deepEqual([again.plan.revision, [...again.refused.keys()].sort()], [first.plan.revision, [...first.refused.keys()].sort()]);
        }),
        { numRuns: 100 },
      );
    });

    it('takes nothing back that is in force, and soon comes to rest', () => {
      let grown = 0;
      fc.assert(
        fc.property(someWorlds, ({ all, standingOf }) => {
          const desired = state(...all);
          let last = accept(desired, [], context, (ref) => standingOf(describeRef(ref)));
          for (let turn = 1; ; turn += 1) {
            const { refused, assignments, desired: inForce } = last;
            const following = accept(desired, assignments, context, (ref) => ({ ...standingOf(describeRef(ref)), isAccepted: !refused.has(describeRef(ref)) }));
            for (const [kind, objects] of Object.entries(inForce)) {
              for (const key of objects.keys()) assert.ok(following.desired[kind as DesiredObject['kind']].has(key), `${kind} ${key} is gone`);
            }
            if (following.plan.revision === last.plan.revision) break;
            assert.ok(turn < 4, 'it goes on changing');
            grown += 1;
            last = following;
          }
        }),
        { numRuns: 150 },
      );
      assert.ok(grown < 15, `${grown} times a second look found room for more`);
    });
  });
}

function unique(objects: readonly DesiredObject[]): readonly DesiredObject[] {
  return [...new Map(objects.map((object) => [describeRef(refOf(object)), object])).values()];
}
