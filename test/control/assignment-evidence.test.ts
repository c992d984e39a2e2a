import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import pino from 'pino';
import { createAssignmentEvidence } from '../../src/control/assignment-evidence.ts';
import type { ControlSections } from '../../src/control/sections.ts';
import type { IpAddress } from '../../src/core/ip-address.ts';
import type { LedgerRecord } from '../../src/core/ledger-record.ts';
import type { Assignment, Holder } from '../../src/core/snat/assignments.ts';
import { waitFor } from '../../src/demo/processes.ts';
import type { Evidence } from '../../src/kubernetes/index.ts';
import { openStateStore, type StateStore } from '../../src/store/index.ts';

const assignment = (last: number, releasedAt: number | null = null, holder = 'ns/a'): Assignment => ({ pool: 'p', holder: holder as Holder, family: 'ipv4', address: `192.0.2.${last}` as IpAddress, ports: { first: 1_024, last: 65_535 }, releasedAt });

describe('the evidence of assignments at an API server', () => {
  let directory: string;
  let store: StateStore<ControlSections>;
  let evidence: Evidence;
  let records: LedgerRecord[];
  let now: number;
  let isLedgerAway: boolean;

  const open = async (): Promise<void> => {
    store = await openStateStore<ControlSections>({ directory, now: () => now });
    evidence = createAssignmentEvidence({
      store,
      now: () => now,
      log: pino({ level: 'silent' }),
      record: (some) => {
        if (isLedgerAway) return Promise.reject(new Error('away'));
        records.push(...some);
        return Promise.resolve();
      },
    });
  };
  const restart = async (): Promise<void> => {
    await store.close();
    await open();
  };
  const intents = (): number => [...store.entries('intents')].length;
  const concluded = () => waitFor('no intent', 5_000, () => (intents() === 0 ? true : undefined));
  const said = () => records.map((record) => (record.type === 'address-assigned' || record.type === 'address-released' ? `${record.type} ${record.address} at ${Date.parse(record.time)}` : record.type));

  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), 'sallyport-evidence-'));
    [records, now, isLedgerAway] = [[], 1_000, false];
    await open();
  });
  afterEach(async () => {
    await store.close();
    rmSync(directory, { recursive: true });
  });

  it('is recorded once where the API server answers', async () => {
    await evidence.intend(assignment(1));
    evidence.written(assignment(1));
    evidence.settle([assignment(1)]);
    await concluded();
    evidence.settle([assignment(1)]);
    assert.deepEqual(said(), ['address-assigned 192.0.2.1 at 1000']);
  });

  it('is recorded after a crash where what was to be written is there, and once', async () => {
    await evidence.intend(assignment(1));
    await evidence.intend(assignment(2, 900));
    await evidence.intend(assignment(3, 900));
    now = 60_000;
    await restart();
    evidence.settle([assignment(1, 50_000), assignment(2, 900)]); // released since, by another; the third is deleted already
    await concluded();
    await restart();
    evidence.settle([assignment(1, 50_000), assignment(2, 900)]);
    assert.deepEqual(said(), ['address-assigned 192.0.2.1 at 1000', 'address-released 192.0.2.2 at 1000', 'address-released 192.0.2.3 at 1000']);
  });

  it('is none of what was not written, which is looked for as long as it may still come', async () => {
    await evidence.intend(assignment(1));
    await evidence.intend(assignment(2, 900));
    const others = [assignment(1, null, 'ns/other'), assignment(2)];
    now = 200_000;
    evidence.settle(others);
    await setImmediate();
    assert.equal(intents(), 2);
    now = 302_000;
    evidence.settle(others);
    await concluded();
    assert.deepEqual(said(), []);
  });

  it('is kept for another try where the ledger takes nothing', async () => {
    isLedgerAway = true;
    await evidence.intend(assignment(1));
    evidence.written(assignment(1));
    await setImmediate();
    assert.equal(intents(), 1);
    isLedgerAway = false;
    evidence.settle([assignment(1)]);
    await concluded();
    assert.equal(said().length, 1);
  });
});
