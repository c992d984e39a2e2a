import assert from 'node:assert/strict';
import { boxStatuses, type BigIpStatus } from '../../../src/control/bigip/index.ts';
import { reportsHere } from '../../../src/control/gateway-reports.ts';
import type { Revision } from '../../../src/core/plan/plan.ts';
import { gateway, planOf } from '../../core/world.ts';

const revisions = ['r1', 'r2', 'r3'] as Revision[];
const { gateways } = planOf(gateway('f5', { class: 'bigip' }), gateway('gw'));
const status = (more: Partial<BigIpStatus>): BigIpStatus => ({ held: 'r3' as Revision, connected: 1, connectedSinceMs: 0, trouble: null, findings: [], ...more });
const told = (more: Partial<BigIpStatus>) => boxStatuses(new Map([['f5', status(more)]]), { gateways, revisions })[0];

describe('what is said of a BIG-IP that is driven', () => {
  it('is that it is in step where it holds the latest, and nothing is the matter', () => {
    const found = told({});
    assert.deepEqual([found?.class, found?.gateway, found?.connected, found?.types[0]?.state, found?.revisionsBehind], ['bigip', 'f5', true, 'SYNCED', 0]);
  });

  it('is how far it is behind, and why', () => {
    const found = told({ held: 'r1' as Revision, trouble: { reason: 'it refuses', atMs: 0, count: 3 } });
    assert.deepEqual([found?.types[0]?.state, found?.revisionsBehind, found?.trouble], ['STALE', 2, { reason: 'it refuses', at: '1970-01-01T00:00:00.000Z', count: 3 }]);
    assert.equal(told({ trouble: { reason: 'it refuses', atMs: 0, count: 1 } })?.types[0]?.state, 'STALE');
    assert.deepEqual([told({ held: null, connected: 0, connectedSinceMs: null })?.revisionsBehind, told({ connected: 0, connectedSinceMs: null })?.connected], [null, false]);
  });

  it('is in the report of what gateways hold, beside those that have streams', () => {
    assert.deepEqual([...reportsHere({ resourceStatus: () => [] }, gateways, revisions, new Map([['f5', status({ held: 'r2' as Revision, connected: 2 })]]), () => [])], [['f5', { held: 'r2', connected: 2, conditions: [] }], ['gw', { held: null, connected: 0, conditions: [] }]]);
  });
});
