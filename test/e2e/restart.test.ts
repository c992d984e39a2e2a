/** Whatever is started first, and whatever is killed: who was allowed stays allowed, from the same address, and nobody else gets in. */
import assert from 'node:assert/strict';
import type { Dialogue } from '../../src/demo/clients.ts';
import { findFreePorts, waitFor } from '../../src/demo/processes.ts';
import { gateway, prepareTestDeployment, serviceManifests, snatAddresses, workloadIdentities, type TestDeployment, type Workload } from '../support/deployment.ts';
import { startWitness, type Testimony, type Witness } from './support/witness.ts';

describe('starting, killing and starting again', function () {
  this.timeout(60_000);
  const agents: readonly Workload[] = ['productpage', 'nettools'];
  const host = 'witness.bookinfo.svc.cluster.local';
  let sallyport: TestDeployment;
  let witness: Witness;
  let port: number;
  const open = new Set<Dialogue>();

  before(async () => {
    witness = await startWitness();
    [port] = (await findFreePorts(1)) as [number];
    sallyport = await prepareTestDeployment({ manifests: serviceManifests({ name: 'witness', port, targetPort: witness.port, allowed: ['productpage'] }) });
  });
  after(async () => {
    for (const { socket } of open) socket.destroy();
    witness.close();
    await sallyport.close();
  });

  /** A connection of bookinfo through its agent, said to be `line`; the witness tells where it came from. */
  async function visit(line: string): Promise<{ readonly dialogue: Dialogue; readonly testimony: Testimony }> {
    const dialogue = await sallyport.openAtAgent('productpage', port);
    open.add(dialogue);
    dialogue.write(`${line}\n`);
    await dialogue.readUntil('\n');
    return { dialogue, testimony: witness.seen.findLast((seen) => seen.line === line)! };
  }

  async function echoes(dialogue: Dialogue, text: string): Promise<void> {
    dialogue.write(`${text}\n`);
    assert.equal(await dialogue.readUntil('\n'), `${text}\n`);
  }

  async function assertNettoolsRefused(): Promise<void> {
    const { accepted } = witness;
    await assert.rejects(async () => await (await sallyport.openAsSidecar('nettools', host)).readUntil('\n'), { code: 'ECONNRESET' });
    assert.equal(witness.accepted, accepted);
  }

  async function whois({ address, port: source, time }: Testimony): Promise<string | undefined> {
    const { status, stdout } = await sallyport.run(['whois', `${address}:${source}`, time.toISOString(), '-o', 'json']);
    if (status !== 0) return undefined;
    const { connections } = JSON.parse(stdout) as { connections: { opened: { spiffeId: string } }[] };
    return connections.map(({ opened }) => opened.spiffeId).join();
  }

  const assignments = async () => JSON.parse((await sallyport.cli(['get', 'assignments', '-o', 'json'])).stdout) as unknown;

  it('comes up in any order: agents first, then the gateway, then the control plane', async () => {
    await sallyport.kill('control');
    for (const workload of agents) sallyport.launchWorkload(workload);
    await waitFor('the agents to run', 10_000, async () => ((await Promise.all(agents.map(sallyport.status))).every((status) => status !== undefined) ? true : undefined));
    sallyport.launchTheGateway();
    await waitFor('the gateway to run', 10_000, async () => ((await sallyport.status(gateway)) === undefined ? undefined : true));
    assert.deepEqual((await Promise.all([gateway, ...agents].map(sallyport.status))).map((status) => (status as { ready: boolean }).ready), [false, false, false]);

    await sallyport.startControl();
    await Promise.all([gateway, ...agents].map(sallyport.ready));
    await waitFor('the agent to listen', 5_000, async () => ((await visit('hello').catch(() => undefined)) === undefined ? undefined : true));
    assert.equal(witness.seen.at(-1)?.address, snatAddresses.productpage);
    await assertNettoolsRefused();
  });

  it('comes up with the gateway last, too, and is ready only when it listens', async () => {
    await sallyport.kill(gateway);
    await assert.rejects(visit('while the gateway is away'));
    sallyport.launchTheGateway();
    await sallyport.ready(gateway);
    const visits = await Promise.all(Array.from({ length: 20 }, (_, number) => visit(`right after it was ready ${number}`)));
    for (const { testimony } of visits) assert.equal(testimony.address, snatAddresses.productpage);
  });

  it('goes on without the control plane, through a restart of the gateway too, and forgets nothing that happened meanwhile', async () => {
    const before = await assignments();
    const live = await visit('open before the control plane is killed');
    await sallyport.kill('control');

    await echoes(live.dialogue, 'still here');
    const during = await visit('made while the control plane is away');
    assert.equal(during.testimony.address, snatAddresses.productpage);
    await assertNettoolsRefused();
    await waitFor('the records of both to be kept', 5_000, async () => ((await sallyport.status(gateway)) as { ledger: { waiting: number } }).ledger.waiting >= 2 || undefined);

    await sallyport.kill(gateway);
    sallyport.launchTheGateway();
    await sallyport.ready(gateway);
    const afterwards = await visit('made after the gateway was killed as well');
    assert.equal(afterwards.testimony.address, snatAddresses.productpage);
    await assertNettoolsRefused();

    await sallyport.startControl();
    for (const { testimony } of [live, during, afterwards]) {
      assert.equal(await waitFor(`the record of "${testimony.line}"`, 15_000, () => whois(testimony)), workloadIdentities.productpage);
    }
    assert.match((await sallyport.cli(['ledger', 'verify'])).stdout, /^ledger is whole/);
    assert.deepEqual(await assignments(), before);
  });

  it('keeps every address when everything is killed and started again', async () => {
    const before = await assignments();
    await Promise.all(['control', gateway, ...agents].map(sallyport.kill));
    await sallyport.startControl();
    for (const workload of agents) sallyport.launchWorkload(workload);
    sallyport.launchTheGateway();
    await Promise.all([gateway, ...agents].map(sallyport.ready));
    const { testimony } = await waitFor('the agent to listen', 5_000, () => visit('after everything was killed').catch(() => undefined));
    assert.equal(testimony.address, snatAddresses.productpage);
    await assertNettoolsRefused();
    assert.deepEqual(await assignments(), before);
    assert.match((await sallyport.cli(['ledger', 'verify'])).stdout, /^ledger is whole/);
  });
});
