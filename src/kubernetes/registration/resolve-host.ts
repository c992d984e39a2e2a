/** Addresses of a host name with their time to live, from the DNS itself: the system's resolver (getaddrinfo) keeps that to itself. */
import { Resolver } from 'node:dns/promises';
import { parseAddress } from '../../core/ip-address.ts';
import type { HostAnswer, ResolveHost } from './host-addresses.ts';

/** Of each name server, of which there are up to three. */
const timeoutMs = 2_000;
const tries = 2;

/** What a name server says where a name has no address of a family, or where it cannot speak of that family at all. */
const noneCodes: ReadonlySet<unknown> = new Set(['ENODATA', 'ENOTFOUND', 'ENOTIMP', 'ESERVFAIL', 'EREFUSED']);

/** @param servers `ADDRESS:PORT`; default: those of the host */
export function createHostResolver(servers?: readonly string[]): ResolveHost {
  const resolver = new Resolver({ timeout: timeoutMs, tries });
  if (servers !== undefined) resolver.setServers(servers);
  return async (host) => {
    const families = await Promise.allSettled([resolver.resolve4(host, { ttl: true }), resolver.resolve6(host, { ttl: true })]);
    const records = families.flatMap((answer) => (answer.status === 'fulfilled' ? answer.value : []));
    const failure = families.find((answer) => answer.status === 'rejected' && (records.length === 0 || !noneCodes.has((answer.reason as NodeJS.ErrnoException).code)));
    if (failure !== undefined) throw (failure as PromiseRejectedResult).reason;
    return { addresses: records.flatMap(({ address }) => parseAddress(address) ?? []), ttlSeconds: Math.min(...records.map(({ ttl }) => ttl)) } satisfies HostAnswer;
  };
}
