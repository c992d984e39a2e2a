/**
 * The store's figures: node bench/store.ts [DIRECTORY]. Writes some 700 MB there (by default a temporary directory, removed
 * afterwards) and prints one JSON object. Everything is measured in one process, so the ratios hold on any machine.
 */
import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { applyChange, emptyDesiredState } from '../src/core/desired-state.ts';
import { schemas } from '../src/core/objects/index.ts';
import { openLedger, openStateStore } from '../src/store/index.ts';
import { recordOf, startMs } from './ledger-records.ts';

const ledgerRecords = 1_000_000;
const objects = 30_000;

async function timedMs(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

/** Runs a piece of work and also tells how long the event loop was held up at worst, beside what the timer itself takes. */
async function watched<T>(work: () => Promise<T>): Promise<{ readonly result: T; readonly loopHeldMs: number }> {
  const delays = monitorEventLoopDelay({ resolution: 1 });
  delays.enable();
  const result = await work();
  delays.disable();
  return { result, loopHeldMs: Number((delays.max / 1e6).toFixed(1)) };
}

function percentiles(values: readonly number[]): { readonly p50Ms: number; readonly p99Ms: number; readonly maxMs: number } {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (share: number): number => Number(sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]!.toFixed(2));
  return { p50Ms: at(0.5), p99Ms: at(0.99), maxMs: at(1) };
}

/** What the disk gives: write and fdatasync, one after the other. */
async function benchDisk(directory: string): Promise<number> {
  const handle = await open(join(directory, 'raw'), 'w');
  const count = 500;
  const block = Buffer.alloc(200, 'x');
  const ms = await timedMs(async () => {
    for (let index = 0; index < count; index++) {
      await handle.write(block, 0, block.length, index * block.length);
      await handle.datasync();
    }
  });
  await handle.close();
  return Math.round((count / ms) * 1_000);
}

async function benchState(directory: string): Promise<object> {
  interface Sections {
    readonly certificates: { readonly spiffeId: string; readonly notAfterMs: number };
  }
  const openStore = () => openStateStore<Sections>({ directory, now: Date.now });
  let store = await openStore();
  const put = (index: number) => store.commit({ put: { certificates: { [index.toString(16).padStart(40, '0')]: { spiffeId: 'spiffe://cluster.local/ns/bookinfo/sa/productpage', notAfterMs: 1.8e12 } } } });
  const oneByOneMs = await timedMs(async () => {
    for (let index = 0; index < 1_000; index++) await put(index);
  });
  const inFlight = 250;
  const rounds = 400;
  const together = await watched(() =>
    timedMs(async () => {
      for (let round = 0; round < rounds; round++) await Promise.all(Array.from({ length: inFlight }, (_, index) => put(round * inFlight + index)));
    }),
  );
  const services = Array.from({ length: objects }, (_, index) =>
    schemas.ExternalService.parse({ apiVersion: 'sallyport.dev/v1alpha1', kind: 'ExternalService', metadata: { name: `s${index}`, namespace: 'bookinfo' }, spec: { addresses: ['10.4.0.201'], ports: [{ port: 3128, protocol: 'HTTPConnect' }] } }),
  );
  const applyMs = await timedMs(() => store.commit({ desired: { put: services, remove: [] } }));
  const inMemoryMs = await timedMs(() => Promise.resolve(applyChange(emptyDesiredState, { put: services, remove: [] })));
  await store.close();
  const openMs = await timedMs(async () => (store = await openStore()));
  await store.close();
  return {
    commitsOneByOnePerSecond: Math.round(1e6 / oneByOneMs),
    commitsTogetherPerSecond: Math.round((inFlight * rounds * 1_000) / together.result),
    loopHeldMs: together.loopHeldMs,
    [`apply${objects}ObjectsMs`]: Math.round(applyMs),
    [`apply${objects}ObjectsInMemoryMs`]: Math.round(inMemoryMs),
    [`open${objects}ObjectsAnd100000CertificatesMs`]: Math.round(openMs),
  };
}

async function benchLedger(directory: string): Promise<object> {
  const openIt = () => openLedger({ directory, now: Date.now });
  let ledger = await openIt();
  const inFlight = 250;
  const appended = await watched(() =>
    timedMs(async () => {
      for (let index = 0; index < ledgerRecords; index += inFlight) await Promise.all(Array.from({ length: inFlight }, (_, each) => ledger.append(recordOf(index + each))));
    }),
  );
  await ledger.close();
  const openMs = await timedMs(async () => (ledger = await openIt()));
  const latencies: number[] = [];
  const asked = await watched(async () => {
    let found = 0;
    for (let query = 0; query < 2_000; query++) {
      const connection = (query * 7_919 * 31) % (ledgerRecords / 2);
      const { snatAddress, snatPort, connectionId } = recordOf(connection * 2);
      latencies.push(
        await timedMs(async () => {
          const { connections } = await ledger.whois({ address: snatAddress, port: snatPort, timeMs: startMs + connection + 500 });
          if (connections.some(({ opened }) => opened.connectionId === connectionId)) found++;
        }),
      );
    }
    return found;
  });
  const verified = await watched(() => timedMs(() => ledger.verify()));
  await ledger.close();
  return {
    records: ledgerRecords,
    appendsPerSecond: Math.round((ledgerRecords / appended.result) * 1_000),
    appendLoopHeldMs: appended.loopHeldMs,
    openMs: Math.round(openMs),
    whois: { ...percentiles(latencies), found: asked.result, asked: latencies.length, loopHeldMs: asked.loopHeldMs },
    verify: { recordsPerSecond: Math.round((ledgerRecords / verified.result) * 1_000), loopHeldMs: verified.loopHeldMs },
  };
}

const directory = await mkdtemp(join(process.argv[2] ?? tmpdir(), 'sallyport-bench-'));
try {
  const disk = { writesOneByOnePerSecond: await benchDisk(directory) };
  const state = await benchState(join(directory, 'state'));
  const ledger = await benchLedger(join(directory, 'ledger'));
  console.log(JSON.stringify({ disk, state, ledger }, null, 2));
} finally {
  await rm(directory, { recursive: true, force: true });
}
