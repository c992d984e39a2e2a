import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import pino from 'pino';
import { createAuthority, createDemoPki, openCaStore, type Authority } from '../../src/ca/index.ts';
import type { TrustDomain } from '../../src/core/spiffe-id.ts';
import { waitFor } from '../../src/demo/processes.ts';
import { createApiClient } from '../../src/kubernetes/client.ts';
import { openSecretText, type SecretText } from '../../src/kubernetes/secret-text.ts';
import { useKubernetes } from '../support/kubernetes.ts';

const trustDomain = 'cluster.local' as TrustDomain;

describe('a text that replicas share in a Secret', function () {
  const server = useKubernetes(this);
  const opened = new Set<SecretText>();
  after(() => {
    for (const each of opened) each.close();
  });
  const open = (name: string): SecretText => {
    const text = openSecretText({ client: createApiClient(server().kubeConfig()), namespace: 'default', name, key: 'ca.json', random: Math.random, log: pino({ level: 'silent' }) });
    opened.add(text);
    return text;
  };

  it('is written by whoever has seen what he replaces, and by nobody else', async () => {
    const [one, other] = [open('a'), open('a')];
    assert.deepEqual([await one.read(), await other.read()], [undefined, undefined]);
    assert.deepEqual([await one.write('1'), await other.write('2')], ['written', 'outdated']);
    assert.deepEqual([await other.read(), await other.write('2'), await one.write('3')], ['1', 'written', 'outdated']);
    assert.equal(await one.read(), '2');
  });

  it('is written into a Secret that is there without it', async () => {
    await createApiClient(server().kubeConfig()).request({ method: 'POST', path: '/api/v1/namespaces/default/secrets', body: { apiVersion: 'v1', kind: 'Secret', metadata: { name: 'empty', namespace: 'default', labels: { kept: 'yes' } } } });
    const text = open('empty');
    assert.equal(await text.read(), undefined);
    assert.equal(await text.write('1'), 'written');
    assert.equal(await open('empty').read(), '1');
  });

  it('is told to the others when it is written', async () => {
    const [one, other] = [open('told'), open('told')];
    await one.read();
    await one.write('1');
    await other.read();
    let times = 0;
    other.watch(() => (times += 1));
    await one.write('2');
    await waitFor('the word', 5_000, () => (times > 0 ? true : undefined));
  });

  it('holds the CA of several replicas: no step of one undoes a step of another, and none signs for longer than it stays trusted', async () => {
    const replica = async (): Promise<Authority> => {
      const store = openCaStore(open('ca'), { passphrase: 'secret', scryptCost: { cost: 2 ** 10, blockSize: 8, parallelization: 1 } });
      return createAuthority({ trustDomain, slots: await store.load(), save: store.save, now: Date.now, randomBytes });
    };
    const [one, other] = [await replica(), await replica()];
    const [first, second] = await Promise.all([createDemoPki({ trustDomain, nowMs: Date.now(), randomBytes }), createDemoPki({ trustDomain, nowMs: Date.now(), randomBytes })]);
    await one.rotate({ type: 'initialize', issuer: first.intermediate, nowMs: Date.now() });
    await assert.rejects(other.rotate({ type: 'initialize', issuer: second.intermediate, nowMs: Date.now() }), /initialized already/);
    assert.equal(other.slots.active?.issuer.chain.fingerprint, first.intermediate.chain.fingerprint);
    const untilMs = Date.now() + 50 * 3_600_000;
    const { fingerprint } = first.intermediate.chain;
    await Promise.all([one.rotate({ type: 'reserve', fingerprint, untilMs }), other.rotate({ type: 'prepare', issuer: second.intermediate })]);
    const { slots } = await replica();
    assert.equal(slots.prepared?.issuer.chain.fingerprint, second.intermediate.chain.fingerprint);
    assert.ok(slots.active!.issuedUntilMs >= untilMs);
  });
});
