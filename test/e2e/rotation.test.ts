/** The organisation's intermediate is replaced by one under another root, while traffic flows. */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Dialogue } from '../../src/demo/clients.ts';
import { findFreePorts, waitFor } from '../../src/demo/processes.ts';
import { workspace, type Workspace } from '../ca/openssl.ts';
import { gateway, serviceManifests, snatAddresses, startTestDeployment, type TestDeployment, type Workload } from '../support/deployment.ts';
import { makeIntermediate, type Intermediate } from '../support/intermediate.ts';
import { requirePeer } from '../support/peers.ts';
import { startWitness, type Witness } from './support/witness.ts';

/** Long enough for the test; so short that what it signed is renewed as soon as its holder starts again, since half of its life is over. */
const firstCaLastsMs = 150_000;
const secondCaLastsMs = 86_400_000;

describe('rotating the intermediate CA under traffic', function () {
  this.timeout(60_000);
  const agents: readonly Workload[] = ['productpage', 'batch'];
  let files: Workspace;
  let second: Intermediate;
  let sallyport: TestDeployment;
  let witness: Witness;
  let port: number;
  const open = new Set<Dialogue>();

  before(async function () {
    requirePeer(this, 'openssl');
    files = workspace();
    const first = makeIntermediate(files, 'first', firstCaLastsMs);
    second = makeIntermediate(files, 'second', secondCaLastsMs);
    witness = await startWitness();
    [port] = (await findFreePorts(1)) as [number];
    sallyport = await startTestDeployment({
      agents,
      serveOptions: ['--ca-propagation', '0s'],
      makeCa: (deployment) => deployment.cli(['ca', 'import', '--chain', first.chainFile, '--private-key', first.privateKeyFile]),
      manifests: serviceManifests({ name: 'witness', port, targetPort: witness.port, allowed: agents }),
    });
  });
  after(async () => {
    for (const { socket } of open) socket.destroy();
    witness.close();
    await sallyport.close();
    files.dispose();
  });

  async function visit(workload: Workload): Promise<Dialogue> {
    const dialogue = await sallyport.openAtAgent(workload, port);
    open.add(dialogue);
    dialogue.write(`${workload}\n`);
    assert.equal((await dialogue.readUntil('\n')).split(':')[0], snatAddresses[workload]);
    return dialogue;
  }

  async function echoes(dialogue: Dialogue): Promise<void> {
    dialogue.write('still here\n');
    assert.equal(await dialogue.readUntil('\n'), 'still here\n');
  }

  const svidFile = (workload: Workload, file: string) => readFileSync(join(sallyport.svidDirectory(workload), file), 'utf8');
  const issuerOf = (workload: Workload) => new X509Certificate(svidFile(workload, 'svid.pem')).issuer;

  it('loses no connection, and who renews reaches the gateway as before', async () => {
    const live = await Promise.all(agents.map(visit));
    const traffic = { visits: 0, running: true };
    const flowing = (async () => {
      while (traffic.running) {
        for (const workload of agents) (await visit(workload)).socket.destroy();
        traffic.visits += 1;
      }
    })();

    await sallyport.cli(['ca', 'import', '--chain', second.chainFile, '--private-key', second.privateKeyFile]);
    assert.match((await sallyport.cli(['ca', 'show'])).stdout, /^prepared .*second intermediate/m);
    await waitFor('the new root in the bundles', 10_000, () => agents.every((workload) => svidFile(workload, 'svid_bundle.pem').includes(second.rootPem.trim())) || undefined);
    assert.deepEqual(agents.map(issuerOf), ['CN=first intermediate', 'CN=first intermediate']);
    await sallyport.cli(['ca', 'rotate']);
    const { stdout } = await sallyport.cli(['ca', 'show']);
    assert.match(stdout, /^active .*second intermediate/m);
    assert.match(stdout, /^old .*first intermediate/m);
    const visitsAtRotation = traffic.visits;
    await waitFor('traffic after the rotation', 5_000, () => traffic.visits > visitsAtRotation + 2 || undefined);
    await Promise.all(live.map(echoes));
    traffic.running = false;
    await flowing;

    // One agent has a certificate of the new CA, the other one and the gateway of the old.
    await renew('productpage');
    await visit('productpage');
    await visit('batch');
    await echoes(live[1]!);
    // The gateway too, and an agent of the old CA reaches it.
    await sallyport.kill(gateway);
    sallyport.launchTheGateway();
    await waitFor('the gateway to have renewed', 10_000, async () => {
      const status = (await sallyport.status(gateway)) as { ready: boolean; identity: { expiresAtMs: number } } | undefined;
      return (status?.ready === true && status.identity.expiresAtMs > Date.now() + firstCaLastsMs) || undefined;
    });
    assert.equal(issuerOf('batch'), 'CN=first intermediate');
    await visit('productpage');
    await visit('batch');
    await renew('batch');
    await visit('batch');
  });

  /** Half of what the first CA gave is over: an agent that starts again renews at once, with the certificate that it has. */
  async function renew(workload: Workload): Promise<void> {
    await sallyport.kill(workload);
    sallyport.launchWorkload(workload);
    await waitFor(`a new certificate for ${workload}`, 10_000, () => issuerOf(workload) === second.subject || undefined);
    await sallyport.ready(workload);
    await waitFor('its agent to listen', 5_000, () => visit(workload).catch(() => undefined));
  }
});
