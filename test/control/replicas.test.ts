/** What a replica of the control plane tells the one that leads, over the port that both have for the mesh. */
import assert from 'node:assert/strict';
import { pino } from 'pino';
import { defaultControlIdentity } from '../../src/api/mesh-credentials.ts';
import type { GatewayReports } from '../../src/control/gateway-reports.ts';
import { listenForMesh, peerOf, type MeshListener } from '../../src/control/mesh-listener.ts';
import { createReplicaService, startLeaderReporter } from '../../src/control/replicas.ts';
import type { Revision } from '../../src/core/plan/plan.ts';
import { waitFor } from '../../src/demo/processes.ts';
import { trustDomain } from '../support/control.ts';
import { makePki } from '../support/pki.ts';

const log = pino({ level: 'silent' });
const identity = defaultControlIdentity(trustDomain);

describe('what replicas of the control plane tell each other', () => {
  const pki = makePki();
  const own = (spiffeId: string) => {
    const { expiresAtMs: notAfterMs, ...issued } = pki.issue(spiffeId);
    return { ...issued, notAfterMs };
  };
  let leader: MeshListener;
  let heard: { readonly replica: string; readonly reports: GatewayReports } | undefined;

  before(async () => {
    const authenticate = (call: Parameters<typeof peerOf>[0]) => peerOf(call, { trustDomain, isRevoked: () => false, now: Date.now });
    const service = createReplicaService({ authenticate, identity, onReport: (replica, reports) => void (heard = { replica, reports }) });
    leader = await listenForMesh({ host: '127.0.0.1', port: 0, identity: own(identity), services: [service], log });
  });
  after(() => leader.close());

  function tell(reports: () => GatewayReports, spiffeId: string, onWarning: (what: { readonly err: Error }) => void = () => undefined): { close(): void } {
    const shown = own(spiffeId);
    return startLeaderReporter({ replica: 'two', identity, reports, leader: () => `127.0.0.1:${leader.port}`, credentials: () => shown, now: Date.now, log: { warn: onWarning } });
  }

  it('is what their gateways hold and say of themselves, with each change', async () => {
    let reports: GatewayReports = new Map([['edge', { held: 'r1' as Revision, connected: 2, conditions: [{ code: 'ruleset-changed', message: 'somebody has changed it', hint: 'undo it' }, { code: 'identity-by-address', message: 'an address proves little' }] }]]);
    const reporter = tell(() => reports, identity);
    try {
      await waitFor('the report', 5_000, () => heard);
      assert.deepEqual(heard, { replica: 'two', reports });
      reports = new Map([['edge', { held: null, connected: 0, conditions: [] }]]);
      await waitFor('the next', 1_000, () => (heard?.reports.get('edge')?.connected === 0 ? true : undefined));
      assert.deepEqual(heard, { replica: 'two', reports });
    } finally {
      reporter.close();
    }
  });

  it('is heard of replicas only', async () => {
    heard = undefined;
    let refusal: string | undefined;
    const reporter = tell(() => new Map(), 'spiffe://cluster.local/ns/bookinfo/sa/productpage', ({ err }) => void (refusal = err.message));
    assert.match(await waitFor('the refusal', 5_000, () => refusal).finally(() => reporter.close()), /is no replica of the control plane/);
    assert.equal(heard, undefined);
  });
});
