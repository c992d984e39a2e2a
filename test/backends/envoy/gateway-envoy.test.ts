import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import type tls from 'node:tls';
import type { IpAddress } from '../../../src/core/ip-address.ts';
import type { Endpoint, Grant, ServicePort, Target } from '../../../src/core/plan/plan.ts';
import { findFreePorts, waitFor } from '../../../src/demo/processes.ts';
import { AccessLogType } from '../../../src/proto/envoy/data/accesslog/v3/accesslog_pb.ts';
import { grantTo, readAll, servicePort, spiffeIdOf, startGateway, startServer, until, type TestServer } from '../../support/gateway.ts';
import { requirePeer } from '../../support/peers.ts';
import { makePki } from '../../support/pki.ts';
import { logged, plannedGateway, startEnvoyGateway, workload, type EnvoyGateway } from './envoy-gateway.ts';

/** A server that speaks first: it says to whom, and ends. */
const greet = (endpoint?: Partial<Endpoint>): Promise<TestServer> => startServer((socket) => socket.end(`220 ${socket.remoteAddress}\r\n`), endpoint);
/** A server that speaks first, holds its connections and answers in kind. */
const echo = (): Promise<TestServer> =>
  startServer((socket) => {
    socket.write('.');
    socket.on('data', (bytes: Buffer) => socket.write(bytes));
    socket.on('end', () => socket.end());
  });

const account = (namespace: string, serviceAccount: string, address: string): Grant => grantTo(namespace, address, { subject: { namespace, serviceAccount } });
const withoutAddress = { snat: null, binding: null } as const;
const at = (address: string, port: number): Target => ({ kind: 'address', address: address as IpAddress, port });

/** So many ports in a row, among those that Linux gives to connections, that nobody has at any address just now. */
async function freeBlock(size: number): Promise<{ readonly first: number; readonly last: number }> {
  for (;;) {
    const first = 33_000 + Math.floor(Math.random() * 27_000);
    const servers = await Promise.all(
      Array.from({ length: size }, async (_, index) => {
        const server = net.createServer();
        const listening = new Promise<boolean>((resolve) => server.once('listening', () => resolve(true)).once('error', () => resolve(false)));
        server.listen({ port: first + index, host: '0.0.0.0', exclusive: true });
        return { server, isFree: await listening };
      }),
    );
    await Promise.all(servers.filter(({ isFree }) => isFree).map(({ server }) => new Promise((resolve) => server.close(resolve))));
    if (servers.every(({ isFree }) => isFree)) return { first, last: first + size - 1 };
  }
}

