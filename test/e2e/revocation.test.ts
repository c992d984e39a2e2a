/** What is taken away ends at once, and takes nobody else's with it. */
import assert from 'node:assert/strict';
import type { Dialogue } from '../../src/demo/clients.ts';
import { findFreePorts, waitFor } from '../../src/demo/processes.ts';
import { serviceManifests, startTestDeployment, workloadIdentities, type TestDeployment, type Workload } from '../support/deployment.ts';
import { startWitness, type Witness } from './support/witness.ts';

const withinMs = 1_000;

describe('revoking', function () {
  this.timeout(30_000);
  const agents: readonly Workload[] = ['productpage', 'batch'];
  let sallyport: TestDeployment;
  let witness: Witness;
  let port: number;
  const open = new Set<Dialogue>();

  before(async () => {
    witness = await startWitness();
    [port] = (await findFreePorts(1)) as [number];
    sallyport = await startTestDeployment({ agents, manifests: serviceManifests({ name: 'witness', port, targetPort: witness.port, allowed: agents }) });
  });
  after(async () => {
    for (const { socket } of open) socket.destroy();
    witness.close();
    await sallyport.close();
  });

  interface Transfer {
    readonly received: () => number;
    readonly endedAt: () => number | undefined;
  }

  /** A download that goes on until somebody ends it. */
  async function startTransfer(workload: Workload): Promise<Transfer> {
    const dialogue = await sallyport.openAtAgent(workload, port);
    open.add(dialogue);
    dialogue.write('drip\n');
    await dialogue.readUntil('..');
    let received = 0;
    let endedAt: number | undefined;
    dialogue.socket.on('data', (chunk: Buffer) => (received += chunk.length));
    dialogue.socket.once('close', () => (endedAt = Date.now()));
    return { received: () => received, endedAt: () => endedAt };
  }

  /** Runs `revoke`, and sees bookinfo or reports end in time while the other goes on. */
  async function assertEnds(ending: Workload, goingOn: Workload, revoke: () => Promise<unknown>): Promise<void> {
    const [ends, goesOn] = await Promise.all([startTransfer(ending), startTransfer(goingOn)]);
    await assertTransferEnds(ends, goesOn, revoke);
  }

  async function assertTransferEnds(ends: Transfer, goesOn: Transfer, revoke: () => Promise<unknown>): Promise<void> {
    await revoke();
    const revokedAt = Date.now();
    const endedAt = await waitFor('the transfer to end', 5_000, ends.endedAt);
    assert.ok(endedAt - revokedAt < withinMs, `ended after ${endedAt - revokedAt} ms`);
    const received = goesOn.received();
    await waitFor('the other transfer to go on', 5_000, () => goesOn.received() > received + 50 || undefined);
    assert.equal(goesOn.endedAt(), undefined);
  }

  async function assertLetIn(workload: Workload): Promise<void> {
    const dialogue = await sallyport.openAtAgent(workload, port);
    open.add(dialogue);
    dialogue.write('let in\n');
    await dialogue.readUntil('\n');
  }

  it('a policy ends its live transfer within a second, and leaves the one of another identity alone', async () => {
    await assertEnds('productpage', 'batch', () => sallyport.cli(['delete', 'egresspolicy', 'witness-productpage', '-n', 'bookinfo']));
    const { accepted } = witness;
    await assert.rejects(assertLetIn('productpage'));
    assert.equal(witness.accepted, accepted);
    await assertLetIn('batch');
  });

  it('an identity ends its live connections within a second, and lets in no new one', async () => {
    await sallyport.apply(serviceManifests({ name: 'witness', port, targetPort: witness.port, allowed: agents }));
    await waitFor('bookinfo to be let in again', 5_000, () => assertLetIn('productpage').then(() => true, () => undefined));
    await assertEnds('batch', 'productpage', () => sallyport.cli(['cert', 'revoke', workloadIdentities.batch]));
    const { accepted } = witness;
    await assert.rejects(assertLetIn('batch'));
    assert.equal(witness.accepted, accepted);
    await assertLetIn('productpage');
  });

  it('a service’s address ends the live transfer to it within a second, and leaves one to another address alone', async () => {
    const other = await startWitness({ address: '127.0.0.3', port: witness.port });
    const offer = (...addresses: string[]) => sallyport.apply(serviceManifests({ name: 'witness', addresses, port, targetPort: witness.port, allowed: agents }));
    try {
      const goesOn = await startTransfer('productpage');
      await offer('127.0.0.3', '127.0.0.1');
      await waitFor('the new address to be dialled', 5_000, async () => {
        await assertLetIn('productpage');
        return other.accepted > 0 || undefined;
      });
      const ends = await startTransfer('productpage');
      await assertTransferEnds(ends, goesOn, () => offer('127.0.0.1'));
    } finally {
      other.close();
    }
  });

  it('says in the ledger why each of them ended', async () => {
    const reasons = await waitFor('the records of all', 5_000, async () => {
      const { stdout } = await sallyport.cli(['ledger', 'tail', '--last', '100', '--type', 'connection-closed']);
      const ended = stdout.split('\n').filter(Boolean).map((line) => JSON.parse(line) as { spiffeId: string; reason: string });
      const found = agents.map((workload) => [...new Set(ended.filter(({ spiffeId, reason }) => spiffeId === workloadIdentities[workload] && /-re(vok|mov)ed$/.test(reason)).map(({ reason }) => reason))]);
      return found.flat().length >= 3 ? found : undefined;
    });
    assert.deepEqual(reasons, [['policy-revoked', 'target-removed'], ['certificate-revoked']]);
  });
});
