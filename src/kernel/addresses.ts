/**
 * SNAT addresses on the interface towards the services, so that the kernel answers for them (ARP, neighbour discovery). Those that we have
 * added are told from others by a metric of our own, which ip keeps with each, also over a restart of ours: ip-address(8).
 */
import { SallyportError } from '../core/errors.ts';
import { familyOf, parseAddress, type IpAddress } from '../core/ip-address.ts';
import type { RunProgram } from './run-program.ts';

/** Of our addresses, and unlikely elsewhere. Routes have no use for it: each is to one address. */
const ownMetric = 2121;

export interface Place {
  readonly interface: string;
  readonly addresses: readonly IpAddress[];
}

interface Link {
  readonly ifname: string;
  /** The interface's own, of its hardware. */
  readonly address: string;
  readonly addr_info: readonly { readonly local: string; readonly metric?: number }[];
}

/** Adds what is missing, and tells the neighbours. */
export async function addAddresses(run: RunProgram, place: Place): Promise<void> {
  const added = await missingAddresses(run, place);
  if (added.length === 0) return;
  // IPv6: nobody else has it, so there is nothing to detect; deprecated, so that the host itself never chooses it (RFC 6724 section 5).
  await batch(run, added.map((address) => (familyOf(address) === 'ipv4' ? `address add ${address}/32 dev ${place.interface} metric ${ownMetric}` : `address add ${address}/128 dev ${place.interface} metric ${ownMetric} nodad preferred_lft 0`)));
  await announce(run, place.interface, added);
}

/** Those that are not there, whoever was to add them. */
export async function missingAddresses(run: RunProgram, place: Place): Promise<readonly IpAddress[]> {
  const [link] = (await linksOf(run, ['dev', place.interface])) as [Link];
  const there = new Set(link.addr_info.map(({ local }) => parseAddress(local)));
  return place.addresses.filter((address) => !there.has(address));
}

/** Whether traffic comes through this host: of a pair, through the one that has the addresses. Where there are none, nothing does that matters. */
export async function isInCharge(run: RunProgram, place: Place): Promise<boolean> {
  return (await missingAddresses(run, place)).length < place.addresses.length;
}

/** Removes ours from wherever they are, but for those in this place. */
export async function removeAddressesBut(run: RunProgram, place: Place | null): Promise<void> {
  const kept = new Set(place?.addresses);
  const removed = (await linksOf(run, [])).flatMap(({ ifname, addr_info }) =>
    addr_info.flatMap(({ local, metric }) => {
      const address = parseAddress(local);
      if (metric !== ownMetric || address === undefined || (ifname === place?.interface && kept.has(address))) return [];
      return [`address del ${address}/${familyOf(address) === 'ipv4' ? 32 : 128} dev ${ifname}`];
    }),
  );
  if (removed.length > 0) await batch(run, removed);
}

/** Where an address was another host's, neighbours would go on sending there: the kernel tells them of all its addresses where an interface's own is set, be it to what it was. */
async function announce(run: RunProgram, name: string, added: readonly IpAddress[]): Promise<void> {
  const settings = [...new Set(added.map(familyOf))].map((family) => (family === 'ipv4' ? `net/ipv4/conf/${name}/arp_notify` : `net/ipv6/conf/${name}/ndisc_notify`));
  const before = (await succeed(run, 'sysctl', ['-n', ...settings])).trim().split('\n');
  await succeed(run, 'sysctl', ['-qw', ...settings.map((setting) => `${setting}=1`)]);
  const [{ address }] = (await linksOf(run, ['dev', name])) as [Link];
  await succeed(run, 'ip', ['link', 'set', 'dev', name, 'address', address]);
  await succeed(run, 'sysctl', ['-qw', ...settings.map((setting, index) => `${setting}=${before[index]!}`)]);
}

async function linksOf(run: RunProgram, which: readonly string[]): Promise<readonly Link[]> {
  return JSON.parse(await succeed(run, 'ip', ['-json', 'address', 'show', ...which])) as readonly Link[];
}

const batch = (run: RunProgram, lines: readonly string[]): Promise<string> => succeed(run, 'ip', ['-batch', '-'], lines.map((line) => `${line}\n`).join(''));

async function succeed(run: RunProgram, program: string, args: readonly string[], input?: string): Promise<string> {
  const { status, stdout, stderr } = await run(program, args, input);
  if (status === 0) return stdout;
  throw new SallyportError('interface-failed', `${program} ${args.join(' ')}: ${stderr.trim().split('\n')[0]!}`, { hint: 'look whether the interface is there and up' });
}
