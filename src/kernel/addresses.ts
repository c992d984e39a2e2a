/**
 * SNAT addresses on the interface towards the services, so that the kernel answers for them (ARP, neighbour discovery). Those that we have
 * added are told from others by a metric of our own, which ip keeps with each, also over a restart of ours: ip-address(8).
 */
import { SallyportError } from '../core/errors.ts';
import { familyOf, parseAddress, type IpAddress } from '../core/ip-address.ts';
import type { RunProgram } from './run-program.ts';

export interface InterfaceAddresses {
  /** Adds what is missing, and tells the neighbours. Nothing of others is touched. */
  add(addresses: readonly IpAddress[]): Promise<void>;
  /** Removes of ours whatever is not among these. */
  keepOnly(addresses: readonly IpAddress[]): Promise<void>;
  /** Those that are not on it, whoever was to add them. */
  missing(addresses: readonly IpAddress[]): Promise<readonly IpAddress[]>;
}

/** Of our addresses, and unlikely elsewhere. Routes have no use for it: each is to one address. */
const ownMetric = 2121;

interface ListedAddress {
  readonly local: string;
  readonly metric?: number;
}

export function createInterfaceAddresses(run: RunProgram, name: string): InterfaceAddresses {
  async function succeed(program: string, args: readonly string[], input?: string): Promise<string> {
    const { status, stdout, stderr } = await run(program, args, input);
    if (status === 0) return stdout;
    throw new SallyportError('interface-failed', `${program} ${args.join(' ')}: ${stderr.trim().split('\n')[0]!}`, { place: name, hint: `look whether interface "${name}" is there and up` });
  }

  async function listed(): Promise<ReadonlyMap<IpAddress, ListedAddress>> {
    const [link] = JSON.parse(await succeed('ip', ['-json', 'address', 'show', 'dev', name])) as readonly [{ readonly addr_info: readonly ListedAddress[] }];
    return new Map(link.addr_info.flatMap((each) => {
      const address = parseAddress(each.local);
      return address === undefined ? [] : [[address, each] as const];
    }));
  }

  async function missing(addresses: readonly IpAddress[]): Promise<readonly IpAddress[]> {
    const there = await listed();
    return addresses.filter((address) => !there.has(address));
  }

  const batch = (lines: readonly string[]): Promise<string> => succeed('ip', ['-batch', '-'], lines.map((line) => `${line}\n`).join(''));

  /** Where an address was another host's, neighbours would go on sending there: the kernel tells them of all its addresses where an interface's own is set, be it to what it was. */
  async function announce(added: readonly IpAddress[]): Promise<void> {
    const settings = [...new Set(added.map(familyOf))].map((family) => (family === 'ipv4' ? `net/ipv4/conf/${name}/arp_notify` : `net/ipv6/conf/${name}/ndisc_notify`));
    const before = (await succeed('sysctl', ['-n', ...settings])).trim().split('\n');
    await succeed('sysctl', ['-qw', ...settings.map((setting) => `${setting}=1`)]);
    const [{ address }] = JSON.parse(await succeed('ip', ['-json', 'link', 'show', 'dev', name])) as readonly [{ readonly address: string }];
    await succeed('ip', ['link', 'set', 'dev', name, 'address', address]);
    await succeed('sysctl', ['-qw', ...settings.map((setting, index) => `${setting}=${before[index]!}`)]);
  }

  return {
    missing,
    async add(addresses) {
      const added = await missing(addresses);
      if (added.length === 0) return;
      // IPv6: nobody else has it, so there is nothing to detect; deprecated, so that the host itself never chooses it (RFC 6724 section 5).
      await batch(added.map((address) => (familyOf(address) === 'ipv4' ? `address add ${address}/32 dev ${name} metric ${ownMetric}` : `address add ${address}/128 dev ${name} metric ${ownMetric} nodad preferred_lft 0`)));
      await announce(added);
    },
    async keepOnly(addresses) {
      const kept = new Set(addresses);
      const removed = [...(await listed())].filter(([address, { metric }]) => metric === ownMetric && !kept.has(address));
      if (removed.length > 0) await batch(removed.map(([address]) => `address del ${address}/${familyOf(address) === 'ipv4' ? 32 : 128} dev ${name}`));
    },
  };
}
