import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import { promisify } from 'node:util';
import { pino } from 'pino';
import { runAgent, type Agent, type AgentOptions } from '../../src/agent/index.ts';
import type { IpAddress } from '../../src/core/ip-address.ts';
import type { TrustDomain } from '../../src/core/spiffe-id.ts';
import { parseX509Svid } from '../../src/core/x509/x509-svid.ts';
import { trustDomainText } from '../identity/support/fake-control-plane.ts';
import { createOpensslCa, type OpensslCa } from '../identity/support/openssl-ca.ts';
import { until } from '../identity/support/waiting.ts';
import { startFakeGateway, startFakeMesh, upstreamMessage, type FakeGateway, type FakeMesh } from './support/fake-mesh.ts';
import { connectTo, exchange, freePort, openEcho, ping } from './support/local-client.ts';

const workloadId = 'spiffe://cluster.local/ns/bookinfo/sa/productpage';
const service = 'bookinfo/echo:tcp';
const echo = (socket: TLSSocket): void => void socket.pipe(socket);

describe('agent', () => {
  let ca: OpensslCa;
  let otherCa: OpensslCa;
  let directory: string;
  let lines: string[];
  let listenPort: number;
  const closers: (() => unknown)[] = [];

  before(async () => {
    [ca, otherCa] = await Promise.all([createOpensslCa(), createOpensslCa()]);
  });
  after(() => Promise.all([ca.remove(), otherCa.remove()]));
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'sallyport-agent-'));
    listenPort = await freePort();
    lines = [];
  });
  afterEach(async () => {
    for (const close of closers.splice(0).reverse()) await close();
    await rm(directory, { recursive: true, force: true });
  });

  async function mesh(ports: { enrolmentPort?: number; identityPort?: number } = {}): Promise<FakeMesh> {
    const started = await startFakeMesh(workloadId, { ca, tokens: new Map([['token', workloadId]]), ...ports });
    closers.push(() => started.stop());
    return started;
  }

  async function gateway(serve = echo, options: Parameters<typeof startFakeGateway>[2] & { ca?: OpensslCa } = {}): Promise<FakeGateway> {
    const started = await startFakeGateway(options.ca ?? ca, serve, options);
    closers.push(() => started.stop());
    return started;
  }

  async function agent(control: Pick<FakeMesh, 'enrolmentAddress' | 'identityAddress'>, options: Partial<AgentOptions> = {}): Promise<Agent> {
    const started = await runAgent({
      trustDomain: trustDomainText as TrustDomain,
      enrolmentAddress: control.enrolmentAddress,
      controlAddress: control.identityAddress,
      trustBundle: () => ca.rootPem,
      joinToken: () => Promise.resolve('token'),
      version: 'test',
      now: Date.now,
      random: () => 0,
      log: pino({ level: 'debug' }, { write: (line: string) => void lines.push(line) }),
      ...options,
    });
    closers.push(() => started.stop());
    return started;
  }

  const stateOf = (running: Agent, id = service) => running.status().upstreams.find((upstream) => upstream.id === id);
  const listening = (running: Agent, id = service) => until(`${id} listens`, () => stateOf(running, id)?.listener.listening);

  describe('on the way to a gateway', () => {
    it('carries bytes both ways, half-close included, as the workload and to the name asked for', async () => {
      const control = await mesh();
      const callers: string[] = [];
      const server = await gateway((socket) => {
        const parsed = parseX509Svid(socket.getPeerCertificate().raw);
        callers.push(parsed.ok ? parsed.svid.spiffeId : parsed.detail);
        assert.equal(socket.getProtocol(), 'TLSv1.3');
        echo(socket);
      });
      control.publish({ [service]: upstreamMessage(listenPort, [server.port]) });
      const running = await agent(control);
      await listening(running);
      const sent = randomBytes(4_000_000);
      assert.ok((await exchange(listenPort, sent)).equals(sent));
      assert.deepEqual(callers, [workloadId]);
      assert.deepEqual(server.seen.map(({ serverName }) => serverName), ['outbound_.9000_._.echo.bookinfo.svc.cluster.local']);
    });

    it('lets a server speak first', async () => {
      const control = await mesh();
      const server = await gateway((socket) => void socket.end('220 hello\r\n'));
      control.publish({ [service]: upstreamMessage(listenPort, [server.port]) });
      await listening(await agent(control));
      const socket = connectTo(listenPort);
      const [chunk] = (await once(socket, 'data')) as [Buffer];
      assert.equal(chunk.toString(), '220 hello\r\n');
      socket.destroy();
    });

    it('sends no byte to a gateway of another identity', async () => {
      const control = await mesh();
      const impostor = await gateway(echo, { id: 'spiffe://cluster.local/ns/sallyport-system/sa/gateway-2' });
      control.publish({ [service]: upstreamMessage(listenPort, [impostor.port]) });
      await listening(await agent(control));
      await assert.rejects(exchange(listenPort, 'secret'), { code: 'ECONNRESET' });
      assert.equal(impostor.seen.reduce((sum, { bytes }) => sum + bytes, 0), 0);
      assert.ok(lines.some((line) => line.includes('expected \\"spiffe://cluster.local/ns/sallyport-system/sa/gateway\\"')));
    });

    it('sends no byte to a gateway of another CA, nor to one that speaks TLS 1.2 only', async () => {
      const control = await mesh();
      const [foreign, old] = await Promise.all([gateway(echo, { ca: otherCa }), gateway(echo, { maxVersion: 'TLSv1.2' })]);
      control.publish({ [service]: upstreamMessage(listenPort, [foreign.port, old.port]) });
      await listening(await agent(control));
      await assert.rejects(exchange(listenPort, 'secret'), { code: 'ECONNRESET' });
      assert.deepEqual([...foreign.seen, ...old.seen].filter(({ bytes }) => bytes > 0), []);
    });

    it('accepts any of the identities that the upstream names', async () => {
      const control = await mesh();
      const server = await gateway(echo, { id: 'spiffe://cluster.local/ns/edge/sa/bigip' });
      control.publish({ [service]: upstreamMessage(listenPort, [server.port], { serverIdentities: ['spiffe://cluster.local/ns/edge/sa/other', 'spiffe://cluster.local/ns/edge/sa/bigip'] }) });
      await listening(await agent(control));
      assert.equal((await exchange(listenPort, 'hello')).toString(), 'hello');
    });

    it('takes the gateways in turn, and the next where one is away', async () => {
      const control = await mesh();
      const [first, second, away] = await Promise.all([gateway(), gateway(), freePort()]);
      control.publish({ [service]: upstreamMessage(listenPort, [first.port, away, second.port]) });
      await listening(await agent(control));
      for (let count = 0; count < 3; count += 1) assert.equal((await exchange(listenPort, 'hello')).toString(), 'hello');
      assert.deepEqual([first.seen.length, second.seen.length], [1, 2]);
    });

    it('resets the workload when no gateway is there', async () => {
      const control = await mesh();
      control.publish({ [service]: upstreamMessage(listenPort, [await freePort()]) });
      await listening(await agent(control));
      await assert.rejects(exchange(listenPort, 'hello'), { code: 'ECONNRESET' });
    });

    it('gives up a gateway that accepts and says nothing', async () => {
      const control = await mesh();
      const silent = createServer((socket) => void socket.on('error', () => undefined));
      closers.push(() => silent.close());
      silent.listen(0, '127.0.0.1');
      await once(silent, 'listening');
      const address = silent.address();
      assert.ok(address !== null && typeof address === 'object');
      control.publish({ [service]: upstreamMessage(listenPort, [address.port]) });
      await listening(await agent(control, { limits: { dialTimeoutMs: 100 } }));
      await assert.rejects(exchange(listenPort, 'hello'), { code: 'ECONNRESET' });
      assert.ok(lines.some((line) => line.includes('has not answered within 100 ms')));
    });

    it('passes on a reset of the gateway', async () => {
      const control = await mesh();
      const server = await gateway((socket) => void socket.once('data', () => server.reset()));
      control.publish({ [service]: upstreamMessage(listenPort, [server.port]) });
      await listening(await agent(control));
      const socket = connectTo(listenPort);
      socket.write('hello'); // and no end: a gateway that hears one in the same moment answers it before it is reset
      await assert.rejects(once(socket.resume(), 'end'), { code: 'ECONNRESET' });
    });

    it('refuses more connections than its limit, and serves again when one has ended', async () => {
      const control = await mesh();
      const server = await gateway();
      control.publish({ [service]: upstreamMessage(listenPort, [server.port]) });
      const running = await agent(control, { limits: { connectionsMax: 2 } });
      await listening(running);
      const held = await Promise.all([openEcho(listenPort), openEcho(listenPort)]);
      await assert.rejects(exchange(listenPort, 'hello'), { code: 'ECONNRESET' });
      held[0].destroy();
      await until('a free place', () => stateOf(running)?.connections === 1);
      assert.equal((await exchange(listenPort, 'hello')).toString(), 'hello');
      held[1].destroy();
    });
  });

  describe('when what it offers changes', () => {
    it('opens and closes listeners, and ends the connections of an upstream that is gone, within a second', async () => {
      const control = await mesh();
      const server = await gateway();
      const otherPort = await freePort();
      control.publish({ [service]: upstreamMessage(listenPort, [server.port]), 'bookinfo/other:tcp': upstreamMessage(otherPort, [server.port]) });
      const running = await agent(control);
      await Promise.all([listening(running), listening(running, 'bookinfo/other:tcp')]);
      const [ending, staying] = await Promise.all([openEcho(listenPort), openEcho(otherPort)]);
      const ended = once(ending, 'close').catch((error: unknown) => error);
      const startMs = Date.now();
      control.publish({ 'bookinfo/other:tcp': upstreamMessage(otherPort, [server.port]) });
      await ended;
      assert.ok(Date.now() - startMs < 1_000);
      await assert.rejects(exchange(listenPort, 'hello'), { code: 'ECONNREFUSED' });
      await ping(staying);
      assert.deepEqual(running.status().upstreams.map(({ id }) => id), ['bookinfo/other:tcp']);
      staying.destroy();
    });

    it('moves a listener without touching its connections', async () => {
      const control = await mesh();
      const server = await gateway();
      const movedPort = await freePort();
      control.publish({ [service]: upstreamMessage(listenPort, [server.port]) });
      const running = await agent(control);
      await listening(running);
      const socket = await openEcho(listenPort);
      control.publish({ [service]: upstreamMessage(movedPort, [server.port]) });
      await until('the new place', () => stateOf(running)?.listen === `127.0.0.1:${movedPort}` && stateOf(running)?.listener.listening);
      await ping(socket);
      assert.equal((await exchange(movedPort, 'hello')).toString(), 'hello');
      await assert.rejects(exchange(listenPort, 'hello'), { code: 'ECONNREFUSED' });
      socket.destroy();
    });

    it('lets two upstreams swap their ports', async () => {
      const control = await mesh();
      const [a, b] = await Promise.all([gateway((socket) => void socket.end('a')), gateway((socket) => void socket.end('b'))]);
      const otherPort = await freePort();
      const other = 'bookinfo/other:tcp';
      control.publish({ [service]: upstreamMessage(listenPort, [a.port]), [other]: upstreamMessage(otherPort, [b.port]) });
      const running = await agent(control);
      await Promise.all([listening(running), listening(running, other)]);
      control.publish({ [service]: upstreamMessage(otherPort, [a.port]), [other]: upstreamMessage(listenPort, [b.port]) });
      await until('the swap', () => stateOf(running)?.listen === `127.0.0.1:${otherPort}`);
      await Promise.all([listening(running), listening(running, other)]);
      assert.equal((await exchange(otherPort, '')).toString(), 'a');
      assert.equal((await exchange(listenPort, '')).toString(), 'b');
    });

    it('says that a port is in use, and takes it when it is free', async () => {
      const control = await mesh();
      const server = await gateway();
      const squatter = createServer().listen(listenPort, '127.0.0.1');
      await once(squatter, 'listening');
      control.publish({ [service]: upstreamMessage(listenPort, [server.port]) });
      const running = await agent(control);
      assert.equal(await until('the failure', () => (stateOf(running)?.listener as { reason?: string } | undefined)?.reason?.includes('in use')), true);
      assert.ok(lines.some((line) => line.includes('ss -ltunp')));
      squatter.close();
      await listening(running);
      assert.equal((await exchange(listenPort, 'hello')).toString(), 'hello');
    });

    it('never listens on an address that others can reach', async () => {
      const control = await mesh();
      const server = await gateway();
      control.publish({ [service]: upstreamMessage(listenPort, [server.port], { listenAddress: '0.0.0.0' }), 'bookinfo/other:tcp': upstreamMessage(await freePort(), [server.port]) });
      const running = await agent(control);
      await listening(running, 'bookinfo/other:tcp');
      assert.deepEqual(stateOf(running)?.listener, { listening: false, reason: 'the address is not a loopback address' });
      await assert.rejects(exchange(listenPort, 'hello'), { code: 'ECONNREFUSED' });
    });

    it('rejects what it cannot read, and goes on with what it had', async () => {
      const control = await mesh();
      const server = await gateway();
      control.publish({ [service]: upstreamMessage(listenPort, [server.port]) });
      const running = await agent(control);
      await listening(running);
      control.publish({ [service]: upstreamMessage(listenPort, [server.port], { serverIdentities: [] }) });
      assert.match(await until('a rejection', () => control.rejection()), /names no server identity/);
      assert.equal((await exchange(listenPort, 'hello')).toString(), 'hello');
    });
  });

  describe('over time', () => {
    it('loses no connection when the identity and the trust bundle are rotated under load', async () => {
      const control = await mesh();
      const server = await gateway();
      const upstreams = { [service]: upstreamMessage(listenPort, [server.port]) };
      control.publish(upstreams);
      const running = await agent(control);
      await listening(running);
      const lasting = await Promise.all(Array.from({ length: 8 }, () => openEcho(listenPort)));
      let rotating = true;
      const load = Promise.all(
        Array.from({ length: 4 }, async () => {
          let count = 0;
          for (; rotating; count += 1) assert.equal((await exchange(listenPort, `hello ${count}`)).toString(), `hello ${count}`);
          return count;
        }),
      );
      for (let round = 1; round <= 5; round += 1) {
        running.renewNow();
        control.publish(upstreams, round % 2 === 1 ? `${ca.rootPem}${otherCa.rootPem}` : ca.rootPem);
        await until('a renewal', () => lines.filter((line) => line.includes('identity renewed')).length >= round);
      }
      rotating = false;
      const counts = await load;
      assert.ok(counts.every((count) => count > 0));
      for (const socket of lasting) {
        await ping(socket);
        socket.destroy();
      }
    });

    it('starts before its control plane', async () => {
      const [enrolmentPort, identityPort] = await Promise.all([freePort(), freePort()]);
      const running = await agent({ enrolmentAddress: `127.0.0.1:${enrolmentPort}`, identityAddress: `127.0.0.1:${identityPort}` });
      await until('a failure', () => running.status().identity.failure ?? undefined);
      assert.equal(running.status().ready, false);
      const server = await gateway();
      const control = await mesh({ enrolmentPort, identityPort });
      control.publish({ [service]: upstreamMessage(listenPort, [server.port]) });
      await listening(running);
      assert.equal(running.status().ready, true);
      assert.equal((await exchange(listenPort, 'hello')).toString(), 'hello');
    });

    it('comes back from disk while the control plane is away, and forgets what has gone when it is back', async () => {
      const control = await mesh();
      const server = await gateway();
      const otherPort = await freePort();
      control.publish({ [service]: upstreamMessage(listenPort, [server.port]), 'bookinfo/gone:tcp': upstreamMessage(otherPort, [server.port]) });
      const first = await agent(control, { stateDirectory: directory });
      await Promise.all([listening(first), listening(first, 'bookinfo/gone:tcp')]);
      await first.stop();
      control.stop();

      const second = await agent(control, { stateDirectory: directory, joinToken: () => Promise.resolve(undefined) });
      await Promise.all([listening(second), listening(second, 'bookinfo/gone:tcp')]);
      assert.equal(second.status().ready, true);
      assert.equal((await exchange(listenPort, 'hello')).toString(), 'hello');

      const again = await mesh({ enrolmentPort: portOf(control.enrolmentAddress), identityPort: portOf(control.identityAddress) });
      again.publish({ [service]: upstreamMessage(listenPort, [server.port]) });
      await until('what has gone', () => stateOf(second, 'bookinfo/gone:tcp') === undefined);
      assert.equal((await exchange(listenPort, 'hello')).toString(), 'hello');
    });

    it('writes its identity for other programs, 0600, and again when it is renewed', async () => {
      const svidDirectory = join(directory, 'svid');
      const control = await mesh();
      control.publish({});
      const running = await agent(control, { svidDirectory });
      const read = (name: string) => readFile(join(svidDirectory, name), 'utf8').catch(() => undefined);
      const first = await until('the files', () => read('tls.key'));
      for (const name of ['tls.crt', 'tls.key', 'ca.crt', 'svid.pem', 'svid_key.pem', 'svid_bundle.pem']) assert.equal((await stat(join(svidDirectory, name))).mode & 0o777, 0o600, name);
      assert.equal(await read('svid_key.pem'), first);
      await promisify(execFile)('openssl', ['verify', '-x509_strict', '-CAfile', join(svidDirectory, 'ca.crt'), '-untrusted', join(svidDirectory, 'tls.crt'), join(svidDirectory, 'tls.crt')]);
      running.renewNow();
      await until('new files', async () => (await read('tls.key')) !== first);
    });

    it('says whether it lives and is ready', async () => {
      const control = await mesh();
      const running = await agent(control, { health: { address: '127.0.0.1' as IpAddress, port: 0 } });
      const ask = async (path: string) => (await fetch(`http://127.0.0.1:${running.healthPort}${path}`)).status;
      assert.equal(await ask('/livez'), 200);
      assert.equal(await ask('/readyz'), 503);
      control.publish({});
      await until('ready', async () => (await ask('/readyz')) === 200);
      assert.equal(await ask('/'), 404);
    });
  });
});

function portOf(address: string): number {
  return Number(address.slice(address.lastIndexOf(':') + 1));
}
