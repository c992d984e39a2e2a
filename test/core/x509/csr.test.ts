import assert from 'node:assert/strict';
import { sign } from 'node:crypto';
import fc from 'fast-check';
import { keyUsages } from '../../../src/core/x509/certificate.ts';
import { createCsr, csrBytesMax, csrErrorCode, parseCsr, requestsOtherThan, signCsr } from '../../../src/core/x509/csr.ts';
import { DerReader, bitString, boolean, constructed, integer, namedBits, nullElement, objectIdentifier, octetString, primitive, sequence, setOf, tags } from '../../../src/core/x509/der.ts';
import { createCaRequest } from '../../../src/ca/index.ts';
import { derOf, keyOf, pkcs8Pem, productpage, reviews, trustDomain, workspace, type Workspace } from '../../ca/openssl.ts';

const extensionRequest = (...extensions: Buffer[]): Buffer => sequence(objectIdentifier('1.2.840.113549.1.9.14'), setOf(sequence(...extensions)));
const extension = (id: string, value: Buffer): Buffer => sequence(objectIdentifier(id), octetString(value));
const uriName = (...uris: string[]): Buffer => extension('2.5.29.17', sequence(...uris.map((uri) => primitive(6, Buffer.from(uri)))));
const withAttributes = (...attributes: Buffer[]): Buffer => signCsr(keyOf('P-256'), { subject: sequence(), attributes });

