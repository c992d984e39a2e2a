/** A stock Envoy as an egress gateway, told what to do by our control plane and nothing else. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { adminPaths, type StatusResult, type WhoisConnection, type WhoisResult } from '../../src/api/admin.ts';
import type { CertificateIssued } from '../../src/core/ledger-record.ts';
import type { SpiffeId } from '../../src/core/spiffe-id.ts';
import { openPlain, startDialogue, type Dialogue } from '../../src/demo/clients.ts';
import { findFreePorts, waitFor } from '../../src/demo/processes.ts';
import { ConfigStatus } from '../../src/proto/envoy/service/status/v3/csds_pb.ts';
import { startTestControl, type Svid, type TestControl } from '../support/control.ts';
import { startEnvoyAs, type Envoy } from '../support/envoy.ts';
import { requirePeer } from '../support/peers.ts';
import { askClientStatus } from '../support/client-status.ts';
import { commandLine, type CommandLine } from '../cli/support/command-line.ts';
import { startWitness, type Witness } from './support/witness.ts';

const alice = 'spiffe://cluster.local/admin/alice';
const gatewayIdentity = 'spiffe://cluster.local/ns/sallyport-system/sa/egress-1' as SpiffeId;
const addresses = { bookinfo: '127.0.1.11', reports: '127.0.1.12' } as const;

describe('a stock Envoy as a gateway', () => {
  let control: TestControl;
  let envoy: Envoy;
  let witness: Witness;
  /** Undone after all, the last first. */
  const undo: (() => unknown)[] = [];
  let gatewayPort: number;
  /** The service's port, and so that of its listener at sidecars. */
  let sidecarPort: number;
  const open = new Set<Dialogue>();

  const policyFor = (namespace: string) => `
---
apiVersion: sallyport.dev/v1alpha1
kind: EgressPolicy
metadata: {name: ${namespace}, namespace: egress}
spec: {subjects: [{namespace: ${namespace}}], to: [{service: billing}]}
`;
  const manifests = () => `
apiVersion: sallyport.dev/v1alpha1
kind: EgressGateway
metadata: {name: egress-1}
spec: {class: envoy, listen: [{address: 127.0.0.1, port: ${gatewayPort}}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatPool
metadata: {name: billing}
spec: {addresses: [127.0.1.11-127.0.1.13]}
---
apiVersion: sallyport.dev/v1alpha1
kind: ExternalService
metadata: {name: billing, namespace: egress}
spec: {addresses: [127.0.0.1], ports: [{port: ${sidecarPort}, targetPort: ${witness.port}}]}
${Object.entries(addresses)
  .map(
    ([namespace, address]) => `${policyFor(namespace)}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatBinding
