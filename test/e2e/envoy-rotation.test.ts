/** SVIDs and CAs are replaced under load, and stock Envoys as gateway and as sidecar lose no connection over it. */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { openPlain } from '../../src/demo/clients.ts';
import { findFreePorts, waitFor } from '../../src/demo/processes.ts';
import { workspace, type Workspace } from '../ca/openssl.ts';
import { startBootstrappedEnvoy, type BootstrappedEnvoy } from '../support/bootstrapped-envoy.ts';
import { gateway, prepareTestDeployment, serviceManifests, snatAddresses, workloadIdentities, type TestDeployment, type Workload } from '../support/deployment.ts';
import { makeIntermediate, type Intermediate } from '../support/intermediate.ts';
import { openMesh, readSvid, type SvidFiles } from '../support/mesh-client.ts';
import { requirePeer } from '../support/peers.ts';
import { startLoad, type Load } from './support/load.ts';
import { startWitness, type Witness } from './support/witness.ts';

/** Renewed about every three seconds. */
const svidLifetime = '6s';
/** Of the CA that is replaced: long enough for what happens before, and then the test waits for its end. */
const briefCaLastsMs = 22_000;

describe('stock Envoys under load', function () {
  this.timeout(60_000);
  /** One through its agent, one that shows the SVID which its agent writes, and one through an Envoy. */
  const [agent, direct, sidecar] = ['productpage', 'batch', 'nettools'] as const satisfies readonly Workload[];
  /** Undone after all, the last first. */
  const undo: (() => unknown)[] = [];
  let files: Workspace;
  let sallyport: TestDeployment;
  let witness: Witness;
  let port: number;
  let gatewayEnvoy: BootstrappedEnvoy;
  let sidecarEnvoy: BootstrappedEnvoy;
  /** By which the gateway has first come to the control plane. */
  let firstProxyCertificate: X509Certificate;
  let load: Load;
  /** What the gateway has proved itself with. */
  const shownByTheGateway = new Set<string>();

  before(async function () {
    const program = requirePeer(this, 'envoy');
    requirePeer(this, 'openssl');
    files = workspace();
    undo.push(() => files.dispose());
    witness = await startWitness();
    undo.push(() => witness.close());
    [port] = (await findFreePorts(1)) as [number];
    sallyport = await prepareTestDeployment({
      gatewayClass: 'envoy',
      serveOptions: ['--ca-propagation', '0s', '--svid-lifetime', svidLifetime],
      manifests: serviceManifests({ name: 'witness', port, targetPort: witness.port, allowed: [agent, direct, sidecar] }),
    });
    undo.push(() => sallyport.close());
    for (const workload of [agent, direct]) sallyport.launchWorkload(workload);
    gatewayEnvoy = await startBootstrappedEnvoy(sallyport, program, '--gateway', gateway);
    undo.push(() => gatewayEnvoy.stop());
    sidecarEnvoy = await startBootstrappedEnvoy(sallyport, program, '--sidecar', '--spiffe-id', workloadIdentities[sidecar]);
    undo.push(() => sidecarEnvoy.stop());
    firstProxyCertificate = (await gatewayEnvoy.identity('files')).certificate;
    await Promise.all([agent, direct].map(sallyport.ready));
  });
  after(async () => {
    for (const step of undo.reverse()) await step();
  });
  beforeEach(async () => {
    load = await startLoad([
      { name: 'through an agent', open: () => sallyport.openAtAgent(agent, port), snatAddress: snatAddresses[agent] },
      { name: 'with an SVID', open: async () => await openWith(await svidOf(direct)), snatAddress: snatAddresses[direct] },
      { name: 'through an Envoy', open: () => openPlain(port), snatAddress: snatAddresses[sidecar] },
    ]);
  });

  const envoys = () => [gatewayEnvoy, sidecarEnvoy];
  const renewBootstraps = () => Promise.all(envoys().map((envoy) => envoy.renewBootstrap()));
  const host = 'witness.bookinfo.svc.cluster.local';
  const svidOf = (workload: Workload) => readSvid(sallyport.svidDirectory(workload));
  const issuerOf = async (workload: Workload) => new X509Certificate((await svidOf(workload)).certificateChainPem).issuer;

  async function openWith(svid: SvidFiles) {
    const { dialogue, gatewaySerialNumber } = await openMesh(svid, sallyport.gatewayPort, host);
    shownByTheGateway.add(gatewaySerialNumber);
    return dialogue;
  }

  /** The serial numbers that one has had so far; call it again to add what it has by then. */
  function certificatesOf(envoy: BootstrappedEnvoy): () => Promise<ReadonlySet<string>> {
    const seen = new Set<string>();
    return async () => seen.add((await envoy.identity('stream')).certificate.serialNumber);
  }

  it('lose no connection while SVIDs are renewed: of the gateway, of a sidecar, of workloads', async () => {
    const before = await Promise.all([agent, direct].map(svidOf));
    shownByTheGateway.clear();
    const certificates = envoys().map(certificatesOf);
    await waitFor('three renewals of both', 20_000, async () => (await Promise.all(certificates.map((seen) => seen()))).every(({ size }) => size > 3) || undefined);
    await load.goesOn();
    await load.stop();
    assert.ok(shownByTheGateway.size > 3, 'clients have seen the gateway renew');
    const after = await Promise.all([agent, direct].map(svidOf));
    for (const [index, { certificateChainPem }] of after.entries()) assert.notEqual(certificateChainPem, before[index]!.certificateChainPem);
  });

  const trustBundles = async () => [
    ...(await Promise.all([agent, direct].map(svidOf))).map(({ trustBundlePem }) => trustBundlePem),
    ...(await Promise.all(envoys().map((envoy) => envoy.identity('stream')))).map(({ trustBundlePem }) => trustBundlePem),
  ];
  const issuers = async () => [...(await Promise.all([agent, direct].map(issuerOf))), ...(await Promise.all(envoys().map((envoy) => envoy.identity('stream')))).map(({ certificate }) => certificate.issuer)];
  const has = (root: Intermediate) => (trustBundle: string) => trustBundle.includes(root.rootPem.trim());

  /** As an operator does it: the new root is everywhere, in Envoy's files too, before its intermediate signs. */
  async function rotateTo(next: Intermediate): Promise<void> {
    await sallyport.cli(['ca', 'import', '--chain', next.chainFile, '--private-key', next.privateKeyFile]);
    await waitFor('the new root in the bundles', 10_000, async () => (await trustBundles()).every(has(next)) || undefined);
    await renewBootstraps();
    await sallyport.cli(['ca', 'rotate']);
    await waitFor('SVIDs by the new CA', 10_000, async () => (await issuers()).every((issuer) => issuer === next.subject) || undefined);
    await load.goesOn();
  }

  it('lose no connection while the CA is rotated to one under another root and to the next, and then refuse whoever comes by one that is retired', async () => {
    const brief = makeIntermediate(files, 'brief', briefCaLastsMs);
    await rotateTo(brief);
    const stale = await svidOf(direct);
    await rotateTo(makeIntermediate(files, 'next', 86_400_000));
    await renewBootstraps();
    await waitFor('the brief CA to be out of the bundles', briefCaLastsMs, async () => !(await trustBundles()).some(has(brief)) || undefined);
    assert.match((await sallyport.cli(['ledger', 'tail', '--type', 'ca-rotated'])).stdout, /"step":"retired"/);
    await load.goesOn();
    await load.stop();

    const { accepted } = witness;
    const { trustBundlePem } = await svidOf(direct);
    await assert.rejects(async () => await (await openWith({ ...stale, trustBundlePem })).readUntil('\n'));
    await waitFor('the record of the refusal', 5_000, async () => (await sallyport.cli(['ledger', 'tail', '--type', 'connection-denied'])).stdout.includes('"reason":"certificate-untrusted"') || undefined);
    assert.equal(witness.accepted, accepted);
  });

  it('find the control plane again, whose certificate is by the next CA by now, since that root is in their files', async () => {
    const before = await gatewayEnvoy.inStep();
    // Its stream is by the certificate that it was opened with, and ends with that.
    await sallyport.cli(['cert', 'revoke', firstProxyCertificate.serialNumber.toLowerCase()]);
    await waitFor('another stream', 20_000, async () => {
      const status = await gatewayEnvoy.inStep();
      return (status !== undefined && status.connectedSince !== before?.connectedSince) || undefined;
    });
    await load.goesOn();
    await load.stop();
  });
});
