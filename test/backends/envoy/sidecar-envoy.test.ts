import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import net from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { renderEnvoySidecar, type Rendered } from '../../../src/backends/envoy/index.ts';
import type { IpAddress } from '../../../src/core/ip-address.ts';
import type { Plan, ServicePort } from '../../../src/core/plan/plan.ts';
import type { SpiffeId } from '../../../src/core/spiffe-id.ts';
import { findFreePorts } from '../../../src/demo/processes.ts';
import { startEnvoy } from '../../support/envoy.ts';
import { grantTo, loopback, readAll, servicePort, settings, spiffeIdOf, startGateway, startServer, until } from '../../support/gateway.ts';
import { requirePeer } from '../../support/peers.ts';
import { makePki, type Issued, type Pki } from '../../support/pki.ts';
import { startVsftpd } from '../../support/vsftpd.ts';
import { startControlPlane, type TestControlPlane } from './control-plane.ts';
import { plannedGateway, planOf, startEnvoyGateway, workload } from './envoy-gateway.ts';

const beside = '127.0.0.2' as IpAddress;

describe('a stock Envoy beside a workload', function () {
  this.timeout(40_000);
  const stops: (() => unknown)[] = [];
  let program: string;

  before(function () {
    program = requirePeer(this, 'envoy');
  });
  afterEach(async () => {
    for (const stop of stops.splice(0).reverse()) await stop();
  });

  function ended<Stoppable extends { stop(): unknown }>(each: Stoppable): Stoppable {
    stops.push(() => each.stop());
    return each;
  }

  async function startSidecar(control: TestControlPlane, identity: Issued, plan: Plan): Promise<Rendered> {
    const rendered = renderEnvoySidecar(plan, identity.spiffeId);
    control.publish(identity, rendered.resources);
    ended(await startEnvoy(program, (adminSocketPath) => control.bootstrap(identity, adminSocketPath)));
    await control.settled(identity);
    return rendered;
  }

  const ask = (port: number, address: string = loopback): Promise<string> => readAll(net.connect(port, address).on('error', () => undefined));

  /** Offered to workloads on a free local port, and believed to be served by these. */
  async function offered(shape: Parameters<typeof servicePort>[0], serverIdentities: readonly SpiffeId[] = [settings.identity]): Promise<ServicePort> {
    const [port] = (await findFreePorts(1)) as [number];
    return { ...servicePort(shape), serverIdentities, agentListen: { address: loopback, port } };
  }

  it("leads its workload through the gateway's Envoy, as nobody but its own identity", async () => {
    const target = ended(await startServer((socket) => socket.end(`220 ${socket.remoteAddress}\r\n`)));
    const grants = [grantTo('book', '127.0.1.1'), grantTo('shop', '127.0.1.2')];
    const partner = await offered({ name: 'partner', targetPort: target.port, grants });
    const foreign = await offered({ name: 'foreign', targetPort: target.port, grants: [grantTo('shop', '127.0.1.3')] });
    const gateway = ended(await startEnvoyGateway(program, [partner, foreign]));
    await startSidecar(gateway.control, workload(gateway.pki, 'book'), planOf([partner, foreign], [plannedGateway(gateway.port)]));
    const said = await Promise.all([1, 2, 3].map(() => ask(partner.agentListen.port)));
    assert.deepEqual(said, Array(3).fill('220 127.0.1.1\r\n'));
    assert.equal(await ask(foreign.agentListen.port), '', 'what it may not use it does not offer');
  });

  it('sends nothing to a gateway that is not who it should be', async () => {
    const target = ended(await startServer((socket) => socket.end('220 ready\r\n')));
    const impostor = await offered({ targetPort: target.port, grants: [grantTo('book', '127.0.1.1')] }, [spiffeIdOf('sallyport-system', 'other')]);
    const gateway = ended(await startEnvoyGateway(program, [impostor]));
    await startSidecar(gateway.control, workload(gateway.pki, 'book'), planOf([impostor], [plannedGateway(gateway.port)]));
    assert.equal(await ask(impostor.agentListen.port), '');
    assert.deepEqual(target.clients, []);
  });

  it('goes to the next address of its gateway when one does not answer', async () => {
    const target = ended(await startServer((socket) => socket.end('220 ready\r\n')));
    const partner = await offered({ targetPort: target.port, grants: [grantTo('book', '127.0.1.1')] });
    const gateway = ended(await startEnvoyGateway(program, [partner]));
    const [down] = (await findFreePorts(1)) as [number];
    const advertise = [down, gateway.port].map((port) => ({ address: loopback, port }));
    await startSidecar(gateway.control, workload(gateway.pki, 'book'), planOf([partner], [plannedGateway(gateway.port, { advertise })]));
    assert.equal(await ask(partner.agentListen.port), '220 ready\r\n');
  });

  it("carries an FTP session with its data connections, all from the identity's address", async function () {
    const [curl, vsftpd] = [requirePeer(this, 'curl'), requirePeer(this, 'vsftpd')];
    const server = ended(await startVsftpd(vsftpd));
    await writeFile(join(server.directory, 'report.txt'), 'figures\n');
    const ftpPassivePorts = { first: 24_100, last: 24_107 };
    const pki: Pki = makePki();
    const files = { ...(await offered({ protocol: 'FTP', targetPort: server.port, grants: [grantTo('book', '127.0.1.7')] })), agentListen: { address: beside, port: (await findFreePorts(1))[0]! } };
    const gateway = ended(await startGateway({ servicePorts: [files], pki, ftpPassivePorts }));
    const control = ended(await startControlPlane(pki));
    const { conditions } = await startSidecar(control, workload(pki, 'book'), planOf([files], [plannedGateway(gateway.port, { class: 'sallyport', ftpPassivePorts })]));
    assert.deepEqual(conditions, []);
    const url = `ftp://${beside}:${files.agentListen.port}/`;
    const { stdout } = await promisify(execFile)(curl, ['-sS', '--max-time', '10', `${url}report.txt`]);
    assert.equal(stdout, 'figures\n');
    const channels = () => gateway.records.flatMap((record) => (record.type === 'connection-opened' ? [`${record.channel} ${record.snatAddress}`] : []));
    await until(() => channels().length === 2);
    assert.deepEqual(channels(), ['ftp-control 127.0.1.7', 'ftp-data 127.0.1.7']);
  });
});
