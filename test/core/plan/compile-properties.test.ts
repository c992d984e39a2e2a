import assert from 'node:assert/strict';
import fc from 'fast-check';
import { agentView } from '../../../src/core/plan/agent-view.ts';
import { allocate } from '../../../src/core/snat/allocate.ts';
import type { Assignments } from '../../../src/core/snat/assignments.ts';
import { build as buildAtOnce, buildInSteps, type Build } from '../../../src/core/plan/build.ts';
import { compile, compileInSteps, type CompileState } from '../../../src/core/plan/compile.ts';
import { decide } from '../../../src/core/plan/decide.ts';
import { applyChange, describeRef, keyOf, refOf, type DesiredChange } from '../../../src/core/desired-state.ts';
import type { DesiredObject } from '../../../src/core/objects/index.ts';
import { describePlanDiff, diffPlans } from '../../../src/core/plan/plan-diff.ts';
import type { Decision, Plan } from '../../../src/core/plan/plan.ts';
import { workloadSpiffeId } from '../../../src/core/spiffe-id.ts';
import { everyone, ground, naively, naiveTrespasses, portsOf, rootNamespace, someObject, someObjects, someTenantsObject, tenantsGround, type NaiveAnswer } from './random-world.ts';
import { build, externalService, gateway, placesOf, policy, pool, state, trustDomain, warningsOf } from '../world.ts';

function shown(decision: Decision): NaiveAnswer {
  if (!decision.allowed) return { kind: 'denied', reason: decision.reason as 'no-policy', policies: decision.grant?.policies ?? [] };
  const { policies, binding, snat, connectAuthorities } = decision.grant;
  return { kind: 'allowed', policies, binding, addresses: [snat.ipv4?.address, snat.ipv6?.address].filter((address) => address !== undefined).sort(), connectAuthorities };
}

/** Faults that the naive implementation has no opinion on. */
const rejected = (faults: readonly { readonly code: string }[]) => faults.some(({ code }) => code !== 'binding-conflict');

