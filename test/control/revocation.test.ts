/** Revoking where several replicas issue: whoever has issued a certificate is the only one to know its number. */
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import type { Authority, IssuedCertificate } from '../../src/ca/index.ts';
import { createIssuance, type Issuance } from '../../src/control/issuance.ts';
import type { ReplicatedState } from '../../src/control/replicated-state.ts';
import { sectionExpiry, type ControlSections } from '../../src/control/sections.ts';
import { createCsr } from '../../src/core/x509/csr.ts';
import { parseMeshCertificate, type X509Svid } from '../../src/core/x509/x509-svid.ts';
import { waitFor } from '../../src/demo/processes.ts';
import { openLedger, openStateStore, type StateStore } from '../../src/store/index.ts';
import { demoAuthority, productpage } from '../ca/openssl.ts';
import { rejection } from '../support/rejection.ts';
import { createSharedText, type SharedText } from './support/shared-text.ts';

const withinMs = 5_000;
const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });

interface Replica {
  readonly issuance: Issuance;
  readonly shared: ReplicatedState;
  readonly store: StateStore<ControlSections>;
  /** Identities that gateways and streams were told of. */
  readonly told: Set<string>;
  issue(pod?: string): Promise<IssuedCertificate>;
  /** Those that gateways are to refuse. */
  revoked(): readonly string[];
  recorded(): Promise<readonly string[]>;
  stop(): Promise<void>;
}

