/**
 * The list as sets of nftables, for a Linux firewall: a file that replaces their table in one transaction, for `nft -f`. The chains that look
 * into the sets are the firewall's own; the head of the file says how. https://wiki.nftables.org/wiki-nftables/index.php/Concatenations
 */
import { describeEnd, describeNeeds, describePorts, familyOf, isByName, withoutCovered, type AllowedFlow, type AllowList } from './allow-list.ts';

const families = [4, 6] as const;
const transports = ['tcp', 'udp'] as const;

/** @param table of family `inet`, which is ours alone */
export function renderNftables({ revision, flows }: AllowList, table = 'sallyport_allowed'): string {
  const placed = withoutCovered(flows.filter((flow) => !isByName(flow)));
  const sets = families.flatMap((family) => transports.map((transport) => ({ family, transport, members: placed.filter((flow) => familyOf(flow) === family && flow.transport === transport) })));
  return [
    `# Sallyport, revision ${revision}: what is to pass. In a chain of your own, before it drops:`,
    '#   ct state established,related accept',
    ...sets.map(({ family, transport }) => `#   ${family === 4 ? 'ip' : 'ip6'} saddr . ${transport} sport . ${family === 4 ? 'ip' : 'ip6'} daddr . ${transport} dport @${nameOf(family, transport)} accept`),
    '# A set is of its table: put that chain into this one, or include these sets in yours.',
    ...flows.filter(isByName).map((flow) => `# not here, for its addresses are whatever DNS says: ${flow.transport} ${describeEnd(flow.source)} to ${describeEnd(flow.destination)}, ${describeNeeds(flow.needs)}`),
    ...sets.flatMap(({ family, transport, members }) => [...setOf(table, family, transport), `flush set inet ${table} ${nameOf(family, transport)}`, ...elementsOf(table, nameOf(family, transport), members)]),
    '',
  ].join('\n');
}

const nameOf = (family: 4 | 6, transport: 'tcp' | 'udp'): string => `${transport}${family}`;

/** Made where it is missing, so that chains which refer to it stay as they are. */
function setOf(table: string, family: 4 | 6, transport: 'tcp' | 'udp'): readonly string[] {
  return [`table inet ${table} {`, `  set ${nameOf(family, transport)} {`, `    type ipv${family}_addr . inet_service . ipv${family}_addr . inet_service`, '    flags interval', '  }', '}'];
}

function elementsOf(table: string, set: string, flows: readonly AllowedFlow[]): readonly string[] {
  if (flows.length === 0) return [];
  const elementOf = ({ source, destination }: AllowedFlow): string => [source.host, describePorts(source.ports), destination.host, describePorts(destination.ports)].join(' . ');
  return [`add element inet ${table} ${set} {`, ...flows.map((flow) => `  ${elementOf(flow)}, # ${describeNeeds(flow.needs)}`), '}'];
}
