import type { Command } from 'commander';
import { adminPaths, type ProxyStatus, type StatusResult } from '../../api/admin.ts';
import { adminClientOf, withServerOptions, type CliContext } from '../context.ts';
import { formatTable, outputOption, print, type OutputFormat } from '../output.ts';

export function addProxyStatus(program: Command, context: CliContext): void {
  withServerOptions(program.command('proxy-status'))
    .summary('a line for each gateway, agent and sidecar: what it holds, and how far it is behind')
    .argument('[name]', 'only this one: a node, an identity or an EgressGateway')
    .addOption(outputOption())
    .addHelpText('after', '\nEXAMPLES\n  sallyport proxy-status\n  sallyport proxy-status egress-1 -o yaml\n\nEXIT CODES\n  0 all are synced   1 one is not, or is away   3 not found   6 control plane away')
    .action(async (name: string | undefined, options: { output?: OutputFormat }, command: Command) => {
      const { proxies } = await adminClientOf(context, command.opts()).get<StatusResult>(adminPaths.status);
      const shown = name === undefined ? proxies : proxies.filter(({ node, identity, gateway }) => [node, identity, gateway].includes(name));
      print(context, options.output, { apiVersion: 'sallyport.dev/v1alpha1', kind: 'ProxyStatusList', items: shown }, () => describe(shown));
      if (name !== undefined && shown.length === 0) context.setExitStatus(3);
      else if (shown.some((proxy) => !isSynced(proxy))) context.setExitStatus(1);
    });
}

const isSynced = ({ connected, types }: ProxyStatus): boolean => connected && types.every(({ state }) => state === 'SYNCED');

function describe(proxies: readonly ProxyStatus[]): string {
  if (proxies.length === 0) return 'no proxy is connected, and there is no gateway';
  const rows = proxies.map((proxy) => [proxy.node, roleOf(proxy), proxy.connectedSince ?? 'not connected', statesOf(proxy), acknowledgedBy(proxy)?.slice(0, 12) ?? '-', behind(proxy)]);
  return [formatTable(['PROXY', 'CLASS', 'CONNECTED SINCE', 'STATE', 'ACKNOWLEDGED', 'BEHIND'], rows), ...proxies.flatMap(notesOf)].join('\n');
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

function acknowledgedBy({ types }: ProxyStatus): string | undefined {
  return types.find(({ typeUrl, acknowledged }) => acknowledged !== null && shortName(typeUrl) !== 'Secret')?.acknowledged ?? undefined;
}

function behind({ connected, revisionsBehind }: ProxyStatus): string {
  if (!connected) return '-';
  return revisionsBehind === null ? 'unknown' : `${revisionsBehind} revision${revisionsBehind === 1 ? '' : 's'}`;
}

/** What is wrong with it, in its own words and the control plane's. */
function notesOf({ node, types, trouble }: ProxyStatus): string[] {
  const rejections = types.flatMap(({ typeUrl, error }) => (error === null ? [] : [`${node} rejects ${shortName(typeUrl)} ${error.resources.join(', ')}: ${error.message}`]));
  return [...rejections, ...(trouble === null ? [] : [`${node}: ${trouble.reason} (${trouble.count} time${trouble.count === 1 ? '' : 's'}, last ${trouble.at})`])];
}
