/**
 * The CA's figures: SVIDs from CSRs against raw P-256 operations.
 *
 *   node --max-semi-space-size=4 bench/ca.ts [--rounds 10]
 *
 * Raw operations and certificates take turns in slices, and everything is counted per second of CPU time of the whole process, so
 * that the ratios hold on a machine that does other things too. The option is what bin/sallyport.js gives to `serve`.
 *
 * The longest turns say something only where nobody takes the core away: on a machine that is busy run it by `chrt -f 1`, but for
 * the rows of an RSA CA, whose pool of threads then competes with the loop. Not by `taskset`, under which the collector's threads
 * take the core from the loop in just the turns in question, which are then left out.
 */
import { generateKeyPairSync, randomBytes, sign, verify } from 'node:crypto';
import { parseArgs } from 'node:util';
import { createAuthority, createDemoPki, noSlots, type Authority, type CaKeyKind } from '../src/ca/index.ts';
import { createCsr } from '../src/core/x509/csr.ts';
import type { SpiffeId, TrustDomain } from '../src/core/spiffe-id.ts';
import { parseX509Svid } from '../src/core/x509/x509-svid.ts';

const { values: options } = parseArgs({ options: { rounds: { type: 'string', default: '10' } } });
const rounds = Number(options.rounds);
const trustDomain = 'cluster.local' as TrustDomain;
const spiffeId = 'spiffe://cluster.local/ns/bookinfo/sa/productpage' as SpiffeId;

const median = (numbers: readonly number[]): number => numbers.toSorted((a, b) => a - b)[numbers.length >> 1]!;

/** Runs `work` until the slice is over; calls per second of CPU time. */
async function perCpuSecond(work: (isOver: () => boolean) => Promise<number> | number, sliceMs = 200): Promise<number> {
  const endsAt = performance.now() + sliceMs;
  const before = process.cpuUsage();
  const calls = await work(() => performance.now() >= endsAt);
  const { user, system } = process.cpuUsage(before);
  return calls / ((user + system) / 1e6);
}

const repeated = (operation: () => unknown) => (isOver: () => boolean): number => {
  let calls = 0;
  for (; !isOver(); calls += 10) for (let burst = 0; burst < 10; burst++) operation();
  return calls;
};

async function authorityWith(keyKind: CaKeyKind): Promise<Authority> {
  const pki = await createDemoPki({ trustDomain, nowMs: Date.now(), randomBytes, keyKind });
  const authority = createAuthority({ trustDomain, slots: noSlots, save: () => Promise.resolve(undefined), now: Date.now, randomBytes });
  await authority.rotate({ type: 'initialize', issuer: pki.intermediate, nowMs: Date.now() });
  return authority;
}

const issuing = (authority: Authority, csr: Buffer, underWay: number) => async (isOver: () => boolean): Promise<number> => {
  let issued = 0;
  await Promise.all(Array.from({ length: underWay }, async () => {
    for (; !isOver(); issued++) await authority.issueSvid({ spiffeId, csr });
  }));
  return issued;
};

/**
 * The longest time between two turns of the event loop while `work` ran, in milliseconds. Turns in which the kernel gave the core
 * to someone else are left out, for they say how busy the machine is.
 */
async function longestTurnMs(work: () => Promise<unknown>): Promise<number> {
  let longest = 0;
  let last = performance.now();
  let switches = process.resourceUsage().involuntaryContextSwitches;
  let isOver = false;
  const turn = (): void => {
    const now = performance.now();
    const switchesNow = process.resourceUsage().involuntaryContextSwitches;
    if (switchesNow === switches) longest = Math.max(longest, now - last);
    switches = switchesNow;
    last = now;
    if (!isOver) setImmediate(turn);
  };
  setImmediate(turn);
  await work();
  isOver = true;
  return longest;
}

const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const content = randomBytes(400);
const signature = sign('sha256', content, privateKey);
const csr = createCsr(privateKey);
const rsaCsr = createCsr(generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey);
const pairs = repeated(() => verify('sha256', content, publicKey, signature) && sign('sha256', content, privateKey));

console.log(`raw P-256 signatures                     ${(await perCpuSecond(repeated(() => sign('sha256', content, privateKey)))).toFixed(0)} /CPU-s`);
for (const [what, keyKind, request, underWay] of [
  ['P-256 CA, P-256 CSR, 1 under way', 'ec-p256', csr, 1],
  ['P-256 CA, P-256 CSR, 64 under way', 'ec-p256', csr, 64],
  ['P-256 CA, P-256 CSR, 2000 under way', 'ec-p256', csr, 2000],
  ['P-256 CA, RSA-2048 CSR, 64 under way', 'ec-p256', rsaCsr, 64],
  ['P-256 CA, RSA-2048 CSR, 2000 under way', 'ec-p256', rsaCsr, 2000],
  ['RSA-2048 CA, P-256 CSR, 64 under way', 'rsa-2048', csr, 64],
  ['RSA-4096 CA, P-256 CSR, 64 under way', 'rsa-4096', csr, 64],
] as const) {
  const issue = issuing(await authorityWith(keyKind), request, underWay);
  await perCpuSecond(issue); // warm
  const results: { raw: number; svids: number }[] = [];
  const turns: number[] = [];
  for (let round = 0; round < rounds; round++) {
    results.push({ raw: await perCpuSecond(pairs), svids: await perCpuSecond(issue) });
    turns.push(await longestTurnMs(() => perCpuSecond(issue, 1_000))); // several collections of garbage
  }
  const [raw, svids, ratio] = [median(results.map((result) => result.raw)), median(results.map((result) => result.svids)), median(results.map((result) => result.svids / result.raw))];
  console.log(`${what.padEnd(39)} ${svids.toFixed(0).padStart(6)} SVIDs/CPU-s = ${ratio.toFixed(2)} of ${raw.toFixed(0)} raw pairs; longest turn of the event loop ${median(turns).toFixed(1)} ms, worst of all rounds ${Math.max(...turns).toFixed(1)} ms`);
}

const { chainDer } = await (await authorityWith('ec-p256')).issueSvid({ spiffeId, csr });
console.log(`reading a peer's certificate             ${(1e6 / (await perCpuSecond(repeated(() => parseX509Svid(chainDer[0]!))))).toFixed(1)} us`);
