/** The way back, through real processes: a service outside connects to the address that a workload leaves from, and reaches the workload. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { startDialogue, type Dialogue } from '../../src/demo/clients.ts';
import { findFreePorts, waitFor } from '../../src/demo/processes.ts';
import { serviceManifests, snatAddresses, startTestDeployment, type TestDeployment, type Workload } from '../support/deployment.ts';

const partner = '127.0.0.1';
const stranger = '127.0.0.66';

describe('the way back, end to end', function () {
  this.timeout(40_000);
  const closing: (() => unknown)[] = [];
  const open = new Set<Socket>();
  let sallyport: TestDeployment;
  let ports: { readonly forward: number; readonly reverse: number; readonly workload: number; readonly target: number };

  /** A workload's own server: says who it is to whoever connects, and echoes. */
  async function startWorkload(workload: Workload): Promise<void> {
    const server: Server = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.write(`${workload}\n`);
      socket.pipe(socket);
    });
    server.listen(ports.workload, sallyport.agentAddress(workload));
    await once(server, 'listening');
    closing.push(() => server.close());
  }

  /** As a host outside connects, from an address of its own. */
  async function connectFrom(localAddress: string, address: string): Promise<Dialogue> {
    const socket = connect({ host: address, port: ports.reverse, localAddress });
    open.add(socket);
    const dialogue = startDialogue(socket);
    await once(socket, 'connect');
    return dialogue;
  }

  const reach = (workload: Workload) =>
    waitFor(`${workload} to be reached`, 10_000, async () => {
      const dialogue = await connectFrom(partner, snatAddresses[workload]).catch(() => undefined);
      return (await dialogue?.readUntil('\n').catch(() => undefined)) === undefined ? undefined : dialogue!;
    });

  before(async () => {
    const [forward, reverse, workload, target] = (await findFreePorts(4)) as [number, number, number, number];
    ports = { forward, reverse, workload, target };
    const allowed: readonly Workload[] = ['productpage', 'batch'];
    const manifests = serviceManifests({ name: 'partner', port: forward, targetPort: target, allowed }).replace('spec: {addresses', `spec: {reverse: [{name: callbacks, port: ${reverse}, workloadPort: ${workload}}], addresses`);
    sallyport = await startTestDeployment({ agents: ['productpage', 'batch', 'nettools'], manifests });
    closing.push(sallyport.close);
    for (const each of ['productpage', 'batch'] as const) await startWorkload(each);
  });
  afterEach(() => {
    for (const socket of open) socket.destroy();
    open.clear();
  });
  after(async () => {
    for (const close of closing.reverse()) await close();
  });

  it('reaches the workload whose address it is, many at the same moment', async () => {
    await Promise.all([reach('productpage'), reach('batch')]);
    const workloads: readonly Workload[] = Array.from({ length: 20 }, (_, index) => (index % 2 === 0 ? 'productpage' : 'batch'));
    const said = await Promise.all(workloads.map(async (workload) => (await connectFrom(partner, snatAddresses[workload])).readUntil('\n')));
    assert.deepEqual(said, workloads.map((workload) => `${workload}\n`));
  });

  it('carries bytes both ways, and an end of either side', async () => {
    const dialogue = await reach('productpage');
    const text = `${'x'.repeat(300_000)}\n`;
    dialogue.write(text);
    assert.equal(await dialogue.readUntil('\n'), text);
    dialogue.socket.end();
    assert.equal((await dialogue.readAll()).length, 0);
  });

  it('lets nobody in but the service, and says so in the ledger', async () => {
    await assert.rejects(async () => (await connectFrom(stranger, snatAddresses.productpage)).readUntil('\n')); // the reset may be there before `connect` is told
    await waitFor('the record', 5_000, async () => {
      const { stdout } = await sallyport.cli(['ledger', 'tail', '--last', '50', '--type', 'connection-denied']);
      return new RegExp(`"reason":"reverse-source-refused".*${stranger}`).test(stdout) ? true : undefined;
    });
  });

  it('opens no port at the address of an identity that no policy names', async () => {
    await assert.rejects(connectFrom(partner, snatAddresses.nettools), { code: 'ECONNREFUSED' });
  });

  it('tells by whois who was reached at the address, port and time', async () => {
    const dialogue = await reach('batch');
    const at = new Date();
    dialogue.socket.destroy();
    const record = await waitFor('the record', 5_000, async () => (await sallyport.cli(['ledger', 'tail', '--last', '50', '--type', 'connection-opened'])).stdout.split('\n').findLast((line) => line.includes('"channel":"reverse"') && line.includes(snatAddresses.batch)));
    const { spiffeId, snatPort, target } = JSON.parse(record) as { readonly spiffeId: string; readonly snatPort: number; readonly target: string };
    assert.deepEqual([spiffeId, snatPort, target.split(':')[0]], ['spiffe://cluster.local/ns/reports/sa/batch', ports.reverse, partner]);
    const { stdout } = await sallyport.cli(['whois', `${snatAddresses.batch}:${ports.reverse}`, at.toISOString()]);
    assert.match(stdout, /reports\/sa\/batch/);
  });

  it('ends within a second when the policy goes, and no port is open from then on', async () => {
    const live = await reach('productpage');
    const ended = new Promise((resolve) => live.socket.once('close', resolve));
    const before = performance.now();
    await sallyport.cli(['delete', 'EgressPolicy', 'partner-productpage', '-n', 'bookinfo']);
    await ended;
    assert.ok(performance.now() - before < 2_500, `${performance.now() - before} ms, the command included`);
    await waitFor('the port to be closed', 10_000, async () => {
      const dialogue = await connectFrom(partner, snatAddresses.productpage).catch(() => undefined);
      dialogue?.socket.destroy();
      return dialogue === undefined ? true : undefined;
    });
    await reach('batch');
  });
});
