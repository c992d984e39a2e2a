import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import fc from 'fast-check';
import { parseCertificate } from '../../../src/core/x509/certificate.ts';
import { parseMeshCertificate, parseX509Svid, svidRefusals } from '../../../src/core/x509/x509-svid.ts';
import { derOf, productpage, workspace, type Workspace } from '../../ca/openssl.ts';

const leaf = { basicConstraints: 'critical,CA:FALSE', keyUsage: 'critical,digitalSignature', extendedKeyUsage: 'clientAuth,serverAuth', subjectAltName: `critical,URI:${productpage}` };
type Extensions = Partial<Record<keyof typeof leaf, string>>;

describe('an X509-SVID', () => {
  let files: Workspace;
  before(() => {
    files = workspace();
    files.openssl('genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256', '-out', 'key.pem');
  });
  after(() => files.dispose());

  /** A certificate that openssl makes with exactly these extensions. */
  const made = (extensions: Extensions, { more = '', key = 'key.pem' } = {}): Buffer => {
    const lines = Object.entries(extensions).map(([name, value]) => `${name}=${value}`);
    files.write('leaf.cnf', `[req]\ndistinguished_name=dn\nprompt=no\n[dn]\nCN=x\n[leaf]\n${lines.join('\n')}\nsubjectKeyIdentifier=none\nauthorityKeyIdentifier=none\n${more}\n`);
    files.openssl('req', '-x509', '-new', '-key', key, '-config', 'leaf.cnf', '-extensions', 'leaf', '-days', '1', '-out', 'leaf.pem');
    return derOf(files.read('leaf.pem'));
  };

  it('names its workload, serial number and validity, as OpenSSL reads them', () => {
    const der = made(leaf);
    const parsed = parseX509Svid(der);
    assert.ok(parsed.ok);
    const view = new X509Certificate(der);
    assert.deepEqual(parsed.svid, { spiffeId: productpage, serialNumber: view.serialNumber.toLowerCase(), notBeforeMs: Date.parse(view.validFrom), notAfterMs: Date.parse(view.validTo) });
  });

  const accepted: readonly [what: string, extensions: Extensions][] = [
    ['with DNS and IP names beside its URI', { ...leaf, subjectAltName: `URI:${productpage},DNS:productpage.bookinfo.svc,IP:10.0.0.1` }],
    ['with keyEncipherment and keyAgreement', { ...leaf, keyUsage: 'critical,digitalSignature,keyEncipherment,keyAgreement' }],
    ['without basic constraints, which is no CA', { keyUsage: leaf.keyUsage, extendedKeyUsage: leaf.extendedKeyUsage, subjectAltName: leaf.subjectAltName }],
    ['without extended key usage', { basicConstraints: leaf.basicConstraints, keyUsage: leaf.keyUsage, subjectAltName: leaf.subjectAltName }],
    ['of another trust domain, which TLS judges', { ...leaf, subjectAltName: 'URI:spiffe://partner.example/ns/a/sa/b' }],
  ];
  for (const [what, extensions] of accepted) it(`is accepted ${what}`, () => assert.equal(parseX509Svid(made(extensions)).ok, true));

  it('is told from a proxy certificate, which has clientAuth alone and its mark beside the SPIFFE ID', () => {
    const purpose = (extensions: Extensions) => {
      const parsed = parseMeshCertificate(made(extensions));
      return parsed.ok ? parsed.purpose : parsed.reason;
    };
    assert.equal(purpose(leaf), 'svid');
    const marked = `${leaf.subjectAltName},URI:spiffe://cluster.local/sallyport/proxy-certificate`;
    assert.equal(purpose({ ...leaf, extendedKeyUsage: 'clientAuth', subjectAltName: marked }), 'proxy');
    assert.equal(purpose({ ...leaf, subjectAltName: marked }), 'several-uri-sans');
    assert.equal(purpose({ ...leaf, extendedKeyUsage: 'clientAuth' }), 'extended-key-usage');
    assert.equal(purpose({ ...leaf, extendedKeyUsage: 'clientAuth', subjectAltName: `${leaf.subjectAltName},URI:spiffe://other.example/sallyport/proxy-certificate` }), 'extended-key-usage');
    assert.equal(purpose({ ...leaf, extendedKeyUsage: 'clientAuth', subjectAltName: `${marked},URI:spiffe://cluster.local/x` }), 'several-uri-sans');
    assert.equal(purpose({ ...leaf, extendedKeyUsage: 'clientAuth,codeSigning' }), 'extended-key-usage');
    assert.equal(purpose({ ...leaf, extendedKeyUsage: 'clientAuth', subjectAltName: 'URI:spiffe://cluster.local' }), 'spiffe-id-without-path');
  });

  const refused: readonly [what: string, reason: (typeof svidRefusals)[number], extensions: Extensions][] = [
    ['a CA certificate', 'is-a-ca', { ...leaf, basicConstraints: 'critical,CA:TRUE', keyUsage: 'critical,digitalSignature,keyCertSign' }],
    ['a CA flag without the right to sign', 'is-a-ca', { ...leaf, basicConstraints: 'CA:TRUE' }],
    ['keyCertSign without the CA flag', 'key-usage', { ...leaf, keyUsage: 'digitalSignature,keyCertSign' }],
    ['cRLSign', 'key-usage', { ...leaf, keyUsage: 'digitalSignature,cRLSign' }],
    ['no digitalSignature', 'key-usage', { ...leaf, keyUsage: 'keyEncipherment' }],
    ['no key usage', 'key-usage', { basicConstraints: leaf.basicConstraints, extendedKeyUsage: leaf.extendedKeyUsage, subjectAltName: leaf.subjectAltName }],
    ['serverAuth only, as the recipe with the DNS name has it', 'extended-key-usage', { ...leaf, extendedKeyUsage: 'serverAuth' }],
    ['clientAuth only', 'extended-key-usage', { ...leaf, extendedKeyUsage: 'clientAuth' }],
    ['no alternative names', 'no-uri-san', { basicConstraints: leaf.basicConstraints, keyUsage: leaf.keyUsage, extendedKeyUsage: leaf.extendedKeyUsage }],
    ['a DNS name only', 'no-uri-san', { ...leaf, subjectAltName: 'DNS:productpage.bookinfo.svc' }],
    ['the SPIFFE ID in a DNS name', 'spiffe-id-in-dns-san', { ...leaf, subjectAltName: `DNS:${productpage}` }],
    ['the SPIFFE ID in a DNS name beside a URI', 'spiffe-id-in-dns-san', { ...leaf, subjectAltName: `URI:${productpage},DNS:${productpage}` }],
    ['two URIs', 'several-uri-sans', { ...leaf, subjectAltName: `URI:${productpage},URI:spiffe://cluster.local/ns/bookinfo/sa/reviews` }],
    ['two URIs of which one is a web address', 'several-uri-sans', { ...leaf, subjectAltName: `URI:${productpage},URI:https://example.com/` }],
    ['the same URI twice', 'several-uri-sans', { ...leaf, subjectAltName: `URI:${productpage},URI:${productpage}` }],
    ['a web address', 'spiffe-id-invalid', { ...leaf, subjectAltName: 'URI:https://cluster.local/ns/a/sa/b' }],
    ['a trust domain in capitals', 'spiffe-id-invalid', { ...leaf, subjectAltName: 'URI:spiffe://Cluster.Local/ns/a/sa/b' }],
    ['a port after the trust domain', 'spiffe-id-invalid', { ...leaf, subjectAltName: 'URI:spiffe://cluster.local:443/ns/a/sa/b' }],
    ['a query', 'spiffe-id-invalid', { ...leaf, subjectAltName: 'URI:spiffe://cluster.local/ns/a/sa/b?x' }],
    ['a slash at the end', 'spiffe-id-invalid', { ...leaf, subjectAltName: 'URI:spiffe://cluster.local/ns/a/sa/b/' }],
    ['a trust domain without a workload', 'spiffe-id-without-path', { ...leaf, subjectAltName: 'URI:spiffe://cluster.local' }],
  ];
  for (const [what, reason, extensions] of refused) {
    it(`is refused with ${what}`, () => {
      const parsed = parseX509Svid(made(extensions));
      assert.ok(!parsed.ok);
      assert.equal(parsed.reason, reason, parsed.detail);
    });
  }

  it('is refused with a zero byte within its URI, where text would end', () => {
    const der = made({ ...leaf, subjectAltName: `URI:${productpage}.evil` });
    der[der.indexOf('.evil')] = 0;
    const parsed = parseX509Svid(der);
    assert.ok(!parsed.ok && parsed.reason === 'spiffe-id-invalid');
  });

  it('is refused with an extension that is there twice', () => {
    const der = made(leaf, { more: '1.2.3.4=DER:0500\n1.2.3.5=DER:0500' });
    const second = der.indexOf(Buffer.from('06032a0305', 'hex'));
    der[second + 4] = 4;
    const parsed = parseX509Svid(der);
    assert.ok(!parsed.ok && parsed.reason === 'certificate-malformed');
    assert.match(parsed.detail, /1\.2\.3\.4 is there twice/);
  });

  it('is refused with bytes after it, and when it is larger than 64 KiB', () => {
    const der = made(leaf);
    for (const bytes of [Buffer.concat([der, Buffer.of(0)]), Buffer.alloc(70_000)]) {
      const parsed = parseX509Svid(bytes);
      assert.ok(!parsed.ok && parsed.reason === 'certificate-malformed');
    }
  });

  it('of any bytes, or changed anywhere, gives an SVID or one of the known reasons', () => {
    const der = made(leaf);
    const changes = fc.array(fc.tuple(fc.nat(der.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 });
    const judge = (bytes: Buffer): void => {
      const parsed = parseX509Svid(bytes);
      if (!parsed.ok) assert.ok(svidRefusals.includes(parsed.reason) && parsed.detail !== '');
    };
    fc.assert(fc.property(changes, (list) => {
      const changed = Buffer.from(der);
      for (const [index, byte] of list) changed[index] = byte;
      judge(changed);
    }), { numRuns: 300 });
    fc.assert(fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => judge(Buffer.from(bytes))), { numRuns: 100 });
  });

  it('is read, as any certificate, to the same fields that OpenSSL reads', () => {
    for (const arguments_ of [['-newkey', 'rsa:2048'], ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-384']]) {
      files.openssl('req', '-x509', '-new', ...arguments_, '-nodes', '-keyout', 'any.key', '-subj', '/C=DE/O=Ünïcode/CN=x', '-utf8', '-days', '20000', '-addext', 'nameConstraints=permitted;URI:.example.com,excluded;DNS:a.b', '-out', 'any.pem');
      const der = derOf(files.read('any.pem'));
      const parsed = parseCertificate(der);
      assert.ok(parsed.ok);
      const view = new X509Certificate(der);
      assert.equal(parsed.certificate.serialNumber, view.serialNumber.toLowerCase());
      assert.equal(parsed.certificate.notAfterMs, Date.parse(view.validTo));
      assert.deepEqual(parsed.certificate.publicKey, view.publicKey.export({ type: 'spki', format: 'der' }));
      assert.equal(parsed.certificate.extensions.basicConstraints?.ca, view.ca);
      assert.deepEqual(parsed.certificate.extensions.nameConstraints?.permitted.map(({ content }) => content.toString()), ['.example.com']);
    }
  });
});
