import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import type tls from 'node:tls';
import type { IpAddress } from '../../src/core/ip-address.ts';
import type { Revision, ServicePort, Target } from '../../src/core/plan/plan.ts';
import type { LookupOutcome } from '../../src/gateway/host-lookup.ts';
import { batch, grantTo, loopback, productpage, readAll, servicePort, settings, spiffeIdOf, startGateway, startServer, until, type TestGateway, type TestServer } from '../support/gateway.ts';
import { makePki, type Issued } from '../support/pki.ts';

const revisionTwo = '2'.repeat(64) as Revision;

describe('what changes while connections live', () => {
  let gateway: TestGateway;
  let server: TestServer;
  let partner: ServicePort;
  let archive: ServicePort;
  let clockOffsetMs = 0;
  /** What the names of hosts lead to. */
  let lookup: (host: string) => Promise<LookupOutcome>;

  function greetAndEcho(socket: Socket): void {
    socket.write('.');
    socket.on('data', (bytes: Buffer) => socket.write(bytes));
    socket.on('end', () => socket.end());
  }

  beforeEach(async () => {
    clockOffsetMs = 0;
    server = await startServer(greetAndEcho);
    const grants = [grantTo('bookinfo', '127.0.1.11'), grantTo('reports', '127.0.1.12')];
    partner = servicePort({ targetPort: server.port, grants });
    archive = servicePort({ name: 'archive', targetPort: server.port, grants });
    gateway = await startGateway({ servicePorts: [partner, archive], now: () => Date.now() + clockOffsetMs, lookup: (host) => lookup(host) });
  });

  afterEach(async () => {
    await gateway.stop();
    await server.stop();
  });

  async function connected(identity: Issued, serverName = 'partner.egress.svc.cluster.local', place: tls.ConnectionOptions = {}): Promise<tls.TLSSocket> {
    const client = gateway.connect(identity, { servername: serverName, ...place });
    await once(client, 'data');
    return client;
  }

  const update = (change: Omit<Parameters<TestGateway['dataPlane']['update']>[0], 'revision'>) => gateway.dataPlane.update({ revision: revisionTwo, ...change });

  async function alive(client: tls.TLSSocket): Promise<void> {
    client.write('?');
    assert.equal(String((await once(client, 'data'))[0]), '?');
  }

  async function endsWithin(client: tls.TLSSocket, limitMs: number): Promise<void> {
    const startedAtMs = performance.now();
    client.resume();
    await until(() => client.closed, () => 'the connection lives on', limitMs);
    assert.ok(performance.now() - startedAtMs < limitMs);
  }

  it('a grant that goes ends its connections within a second, and no others', async () => {
    const [revoked, otherIdentity, otherService] = await Promise.all([
      connected(gateway.pki.issue(productpage)),
      connected(gateway.pki.issue(batch)),
      connected(gateway.pki.issue(productpage), 'archive.egress.svc.cluster.local'),
    ]);
    await update({ servicePorts: [{ ...partner, grants: [grantTo('reports', '127.0.1.12')] }] });
    await endsWithin(revoked, 1_000);
    const closed = await gateway.record('connection-closed');
    assert.deepEqual([closed.reason, closed.spiffeId, closed.service], ['policy-revoked', productpage, 'egress/partner:main']);
    await alive(otherIdentity);
    await alive(otherService);
    assert.equal(gateway.dataPlane.connections, 2);
    const again = gateway.connect(gateway.pki.issue(productpage));
    assert.equal(await readAll(again), '');
    assert.equal((await gateway.record('connection-denied')).revision, revisionTwo);
  });

  it('a service that goes ends its connections', async () => {
    const [gone, other] = await Promise.all([connected(gateway.pki.issue(productpage)), connected(gateway.pki.issue(productpage), 'archive.egress.svc.cluster.local')]);
    await update({ removed: [partner.id] });
    await endsWithin(gone, 1_000);
    await alive(other);
  });

  describe('the targets of a service', () => {
    const at = (address: IpAddress): Target => ({ kind: 'address', address, port: server.port });
    const named = (host: string): Target => ({ kind: 'host', host, port: server.port });
    const leadsTo = (address: IpAddress): LookupOutcome => ({ ok: true, addresses: [address] });
    const otherAddress = '127.0.0.3' as IpAddress;
    const retarget = (...targets: Target[]) => update({ servicePorts: [{ ...partner, targets }] });

    it('end the connections to an address that goes within a second, and no others', async () => {
      const other = await startServer(greetAndEcho, { address: otherAddress, port: server.port });
      try {
        const [staying, elsewhere] = await Promise.all([connected(gateway.pki.issue(productpage)), connected(gateway.pki.issue(productpage), 'archive.egress.svc.cluster.local')]);
        await retarget(at(otherAddress), at(loopback));
        const going = await connected(gateway.pki.issue(productpage));
        assert.equal(other.clients.length, 1);
        await alive(staying);
        await retarget(at(loopback));
        await endsWithin(going, 1_000);
        const closed = await gateway.record('connection-closed');
        assert.deepEqual([closed.reason, closed.target], ['target-removed', `${otherAddress}:${server.port}`]);
        await alive(staying);
        await alive(elsewhere);
        await connected(gateway.pki.issue(productpage));
        assert.equal(other.clients.length, 1);
      } finally {
        await other.stop();
      }
    });

    it('end the connections to a port that goes', async () => {
      const client = await connected(gateway.pki.issue(productpage));
      await retarget({ ...at(loopback), port: server.port - 1 });
      await endsWithin(client, 1_000);
    });

    it('keep the connections to a host while they name it, or where it led', async () => {
      lookup = () => Promise.resolve(leadsTo(loopback));
      await retarget(named('a.example'));
      const client = await connected(gateway.pki.issue(productpage));
      await retarget(named('b.example'), named('a.example'));
      await alive(client);
      await retarget(at(loopback));
      await alive(client);
      await retarget(named('b.example'));
      await endsWithin(client, 1_000);
      assert.equal((await gateway.record('connection-closed')).reason, 'target-removed');
    });

    it('are as they are when they are dialled, which may be long after the connection came', async () => {
      const proxy: ServicePort = { ...partner, protocol: 'HTTPConnect', grants: [grantTo('bookinfo', '127.0.1.11', { connectAuthorities: ['a.example:443'] })] };
      await update({ servicePorts: [{ ...proxy, targets: [at(otherAddress)] }] });
      const client = gateway.connect(gateway.pki.issue(productpage));
      await until(() => gateway.dataPlane.connections === 1);
      await update({ servicePorts: [{ ...proxy, targets: [at(loopback)] }] });
      client.write('CONNECT a.example:443 HTTP/1.1\r\n\r\n');
      await until(() => server.clients.length === 1);
    });

    it('are not used where they have gone while they were dialled', async () => {
      const { promise: found, resolve: find } = Promise.withResolvers<LookupOutcome>();
      const asked: string[] = [];
      lookup = (host) => (asked.push(host), found);
      await retarget(named('a.example'));
      const late = readAll(gateway.connect(gateway.pki.issue(productpage)));
      await until(() => asked.length === 1);
      await retarget(at(otherAddress));
      find(leadsTo(loopback));
      assert.equal(await late, '');
      assert.equal((await gateway.record('connection-denied')).reason, 'target-removed');
      assert.deepEqual(gateway.records.filter(({ type }) => type === 'connection-opened'), []);
    });
  });

  it('a changed source address ends the connections from the old one', async () => {
    const client = await connected(gateway.pki.issue(productpage));
    await update({ servicePorts: [{ ...partner, grants: [grantTo('bookinfo', '127.0.1.21'), grantTo('reports', '127.0.1.12')] }] });
    await endsWithin(client, 1_000);
    await connected(gateway.pki.issue(productpage));
    assert.match(server.clients.at(-1)!, /^127\.0\.1\.21:/);
  });

  it('a service account\'s own grant takes over from its namespace\'s', async () => {
    const [own, namespaces] = await Promise.all([connected(gateway.pki.issue(productpage)), connected(gateway.pki.issue(spiffeIdOf('bookinfo', 'reviews')))]);
    const exact = grantTo('bookinfo', '127.0.1.30', { subject: { namespace: 'bookinfo', serviceAccount: 'productpage' } });
    await update({ servicePorts: [{ ...partner, grants: [...partner.grants, exact] }] });
    await endsWithin(own, 1_000);
    await alive(namespaces);
  });

  it('a changed protocol ends connections that were served by the old one', async () => {
    const client = await connected(gateway.pki.issue(productpage));
    await update({ servicePorts: [{ ...partner, protocol: 'HTTPConnect' }] });
    await endsWithin(client, 1_000);
  });

  it('a change that concerns nobody leaves everything alone', async () => {
    const client = await connected(gateway.pki.issue(productpage));
    await update({ servicePorts: [{ ...partner, grants: [grantTo('bookinfo', '127.0.1.11', { policies: ['bookinfo/renamed'] })] }], settings: { ...settings, limits: { ...settings.limits, connectionsPerIdentity: 1 } } });
    await alive(client);
  });

  it('a revoked certificate ends its connections, and not those of a newer one', async () => {
    const [old, renewed] = [gateway.pki.issue(productpage), gateway.pki.issue(productpage)];
    const [oldClient, newClient] = await Promise.all([connected(old), connected(renewed)]);
    await update({ revokedSerialNumbers: [old.serialNumber] });
    await endsWithin(oldClient, 1_000);
    assert.equal((await gateway.record('connection-closed')).reason, 'certificate-revoked');
    await alive(newClient);
  });

  it('a certificate that expires ends its connections', async () => {
    const identity = gateway.pki.issue(productpage, { notAfterMs: Date.now() + 60_000 });
    clockOffsetMs = 60_000 - 1_300; // validity counts in whole seconds
    const client = await connected(identity);
    await endsWithin(client, 3_000);
    assert.equal((await gateway.record('connection-closed')).reason, 'certificate-expired');
  });

  it('a listener of a service\'s own comes and goes, and needs no SNI', async () => {
    const own: ServicePort = { ...partner, listen: { address: '127.0.0.2' as IpAddress, port: 0 } };
    await update({ servicePorts: [own] });
    const { port } = gateway.dataPlane.addressOf(own.listen!)!;
    const client = await connected(gateway.pki.issue(productpage), '', { host: own.listen!.address, port });
    await update({ servicePorts: [partner] });
    await alive(client);
    const late = gateway.connect(gateway.pki.issue(productpage), { host: own.listen!.address, port });
    const [error] = (await once(late, 'error')) as [NodeJS.ErrnoException];
    assert.equal(error.code, 'ECONNREFUSED');
  });

  it('a new certificate and a new bundle are used from the next handshake on, and disturb no connection', async () => {
    const client = await connected(gateway.pki.issue(productpage));
    const rotated = makePki();
    const both = gateway.pki.rootPem + rotated.rootPem;
    gateway.dataPlane.setMaterial({ ...rotated.issue(settings.identity), trustBundlePem: both });
    await alive(client);
    await connected(gateway.pki.issue(productpage), undefined).then(
      () => assert.fail('the old root alone must not verify the new certificate'),
      () => undefined,
    );
    for (const pki of [gateway.pki, rotated]) {
      const next = gateway.connect(pki.issue(productpage), { ca: rotated.rootPem });
      await once(next, 'data');
    }
    gateway.dataPlane.setMaterial(rotated.issue(settings.identity));
    const refused = gateway.connect(gateway.pki.issue(productpage), { ca: rotated.rootPem });
    assert.equal(await readAll(refused), '');
    assert.equal((await gateway.record('connection-denied', ({ reason }) => reason === 'certificate-untrusted')).client.length > 0, true);
    await alive(client);
  });

  it('stopping refuses what is new, waits for what lives, and ends it at the limit', async () => {
    const [finishing, lasting] = await Promise.all([connected(gateway.pki.issue(productpage)), connected(gateway.pki.issue(productpage))]);
    const stopped = gateway.dataPlane.stop(300);
    const late = gateway.connect(gateway.pki.issue(productpage));
    assert.equal(((await once(late, 'error')) as [NodeJS.ErrnoException])[0].code, 'ECONNREFUSED');
    finishing.end();
    finishing.resume();
    await gateway.record('connection-closed', ({ reason }) => reason === 'finished');
    assert.equal(lasting.closed, false);
    lasting.resume();
    await stopped;
    assert.deepEqual(gateway.records.flatMap((record) => (record.type === 'connection-closed' ? record.reason : [])), ['finished', 'gateway-stopping']);
  });
});
