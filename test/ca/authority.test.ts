import assert from 'node:assert/strict';
import { X509Certificate, generateKeyPairSync, randomBytes, type KeyObject } from 'node:crypto';
import { once } from 'node:events';
import { connect, createServer, type TLSSocket } from 'node:tls';
import type { AddressInfo } from 'node:net';
import { createAuthority, caKeyKinds, noSlots, type Authority, type IssuedCertificate, type RotationState } from '../../src/ca/index.ts';
import { SallyportError, type ErrorCode } from '../../src/core/errors.ts';
import { createCsr, signCsr } from '../../src/core/x509/csr.ts';
import { objectIdentifier, octetString, primitive, sequence, setOf } from '../../src/core/x509/der.ts';
import type { IpAddress } from '../../src/core/ip-address.ts';
import { certificatesToPem } from '../../src/core/x509/pem.ts';
import type { SpiffeId } from '../../src/core/spiffe-id.ts';
import { parseX509Svid } from '../../src/core/x509/x509-svid.ts';
import { createGate } from '../../src/ca/gate.ts';
import { demoAuthority, keyOf, pkcs8Pem, productpage, reviews, trustDomain, workspace, type Workspace } from './openssl.ts';

const hourMs = 3_600_000;
const leafKeys = ['P-256', 'P-384', 2048, 3072] as const;
const csrs = new Map(leafKeys.map((kind) => [kind, createCsr(keyOf(kind))]));
const csr = csrs.get('P-256')!;

const refusedWith = (code: ErrorCode, pattern = /./) => (error: unknown): boolean => {
  assert.ok(error instanceof SallyportError, String(error));
  assert.equal(error.code, code, error.message);
  assert.match(error.message, pattern);
  return true;
};

