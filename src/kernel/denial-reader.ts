/** Takes what the kernel has noted of refusals out of the table's sets. */
import { deniedMax, forgetDenials, listDenials, listUnrecorded, readDenials, readUnrecorded, type Denial } from '../backends/kernel/index.ts';
import type { IpFamily } from '../core/ip-address.ts';
import type { RunProgram } from './run-program.ts';

export interface TakenDenials {
  /** Oldest first. */
  readonly denials: readonly Denial[];
  /** How many have found no room since the table was made; undefined where that cannot be. */
  readonly unrecorded: number | undefined;
}

/** What is there and could be removed, so that nothing is taken twice; nothing where there is no table. While it runs, nobody else may change the table. */
export async function takeDenials(run: RunProgram, now: () => number): Promise<TakenDenials> {
  const [ipv4, ipv6] = [await takeOf(run, 'ipv4', now), await takeOf(run, 'ipv6', now)];
  const wasFull = Math.max(ipv4.length, ipv6.length) >= deniedMax;
  const counted = wasFull ? await run('nft', listUnrecorded) : undefined;
  return { denials: [...ipv4, ...ipv6].sort((a, b) => a.atMs - b.atMs), unrecorded: counted?.status === 0 ? readUnrecorded(counted.stdout) : undefined };
}

async function takeOf(run: RunProgram, family: IpFamily, now: () => number): Promise<readonly Denial[]> {
  const { status, stdout } = await run('nft', listDenials(family));
  const denials = status === 0 ? readDenials(stdout, now()) : [];
  if (denials.length === 0) return [];
  const forgotten = await run('nft', ['--file', '-'], forgetDenials(family, denials));
  return forgotten.status === 0 ? denials : [];
}
