import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import tls from 'node:tls';
import { pino } from 'pino';
import { adminPaths, type CaStatus, type StatusResult, type WhoisResult } from '../../src/api/admin.ts';
import { enrol } from '../../src/api/enrolment-client.ts';
import { createCsr } from '../../src/core/x509/csr.ts';
import { SallyportError } from '../../src/core/errors.ts';
import { certificatesToPem } from '../../src/core/x509/pem.ts';
import { runGateway, type Gateway, type GatewayOptions } from '../../src/gateway/index.ts';
import { startTestControl, trustDomain, type TestControl } from '../support/control.ts';
import { batch, loopback, productpage, readAll, startServer, until, type TestServer } from '../support/gateway.ts';

interface Svid {
  readonly cert: string;
  readonly key: string;
  readonly ca: string;
}

const serverName = 'partner.bookinfo.svc.cluster.local';

describe('the gateway as a process', function () {
  this.timeout(20_000);
  let control: TestControl;
  let gateway: Gateway;
  let server: TestServer;
  let directory: string;
  let gatewayPort: number;
  let gatewayToken: string;
  let bundle: string;
  const svids = new Map<string, Svid>();
  const clients: tls.TLSSocket[] = [];

  const manifests = (grantees: readonly string[]): string => `
apiVersion: sallyport.dev/v1alpha1
kind: EgressGateway
metadata: {name: egress-1}
spec: {class: sallyport, listen: [{address: 127.0.0.1, port: ${gatewayPort}}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatPool
metadata: {name: billing}
spec: {addresses: [127.0.1.51-127.0.1.52]}
---
apiVersion: sallyport.dev/v1alpha1
kind: ExternalService
metadata: {name: partner, namespace: bookinfo}
spec: {addresses: [127.0.0.1], ports: [{port: ${server.port}, protocol: TCP}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: EgressPolicy
metadata: {name: partner, namespace: bookinfo}
spec: {subjects: [${grantees.map((namespace) => `{namespace: ${namespace}}`).join(', ')}], to: [{service: partner}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatBinding
metadata: {name: bookinfo, namespace: bookinfo}
spec: {subject: {namespace: bookinfo}, pool: billing}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatBinding
metadata: {name: reports, namespace: reports}
spec: {subject: {namespace: reports}, pool: billing}
`;

  const start = async (): Promise<Gateway> =>
    await runGateway({
      name: 'egress-1',
      trustDomain,
      enrolmentAddress: (await control.mesh()).address,
      controlAddress: (await control.mesh()).address,
      trustBundle: () => bundle,
      joinToken: () => Promise.resolve(gatewayToken),
      stateDirectory: join(directory, 'gateway'),
      workers: 2,
      health: { address: loopback, port: 0 },
      version: 'test',
      now: Date.now,
      random: Math.random,
      log: pino({ level: 'silent' }),
    });

  async function svidOf(spiffeId: string): Promise<Svid> {
    const key = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
    const { certificateChain } = await enrol(await control.mesh(), await control.token(spiffeId), createCsr(key), { timeoutMs: 5_000 });
    return { cert: certificatesToPem(certificateChain), key: String(key.export({ type: 'pkcs8', format: 'pem' })), ca: bundle };
  }

  function connect(spiffeId: string): tls.TLSSocket {
    const client = tls.connect({ host: loopback, port: gatewayPort, servername: serverName, checkServerIdentity: () => undefined, ...svids.get(spiffeId) });
    client.on('error', () => undefined);
    clients.push(client);
    return client;
  }

  /** The address from which the external service saw the workload. */
  async function addressOf(spiffeId: string): Promise<string> {
    const client = connect(spiffeId);
    client.write('who am i');
    const seen = String((await once(client, 'data'))[0]);
    client.end();
    return seen;
  }

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'sallyport-gateway-'));
    const probe = net.createServer().listen(0, loopback);
    await once(probe, 'listening');
    gatewayPort = (probe.address() as net.AddressInfo).port;
    await new Promise((resolve) => probe.close(resolve));
    server = await startServer((socket) => {
      socket.on('data', () => socket.write(String(socket.remoteAddress)));
      socket.on('end', () => socket.end());
    });
    control = await startTestControl();
    await control.admin.post<CaStatus>(adminPaths.caInit, {});
    ({ trustBundlePem: bundle } = await control.mesh());
    gatewayToken = await control.token('spiffe://cluster.local/ns/sallyport-system/sa/egress-1');
    gateway = await start(); // before there is anything for it
    for (const spiffeId of [productpage, batch]) svids.set(spiffeId, await svidOf(spiffeId));
    await control.apply(manifests(['bookinfo', 'reports']));
    await until(() => gateway.status().ready, () => JSON.stringify(gateway.status()), 10_000);
  });
  after(async () => {
    for (const client of clients) client.destroy();
    await gateway.stop(0);
    await server.stop();
    await control.close();
    await rm(directory, { recursive: true });
  });

  it('takes its table from the control plane and lets each identity out from its own address', async () => {
    const seen = await Promise.all([productpage, batch, productpage, batch, productpage, batch].map(addressOf));
    assert.deepEqual(new Set(seen), new Set(['127.0.1.51', '127.0.1.52']));
    assert.equal(seen[0], seen[2]);
    assert.equal(seen[1], seen[3]);
    assert.notEqual(seen[0], seen[1]);
  });

  it('delivers its records, so that the ledger can say who was behind an address and port', async () => {
    const client = connect(productpage);
    client.write('?');
    await once(client, 'data');
    const [address, port] = server.clients.at(-1)!.split(':') as [string, string];
    let found: WhoisResult | undefined;
    let asking = false;
    await until(() => {
      if (!asking) {
        asking = true;
        void control.admin.get<WhoisResult>(adminPaths.whois, { address, port, time: new Date().toISOString() }).then((answer) => {
          found = answer;
          asking = false;
        });
      }
      return (found?.connections.length ?? 0) > 0;
    });
    const [{ opened }] = found!.connections as [WhoisResult['connections'][number]];
    assert.deepEqual([opened.spiffeId, opened.policies], [productpage, ['bookinfo/partner']]);
    client.destroy();
    await until(() => gateway.status().ledger.waiting === 0);
  });

  it('is in the status of the control plane with its version', async () => {
    const { proxies } = await control.admin.get<StatusResult>(adminPaths.status);
    assert.deepEqual(proxies.filter(({ connected }) => connected).map(({ gateway: name, class: form, version }) => [name, form, version]), [['egress-1', 'sallyport', 'test']]);
  });

  it('serves health and metrics', async () => {
    const get = async (path: string) => {
      const response = await fetch(`http://127.0.0.1:${gateway.healthPort}${path}`);
      return { status: response.status, text: await response.text() };
    };
    assert.equal((await get('/livez')).status, 200);
    assert.equal((await get('/readyz')).status, 200);
    assert.match((await get('/metrics')).text, /sallyport_gateway_connections_opened_total\{service="bookinfo\/partner:[a-z0-9-]+"\} [0-9]+/);
    assert.equal((await get('/')).status, 404);
  });

  it('ends live connections, on whichever thread they are, within a second of a policy\'s end', async () => {
    const live = Array.from({ length: 12 }, () => connect(batch));
    for (const client of live) client.write('?');
    await Promise.all(live.map((client) => once(client, 'data')));
    const kept = connect(productpage);
    kept.write('?');
    await once(kept, 'data');
    await control.apply(manifests(['bookinfo']));
    const startedAtMs = performance.now();
    await until(() => live.every((client) => client.destroyed || client.closed), undefined, 1_000);
    assert.ok(performance.now() - startedAtMs < 1_000);
    kept.write('?');
    await once(kept, 'data');
    kept.destroy();
    const { revision } = await control.apply(manifests(['bookinfo', 'reports']));
    await until(() => gateway.status().revision === revision);
  });

  it('a restart without the control plane serves what was allowed, from the same addresses, and nothing more', async () => {
    const before = await addressOf(productpage);
    const port = Number((await control.mesh()).address.split(':')[1]);
    await until(() => gateway.status().ledger.waiting === 0);
    await control.control.close();
    await gateway.stop(0);
    gateway = await startAgainst(port);
    await until(() => gateway.status().ready, () => JSON.stringify(gateway.status()));
    assert.equal(gateway.status().controlPlane, 'disconnected');
    assert.equal(await addressOf(productpage), before);
    const { mode } = await stat(tablePath());
    assert.equal(mode & 0o777, 0o600);
    assert.ok(!(await readFile(tablePath(), 'utf8')).includes('PRIVATE KEY'));
    control = await startTestControl({ directory: control.directory, port });
    await until(() => gateway.status().controlPlane === 'connected' && gateway.status().ledger.waiting === 0, () => JSON.stringify(gateway.status()), 15_000);
  });

  it('does not start where its state or its port is another process\'s, and leaves nothing running', async () => {
    const port = Number((await control.mesh()).address.split(':')[1]);
    await assert.rejects(startAgainst(port), (error: unknown) => error instanceof SallyportError && error.code === 'journal-locked');
    const other = join(directory, 'other');
    await assert.rejects(startAgainst(port, { stateDirectory: other, health: { address: loopback, port: gateway.healthPort! } }), (error: unknown) => error instanceof SallyportError && error.code === 'unavailable');
    const again = await startAgainst(port, { stateDirectory: other }); // its spool is free again
    await again.stop(0);
  });

  it('a table on disk that cannot be read allows nothing', async () => {
    const port = Number((await control.mesh()).address.split(':')[1]);
    await gateway.stop(0);
    await control.control.close();
    await writeFile(tablePath(), '{"revision": "1", "types": {"type.googleapis.com/sallyport.v1alpha1.ServicePort": {"x": {"version": "1", "value": "////"}}}}');
    gateway = await startAgainst(port);
    assert.equal(gateway.status().ready, false);
    const client = connect(productpage);
    assert.equal(await readAll(client), '');
    control = await startTestControl({ directory: control.directory, port });
    await until(() => gateway.status().ready, () => JSON.stringify(gateway.status()), 15_000);
    assert.match(await addressOf(productpage), /^127\.0\.1\.5/);
  });

  const tablePath = (): string => join(directory, 'gateway', 'table', 'table.json');

  async function startAgainst(port: number, more: Partial<GatewayOptions> = {}): Promise<Gateway> {
    const address = `127.0.0.1:${port}`;
    return await runGateway({
      name: 'egress-1',
      trustDomain,
      enrolmentAddress: address,
      controlAddress: address,
      trustBundle: () => bundle,
      stateDirectory: join(directory, 'gateway'),
      workers: 2,
      health: { address: loopback, port: 0 },
      version: 'test',
      now: Date.now,
      random: Math.random,
      log: pino({ level: 'silent' }),
      ...more,
    });
  }
});