describe('a CSR', () => {
  let files: Workspace;
  before(() => { files = workspace(); });
  after(() => files.dispose());

  for (const kind of ['P-256', 'P-384', 2048] as const) {
    it(`for a key on ${kind} is one that openssl verifies, without subject or names, and one that we read`, () => {
      const key = keyOf(kind);
      const der = createCsr(key);
      files.write('ours.der', der);
      const text = files.openssl('req', '-inform', 'DER', '-in', files.path('ours.der'), '-noout', '-verify', '-text');
      assert.match(text, /verify OK/i);
      assert.match(text, /Subject: *\n/);
      assert.match(text, /Requested Extensions:\n *Signature/);
      const parsed = parseCsr(der);
      assert.ok(parsed.ok);
      assert.deepEqual(parsed.request.keyKind, typeof kind === 'number' ? { type: 'rsa', bits: kind, exponent: 65_537 } : { type: 'ec', curve: kind });
      assert.deepEqual(parsed.request.requestedUris, []);
    });
  }

  it('of pilot-agent is fine: RSA, with the URI of its caller, critical', () => {
    files.write('rsa.pem', pkcs8Pem(keyOf(2048)));
    files.openssl('req', '-new', '-key', files.path('rsa.pem'), '-subj', '/O=', '-addext', `subjectAltName=critical,URI:${productpage}`, '-out', files.path('istio.pem'));
    const parsed = parseCsr(derOf(files.read('istio.pem')));
    assert.ok(parsed.ok);
    assert.deepEqual(parsed.request.requestedUris, [productpage]);
    assert.equal(requestsOtherThan(parsed.request, productpage), undefined);
    assert.equal(requestsOtherThan(parsed.request, reviews)?.reason, 'asks-for-another-name');
  });

  it('that names its caller and, at the end, another is refused', () => {
    const parsed = parseCsr(withAttributes(extensionRequest(uriName(...Array.from({ length: 40 }, () => productpage), reviews))));
    assert.ok(parsed.ok);
    assert.equal(requestsOtherThan(parsed.request, productpage)?.reason, 'asks-for-another-name');
  });

  it('with DNS names is read, and they give nothing', () => {
    const parsed = parseCsr(withAttributes(extensionRequest(extension('2.5.29.17', sequence(primitive(2, Buffer.from('bank.example.com')))))));
    assert.ok(parsed.ok);
    assert.deepEqual(parsed.request.requestedDnsNames, ['bank.example.com']);
    assert.equal(requestsOtherThan(parsed.request, productpage), undefined);
  });

  const good = createCsr(keyOf('P-256'));
  const other = createCsr(keyOf('P-256'));
  const p256 = keyOf('P-256');
  const resigned = (signed: Buffer, identifier = sequence(objectIdentifier('1.2.840.10045.4.3.2'))): Buffer => sequence(signed, identifier, bitString(sign('sha256', signed, p256)));
  const holding = (publicKey: Buffer, identifier?: Buffer): Buffer => resigned(sequence(integer(0), sequence(), publicKey, constructed(0)), identifier);
  const ecKey = (curve: string, point: Buffer): Buffer => sequence(sequence(objectIdentifier('1.2.840.10045.2.1'), objectIdentifier(curve)), bitString(point));
  const rsaKey = (modulus: Buffer, exponent: number | Buffer): Buffer => sequence(sequence(objectIdentifier('1.2.840.113549.1.1.1'), nullElement), bitString(sequence(integer(modulus), integer(exponent))));
  const openssl = (setup: (files: Workspace) => void) => (): Buffer => {
    setup(files);
    return derOf(files.read('made.pem'));
  };
  const table: readonly [why: string, reason: string, der: () => Buffer][] = [
    ['is larger than 16 KiB', 'too-large', () => Buffer.alloc(csrBytesMax + 1)],
    ['is empty', 'malformed', () => Buffer.alloc(0)],
    ['has a byte after its end', 'malformed', () => Buffer.concat([good, Buffer.of(0)])],
    ['has its last byte changed', 'signature-invalid', () => Buffer.from(good.map((byte, index) => (index === good.length - 1 ? byte ^ 1 : byte)))],
    ['carries the signature of another key', 'signature-invalid', () => swapSignature(good, other)],
    ['has an RSA key of 1024 bits', 'key-weak', openssl(({ openssl: run, path }) => run('req', '-new', '-newkey', 'rsa:1024', '-nodes', '-keyout', path('weak.key'), '-subj', '/', '-out', path('made.pem')))],
    ['has an RSA key with exponent 3', 'key-weak', openssl(({ openssl: run, path }) => {
      run('genpkey', '-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:2048', '-pkeyopt', 'rsa_keygen_pubexp:3', '-out', path('e3.key'));
      run('req', '-new', '-key', path('e3.key'), '-subj', '/', '-out', path('made.pem'));
    })],
    ['has a key on secp256k1', 'key-unsupported', openssl(({ openssl: run, path, write }) => {
      write('k1.key', pkcs8Pem(keyOf('secp256k1')));
      run('req', '-new', '-key', path('k1.key'), '-subj', '/', '-out', path('made.pem'));
    })],
    ['has a key on P-521', 'key-unsupported', () => createCsr(keyOf('P-521'))],
    ['has an Ed25519 key', 'key-unsupported', openssl(({ openssl: run, path }) => run('req', '-new', '-newkey', 'ed25519', '-nodes', '-keyout', path('ed.key'), '-subj', '/', '-out', path('made.pem')))],
    ['has an EC key with explicit parameters', 'key-unsupported', openssl(({ openssl: run, path }) => {
      run('ecparam', '-name', 'prime256v1', '-param_enc', 'explicit', '-genkey', '-noout', '-out', path('explicit.key'));
      run('req', '-new', '-key', path('explicit.key'), '-subj', '/', '-out', path('made.pem'));
    })],
    ['is signed with SHA-1', 'signature-algorithm', openssl(({ openssl: run, path }) => run('req', '-new', '-sha1', '-newkey', 'rsa:2048', '-nodes', '-keyout', path('sha1.key'), '-subj', '/', '-out', path('made.pem')))],
    ['is signed with RSASSA-PSS', 'signature-algorithm', openssl(({ openssl: run, path }) => run('req', '-new', '-sigopt', 'rsa_padding_mode:pss', '-newkey', 'rsa:2048', '-nodes', '-keyout', path('pss.key'), '-subj', '/', '-out', path('made.pem')))],
    ['holds a point that is not on its curve', 'key-malformed', () => holding(ecKey('1.2.840.10045.3.1.7', Buffer.of(4, ...Buffer.alloc(64, 7))))],
    ['holds a point whose coordinates are outside its field', 'key-malformed', () => holding(ecKey('1.2.840.10045.3.1.7', Buffer.of(4, ...Buffer.alloc(64, 0xff))))],
    ['holds a point too short for its curve', 'key-malformed', () => holding(ecKey('1.3.132.0.34', Buffer.of(4, ...Buffer.alloc(64, 7))))],
    ['holds a compressed point', 'key-malformed', () => holding(ecKey('1.2.840.10045.3.1.7', Buffer.of(2, ...Buffer.alloc(32, 7))))],
    ['has an RSA key with an even exponent', 'key-weak', () => holding(rsaKey(Buffer.alloc(256, 0xff), 65_538))],
    ['has an RSA key with an exponent as long as its modulus', 'key-weak', () => holding(rsaKey(Buffer.alloc(256, 0xff), Buffer.alloc(256, 0x7f)))],
    ['has an RSA key of 8200 bits', 'key-weak', () => holding(rsaKey(Buffer.alloc(1025, 0xff), 65_537))],
    ['has an RSA key that did not sign it', 'signature-invalid', () => holding(rsaKey(Buffer.alloc(256, 0xff), 65_537), sequence(objectIdentifier('1.2.840.113549.1.1.11'), nullElement))],
    ['asks for CA:TRUE', 'asks-for-ca-rights', () => withAttributes(extensionRequest(extension('2.5.29.19', sequence(boolean(true)))))],
    ['asks for keyCertSign', 'asks-for-ca-rights', () => withAttributes(extensionRequest(extension('2.5.29.15', namedBits(keyUsages.keyCertSign))))],
    ['asks for extensions twice', 'malformed', () => withAttributes(extensionRequest(), extensionRequest(extension('2.5.29.19', sequence(boolean(true)))))],
    ['asks for two subjectAltNames', 'malformed', () => withAttributes(extensionRequest(uriName(productpage), uriName(reviews)))],
    ['is of version 2', 'malformed', () => resigned(sequence(integer(1), sequence(), sequence(), constructed(0)))],
    ['is a certificate', 'malformed', openssl(({ openssl: run, path }) => run('req', '-x509', '-new', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', path('x.key'), '-subj', '/CN=x', '-out', path('made.pem')))],
  ];
  for (const [why, reason, der] of table) {
    it(`is refused when it ${why}`, () => {
      const parsed = parseCsr(der());
      assert.ok(!parsed.ok);
      assert.equal(parsed.reason, reason, parsed.detail);
      assert.match(csrErrorCode(parsed.reason), reason === 'key-weak' || reason === 'key-unsupported' ? /^csr-weak-key$/ : /^csr-invalid$/);
    });
  }

  it('of an intermediate CA asks for CA rights, so the CA that it is for would refuse it as a workload', async () => {
    const { csrPem } = await createCaRequest({ subject: { commonName: 'x' }, trustDomain });
    const parsed = parseCsr(derOf(csrPem));
    assert.ok(!parsed.ok && parsed.reason === 'asks-for-ca-rights');
  });

  it('with any one bit changed is refused, and never throws', () => {
    fc.assert(
      fc.property(fc.nat(good.length - 1), fc.nat(7), (index, bit) => {
        const changed = Buffer.from(good);
        changed[index]! ^= 1 << bit;
        assert.equal(parseCsr(changed).ok, false);
      }),
      { numRuns: 300 },
    );
  });

  it('made of any bytes is refused, and never throws', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), fc.boolean(), (bytes, wrapped) => assert.equal(parseCsr(wrapped ? sequence(bytes) : Buffer.from(bytes)).ok, false)), { numRuns: 300 });
  });
});

/** The first CSR's content under the second one's signature. */
function swapSignature(content: Buffer, signature: Buffer): Buffer {
  const [ours, theirs] = [new DerReader(content).enter(tags.sequence), new DerReader(signature).enter(tags.sequence)];
  theirs.any();
  return sequence(ours.any().whole, theirs.any().whole, theirs.any().whole);
}
