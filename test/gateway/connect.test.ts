import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import http from 'node:http';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type tls from 'node:tls';
import { promisify } from 'node:util';
import type { IpAddress } from '../../src/core/ip-address.ts';
import type { ConnectionDenied } from '../../src/core/ledger-record.ts';
import type { Grant, Revision } from '../../src/core/plan/plan.ts';
import { batch, grantTo, loopback, productpage, servicePort, startGateway, startServer, until, type TestGateway, type TestServer } from '../support/gateway.ts';
import { requirePeer } from '../support/peers.ts';

const run = promisify(execFile);
const revision = '2'.repeat(64) as Revision;

describe('HTTP CONNECT', () => {
  let gateway: TestGateway;
  let proxy: TestServer;
  /** What the proxy does; everything that reached it is in `seen`. */
  let onConnection: (socket: net.Socket) => void;
  let seen = '';
  const limited = (...connectAuthorities: string[]): Grant => grantTo('bookinfo', '127.0.1.11', { connectAuthorities });
  const service = (grants: readonly Grant[]) => servicePort({ protocol: 'HTTPConnect', targetPort: proxy.port, grants });

  before(async () => {
    proxy = await startServer((socket) => {
      socket.on('data', (bytes: Buffer) => (seen += String(bytes)));
      onConnection(socket);
    });
    gateway = await startGateway({ servicePorts: [service([limited('a.example:443', '*.b.example:*'), grantTo('reports', '127.0.1.12')])], limits: { handshakeTimeoutMs: 400 } });
  });
  after(async () => {
    await gateway.stop();
    await proxy.stop();
  });
  beforeEach(() => {
    seen = '';
    gateway.records.length = 0;
    proxy.clients.length = 0;
    onConnection = answerWith('HTTP/1.1 200 OK\r\n\r\n');
  });
  afterEach(() => until(() => gateway.dataPlane.connections === 0, () => 'a connection is left'));

  interface Client {
    readonly socket: tls.TLSSocket;
    heard: string;
  }

  function connect(identity = productpage, serverName = 'partner.egress.svc.cluster.local'): Client {
    const client: Client = { socket: gateway.connect(gateway.pki.issue(identity), { servername: serverName }), heard: '' };
    client.socket.on('data', (bytes: Buffer) => (client.heard += String(bytes)));
    return client;
  }

  const request = (authority: string, more = ''): string => `CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n${more}\r\n`;

  /** A proxy that gives the next answer whenever something arrives, and echoes once it has no more. */
  function answerWith(...answers: string[]) {
    return (socket: net.Socket): void => {
      const left = [...answers];
      socket.on('data', (bytes: Buffer) => socket.write(left.shift() ?? bytes));
      socket.on('end', () => socket.end());
    };
  }

  async function heard(client: Client, text: string): Promise<void> {
    await until(() => client.heard.includes(text), () => `heard ${JSON.stringify(client.heard)}`);
  }

  /** All that the client heard, up to the end. */
  async function ended(client: Client): Promise<string> {
    await until(() => client.socket.readableEnded || client.socket.closed, () => `still open after ${JSON.stringify(client.heard)}`);
    return client.heard;
  }

  it('passes one to an allowed authority, and everything after the proxy has agreed', async () => {
    const client = connect();
    client.socket.write(request('a.example:443') + 'early');
    await heard(client, 'early');
    client.socket.end('and more');
    assert.match(await ended(client), /and more$/);
    assert.equal(seen, `${request('a.example:443')}earlyand more`);
    const opened = await gateway.record('connection-opened');
    assert.deepEqual([opened.channel, opened.authority, opened.snatAddress], ['connect', 'a.example:443', '127.0.1.11']);
    assert.equal((await gateway.record('connection-closed')).reason, 'finished');
    assert.match(proxy.clients[0]!, /^127\.0\.1\.11:/);
  });

  it('is read in pieces of one byte', async () => {
    const client = connect();
    for (const character of request('x.b.example:8443')) {
      client.socket.write(character);
      await new Promise(setImmediate);
    }
    await heard(client, '200 OK');
    assert.equal(seen, request('x.b.example:8443'));
    client.socket.destroy();
  });

  const refusals: readonly (readonly [string, string, number, ConnectionDenied['reason']])[] = [
    ['an authority that no policy names', request('evil.example:443'), 403, 'authority-not-allowed'],
    ['an allowed host on another port', request('a.example:22'), 403, 'authority-not-allowed'],
    ['the parent of a wildcard', request('b.example:443'), 403, 'authority-not-allowed'],
    ['an authority with user information', request('a.example:443@evil.example:443'), 403, 'authority-not-allowed'],
    ['another method', 'GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n', 403, 'connect-request-invalid'],
    ['a host header of another host', 'CONNECT a.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n', 400, 'connect-request-invalid'],
    ['bare line feeds', 'CONNECT a.example:443 HTTP/1.1\nHost: a.example:443\n\n', 400, 'connect-request-invalid'],
    ['a NUL', 'CONNECT a.example:443\0evil.example HTTP/1.1\r\n\r\n', 400, 'connect-request-invalid'],
    ['a folded header', 'CONNECT a.example:443 HTTP/1.1\r\nX: 1\r\n Host: evil\r\n\r\n', 400, 'connect-request-invalid'],
    ['a content length', request('a.example:443', 'Content-Length: 40\r\n'), 400, 'connect-request-invalid'],
    ['a transfer encoding', request('a.example:443', 'Transfer-Encoding: chunked\r\n'), 400, 'connect-request-invalid'],
    ['a head without end', `CONNECT a.example:443 HTTP/1.1\r\nX: ${'x'.repeat(20_000)}`, 400, 'connect-request-invalid'],
    ['a TLS hello', '\x16\x03\x01\x02\x00\x01\x00', 400, 'connect-request-invalid'],
    ['half a head and then nothing', 'CONNECT a.exa', 408, 'connect-request-invalid'],
  ];
  for (const [what, text, status, reason] of refusals) {
    it(`is refused with ${status}, and the proxy sees no connection: ${what}`, async () => {
      const client = connect();
      client.socket.write(Buffer.from(text, 'latin1'));
      const answer = await ended(client);
      assert.match(answer, new RegExp(`^HTTP/1.1 ${status} `));
      const denied = await gateway.record('connection-denied');
      assert.equal(denied.reason, reason, denied.detail);
      assert.ok(answer.endsWith(`\r\n\r\n${denied.detail}\n`), 'the answer says why');
      assert.deepEqual(proxy.clients, []);
      client.socket.destroy();
    });
  }

  it('may follow on a refusal of the proxy, and is decided again each time', async () => {
    onConnection = answerWith('HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 4\r\n\r\nwho?', 'HTTP/1.1 200 OK\r\n\r\n');
    const client = connect();
    client.socket.write(request('a.example:443'));
    await heard(client, 'who?');
    client.socket.write(request('x.b.example:1', 'Proxy-Authorization: Basic YTpi\r\n'));
    await heard(client, '200 OK');
    const opened = gateway.records.filter((record) => record.type === 'connection-opened');
    assert.deepEqual(opened.map((record) => record.authority), ['a.example:443', 'x.b.example:1']);
    assert.equal(proxy.clients.length, 1);
    client.socket.destroy();

    gateway.records.length = 0;
    const other = connect();
    other.socket.write(request('a.example:443'));
    await heard(other, 'who?');
    seen = '';
    other.socket.write(request('evil.example:443'));
    assert.match(await ended(other), /who\?HTTP\/1.1 403 /);
    assert.equal(seen, '');
    other.socket.destroy();
  });

  it('passes nothing that was sent ahead of the proxy\'s answer', async () => {
    onConnection = answerWith('HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n');
    const client = connect();
    client.socket.write(request('a.example:443') + request('evil.example:443')); // pipelined
    assert.match(await ended(client), /407 [^]*403 Forbidden/);
    assert.equal(seen, request('a.example:443'));
    client.socket.destroy();
  });

  it('takes no word in the body of a refusal for an agreement', async () => {
    const words = 'HTTP/1.1 200 OK\r\n\r\n';
    onConnection = answerWith(`HTTP/1.1 403 Forbidden\r\nContent-Length: ${words.length}\r\n\r\n${words}`);
    const client = connect();
    client.socket.write(request('a.example:443') + 'SSH-2.0-x\r\n\r\n');
    assert.match(await ended(client), /400 Bad Request/);
    assert.equal(seen, request('a.example:443'));
    client.socket.destroy();
  });

  it('is over after a refusal whose end cannot be known', async () => {
    onConnection = answerWith('HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nnope\r\n0\r\n\r\n');
    const client = connect();
    client.socket.write(request('a.example:443'));
    await heard(client, 'nope');
    client.socket.write(request('a.example:443'));
    await ended(client);
    assert.equal(seen, request('a.example:443'));
  });

  it('ends when its authority is taken from the grant, and only then', async () => {
    const client = connect();
    client.socket.write(request('a.example:443'));
    await heard(client, '200 OK');
    await gateway.dataPlane.update({ revision, servicePorts: [service([limited('a.example:443')])] });
    client.socket.write('?');
    await heard(client, '?');
    await gateway.dataPlane.update({ revision, servicePorts: [service([limited('*.b.example:*')])] });
    await ended(client);
    assert.equal((await gateway.record('connection-closed')).reason, 'policy-revoked');
    await gateway.dataPlane.update({ revision, servicePorts: [service([limited('a.example:443', '*.b.example:*'), grantTo('reports', '127.0.1.12')])] });
  });

  it('without limits is the proxy\'s to decide, byte by byte', async () => {
    const client = connect(batch);
    client.socket.write('GET http://any.example/ HTTP/1.1\r\n\r\n');
    await heard(client, '200 OK');
    assert.equal(seen, 'GET http://any.example/ HTTP/1.1\r\n\r\n');
    assert.equal((await gateway.record('connection-opened')).channel, 'stream');
    client.socket.end();
    await ended(client);
  });

  it('answers 502 when the proxy cannot be reached', async () => {
    const gone = await startServer(() => undefined);
    await gone.stop();
    await gateway.dataPlane.update({ revision, servicePorts: [servicePort({ name: 'gone', protocol: 'HTTPConnect', targetPort: gone.port, grants: [limited('a.example:443')] })] });
    const client = connect(productpage, 'gone.egress.svc.cluster.local');
    client.socket.write(request('a.example:443'));
    assert.match(await ended(client), /^HTTP\/1.1 502 /);
    assert.equal((await gateway.record('connection-denied')).reason, 'connect-failed');
    client.socket.destroy();
  });

  describe('with real curl and tinyproxy', () => {
    let curl: string;
    let directory: string;
    let gatePort: number;
    let sitePort: number;
    const closers: (() => unknown)[] = [];

    before(async function () {
      curl = requirePeer(this, 'curl');
      const program = requirePeer(this, 'tinyproxy');
      directory = await mkdtemp(join(tmpdir(), 'sallyport-'));
      closers.push(() => rm(directory, { recursive: true }));
      const website = http.createServer((_request, response) => response.end('the website')).listen(0, loopback);
      closers.push(() => website.close());
      await once(website, 'listening');
      sitePort = (website.address() as net.AddressInfo).port;
      const proxyPort = await freePort();
      await writeFile(join(directory, 'tinyproxy.conf'), `Port ${proxyPort}\nListen 127.0.0.1\nAllow 127.0.0.0/8\nConnectPort ${sitePort}\nLogLevel Connect\nLogFile "${join(directory, 'log')}"\nTimeout 30\n`);
      const tinyproxy = spawn(program, ['-d', '-c', join(directory, 'tinyproxy.conf')], { stdio: 'ignore' });
      closers.push(() => tinyproxy.kill());
      await reachable(proxyPort);
      const own = { ...servicePort({ name: 'real', protocol: 'HTTPConnect', targetPort: proxyPort, grants: [limited(`127.0.0.1:${sitePort}`), grantTo('reports', '127.0.1.12')] }), listen: { address: '127.0.0.3' as IpAddress, port: 0 } };
      await gateway.dataPlane.update({ revision, servicePorts: [own] });
      gatePort = gateway.dataPlane.addressOf(own.listen)!.port;
    });
    after(async () => {
      for (const end of closers.splice(0).reverse()) await end();
    });

    /** curl speaks mTLS to the gateway as to a proxy, as a mesh sidecar would on its behalf. */
    async function viaCurl(identity: string, url: string): Promise<string> {
      const { certificateChainPem, privateKeyPem } = gateway.pki.issue(identity);
      await writeFile(join(directory, 'svid.pem'), certificateChainPem + privateKeyPem, { mode: 0o600 });
      const { stdout } = await run(curl, ['-sS', '-m', '8', '-x', `https://127.0.0.3:${gatePort}`, '--proxy-insecure', '--proxy-cert', join(directory, 'svid.pem'), '-p', url]);
      return stdout;
    }

    it('lets an allowed authority through, from the identity\'s own address', async () => {
      assert.equal(await viaCurl(productpage, `http://127.0.0.1:${sitePort}/`), 'the website');
      assert.equal(await viaCurl(batch, `http://127.0.0.1:${sitePort}/`), 'the website');
      const log = await readFile(join(directory, 'log'), 'utf8');
      assert.match(log, /127\.0\.1\.11/);
      assert.match(log, /127\.0\.1\.12/);
    });

    it('refuses another authority before tinyproxy sees a connection', async () => {
      const before = await readFile(join(directory, 'log'), 'utf8');
      await assert.rejects(viaCurl(productpage, 'http://127.0.0.1:9/'), /403/);
      assert.equal(await readFile(join(directory, 'log'), 'utf8'), before);
    });

    it('hands on tinyproxy\'s own refusal', async () => {
      await assert.rejects(viaCurl(batch, 'http://127.0.0.1:9/'), /403/);
      assert.equal((await gateway.record('connection-closed')).reason, 'finished');
    });
  });
});

async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, loopback);
  await once(server, 'listening');
  const { port } = server.address() as net.AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function reachable(port: number): Promise<void> {
  let open = false;
  await until(() => {
    const socket = net.connect(port, loopback, () => (open = true));
    socket.on('error', () => undefined);
    socket.on('connect', () => socket.destroy());
    return open;
  });
}
