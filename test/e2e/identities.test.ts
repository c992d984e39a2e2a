/** Two identities at the same moment never mix: not their connections, not their bytes, not their addresses. */
import assert from 'node:assert/strict';
import { findFreePorts, waitFor } from '../../src/demo/processes.ts';
import { serviceManifests, snatAddresses, startTestDeployment, type TestDeployment, type Workload } from '../support/deployment.ts';
import { startWitness, type Witness } from './support/witness.ts';

describe('two identities at the same moment', function () {
  this.timeout(40_000);
  const connectionsEach = 200;
  const agents: readonly Workload[] = ['productpage', 'batch'];
  let sallyport: TestDeployment;
  let witness: Witness;
  let port: number;

  before(async () => {
    witness = await startWitness();
    [port] = (await findFreePorts(1)) as [number];
    sallyport = await startTestDeployment({ agents, manifests: serviceManifests({ name: 'witness', port, targetPort: witness.port, allowed: agents }) });
  });
  after(async () => {
    witness.close();
    await sallyport.close();
  });

  it(`never mix in ${2 * connectionsEach} connections that are open at once`, async () => {
    const numbers = Array.from({ length: connectionsEach }, (_, number) => number);
    const connections = await Promise.all(
      numbers.flatMap((number) =>
        agents.map(async (workload) => {
          const dialogue = await sallyport.openAtAgent(workload, port);
          const line = `${workload} ${number}`;
          dialogue.write(`${line}\n`);
          return { dialogue, line, workload, told: (await dialogue.readUntil('\n')).trim() };
        }),
      ),
    );
    assert.equal(witness.accepted, 2 * connectionsEach);
    // All are open now. Each says something more, and must hear it again, and nothing else.
    await Promise.all(
      connections.map(async ({ dialogue, line }) => {
        dialogue.write(`again ${line}\n`);
        assert.equal(await dialogue.readUntil('\n'), `again ${line}\n`);
      }),
    );
    for (const { workload, told } of connections) assert.equal(told.split(':')[0], snatAddresses[workload]);
    for (const { line, address } of witness.seen) assert.equal(address, snatAddresses[line.split(' ')[0] as Workload]);
    assert.equal(new Set(witness.seen.map(({ address, port: source }) => `${address}:${source}`)).size, 2 * connectionsEach);
    for (const { dialogue } of connections) dialogue.socket.destroy();
  });

  it('are kept apart in the ledger too', async () => {
    const { address, port: source, time, line } = witness.seen.at(-1)!;
    const told = await waitFor('whois to know it', 5_000, async () => {
      const { status, stdout } = await sallyport.run(['whois', `${address}:${source}`, time.toISOString(), '-o', 'json']);
      return status === 0 ? stdout : undefined;
    });
    const answer = JSON.parse(told) as { connections: { opened: { spiffeId: string } }[] };
    assert.deepEqual(answer.connections.map(({ opened }) => opened.spiffeId.split('/').at(-1)), [line.split(' ')[0]]);
  });
});
