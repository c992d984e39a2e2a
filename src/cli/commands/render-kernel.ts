import { Option, type Command } from 'commander';
import { renderConntrackd, renderFtpFarm, renderKeepalived, renderKernelGateway, renderRetelling, renderUnit, rulesetFile, type FtpFarm, type InterfaceAddress, type PairLink, type PairMember } from '../../backends/kernel/index.ts';
import { applyChange, emptyDesiredState } from '../../core/desired-state.ts';
import { SallyportError } from '../../core/errors.ts';
import { inOneSentence } from '../../core/fault-text.ts';
import { familyOf, parseAddress, type IpAddress } from '../../core/ip-address.ts';
import type { PortRange } from '../../core/plan/plan.ts';
import { workloadAddresses } from '../../core/plan/workload-addresses.ts';
import type { CliContext } from '../context.ts';
import { offlineGateway, sayConditions, type GatewayOptions, type OfflineGateway } from '../offline-gateways.ts';

interface RenderKernelOptions extends GatewayOptions {
  readonly output: keyof typeof formats;
  readonly link?: string;
  readonly own?: string;
  readonly peer?: string;
  readonly role?: PairMember['role'];
  readonly inside?: string;
  readonly nextHop?: readonly string[];
  readonly virtualRouterId: string;
  readonly ftpFarm?: string;
  readonly ftpPassivePorts: string;
  readonly ipvs?: boolean;
}

/** The files of a router, each in the words of the program that reads it. */
const formats = {
  nftables({ plan, gateway, objects }: OfflineGateway, options: RenderKernelOptions, context: CliContext): string {
    const { addresses, faults } = workloadAddresses(applyChange(emptyDesiredState, { put: objects, remove: [] }).WorkloadEntry, []);
    for (const fault of faults) context.say(`warning: ${inOneSentence(fault)}`);
    const { ruleset, conditions, caveats } = renderKernelGateway(plan, gateway, addresses);
    sayConditions(context, conditions);
    for (const caveat of caveats) context.say(`note: ${caveat.object ?? gateway.name}: ${inOneSentence(caveat)}`);
    const farm = farmOf(options);
    return farm === undefined ? ruleset : `${ruleset}\n${renderFtpFarm(farm)}`;
  },
  keepalived({ plan, gateway }: OfflineGateway, options: RenderKernelOptions): string {
    const { addresses, table } = renderKernelGateway(plan, gateway, new Map());
    const farm = farmOf(options);
    return renderKeepalived({ interface: table.settings.interface, addresses }, memberOf(options), farm?.ipvs === true ? farm : undefined);
  },
  conntrackd: (_: OfflineGateway, options: RenderKernelOptions): string => renderConntrackd(linkOf(options)),
  systemd({ gateway }: OfflineGateway, _: RenderKernelOptions, context: CliContext): string {
    context.say(`note: it loads ${rulesetFile(gateway.name)}, which is to be what "-o nftables" gives`);
    return renderUnit(gateway.name);
  },
  'systemd-pair': (_: OfflineGateway, options: RenderKernelOptions): string => renderRetelling(nextHopsOf(options)[0]!.address),
} as const;

export function addRenderKernel(render: Command, context: CliContext): void {
  render
    .command('kernel')
    .summary('what manifests mean to a Linux router, or to a pair of them')
    .description('Renders manifests offline, as if they were the whole desired state and no address had been given out before: the table of nftables for a gateway of class kernel, where WorkloadEntry objects among them say who is behind which address; and what makes a pair of two routers.')
    .requiredOption('-f, --filename <path...>', 'file, folder or "-"')
    .option('--gateway <name>', 'which EgressGateway, where there are several')
    .option('--trust-domain <name>', 'the trust domain of the identities', 'cluster.local')
    .addOption(new Option('-o, --output <format>', 'nftables: the table; keepalived, conntrackd: configuration of a router of a pair; systemd: a unit that loads the table when the router starts; systemd-pair: one by which conntrackd tells the other router of all connections anew, every 10 s').choices(Object.keys(formats)).default('nftables'))
    .option('--link <interface>', 'of a pair: to the other router, and to nobody else')
    .option('--own <address>', 'of a pair: of this router, on the link')
    .option('--peer <address>', 'of a pair: of the other router, on the link')
    .addOption(new Option('--role <role>', 'keepalived: who begins where both start at once').choices(['first', 'second']))
    .option('--inside <interface>', 'keepalived: towards the workloads')
    .option('--next-hop <address/prefix...>', 'keepalived, systemd-pair: where workloads send to, on the interface inside')
    .option('--virtual-router-id <number>', 'keepalived: of the pair alone on its link, 1 to 255', '51')
    .option('--ftp-farm <address=server,...>', 'nftables, keepalived: an address for several FTP servers behind the router, beside the gateway')
    .option('--ftp-passive-ports <first-last>', 'of these servers', '10000-20000')
    .option('--ipvs', 'have IPVS balance them, where the kernel has it: keepalived then ends where it has not')
    .addHelpText('after', '\nEXAMPLES\n  sallyport render kernel -f manifests | nft --check --file -\n  sallyport render kernel -f manifests -o keepalived --role first --link pair --own 10.9.0.2 --peer 10.9.0.3 --inside pods --next-hop 10.1.0.1/24\n  sallyport render kernel -f manifests -o conntrackd --link pair --own 10.9.0.2 --peer 10.9.0.3\n  sallyport render kernel -f manifests -o systemd-pair --next-hop 10.1.0.1/24\n\nEXIT CODES\n  0 rendered   2 faults, several gateways, or options missing   3 no such gateway')
    .action(async (options: RenderKernelOptions) => {
      const offline = await offlineGateway(context, options, 'kernel');
      context.out(formats[options.output](offline, options, context).trimEnd());
    });
}

