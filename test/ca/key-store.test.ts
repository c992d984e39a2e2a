import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { chmodSync, existsSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { createCaRequest, createDemoPki, noSlots, openCaDirectory, type CaStore, type RotationState } from '../../src/ca/index.ts';
import { SallyportError, type ErrorCode } from '../../src/core/errors.ts';
import { rotate, type RotationEvent } from '../../src/ca/rotation.ts';
import { pkcs8Pem, trustDomain, workspace, type Workspace } from './openssl.ts';

const scryptCost = { cost: 2 ** 10, blockSize: 8, parallelization: 1 }; // the real one takes a third of a second each

const refusedWith = (code: ErrorCode, pattern: RegExp) => (error: unknown): boolean => {
  assert.ok(error instanceof SallyportError, String(error));
  assert.equal(error.code, code);
  assert.match(error.message, pattern);
  assert.doesNotMatch(`${error.message} ${error.hint ?? ''}`, /richtig|falsch/);
  return true;
};

describe('the CA directory', () => {
  let files: Workspace;
  let full: RotationState; // something in every slot
  before(async () => {
    const nowMs = Date.now();
    const [first, second, third] = await Promise.all(Array.from({ length: 3 }, () => createDemoPki({ trustDomain, nowMs, randomBytes })));
    const request = await createCaRequest({ subject: { commonName: 'next' }, trustDomain });
    const events: readonly RotationEvent[] = [
      { type: 'initialize', issuer: first!.intermediate, nowMs },
      { type: 'reserve', fingerprint: first!.intermediate.chain.fingerprint, untilMs: nowMs + 3_600_000 },
      { type: 'prepare', issuer: second!.intermediate },
      { type: 'acknowledged', fingerprint: second!.intermediate.chain.fingerprint },
      { type: 'activate', nowMs },
      { type: 'prepare', issuer: third!.intermediate },
      { type: 'published', fingerprint: third!.intermediate.chain.fingerprint, nowMs },
      { type: 'requested', request },
    ];
    full = events.reduce((state, event) => {
      const step = rotate(state, event);
      assert.ok(step.ok);
      return step.state;
    }, noSlots);
  });
  beforeEach(() => { files = workspace(); });
  afterEach(() => files.dispose());

  const open = (passphrase?: string): CaStore => openCaDirectory(files.path('ca'), passphrase === undefined ? {} : { passphrase, scryptCost });
  const file = (): string => files.path('ca/ca.json');
  const stored = (): string => readFileSync(file(), 'utf8');
  const assertSame = (loaded: RotationState): void => {
    for (const slot of ['active', 'prepared'] as const) {
      assert.deepEqual({ ...loaded[slot], issuer: null }, { ...full[slot], issuer: null });
      assert.deepEqual(loaded[slot]!.issuer.chain, full[slot]!.issuer.chain);
      assert.ok(loaded[slot]!.issuer.privateKey.equals(full[slot]!.issuer.privateKey));
    }
    assert.deepEqual(loaded.old, full.old);
    assert.equal(loaded.requested!.csrPem, full.requested!.csrPem);
    assert.ok(loaded.requested!.privateKey.equals(full.requested!.privateKey));
  };

  it('is empty at first', async () => {
    assert.deepEqual(await open().load(), noSlots);
    assert.equal(existsSync(files.path('ca')), false);
  });

  for (const passphrase of [undefined, 'richtig']) {
    it(`gives back every slot as it was saved, ${passphrase === undefined ? 'without' : 'with'} a passphrase, in a file for its owner alone`, async () => {
      await open(passphrase).save(full);
      assertSame(await open(passphrase).load());
      assert.equal(statSync(file()).mode & 0o777, 0o600);
      assert.equal(statSync(files.path('ca')).mode & 0o777, 0o700);
      assert.deepEqual(readdirSync(files.path('ca')), ['ca.json']);
    });
  }

  it('with a passphrase holds no key in the clear, and the passphrase nowhere', async () => {
    await open('richtig').save(full);
    for (const { privateKey } of [full.active!.issuer, full.prepared!.issuer, full.requested!]) {
      const secret = privateKey.export({ format: 'jwk' }).d!;
      const der = privateKey.export({ type: 'pkcs8', format: 'der' });
      for (const form of [secret, der.toString('base64'), der.toString('base64').slice(0, 60), pkcs8Pem(privateKey).slice(30, 80)]) assert.equal(stored().includes(form), false);
    }
    assert.equal(stored().includes('richtig'), false);
  });

  it('says so when the passphrase is wrong or missing, and the file stays as it was', async () => {
    await open('richtig').save(full);
    const before = stored();
    await assert.rejects(open('falsch').load(), refusedWith('ca-key-invalid', /cannot be decrypted/));
    await assert.rejects(open().load(), refusedWith('ca-key-invalid', /no passphrase was given/));
    assert.equal(stored(), before);
  });

  it('is encrypted by the first save with a passphrase, and uses no nonce twice', async () => {
    await open().save(full);
    const directory = open('richtig');
    assertSame(await directory.load());
    const nonces: string[] = [];
    for (let count = 0; count < 5; count++) {
      await directory.save(full);
      nonces.push(...Array.from(stored().matchAll(/"iv": "([^"]+)"/g), ([, iv]) => iv!));
    }
    assert.equal(nonces.length, 15);
    assert.equal(new Set(nonces).size, 15);
    assertSame(await open('richtig').load());
  });

  it('refuses a file that others may read', async () => {
    await open().save(full);
    for (const mode of [0o640, 0o604]) {
      chmodSync(file(), mode);
      await assert.rejects(open().load(), refusedWith('ca-key-invalid', /others may read/));
    }
  });

  const changes: readonly [what: string, code: ErrorCode, change: (text: string) => string][] = [
    ['is cut', 'ca-certificate-invalid', (text) => text.slice(0, -100)],
    ['is empty', 'ca-certificate-invalid', () => ''],
    ['has a field that nobody wrote', 'ca-certificate-invalid', (text) => text.replace('"version": 1', '"version": 1, "more": 1')],
    ['is of a later version', 'ca-certificate-invalid', (text) => text.replace('"version": 1', '"version": 2')],
    ['wants a terabyte for scrypt', 'ca-certificate-invalid', (text) => text.replace('"cost": 1024', '"cost": 1073741824')],
    ['wants a cost that is no power of two', 'ca-certificate-invalid', (text) => text.replace('"cost": 1024', '"cost": 1025')],
    ['has another salt', 'ca-key-invalid', (text) => text.replace(/"salt": "...."?/, '"salt": "AAAA')],
    ['has a changed key', 'ca-key-invalid', (text) => text.replace(/"ciphertext": "..../, '"ciphertext": "AAAA')],
    ['has a shortened tag', 'ca-key-invalid', (text) => text.replaceAll(/"tag": "(.{8})[^"]*/g, (_, start: string) => `"tag": "${Buffer.from(start, 'base64').subarray(0, 4).toString('base64')}`)],
    ['has two slots swapped', 'ca-key-invalid', (text) => {
      const slots = JSON.parse(text) as { prepared: { key: unknown }; active: { key: unknown } };
      [slots.prepared.key, slots.active.key] = [slots.active.key, slots.prepared.key];
      return JSON.stringify(slots);
    }],
    ['has a damaged certificate', 'ca-certificate-invalid', (text) => text.replaceAll('BEGIN CERTIFICATE-----\\nMII', 'BEGIN CERTIFICATE-----\\nAII')],
    ['lost its certificates', 'ca-certificate-invalid', (text) => text.replaceAll('CERTIFICATE', 'NOTHING')],
  ];
  for (const [what, code, change] of changes) {
    it(`is refused when its file ${what}`, async () => {
      await open('richtig').save(full);
      const changed = change(stored());
      assert.notEqual(changed, stored(), 'the change took place');
      writeFileSync(file(), changed);
      await assert.rejects(open('richtig').load(), refusedWith(code, /./));
    });
  }

  it('in the clear refuses a key that is not its certificate\'s', async () => {
    await open().save(full);
    const slots = JSON.parse(stored()) as { prepared: { key: unknown }; active: { key: unknown } };
    slots.active.key = slots.prepared.key;
    writeFileSync(file(), JSON.stringify(slots));
    await assert.rejects(open().load(), refusedWith('ca-certificate-invalid', /does not belong/));
  });

  it('takes no harm from a writer that was killed, and lets nobody read along', async () => {
    await open().save(full);
    writeFileSync(`${file()}.new`, 'half', { mode: 0o644 });
    assertSame(await open().load());
    await open().save(full);
    assertSame(await open().load());
    assert.equal(statSync(file()).mode & 0o777, 0o600);
  });
});
