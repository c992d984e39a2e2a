/** A control plane and a BIG-IP's management, with what is rendered for real. */
import assert from 'node:assert/strict';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { adminPaths, type ApplyResult, type StatusResult } from '../../../src/api/admin.ts';
import { waitFor } from '../../../src/demo/processes.ts';
import { startTestControl, type TestControl } from '../../support/control.ts';
import { makePki } from '../../support/pki.ts';
import { startBigIp, type BigIpManagement } from '../../support/bigip/management.ts';

const limitMs = 5_000;
const identity = 'spiffe://cluster.local/ns/sallyport-system/sa/f5';
const timings = { lookEveryMs: 3_600_000, noteAfterMs: 3_600_000, pollEveryMs: 5, backOff: { baseMs: 5, maxMs: 50 } };

const services = (subjects: string, addresses = '203.0.113.10') => `
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatPool
metadata: {name: partners}
spec: {addresses: [10.4.0.64/28]}
---
apiVersion: sallyport.dev/v1alpha1
kind: ExternalService
metadata: {name: ledger, namespace: partners}
spec: {addresses: [${addresses}], ports: [{name: db, port: 5432, protocol: TCP}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: EgressPolicy
metadata: {name: ledger, namespace: partners}
spec: {subjects: [${subjects}], to: [{service: ledger}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatBinding
metadata: {name: billing, namespace: billing}
spec: {subject: {namespace: billing}, pool: partners}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatBinding
metadata: {name: reports, namespace: reports}
spec: {subject: {namespace: reports}, pool: partners}
`;

const both = '{namespace: billing}, {namespace: reports}';