describe('the certificate authority', () => {
  let files: Workspace;
  before(() => { files = workspace(); });
  after(() => files.dispose());

  /** What openssl says of a chain: a failure throws. */
  const verify = (authority: Authority, { chainDer }: IssuedCertificate, purpose: 'sslclient' | 'sslserver'): string => {
    files.write('root.pem', certificatesToPem(authority.trustBundle));
    files.write('chain.pem', certificatesToPem(chainDer.slice(1)));
    files.write('leaf.pem', certificatesToPem(chainDer.slice(0, 1)));
    files.openssl('verify', '-x509_strict', '-purpose', purpose, '-CAfile', 'root.pem', '-untrusted', 'chain.pem', 'leaf.pem');
    return files.openssl('x509', '-in', 'leaf.pem', '-noout', '-text');
  };

  for (const keyKind of caKeyKinds) {
    it(`with a key of ${keyKind} issues SVIDs for every kind of key that openssl verifies strictly in both directions`, async () => {
      const { authority } = await demoAuthority({ keyKind });
      for (const kind of leafKeys) {
        const issued = await authority.issueSvid({ spiffeId: productpage, csr: csrs.get(kind)! });
        verify(authority, issued, 'sslserver');
        const text = verify(authority, issued, 'sslclient');
        assert.match(text, /X509v3 Subject Alternative Name: critical\n *URI:spiffe:\/\/cluster\.local\/ns\/bookinfo\/sa\/productpage\n/);
        assert.match(text, typeof kind === 'number' ? /X509v3 Key Usage: critical\n *Digital Signature, Key Encipherment\n/ : /X509v3 Key Usage: critical\n *Digital Signature\n/);
        assert.match(text, /X509v3 Basic Constraints: critical\n *CA:FALSE\n/);
        assert.match(text, /X509v3 Extended Key Usage: *\n *TLS Web Server Authentication, TLS Web Client Authentication\n/);
        assert.match(text, /Subject: *\n/);
        assert.match(text, { 'ec-p256': /ecdsa-with-SHA256/, 'ec-p384': /ecdsa-with-SHA384/ }[keyKind as string] ?? /sha256WithRSAEncryption/);
        assert.equal(parseX509Svid(issued.chainDer[0]!).ok, true);
      }
    }).timeout(30_000);
  }

  it('says what the ledger needs, and it is what the certificate says', async () => {
    const { authority, pki } = await demoAuthority();
    const issued = await authority.issueSvid({ spiffeId: productpage, csr, purpose: 'admin' });
    const view = new X509Certificate(issued.chainDer[0]!);
    assert.equal(issued.serialNumber, view.serialNumber.toLowerCase());
    assert.equal(issued.notBeforeMs, Date.parse(view.validFrom));
    assert.equal(issued.notAfterMs, Date.parse(view.validTo));
    assert.equal(issued.issuerFingerprint, new X509Certificate(pki.intermediate.chain.certificates[0].der).fingerprint256.replaceAll(':', '').toLowerCase());
    assert.equal(issued.purpose, 'admin');
    assert.deepEqual(issued.chainDer.slice(1), [pki.intermediate.chain.certificates[0].der], 'leaf and intermediate, without the root');
  });

  it('gives serial numbers of 20 bytes, positive, and no two alike', async () => {
    const { authority } = await demoAuthority();
    const serials = await Promise.all(Array.from({ length: 100 }, async () => (await authority.issueSvid({ spiffeId: productpage, csr })).serialNumber));
    assert.equal(new Set(serials).size, 100);
    for (const serial of serials) assert.match(serial, /^[4-7][0-9a-f]{39}$/);
  });

  it('begins a certificate some minutes back and ends it after its lifetime, cut to the most that is given', async () => {
    const { authority, clock } = await demoAuthority({ lifetimes: { svidMaxMs: 2 * hourMs, backdateMs: 60_000 } });
    clock.nowMs = Math.floor(clock.nowMs / 1000) * 1000 + 600_000;
    for (const [wished, given] of [[undefined, hourMs], [600_000, 600_000], [24 * hourMs, 2 * hourMs]] as const) {
      const issued = await authority.issueSvid({ spiffeId: productpage, csr, ...(wished === undefined ? {} : { lifetimeMs: wished }) });
      assert.equal(issued.notBeforeMs, clock.nowMs - 60_000);
      assert.equal(issued.notAfterMs, clock.nowMs + given);
    }
    for (const lifetimeMs of [0, -1, Number.NaN]) await assert.rejects(authority.issueSvid({ spiffeId: productpage, csr, lifetimeMs }), refusedWith('request-invalid'));
  });

  it('issues certificates for proxies, which openssl takes from a client and from no server, for 30 days and 397 at most', async () => {
    const { authority, clock, pki } = await demoAuthority();
    clock.nowMs = Math.floor(clock.nowMs / 1000) * 1000;
    for (const [wished, given] of [[undefined, 30], [90, 90], [1_000, 397]] as const) {
      const issued = await authority.issueSvid({ spiffeId: productpage, csr, purpose: 'proxy', ...(wished === undefined ? {} : { lifetimeMs: wished * 24 * hourMs }) });
      assert.match(verify(authority, issued, 'sslclient'), /X509v3 Extended Key Usage: *\n *TLS Web Client Authentication\n/);
      assert.throws(() => verify(authority, issued, 'sslserver'));
      assert.equal(parseX509Svid(issued.chainDer[0]!).ok, false, 'it is no SVID to anyone');
      assert.equal(issued.lifetimeMs, given * 24 * hourMs);
      assert.equal(issued.notAfterMs, Math.min(clock.nowMs + issued.lifetimeMs, pki.intermediate.chain.notAfterMs));
    }
  });

  it('never lets a certificate outlive its issuer, and stops when the issuer is at its end', async () => {
    const { authority, pki, clock } = await demoAuthority();
    const endMs = pki.intermediate.chain.notAfterMs;
    clock.nowMs = endMs - 30 * 60_000;
    const issued = await authority.issueSvid({ spiffeId: productpage, csr });
    assert.equal(issued.notAfterMs, endMs);
    for (const nowMs of [endMs - 30_000, endMs + hourMs]) {
      clock.nowMs = nowMs;
      await assert.rejects(authority.issueSvid({ spiffeId: productpage, csr }), refusedWith('ca-expiring', /too soon to sign with/));
    }
  });

  it('signs SVIDs that live shorter than a minute as long as the issuer lives for one of them', async () => {
    const { authority, pki, clock } = await demoAuthority({ lifetimes: { svidMs: 6_000 } });
    const endMs = pki.intermediate.chain.notAfterMs;
    clock.nowMs = endMs - 6_000;
    assert.equal((await authority.issueSvid({ spiffeId: productpage, csr })).notAfterMs, endMs);
    clock.nowMs += 1_000;
    await assert.rejects(authority.issueSvid({ spiffeId: productpage, csr }), refusedWith('ca-expiring'));
  });

  it('without a CA certificate says so', async () => {
    const authority = createAuthority({ trustDomain, slots: noSlots, save: () => Promise.resolve(undefined), now: Date.now, randomBytes });
    await assert.rejects(authority.issueSvid({ spiffeId: productpage, csr }), refusedWith('ca-not-initialized'));
    assert.deepEqual(authority.trustBundle, []);
  });

  it('refuses a CSR that names another, asks for CA rights, has a weak key or a bad signature', async () => {
    const { authority } = await demoAuthority();
    const named = (uri: string): Buffer => signCsr(keyOf('P-256'), {
      subject: sequence(),
      attributes: [sequence(objectIdentifier('1.2.840.113549.1.9.14'), setOf(sequence(sequence(objectIdentifier('2.5.29.17'), octetString(sequence(primitive(6, Buffer.from(uri))))))))],
    });
    await authority.issueSvid({ spiffeId: productpage, csr: named(productpage) });
    await assert.rejects(authority.issueSvid({ spiffeId: productpage, csr: named(reviews) }), refusedWith('csr-invalid', /asks for "spiffe:.*reviews"/));
    await assert.rejects(authority.issueSvid({ spiffeId: productpage, csr: createCsr(keyOf('P-521')) }), refusedWith('csr-weak-key'));
    const broken = Buffer.from(csr);
    broken[broken.length - 1]! ^= 1;
    await assert.rejects(authority.issueSvid({ spiffeId: productpage, csr: broken }), refusedWith('csr-invalid'));
  });

  it('issues for workloads of its own trust domain only', async () => {
    const { authority } = await demoAuthority();
    for (const id of ['spiffe://partner.example/ns/a/sa/b', 'spiffe://cluster.local'] as SpiffeId[]) {
      await assert.rejects(authority.issueSvid({ spiffeId: id, csr }), refusedWith('spiffe-id-invalid'));
      await assert.rejects(authority.issueServerCertificate({ spiffeId: id }), refusedWith('spiffe-id-invalid'));
    }
  });

  it('issues server certificates with the identity that secure naming expects, names, addresses and a new key', async () => {
    const { authority } = await demoAuthority();
    for (const keyKind of ['ec-p256', 'rsa-2048'] as const) {
      const issued = await authority.issueServerCertificate({ spiffeId: productpage, dnsNames: ['ftp.example.com', '*.bigip.example.com'], ipAddresses: ['10.4.0.201', '2001:db8::1'] as IpAddress[], keyKind });
      const text = verify(authority, issued, 'sslserver');
      assert.match(text, /URI:spiffe:\/\/cluster\.local\/ns\/bookinfo\/sa\/productpage, DNS:ftp\.example\.com, DNS:\*\.bigip\.example\.com, IP Address:10\.4\.0\.201, IP Address:2001:DB8:0:0:0:0:0:1/);
      assert.match(text, /Subject: CN = ftp\.example\.com/);
      assert.doesNotMatch(text, /Alternative Name: critical/);
      assert.equal(new X509Certificate(issued.chainDer[0]!).checkPrivateKey(issued.privateKey!), true);
      assert.equal(issued.purpose, 'server');
    }
    const fromCsr = await authority.issueServerCertificate({ spiffeId: productpage, csr });
    assert.equal(fromCsr.privateKey, null);
    for (const name of ['', 'a b', 'UPPER.example', '*.*.example', 'x'.repeat(64), 'evil.example\0.com']) await assert.rejects(authority.issueServerCertificate({ spiffeId: productpage, dnsNames: [name] }), refusedWith('request-invalid', /is not a DNS name/));
  });

  it('certificates carry mutual TLS between two workloads', async () => {
    const { authority } = await demoAuthority();
    const holder = async (spiffeId: SpiffeId): Promise<{ key: string; cert: string; ca: string }> => {
      const key: KeyObject = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
      const { chainDer } = await authority.issueSvid({ spiffeId, csr: createCsr(key) });
      return { key: pkcs8Pem(key), cert: certificatesToPem(chainDer), ca: certificatesToPem(authority.trustBundle) };
    };
    const server = createServer({ ...(await holder(reviews)), requestCert: true, rejectUnauthorized: true, minVersion: 'TLSv1.3' });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const accepted = once(server, 'secureConnection') as Promise<[TLSSocket]>;
    const client = connect({ ...(await holder(productpage)), host: '127.0.0.1', port: (server.address() as AddressInfo).port, checkServerIdentity: () => undefined });
    try {
      const [[socket]] = await Promise.all([accepted, once(client, 'secureConnect')]);
      const [seenByServer, seenByClient] = [parseX509Svid(socket.getPeerX509Certificate()!.raw), parseX509Svid(client.getPeerX509Certificate()!.raw)];
      assert.ok(seenByServer.ok && seenByClient.ok);
      assert.deepEqual([seenByServer.svid.spiffeId, seenByClient.svid.spiffeId], [productpage, reviews]);
      socket.destroy();
    } finally {
      client.destroy();
      server.close();
    }
  });

  it('saves how long it must stay trusted before it signs, and about once an hour', async () => {
    const saved: RotationState[] = [];
    let failing = false;
    const { authority, clock } = await demoAuthority({ save: (slots) => (failing ? Promise.reject(new Error('disk full')) : Promise.resolve(void saved.push(slots))) });
    saved.length = 0;
    for (let minute = 0; minute < 120; minute++) {
      clock.nowMs += 60_000;
      const { notAfterMs } = await authority.issueSvid({ spiffeId: productpage, csr });
      assert.ok(saved.at(-1)!.active!.issuedUntilMs >= notAfterMs);
    }
    assert.ok(saved.length >= 2 && saved.length <= 3, `${saved.length} saves`);
    failing = true;
    await assert.rejects(authority.issueSvid({ spiffeId: productpage, csr, lifetimeMs: 20 * hourMs }), /disk full/);
    await authority.issueSvid({ spiffeId: productpage, csr, lifetimeMs: 60_000 });
  });

  it('under a burst keeps the event loop turning', async () => {
    const { authority } = await demoAuthority();
    let turns = 0;
    let over = false;
    const turn = (): void => {
      turns++;
      if (!over) setImmediate(turn);
    };
    turn();
    await Promise.all(Array.from({ length: 400 }, () => authority.issueSvid({ spiffeId: productpage, csr })));
    over = true;
    assert.ok(turns >= 400 / 8, `${turns} turns`); // never more than 8 between two of them
  });
});

