import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { generateKeyPairSync, X509Certificate } from 'node:crypto';
import { statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { adminPaths, type CaStatus, type CertificateResult, type ExplainResult, type LedgerVerification, type ObjectList, type StatusResult } from '../../src/api/admin.ts';
import { createAdminClient } from '../../src/api/admin-client.ts';
import { enrol, renew } from '../../src/api/enrolment-client.ts';
import { defaultControlIdentity, meshChannelCredentials, meshChannelOptions } from '../../src/api/mesh-credentials.ts';
import { typeUrls } from '../../src/api/type-urls.ts';
import { tokenLifetimeMs } from '../../src/control/join-tokens.ts';
import { createCsr } from '../../src/core/x509/csr.ts';
import { certificatesToPem, toPem } from '../../src/core/x509/pem.ts';
import { parseX509Svid } from '../../src/core/x509/x509-svid.ts';
import { findFreePorts, waitFor } from '../../src/demo/processes.ts';
import { createDeltaClient } from '../../src/xds/index.ts';
import { startTestControl, trustDomain, type TestControl } from '../support/control.ts';
import { rejection } from '../support/rejection.ts';

const productpage = 'spiffe://cluster.local/ns/bookinfo/sa/productpage';
const limits = { timeoutMs: 5_000 };
const key = () => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;

const manifests = `
apiVersion: sallyport.dev/v1alpha1
kind: EgressGateway
metadata: {name: egress-1}
spec: {class: sallyport, listen: [{address: 127.0.0.1, port: 15443}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatPool
metadata: {name: billing}
spec: {addresses: [127.0.1.11-127.0.1.12]}
---
apiVersion: sallyport.dev/v1alpha1
kind: ExternalService
metadata: {name: proxy, namespace: bookinfo}
spec: {addresses: [127.0.0.1], ports: [{port: 3128, protocol: HTTPConnect}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: EgressPolicy
metadata: {name: proxy, namespace: bookinfo}
spec: {subjects: [{namespace: bookinfo}], to: [{service: proxy}]}
---
apiVersion: sallyport.dev/v1alpha1
kind: SnatBinding
metadata: {name: bookinfo, namespace: bookinfo}
spec: {subject: {namespace: bookinfo}, pool: billing}
`;

describe('control plane', () => {
  let server: TestControl;
  beforeEach(async () => {
    server = await startTestControl();
  });
  afterEach(() => server.close());

  describe('before it has a CA', () => {
    it('answers administrators, says that it is not ready, and does not listen for workloads', async () => {
      const status = await server.admin.get<StatusResult>(adminPaths.status);
      assert.equal(status.ready, false);
      assert.match(status.conditions.join(), /there is no CA yet/);
      assert.equal(server.control.meshPort, undefined);
      assert.equal((await rejection(server.admin.text(adminPaths.readyz))).code, 'unavailable');
    });

    it('keeps its admin socket to its owner', () => {
      assert.equal(statSync(join(server.directory, 'admin.sock')).mode & 0o777, 0o600);
    });
  });

  describe('probes', () => {
    it('say on a port of their own whether it lives and is ready, and count', async () => {
      await server.close();
      const [port] = await findFreePorts(1);
      server = await startTestControl({ probe: { host: '127.0.0.1', port: port! } });
      const get = async (path: string) => await fetch(`http://127.0.0.1:${port!}${path}`);
      assert.equal((await get('/livez')).status, 200);
      assert.equal((await get('/readyz')).status, 503);
      await server.admin.post(adminPaths.caInit, {});
      assert.equal((await get('/readyz')).status, 200);
      assert.match(await (await get('/metrics')).text(), /^sallyport_control_certificates_issued_total\{attestation="operator"\} 1$/m);
      assert.equal((await get(adminPaths.status)).status, 404);
    });
  });

  describe('enrolment', () => {
    beforeEach(() => server.admin.post(adminPaths.caInit, {}));

    it('certifies the identity that the token is bound to, and writes that down', async () => {
      const answer = await enrol(await server.mesh(), await server.token(productpage), createCsr(key()), limits);
      assert.equal(answer.spiffeId, productpage);
      const svid = parseX509Svid(Buffer.from(answer.certificateChain[0]!));
      assert.equal(svid.ok && svid.svid.spiffeId, productpage);
      const lines: string[] = [];
      for await (const line of server.admin.lines(adminPaths.ledger, { last: '10', type: 'certificate-issued' }, new AbortController().signal)) lines.push(line);
      const record = JSON.parse(lines.at(-1)!) as Record<string, unknown>;
      assert.equal(record['spiffeId'], productpage);
      assert.equal(record['attestation'], 'join-token');
      assert.equal(record['serialNumber'], svid.ok && svid.svid.serialNumber);
    });

    it('takes a token from one key', async () => {
      const token = await server.token(productpage);
      await enrol(await server.mesh(), token, createCsr(key()), limits);
      assert.equal((await rejection(enrol(await server.mesh(), token, createCsr(key()), limits))).code, 'token-invalid');
    });

    it('answers that key again, for the same identity, as often as it asks', async () => {
      const token = await server.token(productpage);
      const mesh = await server.mesh();
      const owner = key();
      for (let time = 1; time <= 3; time += 1) {
        const { spiffeId, certificateChain } = await enrol(mesh, token, createCsr(owner), limits);
        assert.equal(spiffeId, productpage);
        assert.ok(new X509Certificate(certificateChain[0]!).checkPrivateKey(owner));
      }
      assert.equal((await rejection(enrol(mesh, token, createCsr(key()), limits))).code, 'token-invalid');
    });

    it('takes a token from one key also when many send it at the same moment', async () => {
      const token = await server.token(productpage);
      const mesh = await server.mesh();
      const keys = Array.from({ length: 8 }, key);
      const twice = [...keys.entries(), ...keys.entries()];
      const winners = await Promise.all(twice.map(([index, privateKey]) => enrol(mesh, token, createCsr(privateKey), limits).then(() => [index], () => [])));
      const [winner] = winners.flat();
      assert.deepEqual(winners.flat(), [winner, winner]);
    });

    it('remembers over a restart which key has spent a token', async () => {
      const token = await server.token(productpage);
      const owner = key();
      await enrol(await server.mesh(), token, createCsr(owner), limits);
      server = await server.restart();
      assert.equal((await rejection(enrol(await server.mesh(), token, createCsr(key()), limits))).code, 'token-invalid');
      assert.equal((await enrol(await server.mesh(), token, createCsr(owner), limits)).spiffeId, productpage);
    });

    it('answers no key again once the token has expired', async () => {
      let nowMs = Date.now();
      await server.close();
      server = await startTestControl({ now: () => nowMs });
      await server.admin.post(adminPaths.caInit, {});
      const mesh = await server.mesh();
      const token = await server.token(productpage);
      const owner = key();
      await enrol(mesh, token, createCsr(owner), limits);
      nowMs += tokenLifetimeMs.byDefault;
      assert.equal((await rejection(enrol(mesh, token, createCsr(owner), limits))).code, 'token-invalid');
    });

    it('answers no key again whose identity was revoked since', async () => {
      const mesh = await server.mesh();
      const [token, unspent] = [await server.token(productpage), await server.token(productpage)];
      const owner = key();
      await enrol(mesh, token, createCsr(owner), limits);
      await server.admin.post(adminPaths.revocations, { spiffeId: productpage });
      assert.equal((await rejection(enrol(mesh, token, createCsr(owner), limits))).code, 'token-invalid');
      server = await server.restart();
      assert.equal((await rejection(enrol(await server.mesh(), token, createCsr(owner), limits))).code, 'token-invalid');
      assert.equal((await enrol(await server.mesh(), unspent, createCsr(key()), limits)).spiffeId, productpage);
    });

    it('does not spend a token on a request that it refuses', async () => {
      const token = await server.token(productpage);
      const weak = generateKeyPairSync('rsa', { modulusLength: 1024 }).privateKey;
      assert.equal((await rejection(enrol(await server.mesh(), token, createCsrUnchecked(server.directory, weak), limits))).code, 'csr-weak-key');
      assert.equal((await enrol(await server.mesh(), token, createCsr(key()), limits)).spiffeId, productpage);
    });

    it('slows down whoever guesses tokens', async () => {
      const mesh = await server.mesh();
      const codes: string[] = [];
      for (let guess = 0; guess < 12; guess += 1) codes.push((await rejection(enrol(mesh, `sallyport-join-${'A'.repeat(42)}${guess % 10}`, createCsr(key()), limits))).code);
      assert.deepEqual(new Set(codes.slice(0, 10)), new Set(['token-invalid']));
      assert.equal(codes.at(-1), 'rate-limited');
    });

    it('renews for the identity of the client certificate, and for nobody without one', async () => {
      const mesh = await server.mesh();
      const privateKey = key();
      const first = await enrol(mesh, await server.token(productpage), createCsr(privateKey), limits);
      const certificate = { certificateChainPem: certificatesToPem(first.certificateChain), privateKeyPem: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string };
      assert.equal((await renew(mesh, certificate, createCsr(key()), limits)).spiffeId, productpage);
      assert.equal((await rejection(renew(mesh, undefined as unknown as typeof certificate, createCsr(key()), limits))).code, 'attestation-failed');
    });

    it('renews no certificate that has expired since its connection began', async () => {
      let nowMs = Date.now();
      await server.close();
      server = await startTestControl({ now: () => nowMs });
      await server.admin.post(adminPaths.caInit, {});
      const mesh = await server.mesh();
      const privateKey = key();
      const first = await enrol(mesh, await server.token(productpage), createCsr(privateKey), limits);
      const certificate = { certificateChainPem: certificatesToPem(first.certificateChain), privateKeyPem: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string };
      nowMs += 3_600_001; // TLS goes by the real clock, under which the certificate is still good
      assert.equal((await rejection(renew(mesh, certificate, createCsr(key()), limits))).code, 'attestation-failed');
    });

    it('ends the xDS streams of a revoked identity', async () => {
      const mesh = await server.mesh();
      const privateKey = key();
      const first = await enrol(mesh, await server.token(productpage), createCsr(privateKey), limits);
      const states: string[] = [];
      const client = createDeltaClient({
        connect: () => ({
          address: mesh.address,
          credentials: meshChannelCredentials([mesh.identity], mesh.trustBundlePem, { certificateChainPem: certificatesToPem(first.certificateChain), privateKeyPem: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string }),
          options: meshChannelOptions,
        }),
        node: { id: productpage },
        subscriptions: [{ typeUrl: typeUrls.agentUpstream, names: '*' }],
        onUpdate: () => undefined,
        onState: (state, { reason }) => states.push(`${state}: ${reason}`),
        random: Math.random,
        now: Date.now,
      });
      try {
        await waitFor('the stream', 5_000, () => (client.connected ? true : undefined));
        await server.admin.post(adminPaths.revocations, { spiffeId: productpage });
        await waitFor('the end of the stream', 5_000, () => states.find((state) => state.startsWith('disconnected') && state.includes('revoked')));
      } finally {
        client.close();
      }
    });

    it('renews no revoked certificate', async () => {
      const mesh = await server.mesh();
      const privateKey = key();
      const first = await enrol(mesh, await server.token(productpage), createCsr(privateKey), limits);
      await server.admin.post(adminPaths.revocations, { spiffeId: productpage });
      const certificate = { certificateChainPem: certificatesToPem(first.certificateChain), privateKeyPem: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string };
      assert.equal((await rejection(renew(mesh, certificate, createCsr(key()), limits))).code, 'identity-revoked');
    });
  });

  describe('desired state', () => {
    it('is applied as a whole: a fault anywhere changes nothing, and every fault is placed', async () => {
      await server.apply(manifests);
      const before = await server.admin.get<ObjectList>(adminPaths.objects);
      const error = await rejection(
        server.apply(`apiVersion: sallyport.dev/v1alpha1
kind: SnatPool
metadata: {name: other}
spec: {addresses: [127.0.1.12]}
---
apiVersion: sallyport.dev/v1alpha1
kind: EgressPolicy
metadata: {name: p, namespace: bookinfo}
spec: {subjects: [{namespace: bookinfo}], to: [{service: prxy}]}
`),
      );
      assert.equal(error.code, 'manifest-invalid');
      assert.equal(error.faults.length, 2, JSON.stringify(error.faults));
      assert.deepEqual(error.faults.map(({ position }) => position?.line).sort(), [4, 9]);
      assert.deepEqual(await server.admin.get<ObjectList>(adminPaths.objects), before);
    });

    it('survives a restart with the same plan and the same addresses', async () => {
      const { revision } = await server.apply(manifests);
      const assignments = await server.admin.get(adminPaths.assignments);
      server = await server.restart();
      assert.equal((await server.admin.get<StatusResult>(adminPaths.status)).revision, revision);
      assert.deepEqual(await server.admin.get(adminPaths.assignments), assignments);
    });

    it('changes nothing in a dry run, and says what would change', async () => {
      const result = await server.admin.post<{ revision: string; changes: unknown[]; effects: string[] }>(adminPaths.apply, { sources: [{ file: 'f', text: manifests }], dryRun: true });
      assert.equal(result.changes.length, 5);
      assert.ok(result.effects.length > 0);
      assert.notEqual((await server.admin.get<StatusResult>(adminPaths.status)).revision, result.revision);
      assert.deepEqual((await server.admin.get<ObjectList>(adminPaths.objects)).items, []);
    });

    it('explains with the address that was assigned', async () => {
      await server.apply(manifests);
      const allowed = await server.admin.post<ExplainResult>(adminPaths.explain, { subject: 'bookinfo/productpage', target: 'bookinfo/proxy:3128' });
      assert.equal(allowed.allowed, true);
      assert.equal(allowed.snat?.ipv4?.address, '127.0.1.11');
      const denied = await server.admin.post<ExplainResult>(adminPaths.explain, { subject: 'sm-apigw-a/nettools', target: 'bookinfo/proxy:3128' });
      assert.equal(denied.reason, 'no-policy');
      assert.match(denied.suggestion ?? '', /kind: EgressPolicy/);
    });

    it('deletes all or nothing', async () => {
      await server.apply(manifests);
      const refs = [{ kind: 'EgressPolicy', namespace: 'bookinfo', name: 'proxy' }, { kind: 'EgressPolicy', namespace: 'bookinfo', name: 'none' }];
      assert.equal((await rejection(server.admin.post(adminPaths.remove, { refs }))).code, 'not-found');
      assert.equal((await server.admin.get<ObjectList>(adminPaths.objects, { kind: 'EgressPolicy' })).items.length, 1);
      await server.admin.post(adminPaths.remove, { refs: refs.slice(0, 1) });
      assert.equal((await server.admin.get<ObjectList>(adminPaths.objects, { kind: 'EgressPolicy' })).items.length, 0);
    });

    it('is recorded: assigned addresses and published plans stand in a ledger that verifies', async () => {
      await server.apply(manifests);
      const types: string[] = [];
      for await (const line of server.admin.lines(adminPaths.ledger, { last: '10' }, new AbortController().signal)) types.push((JSON.parse(line) as { type: string }).type);
      assert.deepEqual(types, ['address-assigned', 'plan-published']);
      const verification = await server.admin.post<LedgerVerification>(adminPaths.ledgerVerify, {});
      assert.equal(verification.ok, true);
      assert.equal(verification.records, 2);
    });

    it('refuses requests that are not what a path takes', async () => {
      assert.equal((await rejection(server.admin.post(adminPaths.apply, { files: [] }))).code, 'request-invalid');
      assert.equal((await rejection(server.admin.get('/v1alpha1/nothing'))).code, 'not-found');
      assert.equal((await rejection(server.admin.get(adminPaths.apply))).code, 'request-invalid');
    });
  });

  describe('administration over mTLS', () => {
    const alice = 'spiffe://cluster.local/admin/alice';

    async function clientOf(spiffeId: string) {
      const privateKey = key();
      const issued = await server.admin.post<CertificateResult>(adminPaths.certificates, { spiffeId, purpose: 'admin', csrPem: toPem('CERTIFICATE REQUEST', createCsr(privateKey)) });
      return createAdminClient({
        kind: 'mtls',
        host: '127.0.0.1',
        port: server.control.adminPort!,
        certificateChainPem: issued.certificateChainPem,
        privateKeyPem: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
        trustBundlePem: issued.trustBundlePem,
        serverIdentity: defaultControlIdentity(trustDomain),
      });
    }

    it('lets in named administrators with a certificate that is not revoked, and nobody else', async () => {
      await server.close();
      server = await startTestControl({ admin: { host: '127.0.0.1', port: 0 }, administrators: new Set([alice]) });
      await server.admin.post(adminPaths.caInit, {});
      const asAlice = await clientOf(alice);
      assert.equal((await asAlice.get<StatusResult>(adminPaths.status)).ready, true);
      assert.equal((await rejection((await clientOf('spiffe://cluster.local/admin/mallory')).get(adminPaths.status))).code, 'admin-unauthorized');
      await server.admin.post(adminPaths.revocations, { spiffeId: alice });
      assert.equal((await rejection(asAlice.get(adminPaths.status))).code, 'admin-unauthorized');
    });
  });

  describe('the CA', () => {
    it('rotates: the new intermediate is in the bundle before it signs, and the old one goes when its last certificate has ended', async () => {
      const { certificatePem, keyPem } = selfSignedCa(server.directory); // before the clock stands still, so that it is valid by then
      let nowMs = Date.now();
      await server.close();
      server = await startTestControl({ now: () => nowMs, caPropagationMs: 60_000 });
      await server.admin.post(adminPaths.caInit, {});
      const prepared = await server.admin.post<CaStatus>(adminPaths.caImport, { certificatesPem: certificatePem, privateKeyPem: keyPem });
      assert.deepEqual(prepared.slots.map(({ slot }) => slot), ['prepared', 'active']);
      assert.match(await server.admin.text(adminPaths.bundle), new RegExp(certificatePem.split('\n')[2]!.replaceAll('+', '\\+')));
      assert.equal((await rejection(server.admin.post(adminPaths.caActivate, {}))).code, 'ca-rotation-refused');
      nowMs += 60_001;
      const rotated = await server.admin.post<CaStatus>(adminPaths.caActivate, {});
      assert.deepEqual(rotated.slots.map(({ slot }) => slot), ['active', 'old']);
      const answer = await enrol(await server.mesh(), await server.token(productpage), createCsr(key()), limits);
      assert.equal(new X509Certificate(answer.certificateChain[0]!).checkIssued(new X509Certificate(certificatePem)), true);
      nowMs += 3 * 3_600_000;
      assert.deepEqual((await server.admin.post<CaStatus>(adminPaths.caRetire, {})).slots.map(({ slot }) => slot), ['active']);
    });

    it('that was imported by mistake is taken back, and another takes its place', async () => {
      const [wrong, right] = [selfSignedCa(server.directory), selfSignedCa(server.directory)];
      await server.admin.post(adminPaths.caInit, {});
      const bundle = await server.admin.text(adminPaths.bundle);
      await server.admin.post(adminPaths.caImport, { certificatesPem: wrong.certificatePem, privateKeyPem: wrong.keyPem });
      const refused = await rejection(server.admin.post(adminPaths.caImport, { certificatesPem: right.certificatePem, privateKeyPem: right.keyPem }));
      assert.match(refused.hint ?? '', /"sallyport ca discard"/);
      assert.deepEqual((await server.admin.post<CaStatus>(adminPaths.caDiscard, {})).slots.map(({ slot }) => slot), ['active']);
      assert.equal(await server.admin.text(adminPaths.bundle), bundle);
      assert.match(await server.admin.text(adminPaths.ledger), /"type":"ca-rotated","step":"discarded"/);
      assert.deepEqual((await server.admin.post<CaStatus>(adminPaths.caImport, { certificatesPem: right.certificatePem, privateKeyPem: right.keyPem })).slots.map(({ slot }) => slot), ['prepared', 'active']);
    });

    it('has come to its end: the control plane starts all the same, says so, and takes in the next', async () => {
      const { certificatePem, keyPem } = selfSignedCa(server.directory);
      let nowMs = Date.now() - 400 * 86_400_000;
      await server.close();
      server = await startTestControl({ now: () => nowMs });
      await server.admin.post(adminPaths.caInit, {});
      nowMs = Date.now();
      server = await server.restart();
      const { ready, conditions } = await server.admin.get<StatusResult>(adminPaths.status);
      assert.deepEqual([ready, server.control.meshPort], [false, undefined]);
      assert.match(conditions.join(), /^the CA has come to its end: /);
      await server.admin.post(adminPaths.caImport, { certificatesPem: certificatePem, privateKeyPem: keyPem });
      await server.admin.post(adminPaths.caActivate, {});
      const answer = await enrol(await server.mesh(), await server.token(productpage), createCsr(key()), limits);
      assert.equal(new X509Certificate(answer.certificateChain[0]!).checkIssued(new X509Certificate(certificatePem)), true);
    });

    it('comes to its end while the control plane runs, which takes in the next all the same', async () => {
      const { certificatePem, keyPem } = selfSignedCa(server.directory);
      let nowMs = Date.now() - 400 * 86_400_000;
      await server.close();
      server = await startTestControl({ now: () => nowMs });
      await server.admin.post(adminPaths.caInit, {});
      nowMs = Date.now();
      await server.admin.post(adminPaths.caImport, { certificatesPem: certificatePem, privateKeyPem: keyPem });
      await server.admin.post(adminPaths.caActivate, {});
      const answer = await enrol(await server.mesh(), await server.token(productpage), createCsr(key()), limits);
      assert.equal(new X509Certificate(answer.certificateChain[0]!).checkIssued(new X509Certificate(certificatePem)), true);
    });

    it('keeps its keys encrypted under a passphrase, and does not start with another', async () => {
      await server.close();
      server = await startTestControl({ caPassphrase: 'correct horse' });
      await server.admin.post(adminPaths.caInit, {});
      const { directory } = server;
      await server.control.close();
      assert.equal((await rejection(startTestControl({ directory, caPassphrase: 'wrong' }))).code, 'ca-key-invalid');
      server = await startTestControl({ directory, caPassphrase: 'correct horse' });
      assert.equal((await server.admin.get<StatusResult>(adminPaths.status)).ready, true);
    });
  });
});

/** What `createCsr` would not make: a request for a key that is too weak. */
function createCsrUnchecked(directory: string, privateKey: ReturnType<typeof key>): Buffer {
  const keyFile = join(directory, 'weak.pem');
  writeFileSync(keyFile, privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
  return execFileSync('openssl', ['req', '-new', '-key', keyFile, '-subj', '/CN=x', '-outform', 'DER']);
}

function selfSignedCa(directory: string): { readonly certificatePem: string; readonly keyPem: string } {
  const keyFile = join(directory, 'next.pem');
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const keyPem = privateKey.export({ type: 'pkcs8', format: 'pem' }) as string;
  writeFileSync(keyFile, keyPem, { mode: 0o600 });
  const certificatePem = execFileSync('openssl', ['req', '-x509', '-new', '-key', keyFile, '-subj', '/CN=next', '-days', '30', '-addext', 'basicConstraints=critical,CA:TRUE', '-addext', 'keyUsage=critical,keyCertSign,cRLSign']).toString();
  return { certificatePem, keyPem };
}
