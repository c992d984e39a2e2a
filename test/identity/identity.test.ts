import assert from 'node:assert/strict';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { certificatesOfPem } from '../../src/core/x509/pem.ts';
import type { SpiffeId, TrustDomain } from '../../src/core/spiffe-id.ts';
import { createIdentity, replaceFileSet, type Identity, type IdentityOptions } from '../../src/identity/index.ts';
import { startTcpProxy } from '../support/tcp-proxy.ts';
import { startFakeControlPlane, trustDomainText, type FakeControlPlane, type FakeControlPlaneOptions } from './support/fake-control-plane.ts';
import { createOpensslCa, type OpensslCa } from './support/openssl-ca.ts';
import { until } from './support/waiting.ts';

const workloadId = 'spiffe://cluster.local/ns/bookinfo/sa/productpage';
const hourMs = 3_600_000;

describe('identity', () => {
  let ca: OpensslCa;
  let otherCa: OpensslCa;
  let directory: string;
  let lines: string[];
  const closers: (() => unknown)[] = [];

  before(async () => {
    [ca, otherCa] = await Promise.all([createOpensslCa(), createOpensslCa()]);
  });
  after(() => Promise.all([ca.remove(), otherCa.remove()]));
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'sallyport-identity-'));
    lines = [];
  });
  afterEach(async () => {
    for (const close of closers.splice(0).reverse()) await close();
    await rm(directory, { recursive: true, force: true });
  });

  async function control(options: Partial<FakeControlPlaneOptions> = {}): Promise<FakeControlPlane> {
    const started = await startFakeControlPlane({ ca, tokens: new Map([['token', workloadId]]), ...options });
    closers.push(() => started.stop());
    return started;
  }

  async function identity(addresses: Pick<IdentityOptions, 'enrolmentAddress' | 'identityAddress'>, options: Partial<IdentityOptions> = {}): Promise<Identity> {
    const { enrolmentAddress, identityAddress } = addresses;
    const made = createIdentity({
      trustDomain: trustDomainText as TrustDomain,
      enrolmentAddress,
      identityAddress,
      trustBundle: () => ca.rootPem,
      joinToken: () => Promise.resolve('token'),
      now: Date.now,
      random: () => 0,
      log: pino({ level: 'debug' }, { write: (line: string) => void lines.push(line) }),
      ...options,
    });
    closers.push(() => made.stop());
    await made.start();
    return made;
  }

  const held = (source: Identity) => until('an identity', () => source.current);
  const failing = (source: Identity) => until('a failure', () => source.status().failure ?? undefined);

  it('enrols with its join token, once', async () => {
    const server = await control();
    const source = await identity(server);
    const current = await held(source);
    assert.equal(current.spiffeId, workloadId);
    assert.equal(certificatesOfPem(current.certificateChainPem).length, 2, 'leaf and intermediate');
    const leaf = new X509Certificate(current.certificateChainPem);
    assert.ok(leaf.checkPrivateKey(createPrivateKey(current.privateKeyPem)));
    assert.equal(current.expiresAtMs, leaf.validToDate.getTime());
    assert.equal(source.status().phase, 'valid');
    assert.deepEqual(server.calls, [{ method: 'enrol', caller: 'token' }]);
  });

  describe('whose enrolment is not answered', () => {
    const enrolmentKeyFile = () => join(directory, 'enrolment', 'key.pem');

    /** A control plane behind a connection that is cut as soon as a token is spent, the first time. */
    async function losesItsFirstAnswer(tokens: ReadonlyMap<string, string> = new Map([['token', workloadId]])): Promise<FakeControlPlane> {
      let lose = (): void => undefined;
      const server = await control({ tokens, onSpent: () => lose() });
      const proxy = await startTcpProxy(portOf(server.enrolmentAddress));
      closers.push(() => proxy.close());
      lose = () => {
        lose = () => undefined;
        proxy.cut();
      };
      return { ...server, enrolmentAddress: proxy.address };
    }

    it('asks again with the same token and the same key', async () => {
      const server = await losesItsFirstAnswer();
      const source = await identity(server, { stateDirectory: directory });
      assert.equal((await failing(source)).code, 'unavailable');
      const key = await readFile(enrolmentKeyFile(), 'utf8');
      assert.equal((await held(source)).privateKeyPem, key);
      assert.deepEqual(server.calls.map(({ caller }) => caller), ['token', 'token']);
      await assert.rejects(readFile(enrolmentKeyFile()), { code: 'ENOENT' }, 'it is the identity’s key now');
    });

    it('asks again after a restart, with the key that it finds on disk', async () => {
      const server = await losesItsFirstAnswer();
      const first = await identity(server, { stateDirectory: directory });
      await failing(first);
      await first.stop();
      assert.equal((await stat(enrolmentKeyFile())).mode & 0o777, 0o600);
      const second = await identity(server, { stateDirectory: directory });
      assert.equal((await held(second)).spiffeId, workloadId);
      assert.deepEqual(server.calls.map(({ caller }) => caller), ['token', 'token']);
    });

    it('needs a new token after a restart where that key cannot be read, and has another', async () => {
      const server = await losesItsFirstAnswer(new Map([['token', workloadId], ['fresh', workloadId]]));
      const first = await identity(server, { stateDirectory: directory });
      await failing(first);
      await first.stop();
      await writeFile(enrolmentKeyFile(), 'not a key');
      let token = 'token';
      const second = await identity(server, { stateDirectory: directory, joinToken: () => Promise.resolve(token) });
      assert.equal((await failing(second)).code, 'token-invalid');
      token = 'fresh';
      second.renewNow();
      await held(second);
    });
  });

  it('never enrols again with a key that it has a certificate for', async () => {
    const revoked = new Set<string>();
    const server = await control({ revoked, tokens: new Map([['token', workloadId], ['fresh', workloadId]]) });
    const first = await identity(server, { stateDirectory: directory });
    const { privateKeyPem } = await held(first);
    await first.stop();
    await replaceFileSet(join(directory, 'enrolment'), { 'key.pem': privateKeyPem }); // as where it was killed before it could remove it
    const second = await identity(server, { stateDirectory: directory, joinToken: () => Promise.resolve('fresh') });
    revoked.add(workloadId);
    second.renewNow();
    await until('another enrolment', () => server.calls.at(-1)?.caller === 'fresh' && second.status().phase === 'valid');
    assert.notEqual(second.current?.privateKeyPem, privateKeyPem);
  });

  it('renews with its own certificate and a fresh key, and tells its listeners', async () => {
    const server = await control();
    const source = await identity(server);
    const first = await held(source);
    const seen: string[] = [];
    source.subscribe(({ privateKeyPem }) => void seen.push(privateKeyPem));
    source.renewNow();
    await until('a renewal', () => seen.length === 1);
    assert.deepEqual(server.calls, [{ method: 'enrol', caller: 'token' }, { method: 'renew', caller: workloadId }]);
    assert.notEqual(source.current?.privateKeyPem, first.privateKeyPem);
    assert.deepEqual(seen, [source.current?.privateKeyPem]);
  });

  it('renews by itself at about half of its life', async () => {
    const server = await control();
    const first = await identity(server, { stateDirectory: directory });
    const { certificateChainPem } = await held(first);
    await first.stop();
    const leaf = new X509Certificate(certificateChainPem);
    const lifetimeMs = leaf.validToDate.getTime() - leaf.validFromDate.getTime();
    const offsetMs = leaf.validFromDate.getTime() + 0.4 * lifetimeMs - Date.now() - 200;
    const second = await identity(server, { stateDirectory: directory, now: () => Date.now() + offsetMs });
    assert.equal(second.status().phase, 'valid');
    assert.ok(second.status().attemptAtMs > Date.now() + offsetMs, 'not due yet');
    await until('a renewal', () => server.calls.some(({ method }) => method === 'renew'));
  });

  for (const [skew, skewMs] of [['five minutes behind', -300_000], ['an hour behind', -hourMs], ['half a minute ahead', 30_000]] as const) {
    it(`renews long before its certificate ends at the control plane, with a clock that is ${skew}`, async () => {
      const source = await identity(await control(), { now: () => Date.now() + skewMs, random: () => 1 });
      const { certificateChainPem } = await held(source);
      const { validFromDate, validToDate } = new X509Certificate(certificateChainPem);
      const lifetimeMs = validToDate.getTime() - validFromDate.getTime();
      const inMs = source.status().attemptAtMs - (Date.now() + skewMs);
      assert.ok(inMs > 0 && inMs <= 0.6 * lifetimeMs, `in ${inMs} ms of ${lifetimeMs}`);
    });
  }

  it('refuses what has expired by its own clock, and says what that is', async () => {
    const source = await identity(await control(), { now: () => Date.now() + 48 * hourMs });
    const failure = await failing(source);
    assert.equal(failure.code, 'certificate-invalid');
    assert.match(failure.message, /it expired at \d{4}.*, and here it is \d{4}/);
  });

  it('waits for a control plane that starts later', async () => {
    const [enrolmentPort, identityPort] = await Promise.all([freePort(), freePort()]);
    const source = await identity({ enrolmentAddress: `127.0.0.1:${enrolmentPort}`, identityAddress: `127.0.0.1:${identityPort}` });
    assert.equal((await failing(source)).code, 'unavailable');
    await control({ enrolmentPort, identityPort });
    assert.equal((await held(source)).spiffeId, workloadId);
    assert.equal(source.status().failure, null);
  });

  it('keeps its certificate while the control plane is away, and renews it when it is back', async () => {
    const server = await control();
    const source = await identity(server);
    const first = await held(source);
    server.stop();
    source.renewNow();
    assert.equal((await failing(source)).code, 'unavailable');
    assert.equal(source.status().phase, 'renewing');
    assert.equal(source.current, first);
    await control({ enrolmentPort: portOf(server.enrolmentAddress), identityPort: portOf(server.identityAddress) });
    await until('a renewal', () => source.current !== first);
  });

  it('comes back from disk without token and without control plane', async () => {
    const server = await control();
    const first = await identity(server, { stateDirectory: directory });
    const before = await held(first);
    await first.stop();
    server.stop();
    const second = await identity(server, { stateDirectory: directory, joinToken: () => Promise.resolve(undefined) });
    assert.deepEqual(second.current, before);
    assert.equal(second.status().phase, 'valid');
    for (const name of ['svid.pem', 'key.pem', 'bundle.pem']) assert.equal((await stat(join(directory, name))).mode & 0o777, 0o600, name);
    assert.equal((await stat(directory)).mode & 0o077, 0);
  });

  it('needs a token again when what is on disk has expired, and says so', async () => {
    const server = await control();
    const first = await identity(server, { stateDirectory: directory });
    await held(first);
    await first.stop();
    const second = await identity(server, { stateDirectory: directory, now: () => Date.now() + 25 * hourMs, joinToken: () => Promise.resolve(undefined) });
    assert.equal(second.current, undefined);
    const failure = await failing(second);
    assert.equal(failure.code, 'token-invalid');
    assert.match(failure.hint ?? '', /sallyport token create/);
    assert.ok(lines.some((line) => line.includes('identity on disk cannot be used')));
  });

  it('needs a token again when it expires while it runs', async () => {
    const server = await control();
    let offsetMs = 0;
    const tokens = ['token'];
    const source = await identity(server, { now: () => Date.now() + offsetMs, joinToken: () => Promise.resolve(tokens[0]) });
    await held(source);
    tokens.length = 0;
    offsetMs = 25 * hourMs;
    source.renewNow();
    assert.equal((await failing(source)).code, 'token-invalid');
    assert.equal(source.status().phase, 'expired');
    assert.deepEqual(server.calls.map(({ method }) => method), ['enrol']);
  });

  it('never sends a refused token twice, but takes another', async () => {
    const tokens = new Map<string, string>();
    const server = await control({ tokens });
    let token = 'spent';
    const source = await identity(server, { joinToken: () => Promise.resolve(token) });
    assert.deepEqual(await failing(source), { code: 'token-invalid', message: 'join token is unknown or spent', hint: 'create another' });
    source.renewNow();
    await until('a second attempt', () => lines.filter((line) => line.includes('no certificate could be had')).length >= 2);
    assert.equal(server.calls.length, 1);
    tokens.set('fresh', workloadId);
    token = 'fresh';
    source.renewNow();
    await held(source);
    assert.deepEqual(server.calls.map(({ caller }) => caller), ['spent', 'fresh']);
  });

  it('enrols again with a new token when its identity has been revoked, as who it was', async () => {
    const tokens = new Map([['token', workloadId]]);
    const revoked = new Set<string>();
    const server = await control({ tokens, revoked });
    let token = 'token';
    const source = await identity(server, { joinToken: () => Promise.resolve(token) });
    const first = await held(source);
    revoked.add(workloadId);
    source.renewNow();
    assert.equal((await failing(source)).code, 'identity-revoked', 'the spent token is not tried');
    tokens.set('of-another', 'spiffe://cluster.local/ns/reports/sa/batch');
    token = 'of-another';
    source.renewNow();
    await until('a refusal', () => source.status().failure?.code === 'certificate-invalid');
    assert.equal(source.current, first);
    tokens.set('fresh', workloadId);
    token = 'fresh';
    source.renewNow();
    await until('a new certificate', () => source.current !== first);
    assert.deepEqual(server.calls.filter(({ method }) => method === 'enrol').map(({ caller }) => caller), ['token', 'of-another', 'fresh']);
  });

  it('shows a refused token of its pod again after some minutes only, and another at once', async () => {
    const server = await control({ tokens: new Map([['rotated', workloadId]]) });
    let offsetMs = 0;
    let token = 'refused';
    const source = await identity(server, { podToken: () => Promise.resolve(token), now: () => Date.now() + offsetMs });
    const shown = () => server.calls.map(({ caller }) => caller);
    const tryAgain = async () => {
      const before = source.status().attemptAtMs;
      source.renewNow();
      await until('the try to fail', () => source.status().attemptAtMs > before);
    };
    assert.equal((await failing(source)).code, 'token-invalid');
    await tryAgain();
    offsetMs = 4 * 60_000;
    await tryAgain();
    assert.deepEqual(shown(), ['refused']);
    offsetMs = 6 * 60_000;
    source.renewNow();
    await until('the token to be shown again', () => shown().length === 2);
    token = 'rotated';
    source.renewNow();
    await held(source);
    assert.deepEqual(shown(), ['refused', 'refused', 'rotated']);
  });

  it('is on disk for the service account that the token of its pod names, and for no other', async () => {
    const tokenOf = (account: string) => ['', Buffer.from(JSON.stringify({ sub: `system:serviceaccount:bookinfo:${account}` })).toString('base64url'), ''].join('.');
    const reviewsId = 'spiffe://cluster.local/ns/bookinfo/sa/reviews';
    const server = await control({ tokens: new Map([[tokenOf('productpage'), workloadId], [tokenOf('reviews'), reviewsId]]) });
    const inPodOf = (account: string) => identity(server, { podToken: () => Promise.resolve(tokenOf(account)), stateDirectory: directory });
    const first = await inPodOf('productpage');
    await held(first);
    await first.stop();
    const second = await inPodOf('productpage');
    assert.equal(second.current?.spiffeId, workloadId);
    await second.stop();
    const third = await inPodOf('reviews');
    assert.equal((await held(third)).spiffeId, reviewsId);
    assert.deepEqual(server.calls.map(({ method }) => method), ['enrol', 'enrol']);
  });

  it('says what is missing where its pod has no token', async () => {
    const source = await identity(await control(), { podToken: () => Promise.resolve(undefined) });
    const failure = await failing(source);
    assert.equal(failure.message, 'there is no valid identity and no pod token');
    assert.match(failure.hint ?? '', /audience "sallyport"/);
  });

  it('enrols where its trust bundle was replaced since it was refused by the old one', async () => {
    const server = await control();
    let trustBundle = otherCa.rootPem;
    const source = await identity(server, { trustBundle: () => trustBundle });
    assert.equal((await failing(source)).code, 'unavailable');
    trustBundle = ca.rootPem;
    source.renewNow();
    await held(source);
  });

  for (const [known, given, told] of [
    ['what it was told, where what is given has grown old', 'old', 'new'],
    ['what is given, where it has not been told of the last rotation', 'new', 'old'],
  ]) {
    it(`knows the control plane, once its certificate has expired, by ${known}`, async () => {
      const server = await control({ tokens: new Map([['token', workloadId], ['fresh', workloadId]]) });
      const anchors = { old: otherCa.rootPem, new: ca.rootPem } as Readonly<Record<string, string>>;
      let offsetMs = 0;
      let [token, trustBundle] = ['token', ca.rootPem];
      const source = await identity(server, { now: () => Date.now() + offsetMs, joinToken: () => Promise.resolve(token), trustBundle: () => trustBundle });
      await held(source);
      [token, trustBundle] = ['fresh', anchors[given!]!];
      source.setTrustBundle(anchors[told!]!);
      offsetMs = 25 * hourMs; // nothing that this CA signs is valid then; that it is asked is enough
      source.renewNow();
      await until('the new token to be sent', () => server.calls.some(({ caller }) => caller === 'fresh'));
    });
  }

  it('sends its token to nobody but the control plane', async () => {
    const impostor = await control({ serverId: 'spiffe://cluster.local/ns/bookinfo/sa/reviews' });
    const source = await identity(impostor);
    const failure = await failing(source);
    assert.equal(failure.code, 'unavailable');
    assert.match(failure.message, /reviews/);
    assert.deepEqual(impostor.calls, []);
  });

  it('sends its token to no server of another CA', async () => {
    const impostor = await control({ ca: otherCa });
    const source = await identity(impostor);
    assert.equal((await failing(source)).code, 'unavailable');
    assert.deepEqual(impostor.calls, []);
  });

  it('accepts a control plane of another name where it was told so', async () => {
    const server = await control({ serverId: 'spiffe://cluster.local/ns/mesh/sa/sallyport' });
    const source = await identity(server, { controlIdentity: 'spiffe://cluster.local/ns/mesh/sa/sallyport' as SpiffeId });
    await held(source);
    source.renewNow();
    await until('a renewal', () => server.calls.length === 2);
  });

  it('keeps what it holds when a renewal is answered with another identity', async () => {
    let answers = 0;
    const stolen = await ca.issue('spiffe://cluster.local/ns/reports/sa/batch');
    const server = await control({ alter: (answer) => ((answers += 1) === 1 ? answer : { ...answer, certificateChain: [...certificatesOfPem(stolen.certificateChainPem)] }) });
    const source = await identity(server);
    const first = await held(source);
    source.renewNow();
    assert.equal((await failing(source)).code, 'certificate-invalid');
    assert.equal(source.current, first);
  });

  it('takes new trust anchors, keeps them, and refuses what holds none', async () => {
    const server = await control();
    const source = await identity(server, { stateDirectory: directory });
    await held(source);
    const seen: string[] = [];
    source.subscribe(({ trustBundlePem }) => void seen.push(trustBundlePem));
    source.setTrustBundle(`# two anchors\n${ca.rootPem}${otherCa.rootPem}`);
    source.setTrustBundle(`${ca.rootPem}${otherCa.rootPem}`);
    assert.equal(seen.length, 1, 'told once');
    assert.equal(certificatesOfPem(seen[0]!).length, 2);
    assert.throws(() => source.setTrustBundle('nothing'), { code: 'certificate-invalid' });
    await source.stop();
    assert.equal(await readFile(join(directory, 'bundle.pem'), 'utf8'), seen[0]);
  });

  it('is on disk before anybody can use it', async () => {
    const server = await control();
    const source = await identity(server, { stateDirectory: directory });
    const saved: string[] = [];
    source.subscribe(() => void saved.push(readFileSync(join(directory, 'key.pem'), 'utf8')));
    await held(source);
    source.renewNow();
    await until('a renewal', () => saved.length >= 1);
    assert.equal(saved.at(-1), source.current?.privateKeyPem);
  });

  it('keeps trust anchors that come by SDS while a renewal is under way', async () => {
    const started: Identity[] = [];
    const server = await control({
      alter: (answer) => {
        for (const source of started) source.setTrustBundle(`${ca.rootPem}${otherCa.rootPem}`);
        return answer;
      },
    });
    const source = await identity(server, { stateDirectory: directory });
    const first = await held(source);
    started.push(source);
    source.renewNow();
    await until('a renewal', () => source.current?.privateKeyPem !== first.privateKeyPem);
    assert.equal(certificatesOfPem(source.current?.trustBundlePem ?? '').length, 2);
    assert.equal(certificatesOfPem(await readFile(join(directory, 'bundle.pem'), 'utf8')).length, 2);
  });

  it('never logs a key or a token', async () => {
    const server = await control();
    const source = await identity(server, { stateDirectory: directory, joinToken: () => Promise.resolve('token') });
    const { privateKeyPem } = await held(source);
    await writeFile(join(directory, 'key.pem'), 'not a key PRIVATE');
    await identity(server, { stateDirectory: directory, joinToken: () => Promise.resolve('spent-token') }).then(failing);
    const text = lines.join('');
    assert.ok(!text.includes(privateKeyPem.split('\n')[1]!) && !text.includes('spent-token') && !text.includes('not a key PRIVATE'));
  });

  it('names a state directory that cannot be used', async () => {
    const server = await control();
    await writeFile(join(directory, 'file'), '');
    await assert.rejects(identity(server, { stateDirectory: join(directory, 'file') }), { code: 'file-unreadable' });
    assert.deepEqual(server.calls, []);
  });
});

function portOf(address: string): number {
  return Number(address.slice(address.lastIndexOf(':') + 1));
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  assert.ok(address !== null && typeof address === 'object');
  return address.port;
}