describe('the gate', () => {
  it('starts so many a turn of the event loop in their order, lets the rest wait, and refuses too many', async () => {
    const gate = createGate({ perTurn: 2, inProgress: 5 });
    let turn = 0;
    const started: (readonly [number, number])[] = [];
    const task = (number: number) => (): Promise<number> => {
      started.push([number, turn]);
      return number === 1 ? Promise.reject(new Error('task 1 failed')) : Promise.resolve(number);
    };
    const count = (): void => { if (++turn < 10) setImmediate(count); };
    setImmediate(count);
    const results = await Promise.allSettled([0, 1, 2, 3, 4, 5].map((number) => gate(task(number))));
    assert.deepEqual(results.map(({ status }) => status), ['fulfilled', 'rejected', 'fulfilled', 'fulfilled', 'fulfilled', 'rejected']);
    assert.ok((results[5] as PromiseRejectedResult).reason instanceof SallyportError);
    assert.deepEqual(started, [[0, 0], [1, 0], [2, 1], [3, 1], [4, 2]]);
    assert.equal(await gate(task(6)), 6, 'places are given back');
  });

  it('turns the event loop under one caller that asks again and again', async () => {
    const gate = createGate({ perTurn: 2, inProgress: 5 });
    let turns = 0;
    const count = (): void => { if (++turns < 20) setImmediate(count); };
    setImmediate(count);
    for (let asked = 0; asked < 9; asked++) await gate(() => Promise.resolve());
    assert.ok(turns >= 4, `${turns} turns`);
  });
});
