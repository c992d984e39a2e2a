import type { JsonValue } from '@bufbuild/protobuf';
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { ledgerRecordOf, type EnvoyRecord } from '../../../src/backends/envoy/index.ts';
import type { LedgerRecord } from '../../../src/core/ledger-record.ts';
import type { Plan } from '../../../src/core/plan/plan.ts';
import { findFreePorts, waitFor } from '../../../src/demo/processes.ts';
import { grantTo, loopback, readAll, servicePort, startServer, until, type TestServer } from '../../support/gateway.ts';
import { requirePeer } from '../../support/peers.ts';
import { makePki, type Issued } from '../../support/pki.ts';
import { plannedGateway, planOf, startEnvoyGateway, workload, type EnvoyGateway } from './envoy-gateway.ts';

const limits = { connectionsPerIdentity: 1, handshakeTimeoutMs: 500, connectTimeoutMs: 2_000, idleTimeoutMs: 2_500, ftpDataTimeoutMs: 2_000, udpFlowsPerIdentity: 100, udpIdleTimeoutMs: 60_000 };
const withoutAddress = { snat: null, binding: null } as const;

describe("the ledger of a stock Envoy's connections", function () {
  this.timeout(40_000);
  let gateway: EnvoyGateway;
  let target: TestServer;
  const own = { partner: 'egress/partner:main', down: 'egress/down:main' } as const;
  let servicePorts: ReturnType<typeof servicePort>[];

  before(async function () {
    const program = requirePeer(this, 'envoy');
    const [down] = (await findFreePorts(1)) as [number];
    target = await startServer((socket) => {
      socket.write('220 ready\r\n');
      socket.on('data', (bytes: Buffer) => socket.write(bytes));
      socket.on('end', () => socket.end());
    });
    const partner = servicePort({ targetPort: target.port, grants: [grantTo('book', '127.0.1.1'), grantTo('goes', '127.0.1.2'), grantTo('poor', '', withoutAddress), grantTo('stray', '10.9.9.9')] });
    const several = { ...servicePort({ name: 'several', targetPort: target.port, grants: [grantTo('book', '127.0.1.3')] }), targets: [{ kind: 'address' as const, address: loopback, port: down }, { kind: 'address' as const, address: loopback, port: target.port }] };
    servicePorts = [partner, servicePort({ name: 'down', targetPort: down, grants: [grantTo('book', '127.0.1.1')] }), several];
    gateway = await startEnvoyGateway(program, servicePorts, { limits });
  });
  after(async () => {
    await (gateway as EnvoyGateway | undefined)?.stop();
    await (target as TestServer | undefined)?.stop();
  });

  const records = (): readonly EnvoyRecord[] =>
    gateway.entries.map((entry) => ledgerRecordOf(entry, { origin: 'gate', plan: planOf(servicePorts, [plannedGateway(gateway.port)]), isRevoked: () => false, newId: () => 'new' })).filter((record) => record !== undefined);

  async function record<Type extends EnvoyRecord['type']>(type: Type, fits: (record: Extract<EnvoyRecord, { type: Type }>) => boolean) {
    type Wanted = Extract<LedgerRecord, { type: Type }>;
    const find = () => records().find((each): each is Wanted & EnvoyRecord => each.type === type && fits(each as Extract<EnvoyRecord, { type: Type }>));
    await until(() => find() !== undefined, () => `no ${type} among ${JSON.stringify(records(), undefined, 1)}`);
    return find()!;
  }

  async function refused(identity: Issued | undefined, options: Parameters<EnvoyGateway['connect']>[1] = {}) {
    const known = records().length;
    assert.equal(await gateway.ask(identity, '', options), '');
    await until(() => records().length > known);
    const [only, ...more] = records().slice(known);
    assert.deepEqual(more, []);
    assert.equal(only?.type, 'connection-denied');
    return only;
  }

  it('says of a connection who it was, by which policies, from which address and port and to where, when it opens and when it ends', async () => {
    const identity = workload(gateway.pki, 'book', 'reviews');
    const socket = gateway.connect(identity);
    await once(socket, 'data');
    const client = `${socket.localAddress}:${socket.localPort}`;
    const [snatAddress, snatPort] = target.clients.at(-1)!.split(':');
    socket.end('hello');
    await readAll(socket);
    const facts = { origin: 'gate', client, spiffeId: identity.spiffeId, service: own.partner, policies: ['book/egress'], snatAddress, snatPort: Number(snatPort), target: `127.0.0.1:${target.port}` };
    const opened = await record('connection-opened', (each) => each.client === client);
    const closed = await record('connection-closed', (each) => each.client === client);
    for (const [field, value] of Object.entries(facts)) assert.deepEqual([opened[field as keyof typeof opened], closed[field as keyof typeof closed]], [value, value], field);
    assert.equal(opened.connectionId, closed.connectionId);
    assert.deepEqual([closed.reason, closed.bytesSent, closed.bytesReceived], ['finished', 5, 16]);
    assert.ok(Date.parse(opened.time) <= Date.parse(closed.time) && closed.durationMs >= 0);
    assert.match(opened.time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  });

  it('names the address that was reached, where a service has several', async () => {
    const socket = gateway.connect(workload(gateway.pki, 'book'), { servername: 'several.egress.svc.cluster.local' });
    await once(socket, 'data');
    socket.destroy();
    assert.equal((await record('connection-opened', ({ service }) => service === 'egress/several:main')).target, `127.0.0.1:${target.port}`);
  });

  it('says why Envoy ended a connection', async () => {
    const idle = gateway.connect(workload(gateway.pki, 'book'));
    await readAll(idle);
    await record('connection-closed', ({ reason }) => reason === 'idle-timeout');
    const cut = gateway.connect(workload(gateway.pki, 'book'));
    await once(cut, 'data');
    for (const socket of target.sockets) socket.resetAndDestroy();
    await readAll(cut);
    await record('connection-closed', ({ reason }) => reason === 'target-reset');
  });

  it('says of each refusal who was refused what, and why, once', async () => {
    const { pki } = gateway;
    const unknown = workload(pki, 'nobody');
    const denial = await refused(unknown);
    assert.deepEqual([denial.reason, denial.spiffeId, denial.service, denial.policies], ['no-policy', unknown.spiffeId, own.partner, []]);
    const poor = await refused(workload(pki, 'poor'));
    assert.deepEqual([poor.reason, poor.policies], ['no-snat-binding', ['poor/egress']]);
    const foreign = await refused(pki.issue('spiffe://else.where/ns/book/sa/a'));
    assert.deepEqual([foreign.reason, foreign.policies], ['trust-domain-mismatch', []], 'no policy is about the namespace of another trust domain');
    assert.deepEqual((await refused(pki.issue('spiffe://cluster.local/control'))).reason, 'not-a-workload');
    const nowhere = await refused(workload(pki, 'book'), { servername: 'nowhere.example' });
    assert.deepEqual([nowhere.reason, nowhere.service], ['no-such-service', null]);
    assert.match(nowhere.detail, /"nowhere\.example"/);
  });

  it('says why a handshake failed', async () => {
    const { pki } = gateway;
    assert.equal((await refused(undefined)).reason, 'certificate-missing');
    assert.equal((await refused(workload(makePki(), 'book'))).reason, 'certificate-untrusted');
    const expired = await refused(pki.issue('spiffe://cluster.local/ns/book/sa/a', { notAfterMs: Date.now() - 1_000 }));
    assert.deepEqual([expired.reason, expired.spiffeId, expired.service, expired.policies], ['certificate-expired', 'spiffe://cluster.local/ns/book/sa/a', own.partner, []]);
    assert.equal((await refused(pki.issue('spiffe://cluster.local/ns/book/sa/a', { notBeforeMs: Date.now() + 600_000, notAfterMs: Date.now() + 700_000 }))).reason, 'certificate-not-yet-valid');
    const uris = ['a', 'b'].map((name) => ({ type: 'uri' as const, value: `spiffe://cluster.local/ns/book/sa/${name}` }));
    const two = await refused(pki.issue('spiffe://cluster.local/ns/book/sa/a', { names: uris }));
    assert.deepEqual([two.reason, two.spiffeId], ['certificate-invalid', null]);
    await readAll(gateway.connectPlain());
    await record('connection-denied', ({ reason }) => reason === 'handshake-failed');
  });

  it('says why a target was not reached', async () => {
    const { pki } = gateway;
    const down = await refused(workload(pki, 'book'), { servername: 'down.egress.svc.cluster.local' });
    assert.deepEqual([down.reason, down.service], ['connect-failed', own.down]);
    assert.match(down.detail, /Connection refused/);
    assert.equal((await refused(workload(pki, 'stray'))).reason, 'connect-failed');
    const held = gateway.connect(workload(pki, 'book'));
    await once(held, 'data');
    await record('connection-opened', ({ client }) => client === `${held.localAddress}:${held.localPort}`);
    assert.equal((await refused(workload(pki, 'book'))).reason, 'limit-exceeded');
    held.destroy();
  });

  it('says what was taken away: the grant, the target, or the certificate', async () => {
    const socket = gateway.connect(workload(gateway.pki, 'goes'));
    await once(socket, 'data');
    await gateway.apply(servicePorts.map((each) => ({ ...each, grants: each.grants.filter(({ subject }) => subject.namespace !== 'goes') })));
    await readAll(socket);
    const { connectionId } = await record('connection-closed', ({ reason }) => reason === 'policy-revoked');
    const readAs = (plan: Plan, isRevoked = false) => {
      const read = gateway.entries.map((entry) => ledgerRecordOf(entry, { origin: 'gate', plan, isRevoked: () => isRevoked, newId: () => 'new' }));
      return read.flatMap((each) => (each?.type === 'connection-closed' && each.connectionId === connectionId ? [each.reason] : []));
    };
    const planWith = (targetPort: number) => planOf([servicePort({ targetPort, grants: [grantTo('goes', '127.0.1.2')] })], [plannedGateway(gateway.port)]);
    assert.deepEqual(readAs(planWith(target.port)), ['policy-revoked'], 'something else of its grant has changed');
    assert.deepEqual(readAs(planWith(1)), ['target-removed']);
    assert.deepEqual(readAs(planWith(target.port), true), ['certificate-revoked']);
  });

  it('keeps what a peer wrote from moving the cursor of whoever reads it', async () => {
    const { detail } = await refused(workload(gateway.pki, 'book'), { servername: 'x'.repeat(200) });
    assert.doesNotMatch(detail, /[^\x20-\x7e]/);
  });
});

describe('what a stock Envoy logs while nobody takes it', function () {
  this.timeout(40_000);

  it('is lost when it gives up, which a counter says', async function () {
    const target = await startServer((socket) => socket.end('220 ready\r\n'));
    const adjust = (bootstrap: JsonValue): JsonValue => JSON.parse(JSON.stringify(bootstrap).replace(/"max_connect_attempts":[0-9]+/, '"max_connect_attempts":2')) as JsonValue;
    const gateway = await startEnvoyGateway(requirePeer(this, 'envoy'), [servicePort({ targetPort: target.port, grants: [grantTo('book', '127.0.1.1')] })], {}, { adjust });
    const counted = async () => Number(/attempts_exceeded: ([0-9]+)/.exec(await gateway.envoy.admin('/stats?filter=^cluster.sallyport-control.upstream_cx_connect_attempts_exceeded$'))![1]);
    try {
      gateway.control.stop();
      assert.equal(await counted(), 0);
      assert.match(await gateway.ask(workload(gateway.pki, 'book')), /^220/);
      await waitFor('the loss to be counted', 10_000, async () => (await counted()) === 1 || undefined);
      assert.deepEqual(gateway.entries, []);
    } finally {
      await gateway.stop();
      await target.stop();
    }
  });
});
