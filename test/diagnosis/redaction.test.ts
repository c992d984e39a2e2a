import assert from 'node:assert/strict';
import { generateKeyPairSync, randomBytes, type KeyObject } from 'node:crypto';
import fc from 'fast-check';
import { bundleFiles, createRedaction, tarOf } from '../../src/diagnosis/index.ts';

/** A secret as it is written, and what of it must not be seen anywhere. */
interface Secret {
  readonly text: string;
  readonly cores: readonly string[];
}

const keys: readonly KeyObject[] = [generateKeyPairSync('ec', { namedCurve: 'P-256' }), generateKeyPairSync('ed25519'), generateKeyPairSync('rsa', { modulusLength: 2048 })].map(({ privateKey }) => privateKey);
const pems = keys.flatMap((key) => [key.export({ format: 'pem', type: 'pkcs8' }), ...(key.asymmetricKeyType === 'ec' ? [key.export({ format: 'pem', type: 'sec1' })] : []), ...(key.asymmetricKeyType === 'rsa' ? [key.export({ format: 'pem', type: 'pkcs1' })] : [])]).map(String);
const ders = keys.map((key) => key.export({ format: 'der', type: 'pkcs8' }).toString('base64'));
/** Any stretch of it would do harm. */
const piecesOf = (text: string): readonly string[] => text.replaceAll(/-----[^-]*-----/g, '').split('\n').flatMap((line) => line.match(/.{32}/g) ?? []);

const word = fc.stringMatching(/^[A-Za-z0-9]{14,30}$/);
const segment = fc.stringMatching(/^[A-Za-z0-9_-]{16,40}$/);
const of = (write: (core: string) => string): fc.Arbitrary<Secret> => word.map((core) => ({ text: write(core), cores: [core] }));

/** Told by what they look like. */
const shaped: readonly (readonly [name: string, secret: fc.Arbitrary<Secret>])[] = [
  ['a private key in PEM', fc.constantFrom(...pems).map((text) => ({ text, cores: piecesOf(text) }))],
  ['a private key in PEM that breaks off', fc.constantFrom(...pems).map((pem) => ({ text: pem.slice(0, -40), cores: piecesOf(pem.slice(0, -60)) }))],
  ['a private key in DER', fc.constantFrom(...ders).map((text) => ({ text, cores: piecesOf(text) }))],
  ['a web token', fc.tuple(segment, segment).map(([claims, signature]) => ({ text: `eyJhbGciOiJSUzI1NiJ9.${claims}.${signature}`, cores: [claims, signature] }))],
  ['a join token', segment.map((core) => ({ text: `sallyport-join-${core}`, cores: [core] }))],
  ['a bearer token', of((core) => `Authorization: Bearer ${core}`)],
  ['a bearer token in small letters', of((core) => `bearer ${core}`)],
  ['a header of another scheme', of((core) => `Proxy-Authorization: Digest username="bob", response="${core}"`)],
  ['a cookie', of((core) => `Set-Cookie: session=${core}; HttpOnly`)],
  ['basic credentials', of((core) => `authorization: Basic ${core}==`)],
  ['a password in a URL', of((core) => `ftp://bob:${core}@ftp.partner.example/in`)],
  ['a token in a URL', of((core) => `https://${core}@git.example/a.git`)],
  ['a password of FTP', of((core) => `PASS ${core}`)],
  ['a named value', of((core) => `password=${core}`)],
  ['a quoted named value', of((core) => `db_password: "so ${core}"`)],
  ['an option', of((core) => `--admin-token=${core}`)],
  ['a query', of((core) => `/v1/a?b=c&api_key=${core}&d=e`)],
];

const prefix = fc.constantFrom('', 'a line: ', 'connecting to the partner with ', '2026-11-21T20:00:00Z ');
const suffix = fc.constantFrom('', ' failed', ', and then some more words here', '\nthe next line');

/** Where text stands. */
const places: readonly (readonly [name: string, put: (text: string) => unknown])[] = [
  ['a log', (text) => `begin\n${text}\nend\n`],
  ['a record of a log', (text) => `{"level":30}\n${JSON.stringify({ level: 30, msg: text })}\nend\n`],
  ['an annotation', (text) => ({ metadata: { annotations: { note: text } } })],
  ['the name of a label', (text) => ({ metadata: { labels: { [text]: '1' } } })],
  ['a list of arguments', (text) => ({ spec: { containers: [{ name: 'a', args: ['serve', text] }] } })],
  ['a message', (text) => [{ status: { conditions: [{ type: 'Accepted', message: text }] } }]],
  ['JSON in an annotation', (text) => ({ metadata: { annotations: { was: JSON.stringify({ spec: { inner: text } }) } } })],
  ['JSON in a record of a log', (text) => `${JSON.stringify({ msg: 'a', body: JSON.stringify([{ inner: text }]) })}\n`],
  ['Base64', (text) => ({ data: { blob: Buffer.from(text).toString('base64') } })],
  ['Base64 after what looks like it', (text) => `request 01HZX3V4Q8Y5B7N2K6M9P0R1ST ${Buffer.from(text).toString('base64')}\n`],
  ['Base64 in lines', (text) => `${Buffer.from(text).toString('base64').replaceAll(/.{64}/g, '$&\n')}\nand words that follow\n`],
];

