import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type tls from 'node:tls';
import { clientAuth, serverAuth } from '../../src/core/x509/certificate.ts';
import type { ConnectionDenied } from '../../src/core/ledger-record.ts';
import { batch, grantTo, loopback, nettools, productpage, readAll, servicePort, settings, spiffeIdOf, startGateway, startServer, until, type TestGateway, type TestServer } from '../support/gateway.ts';
import { requirePeer } from '../support/peers.ts';
import { makePki, type Issued } from '../support/pki.ts';

const banner = '220 welcome to the partner\r\n';
const hourMs = 3_600_000;

describe('who is let in', () => {
  let gateway: TestGateway;
  let server: TestServer;

  before(async () => {
    server = await startServer((socket) => {
      socket.write(banner);
      socket.on('data', (bytes: Buffer) => socket.write(bytes));
      socket.on('end', () => socket.end());
    });
    const to = { targetPort: server.port };
    gateway = await startGateway({
      servicePorts: [
        servicePort({ ...to, grants: [grantTo('bookinfo', '127.0.1.11'), grantTo('reports', '127.0.1.12'), grantTo('unbound', '127.0.1.13', { snat: null, binding: null })] }),
        servicePort({ ...to, name: 'other', grants: [] }),
      ],
      limits: { handshakeTimeoutMs: 300, connectionsPerIdentity: 3 },
    });
  });

  after(async () => {
    await gateway.stop();
    await server.stop();
  });

  beforeEach(() => {
    gateway.records.length = 0;
    server.clients.length = 0;
  });

  /** The refusal that the ledger holds, once it is certain that nobody heard or saw anything. */
  async function refusalOf(client: tls.TLSSocket | net.Socket): Promise<ConnectionDenied> {
    assert.equal(await readAll(client), '', 'the client heard something');
    const record = await gateway.record('connection-denied');
    assert.deepEqual(server.clients, [], 'the external service saw a connection');
    assert.ok(record.detail.length > 0 && !/[\r\n]/.test(record.detail));
    return record;
  }

  /** What the server says to a client that says nothing and ends. */
  async function hear(client: tls.TLSSocket): Promise<string> {
    if (!client.authorized) await once(client, 'secureConnect');
    client.end();
    return await readAll(client);
  }

  it('an allowed workload is, from its own address', async () => {
    const client = gateway.connect(gateway.pki.issue(productpage));
    client.end('hello');
    assert.equal(await readAll(client), `${banner}hello`);
    const opened = await gateway.record('connection-opened');
    assert.deepEqual(server.clients, [`127.0.1.11:${opened.snatPort}`]);
    assert.equal(opened.snatAddress, '127.0.1.11');
    assert.equal(opened.spiffeId, productpage);
    assert.equal(opened.service, 'egress/partner:main');
    assert.deepEqual(opened.policies, ['bookinfo/egress']);
    const closed = await gateway.record('connection-closed');
    assert.deepEqual([closed.reason, closed.bytesSent, closed.bytesReceived, closed.connectionId], ['finished', 5, banner.length + 5, opened.connectionId]);
  });

  const leaf = { names: [{ type: 'uri', value: productpage }] } as const;
  const badCertificates: readonly (readonly [string, ConnectionDenied['reason'], () => Issued])[] = [
    ['a certificate of another CA', 'certificate-untrusted', () => makePki().issue(productpage)],
    ['an expired certificate', 'certificate-expired', () => gateway.pki.issue(productpage, { notAfterMs: Date.now() - 60_000, notBeforeMs: Date.now() - 2 * hourMs })],
    ['a certificate of the future', 'certificate-not-yet-valid', () => gateway.pki.issue(productpage, { notBeforeMs: Date.now() + hourMs, notAfterMs: Date.now() + 2 * hourMs })],
    ['the SPIFFE ID in a DNS name', 'certificate-invalid', () => gateway.pki.issue(productpage, { names: [{ type: 'dns', value: productpage }] })],
    ['the SPIFFE ID in a DNS name beside the URI', 'certificate-invalid', () => gateway.pki.issue(productpage, { names: [...leaf.names, { type: 'dns', value: batch }] })],
    ['two URI names', 'certificate-invalid', () => gateway.pki.issue(productpage, { names: [...leaf.names, { type: 'uri', value: batch }] })],
    ['no URI name', 'certificate-invalid', () => gateway.pki.issue(productpage, { names: [{ type: 'dns', value: 'productpage.bookinfo' }] })],
    ['a CA certificate as leaf', 'certificate-invalid', () => gateway.pki.issue(productpage, { ca: true })],
    ['a SPIFFE ID with a query', 'certificate-invalid', () => gateway.pki.issue(`${productpage}?x=1`)],
    ['a certificate for servers only', 'certificate-invalid', () => gateway.pki.issue(productpage, { extendedKeyUsage: [serverAuth] })],
    ['a certificate for clients only', 'certificate-invalid', () => gateway.pki.issue(productpage, { extendedKeyUsage: [clientAuth] })],
    ['the identity of another trust domain', 'trust-domain-mismatch', () => gateway.pki.issue('spiffe://elsewhere.example/ns/bookinfo/sa/productpage')],
    ['an identity that is no workload', 'not-a-workload', () => gateway.pki.issue('spiffe://cluster.local/admin/alice')],
    ['a workload without a policy', 'no-policy', () => gateway.pki.issue(nettools)],
    ['a namespace whose name begins like an allowed one', 'no-policy', () => gateway.pki.issue(spiffeIdOf('bookinfo2', 'productpage'))],
    ['a workload without a binding', 'no-snat-binding', () => gateway.pki.issue(spiffeIdOf('unbound', 'app'))],
  ];
  for (const [what, reason, issue] of badCertificates) {
    for (const version of ['TLSv1.3', 'TLSv1.2'] as const) {
      it(`refused, unheard by the server and with its reason: ${what} (${version})`, async () => {
        const record = await refusalOf(gateway.connect(issue(), { maxVersion: version }));
        assert.deepEqual([record.reason, record.service], [reason, 'egress/partner:main'], record.detail);
      });
    }
  }

  it('refused: no certificate', async () => {
    const client = gateway.connect(gateway.pki.issue(productpage), { cert: undefined, key: undefined });
    assert.equal((await refusalOf(client)).reason, 'certificate-missing');
  });

  it('refused: a revoked certificate', async () => {
    const revoked = gateway.pki.issue(productpage);
    await gateway.dataPlane.update({ revision: '2' as never, revokedSerialNumbers: [revoked.serialNumber] });
    assert.equal((await refusalOf(gateway.connect(revoked))).reason, 'certificate-revoked');
    await gateway.dataPlane.update({ revision: '2' as never, revokedSerialNumbers: [] });
  });

  it('refused: an unknown SNI, and none', async () => {
    const unknown = await refusalOf(gateway.connect(gateway.pki.issue(productpage), { servername: 'outbound_.21_._.nowhere.egress.svc.cluster.local' }));
    assert.equal(unknown.reason, 'no-such-service');
    assert.match(unknown.detail, /nowhere/);
    gateway.records.length = 0;
    assert.equal((await refusalOf(gateway.connect(gateway.pki.issue(productpage), { servername: '' }))).reason, 'no-such-service');
  });

  it('finds a service by plain host and in any case', async () => {
    const client = gateway.connect(gateway.pki.issue(productpage), { servername: 'PARTNER.egress.svc.cluster.local' });
    assert.equal(await hear(client), banner);
  });

  it('refused: a client that speaks plain text', async () => {
    const client = net.connect(gateway.port, loopback, () => client.write('GET / HTTP/1.1\r\n\r\n'));
    client.on('error', () => undefined);
    await readAll(client);
    assert.equal((await gateway.record('connection-denied')).reason, 'handshake-failed');
    assert.deepEqual(server.clients, []);
  });

  for (const [what, begin] of [
    ['never begins', () => undefined],
    ['stops half-way', (socket: net.Socket) => socket.write(Buffer.from('1603010200010001fc0303', 'hex'))],
    ['half-closes instead', (socket: net.Socket) => socket.end()],
  ] as const) {
    it(`refused in bounded time: a TLS handshake that ${what}`, async () => {
      const client = net.connect(gateway.port, loopback, () => begin(client));
      client.on('error', () => undefined);
      await readAll(client);
      assert.equal((await gateway.record('connection-denied')).reason, 'handshake-timeout');
      assert.equal(gateway.dataPlane.handshakes, 0);
    });
  }

  it('refused: a client that vanishes during the handshake', async () => {
    const client = net.connect(gateway.port, loopback, () => client.resetAndDestroy());
    assert.equal((await gateway.record('connection-denied')).reason, 'handshake-failed');
  });

  it('refused: TLS 1.1, and ciphers without forward secrecy', async () => {
    const identity = gateway.pki.issue(productpage);
    assert.equal((await refusalOf(gateway.connect(identity, { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' }))).reason, 'handshake-failed');
    gateway.records.length = 0;
    assert.equal((await refusalOf(gateway.connect(identity, { maxVersion: 'TLSv1.2', ciphers: 'AES128-SHA256:AES256-GCM-SHA384' }))).reason, 'handshake-failed');
  });

  it('proves the identity anew on every connection: no session is resumed', async () => {
    for (const maxVersion of ['TLSv1.3', 'TLSv1.2'] as const) {
      const identity = gateway.pki.issue(productpage);
      let session: Buffer | undefined;
      for (let round = 0; round < 3; round++) {
        const client = gateway.connect(identity, { maxVersion, ...(session === undefined ? {} : { session }) });
        client.on('session', (given: Buffer) => (session = given));
        await once(client, 'secureConnect');
        assert.equal(client.isSessionReused(), false);
        await hear(client);
      }
    }
  });

  it('refused: more connections of one identity than its limit, while others go on', async () => {
    const identity = gateway.pki.issue(productpage);
    const clients = Array.from({ length: 3 }, () => gateway.connect(identity));
    await until(() => gateway.dataPlane.connections === 3);
    const one = gateway.connect(identity);
    await readAll(one);
    assert.equal((await gateway.record('connection-denied')).reason, 'limit-exceeded');
    const other = gateway.connect(gateway.pki.issue(batch));
    assert.equal(await hear(other), banner);
    for (const client of clients) client.destroy();
    await until(() => gateway.dataPlane.connections === 0);
    const again = gateway.connect(identity);
    assert.equal(await hear(again), banner);
  });

  it('refused: everyone, while records cannot be kept', async () => {
    gateway.sink.accepting = false;
    try {
      assert.equal((await refusalOf(gateway.connect(gateway.pki.issue(productpage)))).reason, 'ledger-unavailable');
    } finally {
      gateway.sink.accepting = true;
    }
  });

  for (const offered of [['istio-peer-exchange', 'istio'], ['istio'], ['h2'], ['h2', 'http/1.1']]) {
    it(`whoever offers the application protocols ${offered.join(', ')}, and none is selected`, async () => {
      const client = gateway.connect(gateway.pki.issue(productpage), { ALPNProtocols: offered });
      assert.equal(await hear(client), banner);
      assert.equal(client.alpnProtocol, false);
    });
  }

  it('openssl is, as a sidecar would be, with Istio\'s SNI and ALPN', async function () {
    const openssl = requirePeer(this, 'openssl');
    const directory = await mkdtemp(join(tmpdir(), 'sallyport-'));
    try {
      const identity = gateway.pki.issue(productpage);
      const write = (name: string, text: string) => writeFile(join(directory, name), text, { mode: 0o600 });
      await Promise.all([write('leaf.pem', identity.certificatePem), write('chain.pem', gateway.pki.intermediatePem), write('key.pem', identity.privateKeyPem), write('root.pem', gateway.pki.rootPem)]);
      await gateway.dataPlane.update({ revision: '3' as never, servicePorts: [{ ...servicePort({ name: 'bigip-proxy-svc', targetPort: server.port, grants: [grantTo('bookinfo', '127.0.1.11')] }), serverNames: ['outbound_.3128_._.bigip-proxy-svc.bookinfo.svc.cluster.local'] }] });
      const args = ['s_client', '-connect', `127.0.0.1:${gateway.port}`, '-servername', 'outbound_.3128_._.bigip-proxy-svc.bookinfo.svc.cluster.local', '-alpn', 'istio-peer-exchange,istio', '-cert', 'leaf.pem', '-cert_chain', 'chain.pem', '-key', 'key.pem', '-CAfile', 'root.pem', '-verify_return_error'];
      const child = spawn(openssl, args, { cwd: directory, stdio: ['pipe', 'pipe', 'pipe'] });
      try {
        let output = '';
        child.stderr.on('data', (bytes: Buffer) => (output += String(bytes)));
        child.stdout.on('data', (bytes: Buffer) => (output += String(bytes)));
        child.stdin.write('from openssl');
        await until(() => output.includes('from openssl'), () => `openssl printed ${JSON.stringify(output)}${JSON.stringify(gateway.records)}`);
        assert.ok(output.includes(banner));
        assert.match(output, /^No ALPN negotiated$/m);
        assert.deepEqual(server.clients.map((client) => client.split(':')[0]), ['127.0.1.11']);
      } finally {
        child.kill();
      }
    } finally {
      await rm(directory, { recursive: true });
    }
  });

  it('different identities at the same moment never mix', async () => {
    const addresses = new Map([[productpage, '127.0.1.11'], [batch, '127.0.1.12']]);
    await gateway.dataPlane.update({ revision: '4' as never, settings: { ...settings, limits: { ...settings.limits, connectionsPerIdentity: 500 } } });
    const identities = [...addresses.keys()].map((spiffeId) => gateway.pki.issue(spiffeId));
    const echo = await startServer((socket) => {
      socket.on('data', (bytes: Buffer) => socket.end(`${socket.remoteAddress} ${String(bytes)}`));
    });
    await gateway.dataPlane.update({ revision: '5' as never, servicePorts: [servicePort({ targetPort: echo.port, grants: [grantTo('bookinfo', '127.0.1.11'), grantTo('reports', '127.0.1.12')] })] });
    const digest = (text: string) => createHash('sha256').update(text).digest('hex');
    const answers = await Promise.all(
      Array.from({ length: 120 }, async (_, index) => {
        const identity = identities[index % 2]!;
        const client = gateway.connect(identity);
        const said = digest(`${identity.spiffeId} ${index}`);
        client.write(said);
        return { expected: `${addresses.get(identity.spiffeId)} ${said}`, heard: await readAll(client) };
      }),
    );
    for (const { expected, heard } of answers) assert.equal(heard, expected);
    await echo.stop();
  });
});
