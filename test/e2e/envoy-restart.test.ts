/** The control plane is killed under load, and comes back: stock Envoys go on as if nothing had happened, and the ledger knows what they did. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { adminPaths } from '../../src/api/admin.ts';
import type { LedgerRecord } from '../../src/core/ledger-record.ts';
import { openPlain, type Dialogue } from '../../src/demo/clients.ts';
import { findFreePorts, waitFor } from '../../src/demo/processes.ts';
import { startBootstrappedEnvoy, type BootstrappedEnvoy } from '../support/bootstrapped-envoy.ts';
import { gateway, prepareTestDeployment, serviceManifests, snatAddresses, workloadIdentities, type TestDeployment } from '../support/deployment.ts';
import { openMesh, readSvid } from '../support/mesh-client.ts';
import { requirePeer } from '../support/peers.ts';
import { startLoad, type Load } from './support/load.ts';
import { startWitness, type Witness } from './support/witness.ts';

describe('a control plane of stock Envoys that is killed under load', function () {
  this.timeout(60_000);
  /** Undone after all, the last first. */
  const undo: (() => unknown)[] = [];
  let sallyport: TestDeployment;
  let witness: Witness;
  let port: number;
  let gatewayEnvoy: BootstrappedEnvoy;
  let sidecarEnvoy: BootstrappedEnvoy;
  let load: Load;
  /** Open from before the kill to the end. */
  let live: Record<'productpage' | 'batch', Dialogue>;
  /** How many connections the load had opened when the control plane was gone, and when it was to come back. */
  let gone = 0;
  let back = 0;

  before(async function () {
    const program = requirePeer(this, 'envoy');
    witness = await startWitness();
    undo.push(() => witness.close());
    [port] = (await findFreePorts(1)) as [number];
    sallyport = await prepareTestDeployment({ gatewayClass: 'envoy', manifests: serviceManifests({ name: 'witness', port, targetPort: witness.port, allowed: ['productpage', 'batch'] }) });
    undo.push(() => sallyport.close());
    sallyport.launchWorkload('productpage');
    sallyport.launchWorkload('nettools');
    gatewayEnvoy = await startBootstrappedEnvoy(sallyport, program, '--gateway', gateway);
    undo.push(() => gatewayEnvoy.stop());
    sidecarEnvoy = await startBootstrappedEnvoy(sallyport, program, '--sidecar', '--spiffe-id', workloadIdentities.batch);
    undo.push(() => sidecarEnvoy.stop());
    await Promise.all(['productpage', 'nettools'].map(sallyport.ready));
    const open = { productpage: () => sallyport.openAtAgent('productpage', port), batch: () => openPlain(port) };
    live = { productpage: await drip(open.productpage), batch: await drip(open.batch) };
    load = await startLoad([
      { name: 'through an agent', open: open.productpage, snatAddress: snatAddresses.productpage },
      { name: 'through an Envoy', open: open.batch, snatAddress: snatAddresses.batch },
    ]);
  });
  after(async () => {
    for (const step of undo.reverse()) await step();
  });

  async function drip(open: () => Promise<Dialogue>): Promise<Dialogue> {
    const dialogue = await open();
    undo.push(() => dialogue.socket.destroy());
    dialogue.write('drip\n');
    await dialogue.readUntil('.');
    return dialogue;
  }

  const goesOn = ({ socket }: Dialogue) => once(socket, 'data', { signal: AbortSignal.timeout(2_000) });

  async function assertNettoolsRefused(): Promise<void> {
    const { dialogue } = await openMesh(await readSvid(sallyport.svidDirectory('nettools')), sallyport.gatewayPort, 'witness.bookinfo.svc.cluster.local');
    const { accepted } = witness;
    dialogue.write('nettools\n');
    await assert.rejects(dialogue.readUntil('\n'));
    // Others come and go meanwhile, and say a line each.
    await waitFor('those that were let in to say who they are', 5_000, () => witness.seen.length >= accepted || undefined);
    assert.ok(!witness.seen.some(({ line }) => line === 'nettools'));
  }

  const envoys = () => [gatewayEnvoy, sidecarEnvoy];
  const updatesOf = (...types: readonly string[]) => Promise.all(envoys().map((envoy) => envoy.count(new RegExp(`^(${types.join('|')})\\.update_success$`))));

  it('harms no connection, lets in whom it let in, and refuses whom it refused', async () => {
    await load.goesOn();
    await sallyport.kill('control');
    gone = load.opened.length;
    await load.goesOn(20);
    await assertNettoolsRefused();
    await Promise.all(Object.values(live).map(goesOn));
  });

  it('comes back to Envoys that find it by themselves, and sends them nothing that they hold', async () => {
    const types = ['cluster_manager.cds', 'listener_manager.lds', 'sds.ROOTCA'];
    const [updates, svids] = [await updatesOf(...types), await updatesOf('sds.default')];
    back = load.opened.length;
    await sallyport.startControl();
    await waitFor('both Envoys to be connected', 20_000, async () => (await Promise.all(envoys().map((envoy) => envoy.inStep()))).every((status) => status !== undefined) || undefined);
    // A control plane that was started anew has no key of theirs, and makes the next.
    await waitFor('another SVID at both', 5_000, async () => (await updatesOf('sds.default')).every((count, index) => count > svids[index]!) || undefined);
    await load.goesOn();
    await assertNettoolsRefused();
    await load.stop();
    assert.deepEqual(await updatesOf(...types), updates);
    assert.deepEqual(await updatesOf('sds.default'), svids.map((count) => count + 1));
  });

  it('has what was done while it was away in its ledger, which is whole', async () => {
    const during = load.opened.slice(gone, back).map((line) => witness.seen.find((seen) => seen.line === line)!);
    assert.ok(during.length > 20);
    await waitFor('the opening and the end of each', 10_000, async () => {
      const recorded = await recordedConnections();
      return during.every(({ address, port: source }) => recorded.has(`connection-opened ${address}:${source}`) && recorded.has(`connection-closed ${address}:${source}`)) || undefined;
    });
    assert.match((await sallyport.cli(['ledger', 'verify'])).stdout, /^ledger is whole/);
  });

  async function recordedConnections(): Promise<ReadonlySet<string>> {
    const recorded = new Set<string>();
    for await (const line of sallyport.admin.lines(adminPaths.ledger, { last: '100000' }, AbortSignal.timeout(5_000))) {
      const record = JSON.parse(line) as LedgerRecord;
      if (record.type === 'connection-opened' || record.type === 'connection-closed') recorded.add(`${record.type} ${record.snatAddress}:${record.snatPort}`);
    }
    return recorded;
  }

  it('takes away what is taken away after it is back, within two seconds and from nobody else', async () => {
    const ended = new Promise((resolve) => live.productpage.socket.once('close', resolve));
    const before = performance.now();
    await sallyport.admin.post(adminPaths.remove, { refs: [{ kind: 'EgressPolicy', namespace: 'bookinfo', name: 'witness-productpage' }] });
    await ended;
    assert.ok(performance.now() - before < 2_000, `${performance.now() - before} ms`);
    await goesOn(live.batch);
  });
});