function archiveOf(content: unknown): string {
  const collected = { files: [{ path: 'a.yaml', content }], notes: [typeof content === 'string' ? content : 'none'] };
  return tarOf(bundleFiles(collected, createRedaction(), { hidesAddresses: false }), 0).toString('latin1');
}

describe('the redaction of a support bundle', () => {
  for (const [what, secret] of shaped) {
    it(`takes out ${what}, wherever it stands`, () => {
      fc.assert(
        fc.property(secret, prefix, suffix, fc.constantFrom(...places), ({ text, cores }, ahead, behind, [place, put]) => {
          const archive = archiveOf(put(`${ahead}${text}${behind}`));
          for (const core of cores) {
            for (const form of [core, Buffer.from(core).toString('base64').slice(4, -4)]) assert.ok(!archive.includes(form), `${place}: ${archive.slice(0, 4_000).replaceAll('\0', '')}`);
          }
        }),
        { numRuns: 80 },
      );
    });
  }

  const named: readonly (readonly [name: string, put: (core: string) => unknown])[] = [
    ['a variable of a process', (core) => ({ env: [{ name: 'ANY', value: core }] })],
    ['one in JSON in an annotation', (core) => ({ annotations: { was: JSON.stringify({ env: [{ name: 'ANY', value: core }] }) } })],
    ['a member whose name says so', (core) => ({ a: { dbPassword: core } })],
    ['a named value in a record of a log', (core) => `${JSON.stringify({ 'x-api-key': `so ${core}` })}\n`],
    ['one in JSON in text', (core) => `received ${JSON.stringify({ token: `a "${core}" b` })} from it`],
    ['one in JSON in JSON in text', (core) => `received ${JSON.stringify({ body: JSON.stringify({ secret: `a "${core}" b` }) })} from it`],
  ];
  for (const [what, put] of named) {
    it(`takes out ${what}, whatever it looks like`, () => {
      fc.assert(fc.property(word, (core) => assert.ok(!archiveOf(put(core)).includes(core))));
    });
  }

  for (const piece of ['a', 'a-', 'a.', 'token ', 'eyJ', '-----BEGIN PRIVATE KEY', '://', 'Zm9v\n', '1.', 'password\\']) {
    it(`reads a megabyte of ${JSON.stringify(piece)} in a time that grows with it`, () => {
      createRedaction({ addressKey: Buffer.alloc(32) }).text(piece.repeat(1_000_000 / piece.length));
    });
  }

  it('leaves what is no secret', () => {
    const certificate = 'MIIBszCCAVmgAwIBAgIUQzJ5b3NlcmlhbG51bWJlcmlzaGVyZTAKBggqhkjOPQQDAjAXMRUwEwYDVQQDDAxzYWxseXBvcnQ=';
    for (const value of [
      { metadata: { name: 'a', uid: '0f6b1c9e-7f57-4a2e-9c1c-0d2f2f0d6c11' }, spec: { addresses: ['10.4.0.0/27'], secretName: 'sallyport-ca' } },
      { args: ['gateway', '--pod-token-file=/var/run/secrets/sallyport/token', '--control=sallyport.sallyport-system.svc.cluster.local:15012'] },
      { env: [{ name: 'SALLYPORT_STATE', value: '/state' }, { name: 'POD_NAME', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } }] },
      { caBundle: Buffer.from(`-----BEGIN CERTIFICATE-----\n${certificate}\n-----END CERTIFICATE-----\n`).toString('base64') },
      { revision: randomBytes(32).toString('hex'), message: 'all pods are ready (2 of 2), PASS-through is not asked for' },
    ]) {
      assert.deepEqual(createRedaction().value(value), value);
    }
  });

  it('leaves addresses where they are to stay', () => {
    const text = 'from 10.4.0.7:3128 to [2001:db8::1]:21';
    assert.equal(createRedaction().text(text), text);
  });

  describe('of addresses', () => {
    const redaction = createRedaction({ addressKey: Buffer.alloc(32) });
    const wordFor = (address: string): string => redaction.text(address);

    it('writes one word for an address, however it is written, and others for others', () => {
      assert.match(wordFor('10.4.0.7'), /^address-[0-9a-f]{10}$/);
      assert.equal(wordFor('2001:db8::1'), wordFor('2001:0DB8:0:0::1'));
      assert.notEqual(wordFor('10.4.0.7'), wordFor('10.4.0.8'));
      assert.notEqual(wordFor('10.4.0.7'), createRedaction({ addressKey: Buffer.alloc(32, 1) }).text('10.4.0.7'));
    });

    for (const [text, expected] of [
      ['10.4.0.7:3128, 10.4.0.7/32 and 10.4.0.7-10.4.0.8', `${wordFor('10.4.0.7')}:3128, ${wordFor('10.4.0.7')}/32 and ${wordFor('10.4.0.7')}-${wordFor('10.4.0.8')}`],
      ['[2001:db8::1]:21', `[${wordFor('2001:db8::1')}]:21`],
      ['"10.4.0.7.1024"', `"${wordFor('10.4.0.7')}.1024"`],
      ['2001.db8.0.0.0.0.0.1.1024', `${wordFor('2001:db8::1')}.1024`],
      ['127.0.0.1:15020 at 20:39:00, [::]:15012, version 1.35.0', '127.0.0.1:15020 at 20:39:00, [::]:15012, version 1.35.0'],
    ] as const) {
      it(`reads ${text}`, () => assert.equal(redaction.text(text), expected));
    }
  });
});
