import assert from 'node:assert/strict';
import { accept } from '../../../src/core/plan/acceptance.ts';
import type { Assignments } from '../../../src/core/snat/assignments.ts';
import type { CompileState } from '../../../src/core/plan/compile.ts';
import type { DesiredObject } from '../../../src/core/objects/index.ts';
import { affectedBy, type Outcome } from '../../../src/kubernetes/operator/affected.ts';
import { binding, externalService, gateway, policy, pool, state, trustDomain } from '../../core/world.ts';

interface Step extends Outcome {
  readonly state: CompileState;
}

/** As the operator goes from one to the next, incrementally. */
function step(objects: readonly DesiredObject[], before?: Step): Step {
  const assignments: Assignments = before?.assignments ?? [];
  return accept(state(...objects), assignments, { now: 0, trustDomain, ...(before === undefined ? {} : { previous: before.state }) }, () => ({ isAccepted: false, createdAt: 0, fallback: null }));
}

const world: readonly DesiredObject[] = [
  gateway('gw'),
  pool('eu', ['192.0.2.0/28']),
  externalService('a/s'),
  externalService('b/s', { agentAddress: '127.0.0.2' }),
  policy('a/p', { subjects: [{ namespace: 'a' }], to: [{ service: 's' }] }),
  policy('b/p', { subjects: [{ namespace: 'b' }], to: [{ service: 's' }] }),
  binding('a/b', { subject: { namespace: 'a' }, pool: 'eu' }),
  binding('b/b', { subject: { namespace: 'b' }, pool: 'eu' }),
];

describe('what there may be something else to say of', () => {
  const before = step(world);
  const affected = (...objects: readonly DesiredObject[]) => [...affectedBy(before, step(objects, before))].sort();

  it('is nothing where nothing has changed', () => {
    assert.deepEqual(affected(...world), []);
  });

  it('is what meets in the service ports that are others now, those that have left them among it', () => {
    assert.deepEqual(affected(...world, policy('c/p', { subjects: [{ namespace: 'a' }], to: [{ service: 's', namespace: 'b' }] })), ['EgressPolicy b/p', 'EgressPolicy c/p', 'ExternalService b/s', 'SnatBinding a/b', 'SnatBinding b/b']);
    assert.deepEqual(affected(...world.filter(({ kind, metadata }) => !(kind === 'EgressPolicy' && 'namespace' in metadata && metadata.namespace === 'a'))), ['EgressPolicy a/p', 'ExternalService a/s', 'SnatBinding a/b']);
  });

  it('is whose address came or went', () => {
    assert.deepEqual(affected(...world, binding('c/b', { subject: { namespace: 'c' }, pool: 'eu' })), ['SnatBinding c/b']);
  });

  it('is what is refused, and what is no more, and what a warning is about', () => {
    const wrong = binding('c/b', { subject: { namespace: 'c' }, pool: 'us' });
    assert.deepEqual(affected(...world, wrong), ['SnatBinding c/b']);
    const refused = step([...world, wrong], before);
    assert.deepEqual([...affectedBy(refused, step(world, refused))], ['SnatBinding c/b']);
    assert.deepEqual(affected(...world, policy('c/q', { subjects: [{ service: { name: 'nobody' } }], to: [{ service: 's', namespace: 'a' }] })).filter((name) => name.startsWith('EgressPolicy')), ['EgressPolicy c/q']);
  });
});
