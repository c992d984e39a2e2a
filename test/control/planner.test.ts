import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createPlanner, type Planner } from '../../src/control/planner.ts';
import type { ControlSections } from '../../src/control/sections.ts';
import type { LedgerRecord } from '../../src/core/ledger-record.ts';
import { openStateStore } from '../../src/store/index.ts';
import { trustDomain } from '../support/control.ts';
import { turnsDuring } from '../support/event-loop.ts';

describe('a change', () => {
  let directory: string;
  let records: LedgerRecord[];
  let whose: readonly string[];
  let close: () => Promise<void>;
  let planner: Planner;
  let apply: (text: string) => Promise<unknown>;

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'sallyport-planner-'));
    const store = await openStateStore<ControlSections>({ directory, now: Date.now });
    records = [];
    const record = (told: readonly LedgerRecord[]) => Promise.resolve(void records.push(...told));
    planner = await createPlanner({ store, trustDomain, clusterDomain: 'cluster.local', now: Date.now, record, publish: () => Promise.resolve(), publishAddresses: (addresses) => Promise.resolve(void (whose = [...addresses].map(([address, { namespace, serviceAccount }]) => `${address} ${namespace}/${serviceAccount}`))) });
    apply = (text) => planner.apply({ sources: [{ file: 'test.yaml', text }] }, 'unix:0');
    close = () => store.close();
  });
  afterEach(async () => {
    await close();
    await rm(directory, { recursive: true, force: true });
  });

  const pool = '{"apiVersion": "sallyport.dev/v1alpha1", "kind": "SnatPool", "metadata": {"name": "eu"}, "spec": {"addresses": ["127.0.1.11-127.0.1.20"]}}';
  const binding = (name: string) => `{"apiVersion": "sallyport.dev/v1alpha1", "kind": "SnatBinding", "metadata": {"name": "${name}", "namespace": "${name}"}, "spec": {"subject": {"namespace": "${name}"}, "pool": "eu"}}`;

  it('names to the ledger each address once: when it is assigned', async () => {
    const assigned = () => records.flatMap((record) => (record.type === 'address-assigned' ? [`${record.holder} ${record.address}`] : []));
    await apply([pool, binding('bookinfo')].join('\n---\n'));
    assert.deepEqual(assigned(), ['ns/bookinfo 127.0.1.11']);
    await apply(binding('reports'));
    assert.deepEqual(assigned(), ['ns/bookinfo 127.0.1.11', 'ns/reports 127.0.1.12']);
    await apply(pool.replace('127.0.1.20', '127.0.1.30'));
    assert.equal(assigned().length, 2);
  });

  const entry = (name: string, address: string, account = 'till') => `{"apiVersion": "sallyport.dev/v1alpha1", "kind": "WorkloadEntry", "metadata": {"name": "${name}", "namespace": "shop"}, "spec": {"addresses": ["${address}"], "serviceAccount": "${account}"}}`;

  it('of who is behind an address reaches gateways, and no plan', async () => {
    const { revision } = planner.plan;
    await apply([entry('a', '10.0.0.1'), entry('b', '10.0.0.2', 'desk')].join('\n---\n'));
    assert.deepEqual(whose, ['10.0.0.1 shop/till', '10.0.0.2 shop/desk']);
    await planner.remove({ refs: [{ kind: 'WorkloadEntry', namespace: 'shop', name: 'a' }] }, 'unix:0');
    assert.deepEqual([whose, planner.plan.revision], [['10.0.0.2 shop/desk'], revision]);
  });

  it('that claims an address of another is refused, and names both', async () => {
    await apply(entry('a', '10.0.0.1'));
    await assert.rejects(apply(entry('b', '10.0.0.1')), (error: { faults?: readonly { code: string; message: string }[] }) => {
      assert.deepEqual(error.faults?.map(({ code, message }) => `${code} ${message}`), Array(2).fill("workload-address-contested address 10.0.0.1 is claimed by WorkloadEntry shop/a, WorkloadEntry shop/b, so it is nobody's, and whoever sends from it is refused"));
      return true;
    });
    assert.deepEqual(whose, ['10.0.0.1 shop/till']);
  });

  it('leaves turns of the event loop to others while it compiles', async () => {
    const names = Array.from({ length: 300 }, (_, index) => `n${index}`);
    await apply(names.map((name) => `{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "${name}"}}`).join('\n---\n'));
    // Without a file to read or write, so that nothing else waits.
    const turns = await turnsDuring(() => planner.remove({ refs: names.map((name) => ({ kind: 'Namespace', namespace: '', name })), dryRun: true }, 'unix:0'));
    assert.ok(turns >= 4, `${turns} turns`);
  });

  it('names to the ledger everything that changed, in records that it takes', async () => {
    const count = 5_001;
    const items = Array.from({ length: count }, (_, index) => `{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "${'n'.repeat(50)}${index}"}}`);
    await apply(`{"apiVersion": "v1", "kind": "List", "items": [${items.join(',\n')}]}`);
    const named = records.flatMap((record) => (record.type === 'plan-published' ? [record.changed] : []));
    assert.deepEqual(named.map(({ length }) => length), [2_500, 2_500, 1]);
    assert.equal(new Set(named.flat()).size, count);
  });
});
