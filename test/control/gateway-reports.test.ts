import assert from 'node:assert/strict';
import type { Fault } from '../../src/core/errors.ts';
import type { Revision } from '../../src/core/plan/plan.ts';
import { createMergedReports, type GatewayReports } from '../../src/control/gateway-reports.ts';

const [r1, r2, r3] = ['r1', 'r2', 'r3'] as unknown as [Revision, Revision, Revision];
const revisions = [r1, r2, r3];
const report = (held: Revision | null, connected: number, conditions: readonly Fault[] = []): GatewayReports => new Map([['egress-1', { held, connected, conditions }]]);
const nobody = report(null, 0);

describe('what gateways hold, whichever replica they are connected to', () => {
  const merged = (steps: (reports: ReturnType<typeof createMergedReports>) => GatewayReports) => steps(createMergedReports()).get('egress-1');

  it('is what they hold here, where they are', () => {
    assert.deepEqual(merged((reports) => reports.merge(report(r2, 2), revisions, 0)), { held: r2, connected: 2, conditions: [] });
  });

  it('is what another replica reports, where they are there', () => {
    assert.deepEqual(merged((reports) => (reports.take('two', report(r3, 1), 0), reports.merge(nobody, revisions, 0))), { held: r3, connected: 1, conditions: [] });
  });

  it('is of the process that is furthest behind, wherever that is', () => {
    assert.deepEqual(merged((reports) => (reports.take('two', report(r1, 1), 0), reports.merge(report(r3, 1), revisions, 0))), { held: r1, connected: 2, conditions: [] });
    assert.deepEqual(merged((reports) => (reports.take('two', report('unknown here' as Revision, 1), 0), reports.merge(report(r3, 1), revisions, 0))), { held: null, connected: 2, conditions: [] });
  });

  it('stays what it was while nobody has a stream of theirs', () => {
    assert.deepEqual(merged((reports) => (reports.merge(report(r2, 1), revisions, 0), reports.merge(nobody, revisions, 1))), { held: r2, connected: 0, conditions: [] });
  });

  it('is not what a replica has said that is silent for long', () => {
    assert.deepEqual(merged((reports) => (reports.take('two', report(r1, 1), 0), reports.merge(report(r3, 1), revisions, 8_000))), { held: r3, connected: 1, conditions: [] });
  });

  it('is what any of them says of itself, once, and no longer when nobody has said it for long', () => {
    const [changed, always] = [{ code: 'ruleset-changed', message: 'somebody has changed it' }, { code: 'identity-by-address', message: 'an address proves little' }];
    const conditions = (nowMs: number) => merged((reports) => (reports.take('two', report(r1, 0, [changed, always]), 0), reports.merge(report(null, 0, [always]), revisions, nowMs)))?.conditions;
    assert.deepEqual([conditions(6_000), conditions(8_000)], [[changed, always], [always]]);
  });
});
