import assert from 'node:assert/strict';
import pino from 'pino';
import { waitFor } from '../../../src/demo/processes.ts';
import { createApiClient } from '../../../src/kubernetes/client.ts';
import { electLeader, type LeaderElection } from '../../../src/kubernetes/leader/elect.ts';
import { useKubernetes } from '../../support/kubernetes.ts';
import { startTcpProxy } from '../../support/tcp-proxy.ts';

describe('the leader among replicas at a real API server', function () {
  const server = useKubernetes(this);

  /** @param skewMs how far its clocks are off */
  function replica(self: string, lease: string, { address = `127.0.0.1:${server().port}`, skewMs = 0 } = {}): { readonly election: LeaderElection; readonly told: string[] } {
    const told: string[] = [];
    const election = electLeader({
      client: createApiClient(server().kubeConfig({ address })),
      namespace: 'default',
      lease,
      self,
      onElected: () => told.push('elected'),
      onDeposed: () => told.push('deposed'),
      now: () => Date.now() + skewMs,
      monotonicNow: () => performance.now() + skewMs,
      log: pino({ level: 'silent' }),
    });
    return { election, told };
  }
  const leads = (election: LeaderElection, within = 20_000) => waitFor('the election', within, () => (election.isLeader ? true : undefined));

  it('is one, and another as soon as it lets go', async () => {
    const first = replica('first', 'handed-over');
    await leads(first.election);
    const second = replica('second', 'handed-over');
    await waitFor('the second to see the first', 5_000, () => (second.election.leader === 'first' ? true : undefined));
    assert.equal(second.election.isLeader, false);
    await first.election.close();
    const startedMs = performance.now();
    await leads(second.election);
    assert.ok(performance.now() - startedMs < 5_000);
    assert.deepEqual([first.told, second.told], [['elected', 'deposed'], ['elected']]);
    await second.election.close();
  });

  it('stops by itself where it cannot renew, before another begins, however far their clocks are apart', async function () {
    this.timeout(60_000);
    const way = await startTcpProxy(server().port);
    const cut = replica('cut', 'cut-off', { address: way.address, skewMs: 3_600_000 });
    await leads(cut.election);
    const other = replica('other', 'cut-off', { skewMs: -86_400_000 });
    way.refuses = true;
    way.cut();
    let both = 0;
    await waitFor('the other to lead', 40_000, () => {
      if (cut.election.isLeader && other.election.isLeader) both += 1;
      return other.election.isLeader ? true : undefined;
    });
    assert.equal(both, 0);
    assert.deepEqual(cut.told, ['elected', 'deposed']);
    way.refuses = false;
    await waitFor('the first to see the other', 10_000, () => (cut.election.leader === 'other' ? true : undefined));
    assert.equal(cut.election.isLeader, false);
    await Promise.all([cut.election.close(), other.election.close()]);
    way.close();
  });
});
