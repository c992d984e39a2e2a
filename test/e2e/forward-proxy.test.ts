/** The seed's case: a namespace goes out through the organisation's forward proxy, nobody else does, and each leaves from an address of its own. */
import assert from 'node:assert/strict';
import { createServer as createHttpServer } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo, Server } from 'node:net';
import { join } from 'node:path';
import { waitFor } from '../../src/demo/processes.ts';
import { snatAddresses, startTestDeployment, workloadIdentities, type TestDeployment, type Workload } from '../support/deployment.ts';
import { requirePeer } from '../support/peers.ts';
import { makePki } from '../support/pki.ts';
import { startTinyproxy, type Tinyproxy } from '../support/tinyproxy.ts';
import { runProgram, type ProgramResult } from './support/programs.ts';

describe('a forward proxy behind the gateway, end to end', function () {
  this.timeout(40_000);
  const closing: (() => unknown)[] = [];
  let sallyport: TestDeployment;
  let tinyproxy: Tinyproxy;
  let origin: number;
  let plainOrigin: number;

  before(async function () {
    const { certificateChainPem, privateKeyPem } = makePki().issue(workloadIdentities.productpage, { names: [{ type: 'dns', value: 'origin.example' }] });
    origin = await listen(createHttpsServer({ cert: certificateChainPem, key: privateKeyPem }, (_request, response) => response.setHeader('x-origin', 'reached').end()));
    plainOrigin = await listen(createHttpServer((_request, response) => response.end('the plain page\n')));
    tinyproxy = await startTinyproxy(requirePeer(this, 'tinyproxy'), { allow: Object.values(snatAddresses), connectPorts: [origin, plainOrigin] });
    closing.push(tinyproxy.stop);
    sallyport = await startTestDeployment({ manifests: '{apiVersion: v1, kind: Namespace, metadata: {name: bookinfo}}' });
    closing.push(sallyport.close);
  });
  after(async () => {
    for (const close of closing.reverse()) await close();
  });

  async function listen(server: Server): Promise<number> {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    closing.push(() => server.close());
    return (server.address() as AddressInfo).port;
  }

  const common = ['-q', '-sS', '-kI', '--max-time', '10'];
  const hosts = () => `outbound_.${tinyproxy.port}_._.bigip-proxy-svc.bookinfo.svc.cluster.local`;

  /** `curl -kIx AGENT:PORT https://ORIGIN/` as the workload runs it. */
  function curlThroughAgent(curl: string, workload: Workload): Promise<ProgramResult> {
    return runProgram(curl, [...common, '-x', `http://${sallyport.agentAddress(workload)}:${tinyproxy.port}`, `https://127.0.0.1:${origin}/`]);
  }

  /** The same as a sidecar's program would: mutual TLS to the gateway itself, with the workload's SVID. */
  function curlThroughGateway(curl: string, workload: Workload): Promise<ProgramResult> {
    const file = (name: string) => join(sallyport.svidDirectory(workload), name);
    const proxy = `bigip-proxy-svc.bookinfo.svc.cluster.local:${sallyport.gatewayPort}`;
    const tls = ['--proxy-cert', file('svid.pem'), '--proxy-key', file('svid_key.pem'), '--proxy-insecure', '--resolve', `${proxy}:127.0.0.1`];
    return runProgram(curl, [...common, ...tls, '-x', `https://${proxy}`, `https://127.0.0.1:${origin}/`]);
  }

  /** What tinyproxy logged while `run` ran. */
  async function clientsDuring(run: () => Promise<void>): Promise<readonly string[]> {
    const before = (await tinyproxy.clients()).length;
    await run();
    return (await tinyproxy.clients()).slice(before);
  }

  it('is registered as istioctl register did it, and then nobody may reach it', async () => {
    await sallyport.cli(['register', '-n', 'bookinfo', 'bigip-proxy-svc', '127.0.0.1', String(tinyproxy.port), '--labels', 'apps=bigip-proxy', '--protocol', 'HTTPConnect']);
    const explained = await sallyport.run(['explain', 'bookinfo/productpage', '--to', `bookinfo/bigip-proxy-svc:${tinyproxy.port}`]);
    assert.equal(explained.status, 1);
    assert.match(explained.stdout, /kind: EgressPolicy/);
    const seen = await clientsDuring(async () => {
      await assert.rejects(sallyport.openAsSidecar('productpage', hosts()).then((dialogue) => dialogue.readUntil('\n')), { code: 'ECONNRESET' });
    });
    assert.deepEqual(seen, []);
  });

  it('lets bookinfo through once a policy says so, from its own address', async function () {
    const curl = requirePeer(this, 'curl');
    await sallyport.apply(`
apiVersion: sallyport.dev/v1alpha1
kind: EgressPolicy
metadata: {name: proxy, namespace: bookinfo}
spec: {subjects: [{namespace: bookinfo}, {namespace: reports}], to: [{service: bigip-proxy-svc}]}`);
    const seen = await clientsDuring(async () => {
      const { stdout, stderr } = await waitFor('the agent to offer the proxy', 5_000, async () => {
        const result = await curlThroughAgent(curl, 'productpage');
        return result.status === 7 ? undefined : result; // 7: nobody listens there yet
      });
      assert.match(stdout, /^x-origin: reached\r$/m, stderr);
    });
    assert.deepEqual(seen, [snatAddresses.productpage]);
    assert.match(await tinyproxy.log(), new RegExp(`CONNECT 127\\.0\\.0\\.1:${origin} HTTP/1\\.1`));
  });

  it('lets a second namespace leave from an address of its own', async function () {
    const curl = requirePeer(this, 'curl');
    const seen = await clientsDuring(async () => {
      for (const through of [curlThroughAgent, curlThroughGateway]) {
        const { stdout, stderr } = await through(curl, 'batch');
        assert.match(stdout, /^x-origin: reached\r$/m, stderr);
      }
    });
    assert.deepEqual(seen, [snatAddresses.batch, snatAddresses.batch]);
  });

  it('refuses sm-apigw-a before a byte reaches the proxy, at its agent and at the gateway', async function () {
    const curl = requirePeer(this, 'curl');
    const seen = await clientsDuring(async () => {
      const atAgent = await curlThroughAgent(curl, 'nettools');
      assert.equal(atAgent.status, 7, atAgent.stderr); // could not connect: its agent does not even offer the proxy
      const atGateway = await curlThroughGateway(curl, 'nettools');
      assert.ok([55, 56].includes(atGateway.status ?? -1), atGateway.stderr); // connection reset while sending or receiving
      assert.match(atGateway.stderr, /reset by peer|getpeername\(\) failed/); // the latter where the reset is there before curl looks
      assert.equal(atGateway.stdout, '');
    });
    assert.deepEqual(seen, []);
    const explained = await sallyport.run(['explain', 'sm-apigw-a/nettools', '--to', `bookinfo/bigip-proxy-svc:${tinyproxy.port}`]);
    assert.equal(explained.status, 1);
  });

  it('lets openssl s_client in as it lets a sidecar in', async function () {
    const openssl = requirePeer(this, 'openssl');
    const file = (name: string) => join(sallyport.svidDirectory('productpage'), name);
    const args = ['-connect', `127.0.0.1:${sallyport.gatewayPort}`, '-servername', hosts(), '-alpn', 'istio', '-cert', file('svid.pem'), '-cert_chain', file('svid.pem'), '-key', file('svid_key.pem'), '-CAfile', file('svid_bundle.pem'), '-verify_return_error', '-ign_eof'];
    const request = `CONNECT 127.0.0.1:${plainOrigin} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n`;
    const seen = await clientsDuring(async () => {
      const { stdout, stderr } = await runProgram(openssl, ['s_client', ...args], { input: request, until: 'the plain page' });
      assert.match(stdout, /^Verification: OK$/m, stderr);
      assert.match(stdout, /^HTTP\/1\.[01] 200 [^]*^the plain page$/m);
    });
    assert.deepEqual(seen, [snatAddresses.productpage]);
  });

  it('keeps openssl s_client out without a certificate, and with another name than a service has', async function () {
    const openssl = requirePeer(this, 'openssl');
    const file = (name: string) => join(sallyport.svidDirectory('productpage'), name);
    const identity = ['-cert', file('svid.pem'), '-cert_chain', file('svid.pem'), '-key', file('svid_key.pem')];
    const seen = await clientsDuring(async () => {
      for (const args of [['-servername', hosts()], ['-servername', 'elsewhere.example', ...identity]]) {
        const { stdout } = await runProgram(openssl, ['s_client', '-connect', `127.0.0.1:${sallyport.gatewayPort}`, ...args, '-ign_eof'], { input: `CONNECT 127.0.0.1:${plainOrigin} HTTP/1.1\r\n\r\n` });
        assert.doesNotMatch(stdout, /HTTP\/1/);
      }
    });
    assert.deepEqual(seen, []);
  });
});
