import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import fc from 'fast-check';
import { createAuthority, createCaRequest, createDemoPki, importIssuer, noSlots, trustAnchorOf, type CaMaterial, type IssuerCheck } from '../../src/ca/index.ts';
import { createCsr } from '../../src/core/x509/csr.ts';
import { SallyportError } from '../../src/core/errors.ts';
import type { IpAddress } from '../../src/core/ip-address.ts';
import { certificatesToPem } from '../../src/core/x509/pem.ts';
import type { TrustDomain } from '../../src/core/spiffe-id.ts';
import { derOf, keyOf, pkcs8Pem, productpage, trustDomain, workspace, type Workspace } from './openssl.ts';

const intermediate = { basicConstraints: 'critical,CA:TRUE,pathlen:0', keyUsage: 'critical,keyCertSign,cRLSign', subjectKeyIdentifier: 'hash', authorityKeyIdentifier: 'keyid' };
type Extensions = Partial<Record<keyof typeof intermediate | 'extendedKeyUsage' | 'nameConstraints' | 'subjectAltName' | '1.2.3.4', string>>;

describe('importing a CA', () => {
  let files: Workspace;
  before(() => {
    files = workspace();
    files.openssl('req', '-x509', '-new', '-newkey', 'rsa:2048', '-nodes', '-keyout', 'root.key', '-subj', '/O=Bank/CN=Root', '-days', '3650', '-out', 'root.pem', '-addext', 'keyUsage=critical,keyCertSign,cRLSign');
    files.write('other.key', pkcs8Pem(keyOf('P-256')));
    files.openssl('req', '-x509', '-new', '-key', 'other.key', '-subj', '/O=Bank/CN=Other', '-days', '3650', '-out', 'other.pem', '-addext', 'keyUsage=critical,keyCertSign');
  });
  after(() => files.dispose());

  /** `NAME.key` and `NAME.pem`, signed by ISSUER with these extensions. */
  const sign = (name: string, extensions: Extensions, { issuer = 'root', key = keyOf('P-256'), options = [] as readonly string[], sections = '' } = {}): void => {
    files.write(`${name}.key`, pkcs8Pem(key));
    files.openssl('req', '-new', '-key', `${name}.key`, '-subj', `/O=Bank/CN=${name}`, '-out', `${name}.csr`);
    files.write(`${name}.cnf`, `[e]\n${Object.entries(extensions).map(([id, value]) => `${id}=${value}`).join('\n')}\n${sections}`);
    files.openssl('x509', '-req', '-in', `${name}.csr`, '-CA', `${issuer}.pem`, '-CAkey', `${issuer}.key`, '-CAcreateserial', '-days', '365', '-extfile', `${name}.cnf`, '-extensions', 'e', '-out', `${name}.pem`, ...options);
  };
  const take = (material: CaMaterial, { nowMs = Date.now(), domain = trustDomain } = {}): Promise<IssuerCheck> => importIssuer(material, { trustDomain: domain, nowMs });
  const pemOf = (...names: string[]): string => names.map((name) => files.read(name)).join('some text between\n');
  const codes = (check: IssuerCheck): readonly string[] => (check.ok ? [] : check.faults.map(({ code }) => code));

  for (const [what, kind, convert] of [
    ['EC as PKCS#8', 'P-256', ['pkcs8', '-topk8', '-nocrypt']],
    ['EC as SEC1', 'P-384', ['ec']],
    ['EC on P-521', 'P-521', ['pkcs8', '-topk8', '-nocrypt']],
    ['RSA as PKCS#1', 2048, ['rsa', '-traditional']],
    ['EC as encrypted PKCS#8', 'P-256', ['pkcs8', '-topk8', '-v2', 'aes-256-cbc', '-passout', 'pass:geheim']],
    ['RSA as encrypted PKCS#8 with scrypt', 2048, ['pkcs8', '-topk8', '-scrypt', '-passout', 'pass:geheim']],
    ['RSA as PKCS#1 with the older PEM encryption', 2048, ['rsa', '-traditional', '-aes256', '-passout', 'pass:geheim']],
  ] as const) {
    it(`takes a key that is ${what}, and what it signs openssl verifies`, async () => {
      sign('inter', intermediate, { key: keyOf(kind) });
      files.openssl(...convert, '-in', 'inter.key', '-out', 'converted.key');
      const check = await take({ pem: pemOf('root.pem', 'converted.key', 'inter.pem'), passphrase: 'geheim' });
      assert.ok(check.ok, codes(check).join());
      assert.deepEqual(check.issuer.chain.certificates.map(({ der }) => der), [derOf(files.read('inter.pem')), derOf(files.read('root.pem'))]);
      const authority = createAuthority({ trustDomain, slots: noSlots, save: () => Promise.resolve(undefined), now: Date.now, randomBytes });
      await authority.rotate({ type: 'initialize', issuer: check.issuer, nowMs: Date.now() });
      const { chainDer } = await authority.issueSvid({ spiffeId: productpage, csr: createCsr(keyOf('P-256')) });
      files.write('leaf.pem', certificatesToPem(chainDer));
      files.openssl('verify', '-x509_strict', '-CAfile', 'root.pem', '-untrusted', 'inter.pem', 'leaf.pem');
    });
  }

  it('puts a chain of four into order, whatever order it came in, and takes a certificate twice as one', async () => {
    sign('upper', { ...intermediate, basicConstraints: 'critical,CA:TRUE,pathlen:2' });
    sign('middle', { ...intermediate, basicConstraints: 'critical,CA:TRUE,pathlen:1' }, { issuer: 'upper' });
    sign('lower', intermediate, { issuer: 'middle' });
    const parts = ['root.pem', 'lower.key', 'middle.pem', 'upper.pem', 'lower.pem', 'root.pem'];
    await fc.assert(fc.asyncProperty(fc.shuffledSubarray(parts, { minLength: parts.length }), async (order) => {
      const check = await take({ pem: pemOf(...order) });
      assert.ok(check.ok, codes(check).join());
      assert.deepEqual(check.issuer.chain.certificates.map(({ der }) => der), ['lower', 'middle', 'upper', 'root'].map((name) => derOf(files.read(`${name}.pem`))));
    }), { numRuns: 10 });
  });

  it('takes the top-most certificate for the anchor where the root is not given', async () => {
    sign('inter', intermediate);
    const check = await take({ pem: pemOf('inter.key', 'inter.pem') });
    assert.ok(check.ok);
    assert.deepEqual(trustAnchorOf(check.issuer.chain).der, derOf(files.read('inter.pem')));
  });

  const faulty: readonly [why: string, code: string, pem: () => string][] = [
    ['is no CA', 'not-a-ca', () => (sign('x', { ...intermediate, basicConstraints: 'CA:FALSE' }), pemOf('x.key', 'x.pem', 'root.pem'))],
    ['has no basic constraints', 'not-a-ca', () => (sign('x', { keyUsage: intermediate.keyUsage }), pemOf('x.key', 'x.pem', 'root.pem'))],
    ['may not sign certificates', 'key-usage', () => (sign('x', { ...intermediate, keyUsage: 'digitalSignature' }), pemOf('x.key', 'x.pem', 'root.pem'))],
    ['is for mail only', 'extended-key-usage', () => (sign('x', { ...intermediate, extendedKeyUsage: 'emailProtection' }), pemOf('x.key', 'x.pem', 'root.pem'))],
    ['has a CA above that allows none below', 'path-length', () => {
      sign('upper', intermediate);
      sign('x', intermediate, { issuer: 'upper' });
      return pemOf('x.key', 'x.pem', 'upper.pem', 'root.pem');
    }],
    ['permits another trust domain', 'name-constraints', () => (sign('x', { ...intermediate, nameConstraints: 'permitted;URI:partner.example' }), pemOf('x.key', 'x.pem', 'root.pem'))],
    ['permits domains below the trust domain only', 'name-constraints', () => (sign('x', { ...intermediate, nameConstraints: 'permitted;URI:.cluster.local' }), pemOf('x.key', 'x.pem', 'root.pem'))],
    ['excludes the trust domain', 'name-constraints', () => (sign('x', { ...intermediate, nameConstraints: 'excluded;URI:.local' }), pemOf('x.key', 'x.pem', 'root.pem'))],
    ['names another trust domain', 'spiffe-id', () => (sign('x', { ...intermediate, subjectAltName: 'URI:spiffe://partner.example' }), pemOf('x.key', 'x.pem', 'root.pem'))],
    ['names a workload', 'spiffe-id', () => (sign('x', { ...intermediate, subjectAltName: `URI:${productpage}` }), pemOf('x.key', 'x.pem', 'root.pem'))],
    ['has a critical extension that nobody knows', 'critical-extension', () => (sign('x', { ...intermediate, '1.2.3.4': 'critical,DER:0500' }), pemOf('x.key', 'x.pem', 'root.pem'))],
    ['has a weak key', 'key-weak', () => (sign('x', intermediate, { key: keyOf(1024) }), pemOf('x.key', 'x.pem', 'root.pem'))],
    ['has a key on an unknown curve', 'key-unsupported', () => (sign('x', intermediate, { key: keyOf('secp256k1') }), pemOf('x.key', 'x.pem', 'root.pem'))],
    ['is signed with SHA-1', 'signature-weak', () => (sign('x', intermediate, { options: ['-sha1'] }), pemOf('x.key', 'x.pem', 'root.pem'))],
    ['is signed by another key of the same name', 'signature-invalid', () => {
      sign('x', intermediate);
      files.openssl('req', '-x509', '-new', '-newkey', 'rsa:2048', '-nodes', '-keyout', 'false.key', '-subj', '/O=Bank/CN=Root', '-days', '3650', '-out', 'false.pem', '-addext', 'keyUsage=critical,keyCertSign');
      return pemOf('x.key', 'x.pem', 'false.pem');
    }],
    ['comes with a key of another', 'key-mismatch', () => (sign('x', intermediate), pemOf('other.key', 'x.pem', 'root.pem'))],
    ['comes with an unrelated certificate', 'certificate-unrelated', () => (sign('x', intermediate), pemOf('x.key', 'x.pem', 'root.pem', 'other.pem'))],
    ['comes without a key', 'key-missing', () => (sign('x', intermediate), pemOf('x.pem', 'root.pem'))],
    ['comes with two keys', 'several-keys', () => (sign('x', intermediate), pemOf('x.key', 'other.key', 'x.pem', 'root.pem'))],
    ['is a key only', 'certificate-missing', () => pemOf('other.key')],
    ['is nothing', 'key-missing', () => ''],
    ['is no certificate', 'certificate-unreadable', () => `${pemOf('other.key')}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n`],
    ['is no base64', 'certificate-unreadable', () => `${pemOf('other.key')}-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n`],
    ['is larger than 1 MiB', 'too-large', () => 'x'.repeat(2 ** 20 + 1)],
    ['comes with a key that is damaged', 'key-unreadable', () => '-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n'],
  ];
  for (const [why, code, pem] of faulty) {
    it(`refuses one that ${why}`, async () => {
      const check = await take({ pem: pem() });
      assert.ok(codes(check).includes(code), codes(check).join());
    });
  }

  it('takes a certificate that is signed with RSASSA-PSS and SHA-2, and not with SHA-1', async () => {
    for (const [digest, expected] of [['-sha256', []], ['-sha512', []], ['-sha1', ['signature-weak']]] as const) {
      sign('x', intermediate, { options: ['-sigopt', 'rsa_padding_mode:pss', digest] });
      assert.deepEqual(codes(await take({ pem: pemOf('x.key', 'x.pem', 'root.pem') })), expected);
    }
  });

  it('accepts a trust domain that name constraints permit, by host or by domain', async () => {
    sign('x', { ...intermediate, nameConstraints: 'critical,permitted;URI:cluster.local,permitted;URI:.mesh.example' });
    for (const domain of ['cluster.local', 'a.mesh.example'] as TrustDomain[]) assert.deepEqual(codes(await take({ pem: pemOf('x.key', 'x.pem', 'root.pem') }, { domain })), []);
    for (const domain of ['mesh.example', 'a.cluster.local', 'evilcluster.local', 'evilmesh.example'] as TrustDomain[]) assert.deepEqual(codes(await take({ pem: pemOf('x.key', 'x.pem', 'root.pem') }, { domain })), ['name-constraints']);
  });

  it('keeps server certificates within the DNS and IP constraints of the CA, as openssl would', async () => {
    sign('x', { ...intermediate, nameConstraints: 'permitted;URI:cluster.local,permitted;DNS:bank.example,excluded;DNS:secret.bank.example,permitted;IP:10.0.0.0/255.0.0.0' });
    const check = await take({ pem: pemOf('x.key', 'x.pem', 'root.pem') });
    assert.ok(check.ok, codes(check).join());
    const authority = createAuthority({ trustDomain, slots: noSlots, save: () => Promise.resolve(undefined), now: Date.now, randomBytes });
    await authority.rotate({ type: 'initialize', issuer: check.issuer, nowMs: Date.now() });
    const issued = await authority.issueServerCertificate({ spiffeId: productpage, dnsNames: ['ftp.bank.example'], ipAddresses: ['10.4.0.201' as IpAddress] });
    files.write('server.pem', certificatesToPem(issued.chainDer));
    files.openssl('verify', '-x509_strict', '-CAfile', 'root.pem', '-untrusted', 'x.pem', 'server.pem');
    for (const names of [{ dnsNames: ['ftp.other.example'] }, { dnsNames: ['a.secret.bank.example'] }, { dnsNames: ['evilbank.example'] }, { ipAddresses: ['192.168.0.1' as IpAddress] }]) {
      await assert.rejects(authority.issueServerCertificate({ spiffeId: productpage, ...names }), (error) => error instanceof SallyportError && error.code === 'request-invalid');
    }
  });

  for (const [what, nameConstraints, subject] of [
    ['names the pod in a certificate’s subject', 'permitted;URI:cluster.local', /^subject=dnQualifier = "?pod productpage-1 uid-1 on node-a"?$/m],
    ['leaves it out where the CA may sign for some subjects only', 'permitted;URI:cluster.local,permitted;dirName:bank', /^subject=$/m],
  ] as const) {
    it(`${what}, and openssl verifies it`, async () => {
      sign('x', { ...intermediate, nameConstraints: `critical,${nameConstraints}` }, { sections: '[bank]\nO=Bank\n' });
      const check = await take({ pem: pemOf('x.key', 'x.pem', 'root.pem') });
      assert.ok(check.ok, codes(check).join());
      const authority = createAuthority({ trustDomain, slots: noSlots, save: () => Promise.resolve(undefined), now: Date.now, randomBytes });
      await authority.rotate({ type: 'initialize', issuer: check.issuer, nowMs: Date.now() });
      const { chainDer } = await authority.issueSvid({ spiffeId: productpage, csr: createCsr(keyOf('P-256')), pod: { name: 'productpage-1', uid: 'uid-1', node: 'node-a' } });
      files.write('leaf.pem', certificatesToPem(chainDer));
      files.openssl('verify', '-x509_strict', '-CAfile', 'root.pem', '-untrusted', 'x.pem', 'leaf.pem');
      assert.match(files.openssl('x509', '-in', 'leaf.pem', '-noout', '-subject'), subject);
    });
  }

  it('names every fault at once', async () => {
    sign('x', { ...intermediate, basicConstraints: 'CA:FALSE', keyUsage: 'digitalSignature', nameConstraints: 'permitted;URI:partner.example' });
    const check = await take({ pem: pemOf('x.key', 'x.pem', 'root.pem', 'other.pem') }, { nowMs: Date.now() + 20 * 365 * 86_400_000 });
    assert.deepEqual(new Set(codes(check)), new Set(['not-a-ca', 'key-usage', 'expired', 'name-constraints', 'certificate-unrelated']));
    assert.ok(!check.ok && check.faults.some(({ message }) => message.includes('O=Bank, CN=x')), 'and says of which certificate');
    assert.deepEqual(codes(await take({ pem: pemOf('other.key', 'other.pem') }, { nowMs: Date.now() - 86_400_000 })), ['not-yet-valid']);
  });

  it('tells a missing passphrase from a wrong one, and shows neither key nor passphrase', async () => {
    sign('x', intermediate);
    files.openssl('pkcs8', '-topk8', '-in', 'x.key', '-passout', 'pass:geheim', '-out', 'locked.key');
    const pem = pemOf('locked.key', 'x.pem', 'root.pem');
    assert.deepEqual(codes(await take({ pem })), ['key-passphrase-missing']);
    const wrong = await take({ pem, passphrase: 'falsch!' });
    assert.deepEqual(codes(wrong), ['key-passphrase-wrong']);
    assert.doesNotMatch(JSON.stringify(wrong), /falsch!|PRIVATE KEY/);
  });

  for (const keyKind of ['ec-p256', 'rsa-2048'] as const) {
    it(`gets its certificate from the organisation's root by a CSR of ${keyKind}, by the recipe in certs/`, async () => {
      const request = await createCaRequest({ subject: { commonName: 'Sallyport CA 1', organization: 'Bänk, Ltd.', country: 'DE' }, trustDomain, keyKind });
      files.write('ca.csr', request.csrPem);
      const text = files.openssl('req', '-in', 'ca.csr', '-noout', '-verify', '-text', '-nameopt', 'utf8,sep_comma_plus_space');
      assert.match(text, /verify OK/);
      assert.match(text, /CA:TRUE, pathlen:0/);
      assert.match(text, /Certificate Sign, CRL Sign/);
      assert.match(text, /URI:spiffe:\/\/cluster\.local\n/);
      assert.match(text, /C=DE, O=Bänk, Ltd\., CN=Sallyport CA 1/);
      files.openssl('x509', '-req', '-in', 'ca.csr', '-CA', 'root.pem', '-CAkey', 'root.key', '-CAcreateserial', '-days', '365', '-sha256', '-extfile', join(import.meta.dirname, '../../certs/intermediate-ca.cnf'), '-extensions', 'intermediate_ca', '-out', 'ca.pem');
      const check = await take({ pem: pemOf('ca.pem', 'root.pem'), requestKey: request.privateKey });
      assert.ok(check.ok, codes(check).join());
      assert.ok(check.issuer.privateKey.equals(request.privateKey));
    });
  }

  it('refuses to ask for a CA with a subject that no certificate can hold', async () => {
    for (const subject of [{ commonName: '' }, { commonName: 'x'.repeat(65) }, { commonName: 'a\nb' }, { commonName: 'x', country: 'Germany' }]) {
      await assert.rejects(createCaRequest({ subject, trustDomain }), (error) => error instanceof SallyportError && error.code === 'request-invalid');
    }
  });

  it('takes its own demo PKI, which openssl verifies strictly', async () => {
    const pki = await createDemoPki({ trustDomain, nowMs: Date.now(), randomBytes });
    const { chain, privateKey } = pki.intermediate;
    files.write('demo-root.pem', certificatesToPem([pki.root.certificate.der]));
    files.write('demo-ca.pem', certificatesToPem([chain.certificates[0].der]));
    files.openssl('verify', '-x509_strict', '-CAfile', 'demo-root.pem', 'demo-ca.pem');
    assert.deepEqual(codes(await take({ pem: pkcs8Pem(privateKey) + certificatesToPem(chain.certificates.map(({ der }) => der)) })), []);
  });

  it('of a certificate changed anywhere ends in faults or an issuer, and never throws', async () => {
    sign('x', intermediate);
    const der = derOf(files.read('x.pem'));
    const [root, privateKey] = [files.read('root.pem'), files.read('x.key')];
    await fc.assert(fc.asyncProperty(fc.nat(der.length - 1), fc.nat(7), async (index, bit) => {
      const changed = Buffer.from(der);
      changed[index]! ^= 1 << bit;
      assert.equal((await take({ pem: privateKey + certificatesToPem([changed]) + root })).ok, false);
    }), { numRuns: 150 });
  });
});
