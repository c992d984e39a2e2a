/** The nftables of a host (network-namespaces.ts): its rules, and what they have counted. */
import type { NetworkHost } from './network-namespaces.ts';

export interface Nftables {
  /** Replaces all rules; every counter begins at 0. Connections that the host knows, it goes on to know. */
  readonly load: (rules: string) => Promise<void>;
  readonly counts: () => Promise<Counts>;
}

/** In packets. */
export interface Counts {
  /** Of each named counter. */
  readonly counters: Readonly<Record<string, number>>;
  /** Of each set whose elements have counters, by element. */
  readonly sets: Readonly<Record<string, Readonly<Record<string, number>>>>;
}

/** What nft lists, as far as it is read here (libnftables-json(5)). */
interface Listing {
  readonly nftables: readonly {
    readonly counter?: { readonly name: string; readonly packets: number };
    readonly set?: { readonly name: string; readonly elem?: readonly { readonly elem: { readonly val: string; readonly counter: { readonly packets: number } } }[] };
  }[];
}

/** @param nft path of the program, see `requirePeer` */
export function nftablesOf(nft: string, host: NetworkHost): Nftables {
  async function run(args: readonly string[], input = ''): Promise<string> {
    const { status, stdout, stderr } = await host.run(nft, args, { input });
    if (status !== 0) throw new Error(`nft ${args.join(' ')}: ${stderr}`);
    return stdout;
  }
  return {
    async load(rules) {
      await run(['-f', '-'], `flush ruleset\n${rules}`);
    },
    async counts() {
      const { nftables } = JSON.parse(await run(['-j', 'list', 'ruleset'])) as Listing;
      return {
        counters: Object.fromEntries(nftables.flatMap(({ counter }) => (counter === undefined ? [] : [[counter.name, counter.packets]]))),
        sets: Object.fromEntries(nftables.flatMap(({ set }) => (set === undefined ? [] : [[set.name, Object.fromEntries((set.elem ?? []).map(({ elem }) => [elem.val, elem.counter.packets]))]]))),
      };
    },
  };
}
