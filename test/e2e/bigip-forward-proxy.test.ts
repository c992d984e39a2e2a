/** The seed's case on a BIG-IP: register, mTLS as a sidecar's, CONNECT through tinyproxy from the namespace's own address, and the other namespace reset. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdir, mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { connect as connectTcp, createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { createDeployment, type Deployment } from '../../src/demo/deployment.ts';
import { findFreePorts, waitFor } from '../../src/demo/processes.ts';
import { startTraffic } from '../support/bigip/data-plane.ts';
import { startBigIp } from '../support/bigip/management.ts';
import { requirePeer } from '../support/peers.ts';
import { makePki } from '../support/pki.ts';
import { startTinyproxy, type Tinyproxy } from '../support/tinyproxy.ts';

const snatAddress = '127.1.4.65';

describe('a forward proxy behind a BIG-IP, end to end', function () {
  this.timeout(60_000);
  const pki = makePki();
  const closing: (() => unknown)[] = [];
  let sallyport: Deployment;
  let tinyproxy: Tinyproxy;
  let mtlsPort: number;
  /** Where CONNECT may go. */
  let origin: number;

  before(async function () {
    const [tclsh, tinyproxyProgram] = [requirePeer(this, 'tclsh'), requirePeer(this, 'tinyproxy')];
    const server = createServer((socket) => socket.end()).listen(0, '127.0.0.1');
    closing.push(() => server.close());
    await once(server, 'listening');
    origin = (server.address() as AddressInfo).port;
    tinyproxy = await startTinyproxy(tinyproxyProgram, { allow: [snatAddress], connectPorts: [origin] });
    closing.push(tinyproxy.stop);
    const box = await startBigIp({ username: 'sallyport', password: 'correct horse' });
    closing.push(() => box.close());
    const traffic = startTraffic(tclsh);
    closing.push(() => traffic.stop());
    box.onChange((running) => void traffic.enforce(running));

    const directory = await mkdtemp(join(tmpdir(), 'sallyport-bigip-'));
    const credentials = join(directory, 'credentials');
    await mkdir(join(credentials, 'f5'), { recursive: true });
    for (const [file, content] of Object.entries({ username: 'sallyport', password: 'correct horse', 'ca.pem': box.caPem })) await writeFile(join(credentials, 'f5', file), content);
    const [syslogPort, ...ports] = (await findFreePorts(2)) as [number, number];
    mtlsPort = ports[0];
    sallyport = await createDeployment({ directory, serveOptions: ['--credentials', credentials, '--syslog', `127.0.0.1:${syslogPort}`, '--syslog-allow', 'f5=127.0.0.1'] });
    closing.push(() => sallyport.close());
    await sallyport.startControl();
    const [chain, privateKey] = [join(directory, 'chain.pem'), join(directory, 'ca-key.pem')];
    await writeFile(chain, pki.intermediatePem + pki.rootPem);
    await writeFile(privateKey, pki.intermediateKeyPem, { mode: 0o600 });
    await sallyport.cli(['ca', 'import', '--chain', chain, '--private-key', privateKey]);
    await sallyport.cli(
      ['apply', '-f', '-'],
      `
apiVersion: sallyport.dev/v1alpha1
kind: EgressGateway
metadata: {name: f5}
spec:
  class: bigip
  listen: [{address: 127.0.0.1, port: ${mtlsPort}}]
  bigip: {management: [{host: 127.0.0.1, port: ${box.port}}], credentials: f5, partition: mesh, logTo: [{address: 127.0.0.1, port: ${syslogPort}}]}
---
apiVersion: v1
kind: Namespace
metadata: {name: bookinfo}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatPool
metadata: {name: datacentre}
spec: {addresses: [${snatAddress}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatBinding
metadata: {name: own, namespace: bookinfo}
spec: {subject: {namespace: bookinfo}, pool: datacentre}
`,
    );
  });
  after(async () => {
    for (const close of closing.reverse()) await close();
  });

  /** What a sidecar hears to its CONNECT, the first line of it; throws where it is reset. */
  async function connectAs(namespace: string): Promise<string> {
    const { certificateChainPem, privateKeyPem, trustBundlePem } = pki.issue(`spiffe://cluster.local/ns/${namespace}/sa/productpage`);
    const socket = connectTls({
      socket: connectTcp(mtlsPort, '127.0.0.1'),
      cert: certificateChainPem,
      key: privateKeyPem,
      ca: trustBundlePem,
      servername: `outbound_.${tinyproxy.port}_._.bigip-proxy-svc.bookinfo.svc.cluster.local`,
      ALPNProtocols: ['istio'],
      // Secure naming: the URI of the gateway's identity, not a host name.
      checkServerIdentity: (_, { subjectaltname }) => (subjectaltname?.split(', ').includes('URI:spiffe://cluster.local/ns/sallyport-system/sa/f5') === true ? undefined : new Error(`the server is ${subjectaltname ?? 'nobody'}`)),
    });
    try {
      await once(socket, 'secureConnect');
      socket.write(`CONNECT 127.0.0.1:${origin} HTTP/1.1\r\nHost: 127.0.0.1:${origin}\r\n\r\n`);
      const [heard] = (await once(socket, 'data')) as [Buffer];
      return heard.toString('latin1').split('\r\n')[0]!;
    } finally {
      socket.destroy();
    }
  }
  const heardWithin = (namespace: string, words: RegExp) =>
    waitFor(`${words.source} for ${namespace}`, 20_000, async () => {
      const heard = await connectAs(namespace).catch((error: unknown) => (error as NodeJS.ErrnoException).code ?? String(error));
      return words.test(heard) ? heard : undefined;
    });

  it('is registered, and nobody reaches it', async () => {
    await sallyport.cli(['register', '-n', 'bookinfo', 'bigip-proxy-svc', '127.0.0.1', String(tinyproxy.port), '--labels', 'apps=bigip-proxy', '--protocol', 'HTTPConnect']);
    await heardWithin('bookinfo', /^ECONNRESET$/);
    assert.deepEqual(await tinyproxy.clients(), []);
  });

  it('is reached by the namespace that a policy names, from its own address, and the other is reset', async () => {
    await sallyport.cli(
      ['apply', '-f', '-'],
      `
apiVersion: sallyport.dev/v1alpha1
kind: EgressPolicy
metadata: {name: proxy, namespace: bookinfo}
spec: {subjects: [{namespace: bookinfo}], to: [{service: bigip-proxy-svc}]}
`,
    );
    assert.match(await heardWithin('bookinfo', /^HTTP\//), /^HTTP\/1\.[01] 200 /);
    await assert.rejects(connectAs('bookinfo-evil'), { code: 'ECONNRESET' });
    await assert.rejects(connectAs('sm-apigw-a'), { code: 'ECONNRESET' });
    const clients = await tinyproxy.clients();
    assert.ok(clients.length > 0 && clients.every((client) => client === snatAddress), clients.join(', '));
  });

  it('is in the ledger: whois tells who was behind the address, and why the other was refused', async () => {
    const records = await waitFor('the records', 20_000, async () => {
      const { stdout } = await sallyport.cli(['ledger', 'tail']);
      return stdout.includes('connection-closed') && stdout.includes('bookinfo-evil') ? stdout : undefined;
    });
    const opened = /"snatPort": ?([0-9]+)/.exec(records);
    const { stdout } = await sallyport.run(['whois', `${snatAddress}:${opened![1]!}`]);
    assert.match(stdout, /^identity: +spiffe:\/\/cluster\.local\/ns\/bookinfo\/sa\/productpage$/m);
  });
});
