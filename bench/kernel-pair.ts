/**
 * How long a pair of routers of class `kernel` holds up what is under way through it, on hosts that are network namespaces (needs root, and
 * what test/e2e/kernel-pair.test.ts needs): the longest time in which nothing comes through of a connection, of datagrams and of transfers
 * over FTP, of either family, where the router in charge loses its power, and where it hands over. The routers take turns at being left. And
 * what it costs to tell the other of all connections anew where there are 10,000.
 *
 *   node bench/kernel-pair.ts [--rounds 5]
 */
import { readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { startPairTraffic, type Flow, type PairTraffic } from '../test/support/kernel-pair-traffic.ts';
import { pairAddresses, retellings, startKernelPair, type KernelPair, type PairRouter } from '../test/support/kernel-pair.ts';
import { peers } from '../test/support/peers.ts';

const { values: options } = parseArgs({ options: { rounds: { type: 'string', default: '5' } } });
const rounds = Number(options.rounds);
const transferSeconds = 5;
const sampledEveryMs = 2;
const connections = 10_000;

/** How a router is left, and how it comes back. */
const ways = {
  'nothing happens': { leave: () => delay(1_500), comeBack: () => Promise.resolve() },
  'power is lost': { leave: (router: PairRouter) => router.lose(), comeBack: (router: PairRouter) => router.start() },
  'it hands over': { leave: (router: PairRouter) => router.retire(), comeBack: (router: PairRouter) => router.employ() },
} as const;

/** The longest time without progress of each flow until all have gone on after `event`, in milliseconds. */
async function pausesOf(flows: readonly Flow[], event: () => Promise<void>): Promise<readonly number[]> {
  const states = await Promise.all(flows.map(async ({ progress }) => ({ last: await progress(), since: performance.now(), longest: 0 })));
  const over = event().then(() => performance.now());
  let overAt: number | undefined;
  void over.then((at) => (overAt = at));
  while (overAt === undefined || states.some(({ since }) => since < overAt!)) {
    await delay(sampledEveryMs);
    for (const [index, { progress }] of flows.entries()) {
      const state = states[index]!;
      const [now, at] = [await progress(), performance.now()];
      if (now === state.last) continue;
      state.longest = Math.max(state.longest, at - state.since);
      [state.last, state.since] = [now, at];
    }
  }
  return states.map(({ longest }) => longest);
}

async function measure(pair: KernelPair, traffic: PairTraffic, { leave, comeBack }: (typeof ways)[keyof typeof ways]): Promise<readonly (readonly [string, number])[]> {
  const transfers = await traffic.startTransfers();
  const [name] = (await pair.inCharge()) as ['first' | 'second'];
  const router = pair.routers[name];
  await Promise.all([router.retell(), delay(1_500)]); // curl begins an upload with a burst, and rests
  const flows = [...traffic.echoes, ...transfers];
  const pauses = await pausesOf(flows, () => leave(router));
  const outcomes = await Promise.all(transfers.map(({ done }) => done));
  if (outcomes.some((outcome) => outcome !== 'complete')) throw new Error(`a transfer has failed: ${outcomes.join(', ')}`);
  await comeBack(router);
  return flows.map((flow, index) => [flow.name, pauses[index]!]);
}

/** Milliseconds of processor time that a process has taken. */
async function processorMs(pid: number): Promise<number> {
  const [user, system] = (await readFile(`/proc/${pid}/stat`, 'utf8')).split(') ')[1]!.split(' ').slice(11, 13).map(Number) as [number, number];
  return (user + system) * 10;
}

/** Of both routers' conntrackd, for each time that all is told. */
async function measureRetelling({ hosts, routers, inCharge }: KernelPair): Promise<readonly number[]> {
  const [name] = (await inCharge()) as ['first' | 'second'];
  const { pod, partner, snat } = pairAddresses.ipv4;
  const file = join(tmpdir(), `sallyport-connections-${process.pid}`);
  await writeFile(file, Array.from({ length: connections }, (_, index) => `-I -p tcp -s ${pod} -d ${partner} --sport ${1_024 + index} --dport 7001 --src-nat ${snat} --state ESTABLISHED -u SEEN_REPLY,ASSURED -m 7 -t 3600\n`).join(''));
  await hosts[name].run('conntrack', ['--load-file', file]);
  await rm(file);
  await routers[name].retell();
  const pids = [routers[name], routers[name === 'first' ? 'second' : 'first']].map((router) => router.conntrackdPid());
  const before = await Promise.all(pids.map(processorMs));
  for (let round = 0; round < rounds; round++) await routers[name].retell();
  return (await Promise.all(pids.map(processorMs))).map((now, index) => (now - before[index]!) / (rounds * retellings));
}

const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!;

const pair = await startKernelPair({ keepalived: peers.keepalived.find()!, conntrackd: peers.conntrackd.find()! });
try {
  const traffic = await startPairTraffic(pair, peers.vsftpd.find()!, transferSeconds);
  try {
    for (const [what, way] of Object.entries(ways)) {
      const figures: (readonly [string, number])[] = [];
      for (let round = 0; round < rounds; round++) figures.push(...(await measure(pair, traffic, way)));
      console.log(`${what}: the longest pause, in ms, median and most of ${rounds}`);
      for (const [flow, of] of Map.groupBy(figures, ([name]) => name)) {
        const pauses = of.map(([, pause]) => pause);
        console.log(`  ${flow.padEnd(26)}${median(pauses).toFixed(0).padStart(6)} ${Math.max(...pauses).toFixed(0).padStart(6)}`);
      }
    }
    const [telling, told] = (await measureRetelling(pair)) as [number, number];
    console.log(`to tell of ${connections.toLocaleString('en')} connections anew: ${telling.toFixed(0)} ms of processor time, and ${told.toFixed(0)} ms at the other router`);
  } finally {
    await traffic.close();
  }
} finally {
  await pair.close();
}