describe('a BIG-IP at the control plane', () => {
  let box: BigIpManagement;
  let control: TestControl;
  let credentials: string;
  beforeEach(async () => {
    box = await startBigIp();
    credentials = await mkdtemp(join(tmpdir(), 'sallyport-credentials-'));
    await mkdir(join(credentials, 'f5'));
    await writeCredentials('correct horse');
    await writeFile(join(credentials, 'f5', 'ca.pem'), box.caPem);
    control = await startTestControl({ bigip: { credentialsDirectory: credentials, timings } });
    await control.admin.post(adminPaths.caInit, {});
  });
  afterEach(async () => {
    await control.close();
    await box.close();
    await rm(credentials, { recursive: true });
  });

  async function writeCredentials(password: string): Promise<void> {
    await writeFile(join(credentials, 'f5', 'username'), 'sallyport\n');
    await writeFile(join(credentials, 'f5', 'password'), `${password}\n`);
  }

  const gateway = (spec = '') => `
apiVersion: sallyport.dev/v1alpha1
kind: EgressGateway
metadata: {name: f5}
spec: {class: bigip, listen: [{address: 10.4.0.1, port: 15443}], bigip: {management: [{host: 127.0.0.1, port: ${box.port}}], credentials: f5, partition: partner${spec}}}
`;
  const status = async (): Promise<StatusResult> => await control.admin.get<StatusResult>(adminPaths.status);
  const untilHeld = async () =>
    await waitFor('the BIG-IP to hold the plan', limitMs, async () => {
      const { proxies, revision } = await status();
      const found = proxies.find((proxy) => proxy.gateway === 'f5');
      return found?.types[0]?.acknowledged === revision && found.revisionsBehind === 0 ? found : undefined;
    });
  const untilSaid = async (words: RegExp) => await waitFor(words.source, limitMs, async () => (await status()).conditions.find((text) => words.test(text)));
  interface Shared {
    readonly certificate: { readonly certificate: string; readonly chainCA?: string; readonly privateKey: string };
    readonly grants: DataGroup;
    readonly revoked: DataGroup;
  }
  interface DataGroup {
    readonly records: readonly { readonly key: string; readonly value: string }[];
  }
  const shared = (): Shared => box.running['partner']!['shared'] as Shared;
  const shownCertificate = () => new X509Certificate(shared().certificate.certificate);
  const grantKeys = () => shared().grants.records.map(({ key }) => key);
  const written = (since: number) => box.requests.slice(since).filter(({ method, path }) => method !== 'GET' && !path.includes('/auth') && !path.includes('dryRun')).map(({ method, path }) => `${method} ${path.split('?')[0]}`);

  it('gets what it is to do as it is applied, and status says what it holds', async () => {
    await control.apply(gateway() + services(both));
    const proxy = await untilHeld();
    assert.deepEqual({ class: proxy.class, connected: proxy.connected, state: proxy.types[0]?.state, trouble: proxy.trouble }, { class: 'bigip', connected: true, state: 'SYNCED', trouble: null });
    assert.deepEqual(grantKeys(), ['partners/ledger:db billing', 'partners/ledger:db reports']);
    assert.deepEqual((await status()).conditions, []);
  });

  it('shows a certificate of its gateway from our CA, of which the ledger has the issue', async () => {
    await control.apply(gateway() + services(both));
    await untilHeld();
    const certificate = shownCertificate();
    const issuers = `${await control.admin.text(adminPaths.bundle)}${shared().certificate.chainCA ?? ''}`.match(/-----BEGIN[^]+?-----END CERTIFICATE-----/g) ?? [];
    assert.ok(issuers.some((pem) => certificate.verify(new X509Certificate(pem).publicKey)));
    assert.ok(certificate.checkPrivateKey(createPrivateKey(shared().certificate.privateKey)));
    assert.deepEqual(certificate.subjectAltName?.split(', '), [`URI:${identity}`, 'DNS:f5']);
    assert.match(await control.admin.text(adminPaths.ledger), new RegExp(`"type":"certificate-issued","spiffeId":"${identity}"`));
    assert.ok(!(await control.admin.text(adminPaths.ledger)).includes('PRIVATE KEY'));
  });

  it('keeps its certificate and is told nothing anew where the control plane begins anew', async () => {
    await control.apply(gateway() + services(both));
    await untilHeld();
    const serial = shownCertificate().serialNumber;
    const since = box.requests.length;
    control = await control.restart();
    await untilHeld();
    assert.equal(shownCertificate().serialNumber, serial);
    assert.deepEqual(written(since), []);
  });

  it('is told of a policy as records of a data group', async () => {
    await control.apply(gateway() + services('{namespace: billing}'));
    await untilHeld();
    const since = box.requests.length;
    await control.apply(gateway() + services('{namespace: billing}, {namespace: billing, serviceAccount: robot}'));
    await untilHeld();
    assert.deepEqual(grantKeys(), ['partners/ledger:db billing', 'partners/ledger:db billing/robot']);
    assert.deepEqual(written(since), ['PATCH /mgmt/tm/ltm/data-group/internal/~partner~shared~grants', 'PATCH /mgmt/tm/ltm/data-group/internal/~partner~shared~settings']);
  });

  it('is not told of a change that is only tried, and whoever tries it hears what it would be told', async () => {
    await control.apply(gateway() + services('{namespace: billing}'));
    await untilHeld();
    const since = box.requests.length;
    const { effects } = await control.admin.post<ApplyResult>(adminPaths.apply, { sources: [{ file: 'tried.yaml', text: services(both, '203.0.113.11') }], dryRun: true });
    assert.equal(effects.at(-1), '~ BIG-IP f5, partition partner, by AS3: +/partner/shared/address_10.4.0.65, ~/partner/shared/pool_partners_ledger_db, +/partner/shared/snat_10.4.0.65; grants 1 added');
    assert.deepEqual(written(since), []);
  });

  it('gets another certificate where the one that it has is revoked', async () => {
    await control.apply(gateway() + services(both));
    await untilHeld();
    const serial = shownCertificate().serialNumber;
    await control.admin.post(adminPaths.revocations, { spiffeId: identity });
    await waitFor('another certificate', limitMs, () => (shownCertificate().serialNumber === serial ? undefined : true));
  });

  it('is told which certificate is revoked as a record of a data group, whether or not the plan changes', async () => {
    await control.apply(gateway() + services(both));
    await untilHeld();
    const thieves = ['one', 'two'].map((name) => `spiffe://cluster.local/ns/billing/sa/${name}`);
    for (const spiffeId of thieves) await control.svid(spiffeId);
    const since = box.requests.length;
    for (const [index, spiffeId] of thieves.entries()) {
      const { serialNumbers } = await control.admin.post<{ readonly serialNumbers: readonly string[] }>(adminPaths.revocations, { spiffeId });
      await waitFor('the box to know it', limitMs, () => shared().revoked.records.length > index || undefined);
      assert.deepEqual(shared().revoked.records.filter(({ value }) => value === `- ${spiffeId}`).map(({ key }) => key), serialNumbers);
    }
    assert.deepEqual(new Set(written(since)), new Set(['PATCH /mgmt/tm/ltm/data-group/internal/~partner~shared~revoked']));
    await control.apply(gateway() + services('{namespace: billing}'));
    await untilHeld();
    assert.equal(shared().revoked.records.length, 2, 'and they stay so');
  });

  it('gets another certificate, from the new CA, where the CA changes', async () => {
    await control.apply(gateway() + services(both));
    await untilHeld();
    const { issuer } = shownCertificate();
    const { rootPem, intermediatePem, intermediateKeyPem } = makePki();
    await control.admin.post(adminPaths.caImport, { certificatesPem: intermediatePem + rootPem, privateKeyPem: intermediateKeyPem });
    await control.admin.post(adminPaths.caActivate, {});
    await waitFor('a certificate of the new CA', limitMs, () => (shownCertificate().issuer === issuer ? undefined : true));
  });

  it('loses its partition with its gateway, and what is others\' stays', async () => {
    box.editByHand((running) => (running['theirs'] = { class: 'Tenant', app: { class: 'Application', pool: { class: 'Pool' } } }));
    await control.apply(gateway() + services(both));
    await untilHeld();
    await control.admin.post(adminPaths.remove, { refs: [['ExternalService', 'partners', 'ledger'], ['EgressPolicy', 'partners', 'ledger'], ['EgressGateway', '', 'f5']].map(([kind, namespace, name]) => ({ kind, namespace, name })) });
    await waitFor('the partition to be gone', limitMs, () => ('partner' in box.running ? undefined : true));
    assert.ok('theirs' in box.running);
    await waitFor('its driver to take leave', limitMs, () => (box.requests.some(({ method, path }) => method === 'DELETE' && path.startsWith('/mgmt/shared/authz/tokens/')) ? true : undefined));
  });

  it('is logged in to with the credentials as they are then', async () => {
    await writeCredentials('not yet');
    await control.apply(gateway() + services(both));
    await untilSaid(/gateway f5 is not as it is to be, and keeps what it has: 127\.0\.0\.1:\d+ does not log in "sallyport": answer 401/);
    await writeCredentials('correct horse');
    await untilHeld();
    assert.deepEqual((await status()).conditions, []);
  });

  it('is told nothing where the file of its CA has no certificate, and that is said', async () => {
    await writeFile(join(credentials, 'f5', 'ca.pem'), 'not PEM');
    await control.apply(gateway() + services(both));
    await untilSaid(/gateway f5 is not as it is to be, and keeps what it has: file ".*\/f5\/ca\.pem" has no certificate in PEM/);
    assert.deepEqual(box.requests, []);
    await writeFile(join(credentials, 'f5', 'ca.pem'), box.caPem);
    await untilHeld();
  });

  it('has what it cannot serve told in status, and serves the rest', async () => {
    const shares = (text: string): string => text.replace('{addresses: [10.4.0.64/28]}', '{addresses: [10.4.0.64/28], sharing: {mode: PortBlocks, blockSize: 1024}}');
    const ownPool = `
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatPool
metadata: {name: own}
spec: {addresses: [10.4.1.1]}
`;
    await control.apply(gateway() + shares(services(both)).replace('{subject: {namespace: reports}, pool: partners}', '{subject: {namespace: reports}, pool: own}') + ownPool);
    await untilHeld();
    assert.match(await untilSaid(/gateway f5 refuses/), /^gateway f5 refuses partners\/ledger:db: a BIG-IP cannot keep to ports 1024-2047 of 10\.4\.0\.\d+: .* \(bind whoever leaves/);
    const values = Object.fromEntries(shared().grants.records.map(({ key, value }) => [key, value]));
    assert.match(values['partners/ledger:db billing']!, /^- /);
    assert.match(values['partners/ledger:db reports']!, /^\/partner\//);
  });

  it('is in no log, status or ledger with a password, a token or a key', async () => {
    const logged: string[] = [];
    await control.close();
    control = await startTestControl({ bigip: { credentialsDirectory: credentials, timings }, log: pino({ level: 'trace' }, { write: (line: string) => void logged.push(line) }) });
    await control.admin.post(adminPaths.caInit, {});
    await control.apply(gateway() + services('{namespace: billing}'));
    await untilHeld();
    box.order({ path: /./, times: 2, with: 'unauthorized' });
    await control.apply(gateway() + services(both));
    await untilHeld();
    await writeCredentials('wrong horse');
    box.order({ path: /./, times: 3, with: 'unauthorized' });
    await control.apply(gateway() + services('{namespace: reports}'));
    await untilSaid(/does not log in/);
    const said = [logged.join(''), JSON.stringify(await status()), await control.admin.text(adminPaths.ledger)].join('\n');
    const tokens = new Set(box.requests.flatMap(({ token }) => token ?? []));
    assert.ok(tokens.size >= 2);
    for (const secret of ['correct horse', 'wrong horse', 'PRIVATE KEY', shared().certificate.privateKey.split('\n')[1]!, ...tokens]) assert.ok(!said.includes(secret), secret);
    assert.match(said, /the BIG-IP is not as it is to be/);
  });

  it('is not driven without credentials, and that is said', async () => {
    await rm(join(credentials, 'f5', 'password'));
    await control.apply(gateway() + services(both));
    await untilSaid(/file ".*\/f5\/password" cannot be read/);
    await control.close();
    control = await startTestControl({});
    await control.admin.post(adminPaths.caInit, {});
    await control.apply(gateway() + services(both));
    await untilSaid(/gateway f5 is driven by nobody: its "management" needs sallyport serve --credentials/);
    assert.deepEqual(box.requests, []);
  });
});
