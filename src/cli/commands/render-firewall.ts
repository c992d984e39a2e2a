import { Option, type Command } from 'commander';
import * as z from 'zod';
import { adminPaths } from '../../api/admin.ts';
import { allowList, describeEnd, describeNeeds, differenceOf, firewallFormats, renderFirewall, type AllowedFlow, type AllowList, type AllowListDifference, type FirewallFormat } from '../../backends/firewall/index.ts';
import { SallyportError } from '../../core/errors.ts';
import type { Plan } from '../../core/plan/plan.ts';
import type { CliContext } from '../context.ts';
import { readManifests } from '../manifest-files.ts';
import { buildOffline } from '../offline.ts';
import { formatTable, print } from '../output.ts';
import { adminClientOf, withServerOptions } from '../target.ts';

type Format = 'json' | 'yaml' | FirewallFormat;

interface RenderFirewallOptions {
  readonly filename?: string[];
  readonly trustDomain: string;
  readonly since?: string;
  readonly output?: Format;
}

const header = { apiVersion: 'sallyport.dev/v1alpha1', kind: 'AllowList' } as const;

export function addRenderFirewall(render: Command, context: CliContext): void {
  withServerOptions(render.command('firewall'))
    .summary('what a firewall behind the gateways has to let through')
    .description('Lists the connections that the plan in force needs a firewall to let through, each with the reason: from the SNAT addresses of identities to services, and back where services connect. With -f manifests are taken for the whole desired state, as if no address had been given out before.')
    .option('-f, --filename <path...>', 'file, folder or "-", instead of what is in force')
    .option('--trust-domain <name>', 'with -f: the trust domain of the identities', 'cluster.local')
    .option('--since <file>', 'only what has changed since a list that was saved with -o json')
    .addOption(new Option('-o, --output <format>', 'output format; default: a table').choices(['json', 'yaml', ...firewallFormats]))
    .addHelpText('after', '\nEXAMPLES\n  sallyport render firewall -o json > allow-list.json\n  sallyport render firewall --since allow-list.json\n  sallyport render firewall -o nftables | nft -f -\n  sallyport render firewall -f manifests/examples/bookinfo-forward-proxy.yaml -o csv\n\nEXIT CODES\n  0 rendered   2 faults   4 not allowed to ask   6 control plane away')
    .action(async (options: RenderFirewallOptions, command: Command) => {
      const { filename } = options;
      const plan = filename === undefined ? await (await adminClientOf(context, command)).get<Plan>(adminPaths.plan) : (await buildOffline(context, { ...options, filename })).plan;
      const list = allowList(plan);
      if (options.since === undefined) printList(context, options.output, list);
      else printDifference(context, options.output, differenceOf(await readSaved(context, options.since), list), list);
    });
}

function printList(context: CliContext, output: Format | undefined, list: AllowList): void {
  if (output === undefined || output === 'json' || output === 'yaml') print(context, output, { ...header, ...list }, () => tableOf(list.flows));
  else context.out(renderFirewall(output, list).replace(/\r?\n$/, ''));
}

function printDifference(context: CliContext, output: Format | undefined, difference: AllowListDifference, { revision }: AllowList): void {
  if (output !== undefined && output !== 'json' && output !== 'yaml') throw new SallyportError('usage', `what has changed is not told as ${output}`, { place: '--since', hint: `leave -o away for a table, or give -o json; a whole list replaces an earlier one` });
  const { added, removed, otherwiseNeeded } = difference;
  print(context, output, { ...header, kind: 'AllowListDifference', revision, ...difference }, () => {
    if (added.length + removed.length + otherwiseNeeded.length === 0) return 'nothing has changed for the firewall';
    return formatTable(['CHANGE', ...headings], [...added.map((flow) => ['add', ...cellsOf(flow)]), ...removed.map((flow) => ['remove', ...cellsOf(flow)]), ...otherwiseNeeded.map(({ after }) => ['keep', ...cellsOf(after)])]);
  });
}

const headings = ['OPENED BY', 'TRANSPORT', 'SOURCE', 'DESTINATION', 'WHY'] as const;
const cellsOf = ({ direction, transport, source, destination, needs }: AllowedFlow): readonly string[] => [direction === 'out' ? 'gateway' : 'service', transport, describeEnd(source), describeEnd(destination), describeNeeds(needs)];
const tableOf = (flows: readonly AllowedFlow[]): string => (flows.length === 0 ? 'nothing: no policy grants anything to whom a binding gives an address' : formatTable(headings, flows.map(cellsOf)));

const ports = z.object({ first: z.int(), last: z.int() });
const end = z.object({ host: z.string(), ports });
const saved = z.object({
  kind: z.literal(header.kind),
  flows: z.array(
    z.object({
      direction: z.enum(['out', 'in']),
      transport: z.enum(['tcp', 'udp']),
      source: end,
      destination: end,
      needs: z.array(z.object({ service: z.string(), use: z.enum(['service', 'ftp-data', 'reverse']), subject: z.string(), policies: z.array(z.string()), binding: z.string() })),
    }),
  ),
});

async function readSaved(context: CliContext, file: string): Promise<Pick<AllowList, 'flows'>> {
  const [source] = await readManifests(context, [file]);
  const parsed = saved.safeParse(jsonOf(source?.text ?? ''));
  if (!parsed.success) throw new SallyportError('usage', 'this is no allow list that was saved with -o json', { place: '--since', value: file, hint: 'sallyport render firewall -o json > allow-list.json' });
  return parsed.data;
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
