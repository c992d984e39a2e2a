import dns from 'node:dns/promises';
import { parseAddress, type IpAddress } from '../core/ip-address.ts';

export type LookupOutcome =
  | { readonly ok: true; readonly addresses: readonly IpAddress[] }
  | { readonly ok: false; readonly reason: 'connect-failed' | 'connect-timeout'; readonly detail: string };

/** Every address of a host, in the resolver's order. */
export type HostLookup = (host: string, timeoutMs: number) => Promise<LookupOutcome>;

/** getaddrinfo occupies one of libuv's four threads until it answers; more than this many names at once can only be a backlog. */
const lookupsMax = 64;
const addressesMax = 16;

/**
 * Asks the system's resolver anew each time, so that a change of address is seen at once; whoever asks for a host that is being
 * asked for shares the answer.
 */
export function createHostLookup(resolve: (host: string) => Promise<readonly { readonly address: string }[]> = (host) => dns.lookup(host, { all: true, order: 'verbatim' })): HostLookup {
  const running = new Map<string, Promise<LookupOutcome>>();

  async function ask(host: string): Promise<LookupOutcome> {
    try {
      const found = await resolve(host);
      const addresses = found.flatMap(({ address }) => parseAddress(address) ?? []).slice(0, addressesMax);
      return addresses.length > 0 ? { ok: true, addresses } : { ok: false, reason: 'connect-failed', detail: `"${host}" has no address` };
    } catch (error) {
      return { ok: false, reason: 'connect-failed', detail: `"${host}" could not be resolved: ${(error as NodeJS.ErrnoException).code ?? 'unknown error'}` };
    } finally {
      running.delete(host);
    }
  }

  return async (host, timeoutMs) => {
    let answer = running.get(host);
    if (answer === undefined) {
      if (running.size >= lookupsMax) return { ok: false, reason: 'connect-failed', detail: `"${host}" was not resolved: ${lookupsMax} other names are being resolved` };
      answer = ask(host);
      running.set(host, answer);
    }
    const { promise: late, resolve: giveUp } = Promise.withResolvers<LookupOutcome>();
    const timer = setTimeout(() => giveUp({ ok: false, reason: 'connect-timeout', detail: `"${host}" was not resolved within ${Math.round(timeoutMs)} ms` }), timeoutMs);
    try {
      return await Promise.race([answer, late]);
    } finally {
      clearTimeout(timer);
    }
  };
}
