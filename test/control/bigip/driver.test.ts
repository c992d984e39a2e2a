import assert from 'node:assert/strict';
import { pino } from 'pino';
import { createBox } from '../../../src/control/bigip/box.ts';
import { startBigIpDriver, type BigIpDriver, type BigIpDriverOptions, type Timings } from '../../../src/control/bigip/driver.ts';
import { createManagementClient } from '../../../src/control/bigip/management-client.ts';
import type { JsonObject } from '../../../src/control/bigip/tenant.ts';
import type { Revision } from '../../../src/core/plan/plan.ts';
import { waitFor } from '../../../src/demo/processes.ts';
import { startBigIp, type BigIpManagement, type BigIpOptions } from '../../support/bigip/management.ts';
import { makePki } from '../../support/pki.ts';

const partition = 'partner';
const limitMs = 5_000;
const username = 'sallyport';
const password = 'correct horse';
const privateKeyPem = makePki().issue('spiffe://cluster.local/ns/sallyport-system/sa/f5').privateKeyPem;

interface Content {
  readonly revision?: string;
  readonly grants?: Readonly<Record<string, string>>;
  readonly pools?: readonly string[];
  readonly snatAddress?: string;
}

const record = ([key, value]: readonly [string, string]) => ({ key, value });

function declarationOf({ revision = 'r1', grants = {}, pools = ['pool'], snatAddress = '192.0.2.10' }: Content): JsonObject {
  const group = (records: Readonly<Record<string, string>>): JsonObject => ({ class: 'Data_Group', keyDataType: 'string', records: Object.entries(records).map(record) });
  const shared = {
    class: 'Application',
    template: 'generic',
    certificate: { class: 'Certificate', certificate: 'chain', privateKey: privateKeyPem },
    ...Object.fromEntries(pools.map((name) => [name, { class: 'Pool', members: [] }])),
    snat: { class: 'SNAT_Pool', snatAddresses: [snatAddress] },
    services: group({ 'ftp.example': 'partners/ftp:control /partner/shared/pool' }),
    grants: group(grants),
    settings: group({ gateway: 'f5', revision }),
  };
  return { class: 'ADC', schemaVersion: '3.49.0', id: 'f5', remark: revision, updateMode: 'selective', [partition]: { class: 'Tenant', shared } };
}

const allowed = '/partner/shared/snat team/policy';
const grantOf = (subject: string): string => `partners/ftp:control ${subject}`;

/** Timings of a test: what is not asked for does not come. */
const quick: Timings = { lookEveryMs: 3_600_000, trialEveryMs: 3_600_000, noteAfterMs: 3_600_000, synchronisedWithinMs: 100, pollEveryMs: 5, standbyMs: 5, backOff: { baseMs: 5, maxMs: 20 } };

