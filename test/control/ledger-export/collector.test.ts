import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createCollector } from '../../../src/control/ledger-export/collector.ts';
import { judge } from '../../../src/control/ledger-export/otlp-answer.ts';
import { encodeLogs } from '../../../src/control/ledger-export/otlp-request.ts';
import { createProcesses, waitFor, type Processes } from '../../../src/demo/processes.ts';
import { openLedger, verifyLedger, type Ledger, type LedgerVerification } from '../../../src/store/index.ts';
import { createRealCollector, sequencesOf, verifyArrived, type ArrivedLog, type RealCollector } from '../../support/otlp.ts';
import { requirePeer } from '../../support/peers.ts';
import { numberedRecord } from '../../store/support/numbers.ts';

const limitMs = 40_000;
const upTo = (count: number): number[] => Array.from({ length: count }, (_, index) => index + 1);

/** In the order in which each came first. */
const distinct = (logs: readonly ArrivedLog[]): readonly ArrivedLog[] => [...new Map(logs.map((log) => [log.body, log])).values()];

describe('the OpenTelemetry Collector', function () {
  this.timeout(90_000);
  let collector: RealCollector;
  let program: string;
  let directory: string;
  let processes: Processes;
  before(async function () {
    collector = await createRealCollector();
    program = requirePeer(this, 'otelcol');
  });
  after(() => collector.close());
  beforeEach(async () => {
    collector.setBehind(200);
    await collector.start(program);
    directory = await mkdtemp(join(tmpdir(), 'sallyport-sent-on-'));
    processes = createProcesses(directory, { ...process.env, SALLYPORT_STATE: directory, POD_NAME: 'sallyport-0' });
    process.once('exit', processes.killAll);
  });
  afterEach(async () => {
    process.off('exit', processes.killAll);
    await processes.stop();
    await collector.kill();
    await rm(directory, { recursive: true, force: true });
  });

  const ledgerDirectory = (): string => join(directory, 'control', 'ledger');
  const serve = (): void => processes.start('control', ['serve', '--listen', '127.0.0.1:0', '--ledger-otlp', collector.url]);

  /** A ledger that a control plane is to find. */
  async function writeLedger(count: number): Promise<void> {
    const ledger: Ledger = await openLedger({ directory: ledgerDirectory(), now: Date.now, segmentBytesMax: 64 << 10 });
    await Promise.all(upTo(count).map((number) => ledger.append(numberedRecord(number))));
    await ledger.close();
  }

  /** What has arrived since, once it is the whole ledger. */
  async function whole(since: number): Promise<readonly ArrivedLog[]> {
    return await waitFor('the whole ledger', limitMs, async () => {
      const logs = collector.passedOn.slice(since);
      const [there, here] = await Promise.all([verifyArrived(distinct(logs)), verifyLedger(ledgerDirectory())]);
      return sameChain(there, here) ? logs : undefined;
    });
  }

  function sameChain(one: LedgerVerification, other: LedgerVerification): boolean {
    return one.ok && other.ok && one.firstSequence === other.firstSequence && one.head?.hash === other.head?.hash && one.head?.hash !== undefined;
  }

  it('gets everything once and in order, in the terms of its conventions', async () => {
    const since = collector.passedOn.length;
    await writeLedger(1_000);
    serve();
    await waitFor('a CA', limitMs, async () => ((await processes.run(['ca', 'init'])).status === 0 ? true : undefined));
    const logs = await whole(since);
    const sequences = sequencesOf(logs);
    assert.ok(sequences.length > 1_000, 'those of the CA are among them');
    assert.deepEqual(sequences, upTo(sequences.length));
    const issued = logs.find(({ eventName }) => eventName === 'sallyport.certificate_issued')!;
    const { record } = JSON.parse(issued.body) as { readonly record: { readonly time: string; readonly spiffeId: string } };
    assert.equal(issued.attributes['sallyport.spiffe_id'], record.spiffeId);
    assert.equal(issued.timeUnixNano, BigInt(Date.parse(record.time)) * 1_000_000n);
    assert.equal(issued.severityText, 'INFO');
    assert.equal(issued.scope, 'sallyport.ledger');
    assert.deepEqual({ ...issued.resource, 'service.version': '' }, { 'service.name': 'sallyport', 'service.version': '', 'service.instance.id': 'sallyport-0', 'sallyport.trust_domain': 'cluster.local' });
    const status = await processes.run(['status']);
    assert.match(status.stdout, new RegExp(`^ledger +${sequences.length} records, up to ${sequences.length} at ${collector.url}/v1/logs$`, 'm'));
  });

  it('may be away, be killed amid its work, and have nobody behind it: all arrives, in order', async () => {
    const since = collector.passedOn.length;
    await collector.kill();
    await writeLedger(20_000);
    serve();
    await waitFor('a control plane', limitMs, async () => ((await processes.run(['status'])).status === 1 ? true : undefined));
    await collector.start(program);
    await waitFor('the first records', limitMs, () => (collector.passedOn.length > since + 500 ? true : undefined));
    await collector.kill();
    collector.setBehind(503);
    await collector.start(program);
    const notTaken = collector.notTaken;
    // Two: what is refused first may have arrived by the one that was killed.
    await waitFor('requests in vain', limitMs, () => (collector.notTaken > notTaken + 1 ? true : undefined));
    collector.setBehind(200);
    const logs = await whole(since);
    const sequences = sequencesOf(distinct(logs));
    assert.deepEqual(sequences, upTo(sequences.length));
  });

  it('answers, whatever is behind it, so that only what is wrong with the records themselves is taken for that', async () => {
    const sender = createCollector({ url: new URL(`${collector.url}/v1/logs`) });
    const verdictOf = async (body: Uint8Array): Promise<string> => judge(await sender.post(body, new AbortController().signal), Date.now()).kind;
    const logs = encodeLogs({ resource: {}, scope: { name: 'a', version: '1' } }, [{ timeMs: 1, severity: 'INFO', eventName: 'a', body: 'b', attributes: {} }]);
    const verdicts = [];
    for (const status of [200, 400, 401, 404, 429, 500, 502, 503]) {
      collector.setBehind(status);
      verdicts.push([status, await verdictOf(logs)]);
    }
    assert.deepEqual(verdicts, [[200, 'taken'], [400, 'refused'], [401, 'not-taken'], [404, 'not-taken'], [429, 'not-taken'], [500, 'not-taken'], [502, 'not-taken'], [503, 'not-taken']]);
    assert.equal(await verdictOf(Buffer.from('no logs')), 'refused');
    sender.close();
  });

  it('gets the rest from a control plane that was killed and is back, and not more than a batch again', async () => {
    const since = collector.passedOn.length;
    await writeLedger(20_000);
    serve();
    await waitFor('some of it', limitMs, () => (collector.passedOn.length > since + 4_000 ? true : undefined));
    await processes.kill('control');
    assert.ok(collector.passedOn.length < since + 20_000, 'it is killed amid its work');
    serve();
    const logs = await whole(since);
    const sequences = sequencesOf(logs);
    const again = sequences.length - new Set(sequences).size;
    const batchRecordsMax = 1_000; // 128 KiB of these short ones
    assert.ok(again <= batchRecordsMax, `${again} came again`);
    assert.deepEqual(sequencesOf(distinct(logs)), upTo(new Set(sequences).size));
  });
});