function memberOf(options: RenderKernelOptions): PairMember {
  const link = linkOf(options);
  const nextHops = nextHopsOf(options);
  if (familyOf(nextHops[0]!.address) !== familyOf(link.own)) throw new SallyportError('usage', 'the first is advertised over the link, and has to be of the same family as its addresses', { place: '--next-hop', value: nextHops[0]!.address });
  const virtualRouterId = Number(options.virtualRouterId);
  if (!isWithin(virtualRouterId, 1, 255)) throw new SallyportError('usage', 'must be from 1 to 255', { place: '--virtual-router-id', value: options.virtualRouterId });
  return { role: needed(options.role, '--role', 'keepalived'), link, inside: needed(options.inside, '--inside', 'keepalived'), nextHops, virtualRouterId };
}

const nextHopsOf = ({ nextHop, output }: RenderKernelOptions): readonly InterfaceAddress[] => needed(nextHop, '--next-hop', output).map(interfaceAddressIn);

function linkOf({ link, own, peer, output }: RenderKernelOptions): PairLink {
  const ends = { interface: needed(link, '--link', output), own: addressIn(needed(own, '--own', output), '--own'), peer: addressIn(needed(peer, '--peer', output), '--peer') };
  if (ends.own === ends.peer || familyOf(ends.own) !== familyOf(ends.peer)) throw new SallyportError('usage', 'must be the other address of the link, of the same family as --own', { place: '--peer', value: ends.peer });
  return ends;
}

function farmOf({ ftpFarm, ftpPassivePorts, ipvs = false }: RenderKernelOptions): FtpFarm | undefined {
  if (ftpFarm === undefined) return undefined;
  const [before, after = ''] = ftpFarm.split('=') as [string, string?];
  const address = addressIn(before, '--ftp-farm');
  const servers = after.split(',').map((server) => addressIn(server, '--ftp-farm'));
  if (servers.some((server) => familyOf(server) !== familyOf(address))) throw new SallyportError('usage', 'servers must be of the same family as the address before them', { place: '--ftp-farm', value: ftpFarm });
  return { address, servers, passivePorts: portRangeIn(ftpPassivePorts), ipvs };
}

function needed<Value>(value: Value | undefined, place: string, output: string): Value {
  if (value === undefined) throw new SallyportError('usage', `-o ${output} needs it`, { place });
  return value;
}

function addressIn(text: string, place: string): IpAddress {
  const address = parseAddress(text);
  if (address === undefined) throw new SallyportError('usage', `${JSON.stringify(text)} is not an address`, { place, value: text });
  return address;
}

function interfaceAddressIn(text: string): InterfaceAddress {
  const [before, after = ''] = text.split('/') as [string, string?];
  const address = addressIn(before, '--next-hop');
  const prefixLength = Number(after === '' ? NaN : after);
  if (!isWithin(prefixLength, 1, familyOf(address) === 'ipv4' ? 32 : 128)) throw new SallyportError('usage', `${JSON.stringify(text)} is not an address with the length of its prefix`, { place: '--next-hop', value: text, hint: 'write it like 10.1.0.1/24' });
  return { address, prefixLength };
}

function portRangeIn(text: string): PortRange {
  const [first = NaN, last = NaN] = /^[0-9]+-[0-9]+$/.test(text) ? text.split('-').map(Number) : [];
  if (!isWithin(first, 1, last) || !isWithin(last, first, 65_535)) throw new SallyportError('usage', `${JSON.stringify(text)} is not a range of ports`, { place: '--ftp-passive-ports', value: text, hint: 'write it like 10000-20000' });
  return { first, last };
}

const isWithin = (number: number, first: number, last: number): boolean => Number.isInteger(number) && first <= number && number <= last;