describe('the driver of a BIG-IP', () => {
  const closers: (() => Promise<void>)[] = [];
  const logged: string[] = [];
  afterEach(async () => {
    for (const close of closers.splice(0).reverse()) await close();
    logged.splice(0);
  });

  async function start(options: BigIpOptions = {}): Promise<BigIpManagement> {
    const box = await startBigIp({ username, password, ...options });
    closers.push(() => box.close());
    return box;
  }

  interface Subject {
    readonly driver: BigIpDriver;
    want(content: Content): void;
    held(): Promise<void>;
  }

  function drive(boxes: readonly BigIpManagement[], content: Content, { timings = {}, secret = password, ca, answerWithinMs = 2_000, ...options }: Partial<Omit<BigIpDriverOptions, 'timings'>> & { readonly timings?: Partial<Timings>; readonly secret?: string; readonly ca?: () => string; readonly answerWithinMs?: number } = {}): Subject {
    let wanted = { declaration: declarationOf(content), revision: (content.revision ?? 'r1') as Revision };
    let timesHeld = 0;
    const log = pino({ level: 'trace' }, { write: (line: string) => void logged.push(line) });
    const all = { ...quick, ...timings };
    const driver = startBigIpDriver({
      gateway: 'f5',
      partition,
      repairsDrift: () => false,
      boxes: boxes.map(({ port, caPem }) => {
        const client = createManagementClient({ host: '127.0.0.1', port, credentials: () => Promise.resolve({ username, password: secret, ca: ca?.() ?? caPem }), answerWithinMs, now: Date.now });
        return createBox({ place: `127.0.0.1:${port}`, client, partition, pollEveryMs: all.pollEveryMs, declaredWithinMs: 2 * limitMs });
      }),
      keyPair: () => Promise.resolve({ certificateChainPem: 'chain', privateKeyPem, renewAtMs: Infinity }),
      want: () => wanted,
      mayWrite: () => true,
      timings: all,
      now: Date.now,
      random: () => 0.5,
      log,
      ...options,
      onHeld: () => (timesHeld += 1),
    });
    closers.push(() => driver.close());
    return {
      driver,
      want(next) {
        wanted = { declaration: declarationOf(next), revision: (next.revision ?? 'r1') as Revision };
        driver.wake();
      },
      async held() {
        const before = timesHeld;
        await waitFor('the box to be as it is to be', limitMs, () => (timesHeld > before ? true : undefined));
      },
    };
  }

  const recordsOf = (box: BigIpManagement, group: string): Readonly<Record<string, string>> => {
    const shared = box.running[partition]?.['shared'] as Record<string, { records: readonly { key: string; value: string }[] }> | undefined;
    return Object.fromEntries((shared?.[group]?.records ?? []).map(({ key, value }) => [key, value]));
  };
  const posts = (box: BigIpManagement): readonly string[] => box.requests.filter(({ method, path }) => method === 'POST' && path.startsWith('/mgmt/shared/appsvcs/declare')).map(({ path }) => path);
  const troubleOf = async ({ driver }: Subject, words: RegExp): Promise<string> => await waitFor(`trouble like ${words.source}; it is ${driver.status.trouble?.reason}`, limitMs, () => (words.test(driver.status.trouble?.reason ?? '') ? driver.status.trouble!.reason : undefined));

  it('declares what there is not, waits for the task, and has looked whether it is so', async () => {
    const box = await start();
    box.holdTasks();
    const subject = drive([box], { grants: { [grantOf('team')]: allowed } });
    await waitFor('a question for the task', limitMs, () => (box.requests.some(({ path }) => path.startsWith('/mgmt/shared/appsvcs/task/')) ? true : undefined));
    assert.equal(subject.driver.status.held, null);
    const held = subject.held();
    box.releaseTasks();
    await held;
    assert.deepEqual(recordsOf(box, 'grants'), { [grantOf('team')]: allowed });
    assert.deepEqual(posts(box), [`/mgmt/shared/appsvcs/declare/${partition}?async=true`, `/mgmt/shared/appsvcs/declare/${partition}?async=true&controls.dryRun=true`]);
    const { held: revision, connected, trouble, findings } = subject.driver.status;
    assert.deepEqual({ revision, connected, trouble, findings }, { revision: 'r1', connected: 1, trouble: null, findings: [] });
  });

  it('changes one grant with less than a kilobyte, and declares nothing for it', async () => {
    const box = await start();
    const grants = Object.fromEntries(Array.from({ length: 500 }, (_, index) => [grantOf(`team-${index}`), allowed]));
    const subject = drive([box], { grants });
    await subject.held();
    const since = box.requests.length;
    const held = subject.held();
    subject.want({ revision: 'r2', grants: { ...grants, [grantOf('team-500/robot')]: allowed } });
    await held;
    const sent = box.requests.slice(since).filter(({ method }) => method !== 'GET');
    assert.deepEqual(sent.map(({ method, path }) => `${method} ${path}`), [
      `PATCH /mgmt/tm/ltm/data-group/internal/~partner~shared~grants?options=records add { "${grantOf('team-500/robot')}" { data "${allowed}" } }`,
      'PATCH /mgmt/tm/ltm/data-group/internal/~partner~shared~settings?options=records modify { "revision" { data "r2" } }',
    ]);
assert.ok(sent.reduce((sum, { bytes }) => sum + bytes, 0) < 1_024, `${sent.map(({ bytes }) => bytes).join(' + ')} bytes`);
    assert.equal(recordsOf(box, 'grants')[grantOf('team-500/robot')], allowed);
    assert.equal(subject.driver.status.held, 'r2');
  });

  it('tells AS3 of changed grants afterwards, for which AS3 changes nothing', async () => {
    const box = await start();
    const subject = drive([box], {}, { timings: { noteAfterMs: 50 } });
    await subject.held();
    let changes = 0;
    subject.want({ revision: 'r2', grants: { [grantOf('team')]: allowed } });
    await waitFor('the grant', limitMs, () => (recordsOf(box, 'settings')['revision'] === 'r2' ? true : undefined));
    box.onChange(() => void (changes += 1));
    await waitFor('AS3 to know it', limitMs, () => (JSON.stringify(box.declared[partition]).includes(grantOf('team')) ? true : undefined));
    assert.equal(changes, 0);
  });

  it('takes away what is revoked while AS3 is at work on something else', async () => {
    const box = await start();
    const subject = drive([box], { grants: { [grantOf('team')]: allowed, [grantOf('leaver')]: allowed, [grantOf('first')]: allowed } });
    await subject.held();
    box.holdTasks();
    subject.want({ revision: 'r2', pools: ['pool', 'other'], grants: { [grantOf('team')]: allowed, [grantOf('leaver')]: allowed } });
    await waitFor('the declaration', limitMs, () => (posts(box).length === 3 ? true : undefined));
    const between = recordsOf(box, 'settings')['revision'];
    assert.notEqual(between, 'r1');
    assert.ok(!(grantOf('first') in recordsOf(box, 'grants')));
    subject.want({ revision: 'r3', pools: ['pool', 'other'], grants: { [grantOf('team')]: allowed } });
    await waitFor('the grant to be gone, and the revision another one', limitMs, () => (grantOf('leaver') in recordsOf(box, 'grants') || recordsOf(box, 'settings')['revision'] === between ? undefined : true));
    assert.equal(subject.driver.status.held, 'r1');
    const held = subject.held();
    box.releaseTasks();
    await held;
    assert.deepEqual(Object.keys(recordsOf(box, 'grants')), [grantOf('team')]);
    assert.equal(subject.driver.status.held, 'r3');
  });

  it('takes away what is revoked also where the box refuses all else, and tells why in its words', async () => {
    const box = await start({ commonSnatTranslations: { '192.0.2.99': 'made by hand' } });
    const subject = drive([box], { grants: { [grantOf('team')]: allowed, [grantOf('leaver')]: allowed } });
    await subject.held();
    subject.want({ revision: 'r2', snatAddress: '192.0.2.99', grants: { [grantOf('team')]: allowed, [grantOf('new')]: allowed } });
    const reason = await troubleOf(subject, /refuses/);
    assert.match(reason, /declaration failed; 01020066:3: The requested SNAT Translation \(\/Common\/192\.0\.2\.99\) already exists in partition Common/);
    assert.deepEqual(recordsOf(box, 'grants'), { [grantOf('team')]: allowed });
    assert.equal(subject.driver.status.held, 'r1');
    // By that the iRule looks at the connections that are open.
    assert.match(recordsOf(box, 'settings')['revision']!, /^[0-9a-f]{64}$/);
    assert.equal(subject.driver.status.connected, 1);
    const held = subject.held();
    subject.want({ revision: 'r3', grants: { [grantOf('team')]: allowed } });
    await held;
    assert.equal(subject.driver.status.trouble, null);
  });

  it('takes away what is revoked also where AS3 does not answer at all, nor the CA', async () => {
    const box = await start();
    let isCaThere = true;
    const keyPair: BigIpDriverOptions['keyPair'] = () => (isCaThere ? Promise.resolve({ certificateChainPem: 'chain', privateKeyPem, renewAtMs: Infinity }) : Promise.reject(new Error('no CA')));
    const subject = drive([box], { grants: { [grantOf('team')]: allowed, [grantOf('leaver')]: allowed, [grantOf('other')]: allowed } }, { keyPair });
    await subject.held();
    const gone = async (name: string, revision: string) => await waitFor(`${name} to be gone`, limitMs, () => (grantOf(name) in recordsOf(box, 'grants') || recordsOf(box, 'settings')['revision'] === revision ? undefined : true));
    box.order({ path: /appsvcs/, with: 'html' });
    subject.want({ revision: 'r2', pools: ['pool', 'other'], grants: { [grantOf('team')]: allowed, [grantOf('leaver')]: allowed, [grantOf('other')]: allowed } });
    await troubleOf(subject, /does not|HTML/);
    subject.want({ revision: 'r3', pools: ['pool', 'other'], grants: { [grantOf('team')]: allowed, [grantOf('other')]: allowed } });
    await gone('leaver', 'r1');
    const between = recordsOf(box, 'settings')['revision']!;
    isCaThere = false;
    box.mend();
    await troubleOf(subject, /no CA/);
    subject.want({ revision: 'r4', pools: ['pool', 'other'], grants: { [grantOf('team')]: allowed } });
    await gone('other', between);
    assert.equal(subject.driver.status.held, 'r1');
  });

  it('begins anew without a change where the box is as it is to be', async () => {
    const box = await start();
    const first = drive([box], { grants: { [grantOf('team')]: allowed } });
    await first.held();
    await first.driver.close();
    const since = box.requests.length;
    await drive([box], { grants: { [grantOf('team')]: allowed } }).held();
    assert.deepEqual(box.requests.slice(since).filter(({ method, path }) => method !== 'GET' && !path.includes('/authn/')).map(({ path }) => path), [`/mgmt/shared/appsvcs/declare/${partition}?async=true&controls.dryRun=true`]);
  });

  it('leaves other tenants alone, and says nothing of them', async () => {
    const box = await start();
    box.editByHand((running) => (running['theirs'] = { class: 'Tenant', app: { class: 'Application', pool: { class: 'Pool' } } }));
    const before = structuredClone(box.running['theirs']);
    const subject = drive([box], {});
    await subject.held();
    const held = subject.held();
    subject.want({ revision: 'r2', pools: ['pool', 'other'] });
    await held;
    assert.deepEqual(box.running['theirs'], before);
    for (const { path, body } of box.requests) if (posts(box).includes(path)) assert.deepEqual(Object.keys(body as object), ['class', 'schemaVersion', 'id', 'remark', 'updateMode', partition]);
  });

  for (const { what, misbehaviour, words } of [
    { what: 'answers with a page', misbehaviour: 'html', words: /something else than JSON, an HTML page/ },
    { what: 'gives half an answer', misbehaviour: 'half', words: /cannot be asked: its answer breaks off in the middle/ },
    { what: 'does not answer', misbehaviour: 'hang', words: /does not answer within 0\.2 s/ },
    { what: 'has something else under way', misbehaviour: 'busy', words: /is busy: answer 503: Error: Configuration operation in progress/ },
    { what: 'says yes and does not do it', misbehaviour: 'lie', words: /says yes and does not do it/ },
  ] as const) {
    it(`keeps the last good state where the box ${what}, says so, and goes on as soon as it can`, async () => {
      const box = await start();
      const subject = drive([box], { grants: { [grantOf('team')]: allowed } }, { answerWithinMs: 200 });
      await subject.held();
      box.order({ method: 'POST', path: /declare/, with: misbehaviour });
      subject.want({ revision: 'r2', pools: ['pool', 'other'], grants: { [grantOf('team')]: allowed } });
      await troubleOf(subject, words);
      assert.equal(recordsOf(box, 'settings')['revision'], 'r1');
      assert.equal(subject.driver.status.held, 'r1');
      const held = subject.held();
      box.mend();
      await held;
      assert.equal(recordsOf(box, 'settings')['revision'], 'r2');
      assert.equal(subject.driver.status.trouble, null);
    });
  }

  it('does not take a data group for changed because the box says so', async () => {
    const box = await start();
    const subject = drive([box], { grants: { [grantOf('leaver')]: allowed } });
    await subject.held();
    box.order({ method: 'PATCH', with: 'lie' });
    subject.want({ revision: 'r2' });
    await troubleOf(subject, /says yes and does not do it: \/partner\/shared\/grants, \/partner\/shared\/settings are not as told/);
    const held = subject.held();
    box.mend();
    await held;
    assert.deepEqual(recordsOf(box, 'grants'), {});
  });

  it('does not take a declaration for carried out because the box says so', async () => {
    const box = await start();
    const subject = drive([box], {});
    await subject.held();
    box.order({ method: 'POST', path: /declare/, with: 'lie' });
    subject.want({ pools: ['pool', 'other'] });
    await troubleOf(subject, /says yes and does not do it: AS3 would change it again/);
    const held = subject.held();
    box.mend();
    await held;
    assert.ok('other' in (box.running[partition]!['shared'] as object));
  });

  it('puts the plan into force again where the box comes back with what it had before', async () => {
    const box = await start();
    const subject = drive([box], { grants: { [grantOf('leaver')]: allowed } }, { timings: { lookEveryMs: 5 } });
    await subject.held();
    const saved = structuredClone(box.running[partition]!);
    const held = subject.held();
    subject.want({ revision: 'r2' });
    await held;
    box.order({ with: 'half' });
    await troubleOf(subject, /cannot be asked/);
    box.editByHand((running) => (running[partition] = saved));
    const heldAgain = subject.held();
    box.mend();
    await heldAgain;
    assert.deepEqual(recordsOf(box, 'grants'), {});
  });

  it('trusts the CA that the credentials name now, where the box has another certificate', async () => {
    const before = await start();
    let { caPem } = before;
    const subject = drive([before], {}, { ca: () => caPem });
    await subject.held();
    await before.close();
    const box = await start({ port: before.port });
    subject.driver.wake();
    await troubleOf(subject, /cannot be asked/);
    const held = subject.held();
    ({ caPem } = box);
    await held;
    assert.ok(partition in box.running);
  });

  it('logs in again where its token has expired, in the middle too, and gives the last one back', async () => {
    let boxNowMs = Date.now();
    const box = await start({ now: () => boxNowMs });
    const subject = drive([box], {});
    await subject.held();
    boxNowMs += 1_200_000;
    const held = subject.held();
    subject.want({ revision: 'r2', grants: { [grantOf('team')]: allowed } });
    await held;
    box.order({ method: 'GET', path: /task/, times: 1, with: 'unauthorized' });
    const heldAgain = subject.held();
    subject.want({ revision: 'r3', pools: ['pool', 'other'] });
    await heldAgain;
    assert.equal(box.requests.filter(({ path }) => path === '/mgmt/shared/authn/login').length, 3);
    await subject.driver.close();
    assert.equal(box.requests.filter(({ method, path }) => method === 'DELETE' && path.startsWith('/mgmt/shared/authz/tokens/')).length, 1);
  });

  it('does not ask for ever with a password that is wrong', async () => {
    const box = await start();
    const subject = drive([box], {}, { secret: 'wrong horse' });
    const reason = await troubleOf(subject, /does not log in "sallyport": answer 401: Authentication failed\./);
    assert.doesNotMatch(reason, /wrong horse/);
    assert.deepEqual(posts(box), []);
  });

  it('tells a box whose certificate does not verify nothing, not even a password', async () => {
    for (const [box, ca] of [[await start(), makePki().rootPem], [await start({ certificateAddress: '127.0.0.2' }), undefined]] as const) {
      const subject = drive([box], {}, ca === undefined ? {} : { ca: () => ca });
      await troubleOf(subject, /cannot be asked: (self-signed certificate|unable to|Hostname\/IP does not match)/);
      assert.deepEqual(box.requests, []);
      assert.equal(subject.driver.status.connected, 0);
    }
  });

  it('tells what somebody has changed by hand, and leaves it until the plan changes', async () => {
    const box = await start();
    const subject = drive([box], { grants: { [grantOf('team')]: allowed } }, { timings: { lookEveryMs: 5, trialEveryMs: 5 } });
    await subject.held();
    const finding = async (words: RegExp): Promise<true> => await waitFor(words.source, limitMs, () => (subject.driver.status.findings.some((text) => words.test(text)) ? true : undefined));
    box.editByHand((running) => ((running[partition]!['shared'] as Record<string, unknown>)['grants'] = { class: 'Data_Group', keyDataType: 'string', records: [{ key: grantOf('intruder'), value: allowed }] }));
    await finding(/somebody has changed \/partner\/shared\/grants by hand/);
    assert.ok(grantOf('intruder') in recordsOf(box, 'grants'));
    subject.want({ revision: 'r2', grants: { [grantOf('team')]: allowed } });
    await waitFor('the grants of the plan', limitMs, () => (grantOf('intruder') in recordsOf(box, 'grants') ? undefined : true));
    await waitFor('no finding', limitMs, () => (subject.driver.status.findings.length === 0 ? true : undefined));
    box.editByHand((running) => ((running[partition]!['shared'] as Record<string, unknown>)['pool'] = { class: 'Pool', members: [{ servicePort: 1, serverAddresses: ['192.0.2.66'] }] }));
    await finding(/somebody has changed what is declared in partition partner by hand/);
  });

  it('repairs what somebody has changed by hand where it is told to', async () => {
    const box = await start();
    const subject = drive([box], { grants: { [grantOf('team')]: allowed } }, { repairsDrift: () => true, timings: { lookEveryMs: 5, trialEveryMs: 5 } });
    await subject.held();
    const declared = structuredClone(box.running);
    box.editByHand((running) => ((running[partition]!['shared'] as Record<string, unknown>)['grants'] = { class: 'Data_Group', keyDataType: 'string', records: [] }));
    await waitFor('the grants', limitMs, () => (grantOf('team') in recordsOf(box, 'grants') ? true : undefined));
    box.editByHand((running) => ((running[partition]!['shared'] as Record<string, unknown>)['pool'] = { class: 'Pool', members: ['evil'] }));
    await waitFor('the pool', limitMs, () => (JSON.stringify(box.running) === JSON.stringify(declared) ? true : undefined));
    assert.deepEqual(subject.driver.status.findings, []);
  });

  it('tells the one of a pair that is active, and waits until the other one has it', async () => {
    const pair: BigIpManagement[] = [];
    const other = (index: number) => ({ peer: { sync: 'automatic' as const, box: () => pair[index]! } });
    pair.push(await start(other(1)), await start(other(0)));
    const [standby, active] = pair as [BigIpManagement, BigIpManagement];
    standby.failoverStatus = 'STANDBY';
    const subject = drive(pair, { grants: { [grantOf('team')]: allowed } });
    await subject.held();
    assert.deepEqual(posts(standby), []);
    assert.equal(posts(active).length, 2);
    assert.deepEqual(standby.running, active.running);
    assert.deepEqual({ connected: subject.driver.status.connected, findings: subject.driver.status.findings }, { connected: 2, findings: [] });
    // A failover.
    standby.failoverStatus = 'ACTIVE';
    active.failoverStatus = 'STANDBY';
    const held = subject.held();
    subject.want({ revision: 'r2' });
    await held;
    assert.ok(standby.requests.some(({ method }) => method === 'PATCH'));
    assert.deepEqual(active.running, standby.running);
  });

  it('says where the other one of a pair does not get what was changed', async () => {
    const pair: BigIpManagement[] = [];
    pair.push(await start({ peer: { sync: 'manual', box: () => pair[1]! } }), await start({ peer: { sync: 'manual', box: () => pair[0]! } }));
    pair[1]!.failoverStatus = 'STANDBY';
    const subject = drive(pair, {});
    await subject.held();
    assert.match(subject.driver.status.findings.join(), /the other one of its pair does not have what 127\.0\.0\.1:\d+ has: Changes Pending/);
    assert.equal(subject.driver.status.trouble, null);
    // It takes over all the same, and is told itself.
    pair[0]!.failoverStatus = 'STANDBY';
    pair[1]!.failoverStatus = 'ACTIVE';
    const held = subject.held();
    subject.driver.wake();
    await held;
    assert.deepEqual(pair[1]!.running, pair[0]!.running);
  });

  it('is not done before the other one of a pair has it, where that comes in time', async () => {
    const pair: BigIpManagement[] = [];
    pair.push(await start({ peer: { sync: 'manual', box: () => pair[1]! } }), await start({ peer: { sync: 'manual', box: () => pair[0]! } }));
    pair[1]!.failoverStatus = 'STANDBY';
    const subject = drive(pair, {}, { timings: { synchronisedWithinMs: limitMs } });
    const held = subject.held();
    await waitFor('questions whether it is synchronised', limitMs, () => (pair[0]!.requests.filter(({ path }) => path === '/mgmt/tm/cm/sync-status').length >= 3 ? true : undefined));
    pair[0]!.syncStatus = 'In Sync';
    await held;
    assert.deepEqual(subject.driver.status.findings, []);
  });

  it('does nothing where another one leads, and takes up where that one has ended', async () => {
    const box = await start();
    let leads = false;
    let asked = 0;
    const mayWrite = (): boolean => ((asked += 1), leads);
    const subject = drive([box], {}, { mayWrite });
    const held = subject.held();
    await waitFor('questions whether this one leads', limitMs, () => (asked >= 3 ? true : undefined));
    assert.deepEqual(box.requests, []);
    leads = true;
    await held;
    assert.equal(subject.driver.status.held, 'r1');
  });

  it('writes neither a password, nor a token, nor a key into its log or status', async () => {
    const box = await start({ commonSnatTranslations: { '192.0.2.99': `-----BEGIN PRIVATE KEY-----\n${password}` } });
    const subject = drive([box], {});
    await subject.held();
    subject.want({ revision: 'r2', snatAddress: '192.0.2.99' });
    await troubleOf(subject, /refuses/);
    box.order({ with: 'half', times: 2 });
    subject.driver.wake();
    await troubleOf(subject, /cannot be asked/);
    const said = `${logged.join('')}${JSON.stringify(subject.driver.status)}`;
    assert.ok(logged.length >= 3);
    const tokens = new Set(box.requests.flatMap(({ token }) => token ?? []));
    assert.ok(tokens.size > 0);
    for (const secret of [password, 'PRIVATE KEY', privateKeyPem.split('\n')[1]!, ...tokens]) assert.ok(!said.includes(secret), secret);
  });
});
