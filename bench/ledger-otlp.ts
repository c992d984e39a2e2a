/**
 * What it costs to send the ledger on: node bench/ledger-otlp.ts. A backlog goes to a collector that takes everything, in a process of its own, while
 * records are appended one at a time; beside it the same appends with nothing sent. Prints one JSON object.
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { createCollector } from '../src/control/ledger-export/collector.ts';
import { startLedgerExport } from '../src/control/ledger-export/ledger-export.ts';
import { openLedger, type Ledger } from '../src/store/index.ts';
import { recordOf } from './ledger-records.ts';

const backlogRecords = 100_000;
const inFlight = 250;
const appendsAlone = 2_000;

if (process.argv[2] === 'collector') serveCollector();
else await bench();

function serveCollector(): void {
  let bytes = 0;
  let requests = 0;
  const server = createServer((request, response) => {
    requests += 1;
    request.on('data', (piece: Buffer) => (bytes += piece.length)).on('end', () => response.writeHead(200, { 'content-type': 'application/x-protobuf' }).end());
  });
  server.listen(0, '127.0.0.1', () => process.send!((server.address() as AddressInfo).port));
  process.on('message', () => process.send!({ requests, bytes }));
}

async function bench(): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'sallyport-bench-'));
  const collector = fork(import.meta.filename, ['collector']);
  const ask = async <Answer>(): Promise<Answer> => ((await once(collector, 'message')) as [Answer])[0];
  try {
    const port = await ask<number>();
    const ledger = await openLedger({ directory, now: Date.now });
    for (let index = 0; index < backlogRecords; index += inFlight) await Promise.all(Array.from({ length: inFlight }, (_, each) => ledger.append(recordOf(index + each))));
    const alone = await appendWhile(ledger, (appended) => appended < appendsAlone);

    globalThis.gc?.();
    const startedAt = performance.now();
    const exported = startLedgerExport({ ledger, collector: createCollector({ url: new URL(`http://127.0.0.1:${port}/v1/logs`) }), source: { resource: { 'service.name': 'sallyport' }, scope: { name: 'sallyport.ledger', version: '0' } }, now: Date.now, random: Math.random, log: console });
    const meanwhile = await appendWhile(ledger, () => exported.status().sequence < backlogRecords);
    const seconds = (performance.now() - startedAt) / 1_000;
    collector.send('tell');
    const taken = await ask<object>();
    await exported.close(60_000);
    await ledger.close();
    console.log(JSON.stringify({ backlogRecords, seconds: Number(seconds.toFixed(1)), recordsPerSecond: Math.round(backlogRecords / seconds), taken, alone, meanwhile }, null, 2));
  } finally {
    collector.kill();
    await rm(directory, { recursive: true, force: true });
  }
}

interface Appends {
  readonly appends: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly loopHeldMs: number;
  /** How much the process has grown meanwhile, at most. */
  readonly grownMb: number;
}

/** One after the other, and what that does to the event loop and to memory. */
async function appendWhile(ledger: Ledger, goOn: (appended: number) => boolean): Promise<Appends> {
  const delays = monitorEventLoopDelay({ resolution: 1 });
  const before = process.memoryUsage().rss;
  let most = before;
  const latencies: number[] = [];
  delays.enable();
  while (goOn(latencies.length)) {
    const begunAt = performance.now();
    await ledger.append(recordOf(latencies.length));
    latencies.push(performance.now() - begunAt);
    most = Math.max(most, process.memoryUsage.rss());
  }
  delays.disable();
  const sorted = latencies.sort((a, b) => a - b);
  const at = (share: number): number => Number(sorted[Math.floor(share * (sorted.length - 1))]!.toFixed(2));
  return { appends: sorted.length, p50Ms: at(0.5), p99Ms: at(0.99), loopHeldMs: Number((delays.max / 1e6).toFixed(1)), grownMb: Math.round((most - before) / 1e6) };
}
