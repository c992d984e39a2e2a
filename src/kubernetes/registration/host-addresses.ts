/**
 * The addresses of host names, asked for again when they have lived as long as the DNS says. An answer stays until there is another one:
 * a resolver that is away takes nobody's endpoints.
 */
import { isDeepStrictEqual } from 'node:util';
import type { Logger } from 'pino';
import type { IpAddress } from '../../core/ip-address.ts';
import { byText } from '../../core/order.ts';
import { createWorkQueue } from '../work-queue.ts';

/** Rejects where there is no answer, or one without an address. */
export type ResolveHost = (host: string) => Promise<HostAnswer>;

export interface HostAnswer {
  readonly addresses: readonly IpAddress[];
  /** For how long it holds. */
  readonly ttlSeconds: number;
}

export interface HostAddresses {
  /** These are asked for from now on, and no others. */
  want(hosts: ReadonlySet<string>): void;
  /** The last answer, sorted; null: there has not been one yet. */
  addressesOf(host: string): readonly IpAddress[] | null;
  /** Why there has not been an answer; null: there has, or nobody has tried. */
  failureOf(host: string): string | null;
  close(): Promise<void>;
}

export interface HostAddressesOptions {
  readonly resolve: ResolveHost;
  /** Called when `addressesOf` or `failureOf` has another answer. */
  readonly onChange: (host: string) => void;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  readonly log: Logger;
}

/** Whatever the DNS says: asked neither all the while, nor so rarely that nobody waits for it. */
const ttlSecondsMin = 5;
const ttlSecondsMax = 3_600;
/** By up to this part of it later, so that hosts that were asked for together are not for ever. */
const jitter = 0.1;
const lookupsMax = 16;

export function createHostAddresses({ resolve, onChange, random, log }: HostAddressesOptions): HostAddresses {
  let wanted: ReadonlySet<string> = new Set();
  const answers = new Map<string, readonly IpAddress[]>();
  const failures = new Map<string, string>();
  const timers = new Map<string, NodeJS.Timeout>();

  const queue = createWorkQueue({
    concurrency: lookupsMax,
    random,
    async work(host) {
      if (!wanted.has(host)) return;
      const { addresses, ttlSeconds } = await resolve(host);
      if (!wanted.has(host)) return;
      timers.set(host, setTimeout(() => queue.add(host), Math.min(ttlSecondsMax, Math.max(ttlSecondsMin, ttlSeconds)) * (1 + jitter * random()) * 1_000));
      const sorted = [...new Set(addresses)].sort(byText);
      failures.delete(host);
      if (isDeepStrictEqual(answers.get(host), sorted)) return;
      answers.set(host, sorted);
      onChange(host);
    },
    onFailure(host, error) {
      if (!wanted.has(host)) return;
      log.warn({ err: error, host }, 'a host of an ExternalService is not resolved');
      const failure = (error as NodeJS.ErrnoException).code ?? 'unknown error';
      if (answers.has(host) || failures.get(host) === failure) return;
      failures.set(host, failure);
      onChange(host);
    },
  });

  return {
    want(hosts) {
      const before = wanted;
      wanted = hosts;
      for (const host of before) {
        if (hosts.has(host)) continue;
        clearTimeout(timers.get(host));
        for (const known of [timers, answers, failures]) known.delete(host);
      }
      for (const host of hosts) if (!before.has(host)) queue.add(host);
    },
    addressesOf: (host) => answers.get(host) ?? null,
    failureOf: (host) => failures.get(host) ?? null,
    async close() {
      wanted = new Set();
      for (const timer of timers.values()) clearTimeout(timer);
      await queue.close();
    },
  };
}