metadata: {name: ${namespace}, namespace: ${namespace}}
spec: {subject: {namespace: ${namespace}}, addresses: ["${address}"]}
`,
  )
  .join('')}`;

  function connectAs({ certificateChainPem, privateKeyPem, trustBundlePem }: Svid): Dialogue {
    const socket = connectTls({ host: '127.0.0.1', port: gatewayPort, servername: `outbound_.${sidecarPort}_._.billing.egress.svc.cluster.local`, cert: certificateChainPem, key: privateKeyPem, ca: trustBundlePem, allowPartialTrustChain: true, checkServerIdentity: () => undefined });
    const dialogue = startDialogue(socket);
    open.add(dialogue);
    return dialogue;
  }

  /** The address that the service saw. */
  async function departure(svid: Svid): Promise<string> {
    const dialogue = connectAs(svid);
    dialogue.write('hello\n');
    const seen = await dialogue.readUntil('\n');
    dialogue.socket.destroy();
    return seen.split(':')[0]!;
  }

  const sallyport: CommandLine = (...args) => commandLine(join(control.directory, 'admin.sock'))(...args);
  const status = () => control.admin.get<StatusResult>(adminPaths.status);

  before(async function () {
    const program = requirePeer(this, 'envoy');
    witness = await startWitness();
    undo.push(() => witness.close());
    [gatewayPort, sidecarPort] = (await findFreePorts(2)) as [number, number];
    control = await startTestControl({ administrators: new Set([alice]) });
    undo.push(() => control.close());
    await control.admin.post(adminPaths.caInit, {});
    await control.apply(manifests());
    envoy = await startEnvoyAs(control, program, gatewayIdentity);
    undo.push(() => envoy.stop());
    await waitFor('the gateway', 10_000, async () => ((await status()).proxies.some(({ class: form, types }) => form === 'envoy' && types.length >= 3 && types.every(({ state }) => state === 'SYNCED')) ? true : undefined));
  });
  after(async () => {
    for (const step of undo.reverse()) await step();
  });
  afterEach(() => {
    for (const dialogue of open) dialogue.socket.destroy();
    open.clear();
  });

  it('lets identities out from their own addresses, many at the same moment', async () => {
    const svids = { bookinfo: await control.svid('spiffe://cluster.local/ns/bookinfo/sa/productpage'), reports: await control.svid('spiffe://cluster.local/ns/reports/sa/batch') };
    const names = Array.from({ length: 60 }, (_, index): keyof typeof addresses => (index % 2 === 0 ? 'bookinfo' : 'reports'));
    assert.deepEqual(await Promise.all(names.map((name) => departure(svids[name]))), names.map((name) => addresses[name]));
  });

  it('refuses an identity that no policy names, and the service sees nothing of it', async () => {
    const before = witness.accepted;
    const dialogue = connectAs(await control.svid('spiffe://cluster.local/ns/sm-apigw-a/sa/nettools'));
    dialogue.write('hello\n');
    await assert.rejects(dialogue.readUntil('\n'));
    assert.equal(witness.accepted, before);
  });

  it('refuses a proxy certificate, which is for the control plane alone, though its identity is allowed', async () => {
    await assert.rejects(departure(await control.proxyCertificate('spiffe://cluster.local/ns/bookinfo/sa/sidecar')));
    await waitFor('the record', 10_000, async () => (await sallyport(['ledger', 'tail', '--type', 'connection-denied'])).out.split('\n').find((line) => line.includes('proxy-certificate') && line.includes('"reason":"certificate-invalid"')));
  });

  it('ends the live connections of a policy that is deleted within two seconds, and no others', async () => {
    const reports = connectAs(await control.svid('spiffe://cluster.local/ns/reports/sa/batch'));
    const bookinfo = connectAs(await control.svid('spiffe://cluster.local/ns/bookinfo/sa/productpage'));
    for (const dialogue of [reports, bookinfo]) {
      dialogue.write('drip\n');
      await dialogue.readUntil('\n');
    }
    const ended = new Promise((resolve) => reports.socket.once('close', resolve));
    const before = performance.now();
    await control.admin.post(adminPaths.remove, { refs: [{ kind: 'EgressPolicy', namespace: 'egress', name: 'reports' }] });
    await ended;
    assert.ok(performance.now() - before < 2_000, `${performance.now() - before} ms`);
    await bookinfo.readUntil('.');
    await control.apply(policyFor('reports'));
  });

  it('is told apart in the status, with what it holds', async () => {
    const { proxies } = await status();
    const [proxy] = proxies.filter(({ class: form }) => form === 'envoy');
    assert.deepEqual([proxy?.node, proxy?.gateway, proxy?.connected], [gatewayIdentity, 'egress-1', true]);
    assert.deepEqual(proxy?.types.map(({ typeUrl }) => typeUrl.split('.').at(-1)).sort(), ['Cluster', 'Listener', 'Secret']);
  });

  it('writes the ledger that whois answers from: identity, policy, source address and port', async () => {
    const seen = witness.seen.length;
    const bookinfo = await control.svid('spiffe://cluster.local/ns/bookinfo/sa/details');
    assert.equal(await departure(bookinfo), addresses.bookinfo);
    const { address, port, time } = witness.seen[seen]!;
    const { connections } = await waitFor('the record', 10_000, async () => {
      const result = await control.admin.get<WhoisResult>(adminPaths.whois, { address, port: String(port), time: time.toISOString(), toleranceMs: '1000' });
      return result.connections[0]?.closed == null ? undefined : result;
    });
    const [{ opened, closed }] = connections as [WhoisConnection];
    assert.deepEqual([opened.spiffeId, opened.origin, opened.service, opened.policies, opened.target], ['spiffe://cluster.local/ns/bookinfo/sa/details', 'egress-1', `egress/billing:tcp-${sidecarPort}`, ['egress/bookinfo'], `127.0.0.1:${witness.port}`]);
    assert.deepEqual([closed?.bytesSent, closed?.reason], ['hello\n'.length, 'finished']);
  });

  it('records who was refused, and why', async () => {
    const nettools = 'spiffe://cluster.local/ns/sm-apigw-a/sa/refused';
    const dialogue = connectAs(await control.svid(nettools));
    await assert.rejects(dialogue.readUntil('\n'));
    const line = await waitFor('the record', 10_000, async () => (await sallyport(['ledger', 'tail', '--type', 'connection-denied'])).out.split('\n').find((each) => each.includes(nettools)));
    assert.match(line, /"reason":"no-policy"/);
  });

  it('is reached through another Envoy as a sidecar, which offers its workload what it may use, and no more', async function () {
    const program = requirePeer(this, 'envoy');
    const sidecars = { bookinfo: await startEnvoyAs(control, program, 'spiffe://cluster.local/ns/bookinfo/sa/behind-a-sidecar' as SpiffeId), nettools: await startEnvoyAs(control, program, 'spiffe://cluster.local/ns/sm-apigw-a/sa/behind-a-sidecar' as SpiffeId) };
    try {
      const dialogue = await waitFor('the sidecar to listen', 10_000, () => openPlain(sidecarPort, '127.0.0.1').catch(() => undefined));
      open.add(dialogue);
      dialogue.write('hello\n');
      assert.equal((await dialogue.readUntil('\n')).split(':')[0], addresses.bookinfo);
      assert.match(await sidecars.bookinfo.admin('/listeners'), new RegExp(`:${sidecarPort}`));
      assert.doesNotMatch(await sidecars.nettools.admin('/listeners'), new RegExp(`:${sidecarPort}`));
    } finally {
      await sidecars.bookinfo.stop();
      await sidecars.nettools.stop();
    }
  });

  it('ends the connections of a certificate that is revoked, and takes it no more; the identity with another one comes again', async () => {
    const spiffeId = 'spiffe://cluster.local/ns/bookinfo/sa/stolen';
    const stolen = await control.svid(spiffeId);
    const live = connectAs(stolen);
    live.write('drip\n');
    await live.readUntil('\n');
    const other = connectAs(await control.svid('spiffe://cluster.local/ns/reports/sa/batch'));
    other.write('drip\n');
    await other.readUntil('\n');
    const ended = new Promise((resolve) => live.socket.once('close', resolve));
    const before = performance.now();
    await control.admin.post(adminPaths.revocations, { spiffeId });
    await ended;
    assert.ok(performance.now() - before < 2_000, `${performance.now() - before} ms`);
    await assert.rejects(departure(stolen));
    assert.equal(await departure(await control.svid(spiffeId)), addresses.bookinfo);
    await other.readUntil('.');
    await waitFor('the record', 10_000, async () => (await sallyport(['ledger', 'tail', '--type', 'connection-denied'])).out.split('\n').find((line) => line.includes(spiffeId) && line.includes('"reason":"certificate-revoked"')));
  });

  it('is a line of proxy-status, synced', async () => {
    const { status: exit, out } = await sallyport(['proxy-status']);
    assert.equal(exit, 0, out);
    assert.match(out, /^PROXY +CLASS +VERSION +CONNECTED SINCE +STATE +ACKNOWLEDGED +BEHIND\nspiffe:\S+\/egress-1 +envoy gateway +1\.[0-9]+\.[0-9]+ +20\S+Z +SYNCED +[0-9a-f]{12} +0 revisions\n$/);
  });

  it('holds what proxy-config says that it was sent, and its key is shown by a hash', async () => {
    const { status: exit, out } = await sallyport(['proxy-config', 'all', 'egress-1', '--diff', '--envoy-admin', envoy.adminSocketPath]);
    assert.deepEqual([exit, out], [0, `${gatewayIdentity} holds what it was sent\n`]);
    const secrets = await sallyport(['proxy-config', 'secrets', 'egress-1', '-o', 'json']);
    assert.match(secrets.out, /"private_key": "sha256 [0-9a-f]{64}"/);
    assert.ok(!secrets.out.includes('PRIVATE KEY'));
    const listeners = await sallyport(['proxy-config', 'listeners', 'egress-1']);
    assert.match(listeners.out, /^TYPE +NAME +VERSION +STATE\nListener +entrance\|127\.0\.0\.1:[0-9]+ +[0-9a-f]+ +SYNCED\nListener +service\|egress\/billing:\S+ +[0-9a-f]+ +SYNCED\n$/);
    const nobody = await sallyport(['proxy-config', 'all', 'egress-2']);
    assert.deepEqual([nobody.status, nobody.err], [3, `error: no proxy "egress-2" is connected\nhint: connected are ${gatewayIdentity}; see sallyport proxy-status\n`]);
  });

  it('is read by an administrator with the client status discovery service, and by no other proxy', async () => {
    const mesh = await control.mesh();
    const [client] = (await askClientStatus(mesh, await control.administrator(alice))).filter(({ node }) => node?.id === gatewayIdentity);
    assert.deepEqual(new Set(client?.genericXdsConfigs.map(({ configStatus }) => configStatus)), new Set([ConfigStatus.SYNCED]));
    assert.ok(client!.genericXdsConfigs.some(({ name, xdsConfig }) => name.startsWith('entrance|') && xdsConfig !== undefined));
    for (const other of ['spiffe://cluster.local/ns/bookinfo/sa/productpage', gatewayIdentity]) await assert.rejects(askClientStatus(mesh, await control.svid(other)), /may not ask/);
  });

  it('gives a sidecar whose SVID is revoked another one at once, by which its workload goes on', async function () {
    const spiffeId = 'spiffe://cluster.local/ns/bookinfo/sa/renewed' as SpiffeId;
    const sidecar = await startEnvoyAs(control, requirePeer(this, 'envoy'), spiffeId);
    const ask = async () => {
      const dialogue = await openPlain(sidecarPort, '127.0.0.1');
      open.add(dialogue);
      dialogue.write('hello\n');
      return (await dialogue.readUntil('\n')).split(':')[0];
    };
    try {
      assert.equal(await waitFor('the sidecar to listen', 10_000, () => ask().catch(() => undefined)), addresses.bookinfo);
      const issued = (await sallyport(['ledger', 'tail', '--type', 'certificate-issued'])).out.trim().split('\n').map((line) => JSON.parse(line) as CertificateIssued);
      const { serialNumber } = issued.findLast((record) => record.spiffeId === spiffeId)!;
      await control.admin.post(adminPaths.revocations, { serialNumber });
      await waitFor('another SVID', 10_000, async () => !(await sidecar.admin('/certs')).includes(serialNumber) || undefined);
      assert.equal(await waitFor('its workload to be let in', 5_000, () => ask().catch(() => undefined)), addresses.bookinfo);
    } finally {
      await sidecar.stop();
    }
  });

  it('goes on when the control plane is gone', async () => {
    const bookinfo = await control.svid('spiffe://cluster.local/ns/bookinfo/sa/productpage');
    const live = connectAs(bookinfo);
    live.write('drip\n');
    await live.readUntil('\n');
    await control.control.close();
    await live.readUntil('.');
    assert.equal(await departure(bookinfo), addresses.bookinfo);
  });
});