describe('a stock Envoy as a gateway', function () {
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

  async function gatewayOf(servicePorts: readonly ServicePort[], ...options: Parameters<typeof startEnvoyGateway> extends [unknown, unknown, ...infer Rest] ? Rest : never): Promise<EnvoyGateway> {
    return ended(await startEnvoyGateway(program, servicePorts, ...options));
  }

  /** A connection that has reached its target. */
  async function reach(gateway: EnvoyGateway, ...who: Parameters<EnvoyGateway['connect']>): Promise<tls.TLSSocket> {
    const socket = gateway.connect(...who);
    await once(socket, 'data');
    return socket;
  }

  async function answers(socket: tls.TLSSocket): Promise<boolean> {
    socket.write('?');
    const [bytes] = (await once(socket, 'data')) as [Buffer];
    return bytes.toString() === '?';
  }

  it('lets each of many identities that come at the same moment leave from its own address', async () => {
    const target = ended(await greet());
    const namespaces = Array.from({ length: 8 }, (_, index) => `team-${index}`);
    const gateway = await gatewayOf([servicePort({ targetPort: target.port, grants: namespaces.map((namespace, index) => grantTo(namespace, `127.0.1.${index + 1}`)) })]);
    const workloads = namespaces.map((namespace) => workload(gateway.pki, namespace));
    for (let round = 0; round < 5; round += 1) {
      const said = await Promise.all(workloads.map((identity) => gateway.ask(identity)));
      assert.deepEqual(said, namespaces.map((_, index) => `220 127.0.1.${index + 1}\r\n`));
    }
  });

  it('refuses without a word of the target, or a connection to it, whoever has no certificate, no good one, no grant or no address', async () => {
    const target = ended(await greet());
    const grants = [grantTo('book', '127.0.1.1'), account('book', 'mute', '127.0.1.2'), grantTo('poor', '127.0.1.3', withoutAddress), account('shop', 'till', '127.0.1.4')];
    const gateway = await gatewayOf([servicePort({ targetPort: target.port, grants: grants.map((grant) => (grant.subject.serviceAccount === 'mute' ? { ...grant, ...withoutAddress } : grant)) })]);
    const { pki } = gateway;
    const uris = (...ids: string[]) => ({ names: ids.map((value) => ({ type: 'uri' as const, value })) });
    const refused = {
      'no certificate': undefined,
      'a certificate of another authority': workload(makePki(), 'book'),
      'an expired certificate': pki.issue(spiffeIdOf('book', 'default'), { notAfterMs: Date.now() - 1_000 }),
      'another namespace': workload(pki, 'other'),
      'a namespace that begins alike': workload(pki, 'bookinfo'),
      'a service account that begins alike': workload(pki, 'shop', 'till-2'),
      'no address': workload(pki, 'poor'),
      'a service account without address in a namespace with one': workload(pki, 'book', 'mute'),
      'another trust domain': pki.issue('spiffe://else.where/ns/book/sa/default'),
      'not a workload': pki.issue('spiffe://cluster.local/ns/book/sa/default/more'),
      'two identities': pki.issue(spiffeIdOf('book', 'a'), uris(spiffeIdOf('book', 'a'), spiffeIdOf('other', 'b'))),
    };
    for (const [why, identity] of Object.entries(refused)) assert.equal(await gateway.ask(identity), '', why);
    assert.equal(await gateway.ask(workload(pki, 'book'), '', { servername: 'nobody|book' }), '', 'no such service');
    assert.equal(await gateway.ask(workload(pki, 'book'), '', { servername: 'sallyport-control' }), '', "a cluster's own name");
    assert.deepEqual(target.clients, []);
    assert.equal(await gateway.ask(workload(pki, 'book')), '220 127.0.1.1\r\n');
    assert.equal(await gateway.ask(workload(pki, 'shop', 'till')), '220 127.0.1.4\r\n');
  });

  it('gives a service account its own address before that of its namespace', async () => {
    const target = ended(await greet());
    const gateway = await gatewayOf([servicePort({ targetPort: target.port, grants: [grantTo('book', '127.0.1.1'), account('book', 'reviews', '127.0.1.2')] })]);
    const said = await Promise.all(['reviews', 'reviews-v2', 'details'].map((name) => gateway.ask(workload(gateway.pki, 'book', name))));
    assert.deepEqual(said, ['220 127.0.1.2\r\n', '220 127.0.1.1\r\n', '220 127.0.1.1\r\n']);
  });

  it('ends the connections of a grant that is taken away within two seconds, and no others', async () => {
    const target = ended(await echo());
    const [stays, goes, comes] = [grantTo('stays', '127.0.1.1'), grantTo('goes', '127.0.1.2'), grantTo('comes', '127.0.1.3')];
    const before = servicePort({ targetPort: target.port, grants: [stays, goes] });
    const other = servicePort({ name: 'other', targetPort: target.port, grants: [goes] });
    const gateway = await gatewayOf([before, other]);
    const [kept, ending] = await Promise.all([reach(gateway, workload(gateway.pki, 'stays')), reach(gateway, workload(gateway.pki, 'goes'))]);
    const elsewhere = await reach(gateway, workload(gateway.pki, 'goes'), { servername: 'other.egress.svc.cluster.local' });
    const startedAtMs = performance.now();
    await gateway.apply([{ ...before, grants: [comes, stays] }, other]);
    await readAll(ending);
    assert.ok(performance.now() - startedAtMs < 2_000);
    assert.equal(await gateway.ask(workload(gateway.pki, 'goes')), '');
    await reach(gateway, workload(gateway.pki, 'comes'));
    assert.ok(await answers(kept));
    assert.ok(await answers(elsewhere));
  });

  it('ends the last connections of a service port that nobody may use any more', async () => {
    const target = ended(await echo());
    const before = servicePort({ targetPort: target.port, grants: [grantTo('goes', '127.0.1.2')] });
    const gateway = await gatewayOf([before]);
    const ending = await reach(gateway, workload(gateway.pki, 'goes'));
    const startedAtMs = performance.now();
    await gateway.apply([{ ...before, grants: [] }]);
    await readAll(ending);
    assert.ok(performance.now() - startedAtMs < 2_000);
    assert.equal(await gateway.ask(workload(gateway.pki, 'goes')), '');
  });

  it('keeps every connection while its own certificate and the trust bundle rotate', async () => {
    const target = ended(await echo());
    const servicePorts = [servicePort({ targetPort: target.port, grants: [grantTo('book', '127.0.1.1')] })];
    const gateway = await gatewayOf(servicePorts);
    const live = await reach(gateway, workload(gateway.pki, 'book'));
    const before = live.getPeerX509Certificate()?.serialNumber;
    const newcomer = makePki();
    assert.equal(await gateway.ask(workload(newcomer, 'book')), '');
    await gateway.rotate(gateway.pki.rootPem + newcomer.rootPem);
    const later = await reach(gateway, workload(newcomer, 'book'));
    assert.notEqual(later.getPeerX509Certificate()?.serialNumber, before);
    assert.ok(await answers(live));
  });

  it('tries the addresses of a service in turn', async () => {
    const [down] = (await findFreePorts(1)) as [number];
    const target = ended(await greet());
    const book = servicePort({ targetPort: target.port, grants: [grantTo('book', '127.0.1.1')] });
    const gateway = await gatewayOf([{ ...book, targets: [at('127.0.0.1', down), at('127.0.0.2', down), at('127.0.0.1', target.port)] }]);
    for (let round = 0; round < 5; round += 1) assert.equal(await gateway.ask(workload(gateway.pki, 'book')), '220 127.0.1.1\r\n');
    const first = ended(await greet({ port: down }));
    await gateway.ask(workload(gateway.pki, 'book'));
    assert.equal(first.clients.length, 1, 'the first one that answers is taken');
  });

  it('ends connections to a target that is taken from its service within two seconds', async () => {
    const servers = [ended(await echo()), ended(await echo()), ended(await echo())];
    const book = servicePort({ targetPort: servers[0]!.port, grants: [grantTo('book', '127.0.1.1')] });
    const from = (first: number) => [{ ...book, targets: servers.slice(first).map(({ port }) => at('127.0.0.1', port)) }];
    const gateway = await gatewayOf(from(0));
    const identity = workload(gateway.pki, 'book');
    for (const next of [1, 2]) {
      const ending = await reach(gateway, identity);
      const startedAtMs = performance.now();
      await gateway.apply(from(next));
      await readAll(ending);
      assert.ok(performance.now() - startedAtMs < 2_000);
      await reach(gateway, identity);
      assert.ok(servers[next]!.clients.length > 0);
    }
  });

  it('looks up the hosts of a service, and tries them in turn', async () => {
    const target = ended(await greet());
    const [down] = (await findFreePorts(1)) as [number];
    const host = (name: string, port: number): Target => ({ kind: 'host', host: name, port });
    const one = servicePort({ name: 'one', targetPort: target.port, grants: [grantTo('book', '127.0.1.1')] });
    const two = servicePort({ name: 'two', targetPort: target.port, grants: [grantTo('book', '127.0.1.1')] });
    const gateway = await gatewayOf([{ ...one, targets: [host('localhost', target.port)] }, { ...two, targets: [host('localhost', down), host('localhost', target.port)] }]);
    const ask = async (name: string): Promise<string> => await gateway.ask(workload(gateway.pki, 'book'), '', { servername: `${name}.egress.svc.cluster.local` });
    // Envoy acknowledges a cluster before it knows its hosts, and refuses connections until then.
    for (const name of ['one', 'two']) await waitFor(`the hosts of ${name}`, 5_000, async () => (await ask(name)) || undefined);
    for (const name of ['one', 'two', 'two', 'two']) assert.equal(await ask(name), '220 127.0.1.1\r\n', name);
  });

  it('leaves from the ports of its block only, and from no other when they are used up', async () => {
    const target = ended(await echo());
    const source = '127.0.1.201' as IpAddress; // nobody else's, so that no connection of another test holds one of its ports
    const ports = await freeBlock(16);
    const block = grantTo('book', source, { snat: { ipv4: { address: source, ports } } });
    const gateway = await gatewayOf([servicePort({ targetPort: target.port, grants: [block] })]);
    const identity = workload(gateway.pki, 'book');
    for (let port = ports.first; port <= ports.last; port += 1) await reach(gateway, identity);
    assert.equal(await gateway.ask(identity), '');
    const left = target.clients.map((client) => Number(client.split(':').at(-1))).sort((a, b) => a - b);
    assert.deepEqual(left, Array.from({ length: 16 }, (_, index) => ports.first + index));
  });

  it('refuses what would leave from ports that the kernel does not keep to', async () => {
    const target = ended(await greet());
    const outside = grantTo('book', '127.0.1.1', { snat: { ipv4: { address: '127.0.1.1' as IpAddress, ports: { first: 1_024, last: 2_047 } } } });
    const servicePorts = [servicePort({ targetPort: target.port, grants: [outside, grantTo('shop', '127.0.1.2')] })];
    const gateway = await gatewayOf(servicePorts);
    assert.deepEqual((await gateway.apply(servicePorts)).conditions.map(({ code, object }) => [code, object]), [['port-block-unusable', 'egress/partner:main']]);
    assert.equal(await gateway.ask(workload(gateway.pki, 'book')), '');
    assert.equal(await gateway.ask(workload(gateway.pki, 'shop')), '220 127.0.1.2\r\n');
  });

  it('limits the connections from a source address', async () => {
    const target = ended(await echo());
    const limits = { connectionsPerIdentity: 3, handshakeTimeoutMs: 2_000, connectTimeoutMs: 2_000, idleTimeoutMs: 60_000, ftpDataTimeoutMs: 2_000, udpFlowsPerIdentity: 100, udpIdleTimeoutMs: 60_000 };
    const gateway = await gatewayOf([servicePort({ targetPort: target.port, grants: [grantTo('book', '127.0.1.1'), grantTo('shop', '127.0.1.2')] })], { limits });
    const [book, shop] = [workload(gateway.pki, 'book'), workload(gateway.pki, 'shop')];
    const held = await Promise.all([1, 2, 3].map(() => reach(gateway, book)));
    assert.equal(await gateway.ask(book), '');
    await reach(gateway, shop);
    held[0]!.destroy();
    await until(() => target.sockets.size === 3);
    await reach(gateway, book);
  });

  it('ends what is idle, and a handshake that does not come', async () => {
    const target = ended(await echo());
    const limits = { connectionsPerIdentity: 3, handshakeTimeoutMs: 400, connectTimeoutMs: 2_000, idleTimeoutMs: 400, ftpDataTimeoutMs: 2_000, udpFlowsPerIdentity: 100, udpIdleTimeoutMs: 60_000 };
    const gateway = await gatewayOf([servicePort({ targetPort: target.port, grants: [grantTo('book', '127.0.1.1')] })], { limits });
    const startedAtMs = performance.now();
    await readAll(await reach(gateway, workload(gateway.pki, 'book')));
    await readAll(gateway.connectPlain());
    assert.ok(performance.now() - startedAtMs < 5_000);
  });

  it('serves a service port on its own listener, whatever the SNI', async () => {
    const target = ended(await greet());
    const [port] = (await findFreePorts(1)) as [number];
    const gateway = await gatewayOf([servicePort({ targetPort: target.port, listenPort: port, grants: [grantTo('book', '127.0.1.1')] })]);
    const own = { port, servername: '' };
    assert.equal(await gateway.ask(workload(gateway.pki, 'book'), '', own), '220 127.0.1.1\r\n');
    assert.equal(await gateway.ask(workload(gateway.pki, 'shop'), '', own), '');
    assert.equal(await gateway.ask(workload(gateway.pki, 'book')), '220 127.0.1.1\r\n');
  });

  it('leaves by IPv6 for a target of that family', async () => {
    const target = ended(await greet({ address: '::1' as IpAddress }));
    const both = { ipv4: { address: '127.0.1.1' as IpAddress, ports: { first: 1_024, last: 65_535 } }, ipv6: { address: '::1' as IpAddress, ports: { first: 42_000, last: 42_031 } } };
    const book = servicePort({ targetPort: target.port, grants: [grantTo('book', '127.0.1.1', { snat: both })] });
    const gateway = await gatewayOf([{ ...book, targets: [at('::1', target.port)] }]);
    assert.equal(await gateway.ask(workload(gateway.pki, 'book')), '220 ::1\r\n');
    assert.match(target.clients[0]!, /:420[0-3][0-9]$/);
    const [down] = (await findFreePorts(1)) as [number];
    await gateway.apply([{ ...book, targets: [at('127.0.0.1', down), at('::1', target.port)] }]);
    assert.equal(await gateway.ask(workload(gateway.pki, 'book')), '220 ::1\r\n');
    assert.match(target.clients[1]!, /:420[0-3][0-9]$/);
  });

  it('passes on what either side sends last, half-closed or not', async () => {
    const target = ended(await startServer((socket) => {
      let said = '';
      socket.on('data', (bytes: Buffer) => (said += bytes.toString()));
      socket.on('end', () => socket.end(`got ${said.length}`));
    }));
    const gateway = await gatewayOf([servicePort({ targetPort: target.port, grants: [grantTo('book', '127.0.1.1')] })]);
    const socket = gateway.connect(workload(gateway.pki, 'book'), { allowHalfOpen: true } as tls.ConnectionOptions);
    socket.end('x'.repeat(300_000));
    assert.equal(await readAll(socket), 'got 300000');
  });

  it('hands over what the gateway beside it serves, with its TLS untouched, and leaves the record to that', async () => {
    const target = ended(await greet());
    const pki = makePki();
    const handedOver = { ...servicePort({ name: 'files', targetPort: target.port, grants: [grantTo('book', '127.0.1.9')] }), gateway: 'beside' };
    const embedded = ended(await startGateway({ servicePorts: [handedOver], pki }));
    const beside = plannedGateway(embedded.port, { name: 'beside', class: 'sallyport' });
    const partner = servicePort({ targetPort: target.port, grants: [grantTo('book', '127.0.1.1')] });
    const gateway = await gatewayOf([partner, handedOver], { handOver: 'beside' }, { pki, beside: [beside] });
    const identity = workload(pki, 'book');
    const files = { servername: 'files.egress.svc.cluster.local' };
    assert.equal(await gateway.ask(identity, '', files), '220 127.0.1.9\r\n');
    assert.equal(await gateway.ask(workload(pki, 'other'), '', files), '');
    assert.equal((await embedded.record('connection-opened')).spiffeId, identity.spiffeId);
    assert.equal((await embedded.record('connection-denied')).reason, 'no-policy');
    assert.equal(await gateway.ask(identity), '220 127.0.1.1\r\n');
    const entries = await logged(gateway, ({ commonProperties }) => commonProperties?.accessLogType === AccessLogType.TcpConnectionEnd);
    assert.equal(entries.length, gateway.entries.length - 1, 'nothing but the opening and the end of its own connection');
  });
});
