import assert from 'node:assert/strict';
import { nodeKeyOf } from '../../src/control/proxy.ts';
import { proxyStatuses } from '../../src/control/proxy-status.ts';
import type { Revision } from '../../src/core/plan/plan.ts';
import type { NodeStatus, TypeStatus } from '../../src/xds/index.ts';
import { identity, planOf, gateway } from '../core/world.ts';

const revisions = ['r1', 'r2', 'r3'] as Revision[];
const { gateways } = planOf(gateway('gw'));
const nodeKey = nodeKeyOf({ identity: identity('sallyport-system/gw'), form: 'sallyport' });
const type = (versionAcked: string | undefined, more: Partial<TypeStatus> = {}): TypeStatus => ({ typeUrl: 'x.Listener', state: 'SYNCED', versionSent: versionAcked, versionAcked, unansweredSinceMs: undefined, lastError: undefined, ...more });
const node = (types: readonly TypeStatus[]): NodeStatus => ({ nodeKey, snapshotVersion: 'r3', streams: [{ nodeId: 'gw', userAgent: { name: '', version: '' }, variant: 'delta', connectedSinceMs: 0, types }], streamsOpened: 1, trouble: undefined });
const behind = (...types: TypeStatus[]) => proxyStatuses([node(types)], { gateways, revisions, withheld: new Map(), states: new Map() })[0]?.revisionsBehind;

describe('how far a proxy is behind', () => {
  it('is as far as the type that is furthest', () => assert.equal(behind(type('r3'), type('r1', { state: 'STALE' })), 2));
  it('counts also where it has all that it was sent, but was not sent the latest', () => assert.equal(behind(type('r2'), type('r2')), 1));
  it('is not known where it holds nothing, or what nobody remembers', () => assert.deepEqual([behind(type(undefined, { state: 'STALE' })), behind(type('r0'))], [null, null]));

  it('comes with what is wrong with what it is not sent', () => {
    const [status] = proxyStatuses([node([type('r2')])], { gateways, revisions, withheld: new Map([[nodeKey, 'Listener "web" cannot be read']]), states: new Map() });
    assert.deepEqual([status?.withheld, status?.gateway], ['Listener "web" cannot be read', 'gw']);
  });

  it('comes with what it says of itself, where it says something', () => {
    const said = (name: string) => {
      const states = new Map([[name, { node: name, inForce: false, conditions: [{ code: 'ruleset-changed', message: 'somebody has changed it', hint: 'undo it' }] }]]);
      const [status] = proxyStatuses([node([type('r3')])], { gateways, revisions, withheld: new Map(), states });
      return [status?.inForce, status?.conditions];
    };
    assert.deepEqual([said('gw'), said('another')], [[false, ['somebody has changed it (undo it)']], [null, []]]);
  });
});