describe('compilation, whatever is applied', () => {
  it('allows what the policies and bindings say and nothing else, as a naive second implementation reads them', () => {
    let compared = 0;
    let allowed = 0;
    fc.assert(
      fc.property(someObjects, (objects) => {
        const desired = state(...ground, ...objects);
        const { compiled, faults, assignments } = build(desired);
        if (rejected(faults)) return;
        const ties: string[] = [];
        for (const service of desired.ExternalService.values()) {
          for (const { name } of portsOf(service)) {
            const servicePort = compiled.ok ? compiled.plan.servicePorts.find(({ id }) => id === `${keyOf(service.metadata)}:${name}`) : undefined;
            for (const who of everyone) {
              const naive = naively(desired, assignments, who, service, name);
              if (naive.kind === 'tie') ties.push(`${who.namespace}/${who.serviceAccount}`);
              if (!compiled.ok || naive.kind === 'tie') continue;
              assert.deepEqual(shown(decide(servicePort, workloadSpiffeId(trustDomain, who), trustDomain)), naive, `${who.namespace}/${who.serviceAccount} at ${servicePort?.id}`);
              compared += 1;
              if (naive.kind === 'allowed') allowed += 1;
            }
          }
        }
        if (ties.length > 0) assert.ok(!compiled.ok, `a tie for ${ties[0]!} was not named`);
      }),
      { numRuns: 200 },
    );
    assert.ok(compared > 5_000 && allowed > 50, `too few cases to mean anything: ${allowed} allowed of ${compared}`);
  });

  it('gives the same plan for the same objects in any order', () => {
    fc.assert(
      fc.property(someObjects, fc.infiniteStream(fc.nat()), (objects, numbers) => {
        const desired = state(...ground, ...objects);
        const all = Object.values(desired).flatMap((map) => [...map.values()]);
        const shuffled = all.map((object) => ({ object, rank: numbers.next().value as number })).sort((a, b) => a.rank - b.rank).map(({ object }) => object);
        const [one, other] = [build(desired), build(state(...shuffled))];
        assert.deepEqual(other.faults, one.faults);
        assert.deepEqual(warningsOf(other.compiled), warningsOf(one.compiled));
        if (one.compiled.ok && other.compiled.ok) assert.deepEqual(other.compiled.plan, one.compiled.plan);
      }),
      { numRuns: 150 },
    );
  });

  it('gives every grant a policy, and an address to each that may leave', () => {
    fc.assert(
      fc.property(someObjects, (objects) => {
        const desired = state(...ground, ...objects);
        const { compiled } = build(desired);
        if (!compiled.ok) return;
        for (const { grants } of compiled.plan.servicePorts) {
          for (const grant of grants) {
            assert.ok(grant.policies.length > 0 && grant.policies.every((key) => desired.EgressPolicy.has(key)));
            assert.equal(grant.snat === null, grant.binding === null);
          }
        }
      }),
      { numRuns: 100 },
    );
  });

  const changesOf = (object: fc.Arbitrary<DesiredObject>, count: number) => fc.array(fc.record({ put: fc.array(object, { maxLength: 2 }), removeAt: fc.array(fc.nat(), { maxLength: 2 }) }), { minLength: 1, maxLength: count, size: 'max' });

  /** How often a change was taken. */
  function assertSameInSteps(changes: fc.Arbitrary<readonly { readonly put: readonly DesiredObject[]; readonly removeAt: readonly number[] }[]>, start: readonly DesiredObject[], tenancy: { readonly rootNamespace?: string }, kept: ReadonlySet<string>): number {
    let taken = 0;
    fc.assert(
      fc.property(changes, (steps) => {
        let desired = state(...start);
        let assignments: Assignments = [];
        let previous: CompileState | undefined;
        for (const [step, { put, removeAt }] of steps.entries()) {
          const removable = Object.values(desired).flatMap((map) => [...map.values()]).filter(({ kind }) => !kept.has(kind));
          const remove = removable.length === 0 ? [] : removeAt.map((index) => refOf(removable[index % removable.length]!));
          const next = applyChange(desired, { put, remove } satisfies DesiredChange);
          const allocation = allocate(next, assignments, step, tenancy.rootNamespace);
          assert.deepEqual(allocation, allocate(next, [...assignments], step, tenancy.rootNamespace), 'what is remembered of assignments changes the cost only');
          const full = compile(next, allocation.assignments, { trustDomain, ...tenancy });
          const incremental = compile(next, allocation.assignments, { trustDomain, ...tenancy, ...(previous && { previous }) });
          if (!full.ok || !incremental.ok) {
            assert.deepEqual({ ok: incremental.ok, faults: incremental.ok ? [] : incremental.faults }, { ok: full.ok, faults: full.ok ? [] : full.faults });
            continue; // a rejected change changes nothing
          }
          assert.deepEqual(incremental.plan, full.plan);
          assert.deepEqual(incremental.warnings, full.warnings);
          if (previous !== undefined) assertShared(previous.plan, incremental.plan);
          if (allocation.faults.length > 0) continue;
          [desired, assignments, previous] = [next, allocation.assignments, incremental.state];
          taken += 1;
        }
      }),
      { numRuns: 150 },
    );
    return taken;
  }

  it('gives the same step by step as at once, and keeps the objects of what did not change', () => {
    assertSameInSteps(changesOf(someObject, 12), ground, {}, new Set(['SnatPool']));
  });

  it('gives the same step by step as at once where there are tenants, as grants, labels, pools and gateways come and go', () => {
    const taken = assertSameInSteps(changesOf(someTenantsObject, 25), tenantsGround, { rootNamespace }, new Set(['EgressGateway', 'SnatPool', 'ExternalService']));
    assert.ok(taken > 700, `only ${taken} changes were taken`);
  });

  it('refuses of tenants what is not theirs and nothing else, as a naive second implementation reads the kinds', () => {
    const seen = new Map<string, number>();
    fc.assert(
      fc.property(fc.array(someTenantsObject, { maxLength: 14, size: 'max' }), (objects) => {
        const desired = state(...tenantsGround, ...objects);
        const trespasses = build(desired, [], { rootNamespace }).faults.filter(({ code }) => /-foreign$|-not-(granted|allowed)$/.test(code)).map(({ code, object }) => `${code} ${describeRef(object)}`);
        assert.deepEqual(new Set(trespasses), naiveTrespasses(desired));
        for (const code of new Set(['', ...trespasses.map((each) => each.split(' ')[0]!)])) seen.set(code, (seen.get(code) ?? 0) + 1);
      }),
      { numRuns: 300 },
    );
    assert.deepEqual([...seen].filter(([, count]) => count > 20).map(([code]) => code).sort(), ['', 'gateway-not-allowed', 'pool-not-allowed', 'reference-not-granted', 'subject-foreign']);
  });

  it('gives the same in steps, also where two compilations take turns', () => {
    fc.assert(
      fc.property(someObjects, someObjects, (one, other) => {
        const previous = compile(state(...ground), [], { trustDomain });
        assert.ok(previous.ok);
        const worlds = [one, other].map((objects) => state(...ground, ...objects));
        const context = { trustDomain, previous: previous.state, now: 0 };
        const underWay = worlds.map((desired) => buildInSteps(desired, [], context));
        const results: (Build | undefined)[] = [undefined, undefined];
        while (results.includes(undefined)) {
          for (const [index, steps] of underWay.entries()) {
            const step = steps.next();
            if (step.done === true) results[index] ??= step.value;
          }
        }
        const content = (result: Build) => (result.ok ? { plan: result.plan, assignments: result.assignments, warnings: result.warnings } : result.faults);
        assert.deepEqual(results.map((result) => content(result!)), worlds.map((desired) => content(buildAtOnce(desired, [], context))));
      }),
      { numRuns: 100 },
    );
  });

  it('makes one policy or service a step', () => {
    const services = Array.from({ length: 20 }, (_, index) => externalService(`shop/s${index}`, { agentAddress: `127.0.0.${index + 1}` }));
    const policies = services.map(({ metadata: { name } }) => policy(`shop/${name}`, { subjects: [{ namespace: 'shop' }], to: [{ service: name }] }));
    const steps = [...compileInSteps(state(gateway('gw'), ...services, ...policies), [], { trustDomain })];
    assert.ok(steps.length >= 40, `${steps.length} steps`);
  });

  function assertShared(before: Plan, after: Plan): void {
    const known = new Map(before.servicePorts.map((servicePort) => [servicePort.id, servicePort]));
    for (const servicePort of after.servicePorts) {
      const same = known.get(servicePort.id);
      if (same !== undefined && JSON.stringify(same) === JSON.stringify(servicePort)) assert.equal(servicePort, same);
    }
    if (before.revision === after.revision) assert.equal(after, before);
  }

  it('tells an agent exactly what its identity would be let out through', () => {
    fc.assert(
      fc.property(someObjects, (objects) => {
        const { compiled } = build(state(...ground, ...objects));
        if (!compiled.ok) return;
        const { plan } = compiled;
        for (const who of everyone) {
          const identity = workloadSpiffeId(trustDomain, who);
          const allowed = plan.servicePorts.filter((servicePort) => decide(servicePort, identity, trustDomain).allowed).map(({ id }) => id);
          assert.deepEqual(agentView(plan, identity).map(({ id }) => id), allowed);
        }
      }),
      { numRuns: 60 },
    );
  });

  it('has a diff that names every identity whose grant changes, and nobody else', () => {
    fc.assert(
      fc.property(someObjects, someObjects, (some, more) => {
        const [one, other] = [build(state(...ground, ...some)), build(state(...ground, ...some, ...more))];
        if (!one.compiled.ok || !other.compiled.ok) return;
        const diff = diffPlans(one.compiled.plan, other.compiled.plan);
        assert.ok(diff.before !== diff.after || describePlanDiff(diff).length === 0);
        for (const servicePort of other.compiled.plan.servicePorts) {
          const before = one.compiled.plan.servicePorts.find(({ id }) => id === servicePort.id);
          const changes = diff.servicePorts.find(({ id }) => id === servicePort.id)?.grants ?? [];
          for (const who of everyone) {
            const identity = workloadSpiffeId(trustDomain, who);
            const [was, is] = [decide(before, identity, trustDomain), decide(servicePort, identity, trustDomain)];
            const own = changes.some(({ subject }) => subject.namespace === who.namespace && subject.serviceAccount === who.serviceAccount);
            const named = own || changes.some(({ subject }) => subject.namespace === who.namespace && subject.serviceAccount === undefined);
            const counts = ({ grant }: Decision) => JSON.stringify({ ...grant, subject: null });
            if (counts(was) !== counts(is)) assert.ok(named, `${identity} at ${servicePort.id} changes unnamed`);
            else assert.ok(!own, `${identity} at ${servicePort.id} is named without a change`);
          }
        }
      }),
      { numRuns: 100 },
    );
  });

  it('adds nothing to anybody when an unrelated namespace is let out', () => {
    fc.assert(
      fc.property(someObjects, (objects) => {
        const before = build(state(...ground, ...objects));
        if (!before.compiled.ok) return;
        const after = build(applyChange(state(...ground, ...objects), { put: [pool('other', ['10.9.0.0/24'])], remove: [] }), before.assignments);
        assert.deepEqual(placesOf(after.faults), []);
        assert.ok(after.compiled.ok && after.compiled.plan.revision === before.compiled.plan.revision);
      }),
      { numRuns: 60 },
    );
  });
});
