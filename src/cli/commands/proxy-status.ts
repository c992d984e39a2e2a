import type { Command } from 'commander';
import type { ProxyStatus } from '../../api/admin.ts';
import type { CliContext } from '../context.ts';
import { formatTable, outputOption, print, type OutputFormat } from '../output.ts';
import { askStatus } from '../replicas.ts';
import { replicasOf, withServerOptions } from '../target.ts';

export function addProxyStatus(program: Command, context: CliContext): void {
  withServerOptions(program.command('proxy-status'))
    .summary('a line for each gateway, agent and sidecar: what it holds, and how far it is behind')
    .argument('[name]', 'only this one: a node, an identity or an EgressGateway')
    .addOption(outputOption(['json', 'yaml', 'wide']))
    .addHelpText('after', '\nEXAMPLES\n  sallyport proxy-status\n  sallyport proxy-status -o wide\n  sallyport proxy-status egress-1 -o yaml\n\nEXIT CODES\n  0 all are synced   1 one is not, is away, or somebody else has changed what is in force there   3 not found   6 control plane away')
    .action(async (name: string | undefined, options: { output?: OutputFormat }, command: Command) => {
      const { proxies } = await askStatus(context, await replicasOf(context, command));
      const shown = name === undefined ? proxies : proxies.filter(({ node, identity, gateway }) => [node, identity, gateway].includes(name));
      print(context, options.output, { apiVersion: 'sallyport.dev/v1alpha1', kind: 'ProxyStatusList', items: shown }, () => describeProxies(shown, { wide: options.output === 'wide' }));
      if (name !== undefined && shown.length === 0) context.setExitStatus(3);
      else if (shown.some((proxy) => !isSynced(proxy))) context.setExitStatus(1);
    });
}

const isSynced = ({ connected, types, withheld, inForce }: ProxyStatus): boolean => connected && withheld === null && inForce !== false && types.every(({ state }) => state === 'SYNCED');

/** A table with a line for each proxy, and below it what is wrong. Wide: each type of resource in a column of its own. */
export function describeProxies(proxies: readonly ProxyStatus[], { wide }: { readonly wide: boolean }): string {
  if (proxies.length === 0) return 'no proxy is connected, and none is awaited';
  const states: readonly Column[] = wide ? typeColumns(proxies) : [{ heading: 'STATE', cellOf: statesOf }];
  const columns: readonly Column[] = [
    { heading: 'PROXY', cellOf: ({ node }) => node },
    { heading: 'CLASS', cellOf: roleOf },
    { heading: 'VERSION', cellOf: ({ version }) => version ?? '-' },
    { heading: 'CONNECTED SINCE', cellOf: ({ connectedSince }) => connectedSince ?? 'not connected' },
    ...states,
    { heading: 'ACKNOWLEDGED', cellOf: (proxy) => short(acknowledgedBy(proxy)) },
    { heading: 'BEHIND', cellOf: behind },
  ];
  const table = formatTable(columns.map(({ heading }) => heading), proxies.map((proxy) => columns.map(({ cellOf }) => cellOf(proxy))));
  return [table, ...proxies.flatMap(notesOf)].join('\n');
}

interface Column {
  readonly heading: string;
  readonly cellOf: (proxy: ProxyStatus) => string;
}

/** Of every type that any of them asks for: where it stands, and with which revision where that is not the newest. */
function typeColumns(proxies: readonly ProxyStatus[]): readonly Column[] {
  const typeUrls = [...new Set(proxies.flatMap(({ types }) => types.map(({ typeUrl }) => typeUrl)))].sort();
  return typeUrls.map((wanted) => ({
    heading: shortName(wanted).toUpperCase(),
    cellOf: ({ types }) => {
      const type = types.find(({ typeUrl }) => typeUrl === wanted);
      if (type === undefined) return '-';
      return type.state === 'SYNCED' ? type.state : `${type.state} at ${short(type.acknowledged)}`;
    },
  }));
}

function roleOf({ class: form, gateway }: ProxyStatus): string {
  if (gateway !== null) return `${form} gateway`;
  return form === 'envoy' ? 'envoy sidecar' : 'agent';
}

/** One word where all types say the same, else each type's. */
function statesOf({ connected, types }: ProxyStatus): string {
  if (!connected) return '-';
  const states = new Set(types.map(({ state }) => state));
  if (states.size <= 1) return [...states][0] ?? '-';
  return types.map(({ typeUrl, state }) => `${shortName(typeUrl)} ${state}`).join(', ');
}

const shortName = (typeUrl: string): string => typeUrl.slice(typeUrl.lastIndexOf('.') + 1);

const short = (revision: string | null): string => revision?.slice(0, 12) ?? '-';

/** By the type that is not synced, where there is one. */
function acknowledgedBy({ types }: ProxyStatus): string | null {
  return (types.find(({ state }) => state !== 'SYNCED') ?? types[0])?.acknowledged ?? null;
}

function behind({ connected, revisionsBehind }: ProxyStatus): string {
  if (!connected) return '-';
  return revisionsBehind === null ? 'unknown' : `${revisionsBehind} revision${revisionsBehind === 1 ? '' : 's'}`;
}

/** What there is to know of it, in its own words and the control plane's. */
function notesOf({ node, types, withheld, trouble, conditions }: ProxyStatus): string[] {
  const rejections = types.flatMap(({ typeUrl, error }) => (error === null ? [] : [`${node} rejects ${shortName(typeUrl)} ${error.resources.join(', ')}: ${error.message}`]));
  const kept = withheld === null ? [] : [`${node} keeps what it holds, for what it is to hold does not hang together: ${withheld}`];
  return [...rejections, ...kept, ...conditions.map((condition) => `${node}: ${condition}`), ...(trouble === null ? [] : [`${node}: ${trouble.reason} (${trouble.count} time${trouble.count === 1 ? '' : 's'}, last ${trouble.at})`])];
}