describe('revoking at replicas', () => {
  let directory: string;
  let authority: Authority;
  let text: SharedText;
  let offsetMs: number;
  const running = new Set<Replica>();
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'sallyport-revoking-'));
    offsetMs = 0;
    ({ authority } = await demoAuthority({ now }));
    text = createSharedText();
  });
  afterEach(async () => {
    for (const replica of running) await replica.stop();
    await rm(directory, { recursive: true, force: true });
  });

  const now = () => Date.now() + offsetMs;

  /** @param skewMs by how much its clock is ahead */
  async function start(name: string, skewMs = 0): Promise<Replica> {
    const now = (): number => Date.now() + offsetMs + skewMs;
    const store = await openStateStore<ControlSections>({ directory: join(directory, name, 'state'), now, expiresAt: sectionExpiry });
    const ledger = await openLedger({ directory: join(directory, name, 'ledger'), now });
    const shared = text.state(now);
    const told = new Set<string>();
    const issuance = createIssuance({ store, shared, ledger, now, random: () => 0, onRevoked: (identities) => identities.forEach((each) => told.add(each)), log: pino({ level: 'silent' }) });
    const replica: Replica = {
      issuance,
      shared,
      store,
      told,
      issue(podName) {
        const pod = podName === undefined ? undefined : { name: podName, uid: podName, node: null };
        return issuance.issue('join-token', () => authority.issueSvid({ spiffeId: productpage, csr: createCsr(privateKey), pod }), pod);
      },
      revoked: () => issuance.revoked().map(({ serialNumber }) => serialNumber),
      async recorded() {
        const found: string[] = [];
        for await (const { record } of ledger.tail()) if (record.type === 'certificate-revoked') found.push(record.serialNumber);
        return found;
      },
      async stop() {
        running.delete(replica);
        issuance.close();
        shared.close();
        await ledger.close();
        await store.close();
      },
    };
    running.add(replica);
    await shared.ready.catch(() => undefined);
    return replica;
  }

  const shown = ({ chainDer }: IssuedCertificate): X509Svid => {
    const parsed = parseMeshCertificate(chainDer[0]!);
    assert.ok(parsed.ok);
    return parsed.svid;
  };
  const same = (a: readonly string[], b: readonly string[]): true | undefined => (a.length === b.length && a.every((each) => b.includes(each)) ? true : undefined);

  it('an identity revokes what each of them has issued, and tells it to all; what is issued later is good', async () => {
    const [one, other] = [await start('one'), await start('other')];
    const before = [(await one.issue()).serialNumber, (await other.issue('pod-a')).serialNumber, (await other.issue()).serialNumber];
    assert.ok((await one.issuance.revoke({ spiffeId: productpage })).includes(before[0]!));
    for (const replica of [one, other]) {
      await waitFor('all of it to be known', withinMs, () => same(replica.revoked(), before));
      assert.deepEqual([...replica.told], [productpage]);
      assert.ok(replica.issuance.isPodRevoked('pod-a'));
    }
    assert.deepEqual(await one.recorded(), [before[0]]);
    await waitFor('the other’s records', withinMs, async () => same(await other.recorded(), before.slice(1)));
    const later = await other.issue();
    assert.deepEqual([one, other].map(({ issuance }) => issuance.isRevokedAsShown(shown(later))), [false, false]);
    await other.stop();
    const again = await start('other');
    assert.ok(same(again.revoked(), before), 'an order is carried out once');
    assert.equal(again.issuance.isRevokedAsShown(shown(later)), false);
  });

  it('stands at one whose clock is so far ahead that the certificate has expired there, and what that one writes takes it from nobody', async () => {
    const [one, ahead] = [await start('one'), await start('ahead', 90 * 60_000)];
    const { serialNumber } = await one.issue();
    await one.issuance.revoke({ serialNumber });
    await waitFor('it to be known', withinMs, () => same(ahead.revoked(), [serialNumber]));
    await ahead.shared.change(() => ({ put: { tokens: { any: { spiffeId: productpage, expiresAtMs: now() + 86_400_000 } } }, result: undefined }));
    for (const replica of [one, ahead]) assert.ok(replica.revoked().includes(serialNumber));
    assert.ok(one.issuance.isRevoked(serialNumber));
  });

  it('is not all that goes beyond one: what a renewal is granted again the certificate says', async () => {
    const [one, other] = [await start('one'), await start('other')];
    const lifetimeMs = 90 * 86_400_000;
    const proxy = await one.issuance.issue('join-token', () => authority.issueSvid({ spiffeId: productpage, csr: createCsr(privateKey), purpose: 'proxy', lifetimeMs }));
    const certificate = { svid: shown(proxy), purpose: 'proxy' } as const;
    assert.equal(one.issuance.granted(certificate).proxyLifetimeMs, lifetimeMs);
    assert.ok(Math.abs(other.issuance.granted(certificate).proxyLifetimeMs! - lifetimeMs) <= 5 * 60_000);
    assert.deepEqual(other.issuance.granted({ svid: shown(await one.issue()), purpose: 'svid' }), {});
  });

  it('names what was issued elsewhere only, by identity or serial number', async () => {
    const [one, other] = [await start('one'), await start('other')];
    const [first, second, third] = [await other.issue(), await other.issue(), await other.issue()].map(({ serialNumber }) => serialNumber);
    assert.deepEqual(await one.issuance.revoke({ serialNumber: second }), [second]);
    assert.deepEqual(other.revoked(), [second]);
    assert.deepEqual(new Set(await one.issuance.revoke({ spiffeId: productpage })), new Set([first, third]));
  });

  it('says that there is none where nobody has issued one', async function () {
    this.timeout(10_000);
    const [one] = [await start('one'), await start('other')];
    const error = await rejection(one.issuance.revoke({ serialNumber: 'abcd' }));
    assert.deepEqual([error.code, error.hint], ['not-found', 'no replica that answers has issued one; one that is away revokes what it has when it is back']);
  });

  it('is carried out by one that was away, as soon as it is back', async function () {
    this.timeout(10_000);
    const [one, other] = [await start('one'), await start('other')];
    const { serialNumber } = await other.issue();
    await other.shared.change(() => ({ put: { tokens: { spent: { spiffeId: productpage, expiresAtMs: now() + 60_000, spentBy: 'k' } } }, result: undefined }));
    await other.stop();
    assert.equal((await rejection(one.issuance.revoke({ spiffeId: productpage }))).code, 'not-found');
    assert.equal(one.shared.get('tokens', 'spent'), undefined);
    await start('other');
    await waitFor('its number', withinMs, () => same(one.revoked(), [serialNumber]));
  });

  it('keeps out of the control plane what one had issued that does not come back, and nothing that is issued after', async () => {
    const [one, gone] = [await start('one'), await start('gone')];
    const before = await gone.issue();
    const own = await one.issue();
    offsetMs += 2_000;
    await gone.stop();
    await one.issuance.revoke({ spiffeId: productpage });
    offsetMs += 2_000;
    const third = await start('third');
    const after = await third.issue();
    assert.deepEqual([before, own, after].map((each) => one.issuance.isRevokedAsShown(shown(each))), [true, true, false]);
    assert.equal(third.issuance.isRevokedAsShown(shown(before)), true);
  });

  it('reaches the pod of a certificate that another has renewed', async () => {
    const [one, other] = [await start('one'), await start('other')];
    const { pod } = other.issuance.granted({ svid: shown(await one.issue('pod-a')), purpose: 'svid' });
    assert.deepEqual(pod, { name: 'pod-a', uid: 'pod-a', node: null });
    const { serialNumber } = await other.issuance.issue('certificate', () => authority.issueSvid({ spiffeId: productpage, csr: createCsr(privateKey), pod }), pod);
    await one.issuance.revoke({ serialNumber });
    assert.ok(one.issuance.isPodRevoked('pod-a'));
  });

  it('takes the spent join tokens of the identity with it, and leaves the others', async () => {
    const [one, other] = [await start('one'), await start('other')];
    await other.issue();
    const token = { spiffeId: productpage, expiresAtMs: now() + 60_000 };
    await one.shared.change(() => ({ put: { tokens: { spent: { ...token, spentBy: 'k' }, unspent: token } }, result: undefined }));
    await one.issuance.revoke({ spiffeId: productpage });
    assert.deepEqual([...one.shared.entries('tokens')].map(([key]) => key), ['unspent']);
  });

  it('is refused while the API server is away; what is known by then is told to the others afterwards', async function () {
    this.timeout(10_000);
    const [one, other] = [await start('one'), await start('other')];
    const { serialNumber } = await other.issue();
    text.setAway(true);
    assert.equal((await rejection(one.issuance.revoke({ spiffeId: productpage }))).code, 'unavailable');
    assert.deepEqual(one.revoked(), []);
    text.setAway(false);
    await one.issuance.revoke({ spiffeId: productpage });
    await waitFor('the number', withinMs, () => same(one.revoked(), [serialNumber]));
  });

  it('is told to the gateways of the one that has issued, also where it cannot tell the others yet', async function () {
    this.timeout(10_000);
    const [one, other] = [await start('one'), await start('other')];
    const { serialNumber } = await other.issue();
    other.shared.onPut(({ orders = {} }) => productpage in orders && text.setAway(true));
    assert.equal((await rejection(one.issuance.revoke({ spiffeId: productpage }))).code, 'not-found');
    assert.deepEqual([one.revoked(), other.revoked()], [[], [serialNumber]]);
    text.setAway(false);
    await waitFor('the others to know', withinMs, () => same(one.revoked(), [serialNumber]));
    await waitFor('the record', withinMs, async () => same(await other.recorded(), [serialNumber]));
  });
});
