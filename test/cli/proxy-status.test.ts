import assert from 'node:assert/strict';
import type { ProxyStatus, ProxyTypeStatus } from '../../src/api/admin.ts';
import { describeProxies } from '../../src/cli/commands/proxy-status.ts';

const newest = 'b'.repeat(64);
const older = 'a'.repeat(64);
const type = (name: string, more: Partial<ProxyTypeStatus> = {}): ProxyTypeStatus => ({ typeUrl: `type.googleapis.com/envoy.${name}`, state: 'SYNCED', sent: newest, acknowledged: newest, error: null, ...more });
const proxy = (node: string, more: Partial<ProxyStatus> = {}): ProxyStatus => ({ node, identity: node, class: 'envoy', version: '1.40.0', gateway: null, connected: true, connectedSince: '2026-11-21T07:30:00.000Z', types: [type('Cluster'), type('Listener')], revisionsBehind: 0, withheld: null, trouble: null, inForce: null, conditions: [], ...more });

const egress = proxy('egress-1', {
  gateway: 'egress-1',
  types: [type('Cluster'), type('Listener', { state: 'NACKED', acknowledged: older, error: { message: 'no such cluster', resources: ['web'] } })],
  revisionsBehind: 1,
});
const sidecar = proxy('sidecar', { revisionsBehind: 2, withheld: 'Listener "web" refers to Cluster "gone", which is not there' });
const agent = proxy('agent', { class: 'sallyport', version: '0.1.0', types: [type('AgentUpstream', { state: 'STALE', sent: null, acknowledged: null })], revisionsBehind: null });
const away = proxy('egress-2', { class: 'sallyport', gateway: 'egress-2', version: null, connected: false, connectedSince: null, types: [], revisionsBehind: null, trouble: { reason: 'the certificate has expired', at: '2026-11-21T07:00:00.000Z', count: 2 } });

describe('the table of proxies', () => {
  it('is a line a proxy, with one word where all types stand alike, and below what is wrong', () => {
    assert.deepEqual(describeProxies([egress, sidecar, agent, away], { wide: false }).split('\n'), [
      'PROXY     CLASS              VERSION  CONNECTED SINCE           STATE                            ACKNOWLEDGED  BEHIND',
      'egress-1  envoy gateway      1.40.0   2026-11-21T07:30:00.000Z  Cluster SYNCED, Listener NACKED  aaaaaaaaaaaa  1 revision',
      'sidecar   envoy sidecar      1.40.0   2026-11-21T07:30:00.000Z  SYNCED                           bbbbbbbbbbbb  2 revisions',
      'agent     agent              0.1.0    2026-11-21T07:30:00.000Z  STALE                            -             unknown',
      'egress-2  sallyport gateway  -        not connected             -                                -             -',
      'egress-1 rejects Listener web: no such cluster',
      'sidecar keeps what it holds, for what it is to hold does not hang together: Listener "web" refers to Cluster "gone", which is not there',
      'egress-2: the certificate has expired (2 times, last 2026-11-21T07:00:00.000Z)',
    ]);
  });

  it('has below it what a gateway says of itself', () => {
    const router = proxy('edge~left', { gateway: 'edge', class: 'sallyport', inForce: false, conditions: ['somebody has changed what is in force (undo it)'] });
    assert.equal(describeProxies([router], { wide: false }).split('\n').at(-1), 'edge~left: somebody has changed what is in force (undo it)');
  });

  it('is wide with a column a type, and the revision of what is not synced', () => {
    assert.deepEqual(describeProxies([egress, agent, away], { wide: true }).split('\n').slice(0, 4), [
      'PROXY     CLASS              VERSION  CONNECTED SINCE           AGENTUPSTREAM  CLUSTER  LISTENER                ACKNOWLEDGED  BEHIND',
      'egress-1  envoy gateway      1.40.0   2026-11-21T07:30:00.000Z  -              SYNCED   NACKED at aaaaaaaaaaaa  aaaaaaaaaaaa  1 revision',
      'agent     agent              0.1.0    2026-11-21T07:30:00.000Z  STALE at -     -        -                       -             unknown',
      'egress-2  sallyport gateway  -        not connected             -              -        -                       -             -',
    ]);
  });
});
