import { isDeepStrictEqual } from 'node:util';
import { Argument, type Command } from 'commander';
import type { ProxyResource } from '../../api/admin.ts';
import { SallyportError } from '../../core/errors.ts';
import type { CliContext } from '../context.ts';
import { readConfigDump, type HeldResource } from '../envoy-admin.ts';
import { formatTable, outputOption, print, type OutputFormat } from '../output.ts';
import { askProxyConfig } from '../replicas.ts';
import { replicasOf, withServerOptions } from '../target.ts';

/** What each word means, by the end of a type URL; `all` is everything. */
const kindsOfType = { listeners: 'Listener', clusters: 'Cluster', secrets: 'Secret', all: '' } as const;
type What = keyof typeof kindsOfType;

interface ProxyConfigOptions {
  readonly output?: OutputFormat;
  readonly diff?: boolean;
  readonly envoyAdmin?: string;
}

export function addProxyConfig(program: Command, context: CliContext): void {
  withServerOptions(program.command('proxy-config'))
    .summary('what a proxy was sent, and with --diff beside what it holds')
    .addArgument(new Argument('<what>').choices(Object.keys(kindsOfType)))
    .argument('<name>', 'the proxy: a node, an identity or an EgressGateway')
    .option('--diff', 'compare with what the Envoy itself says that it holds')
    .option('--envoy-admin <address>', "Envoy's administration, HOST:PORT or the path of its socket; for --diff")
    .addOption(outputOption())
    .addHelpText('after', '\nEXAMPLES\n  sallyport proxy-config listeners egress-1 -o yaml\n  sallyport proxy-config all egress-1 --diff --envoy-admin 127.0.0.1:9901\n\nEXIT CODES\n  0 ok   1 differences   3 no such proxy is connected   6 control plane or Envoy away')
    .action(async (what: What, name: string, options: ProxyConfigOptions, command: Command) => {
      if (options.diff === true && options.envoyAdmin === undefined) throw new SallyportError('usage', 'only the Envoy itself knows what it holds', { place: '--diff', hint: 'say where its administration is: --envoy-admin 127.0.0.1:9901' });
      const { resources, ...proxy } = await askProxyConfig(await replicasOf(context, command), name);
      const sent = resources.filter(({ typeUrl }) => what === 'all' || typeUrl.endsWith(`.${kindsOfType[what]}`));
      if (options.diff !== true) {
        print(context, options.output, { apiVersion: 'sallyport.dev/v1alpha1', kind: 'ProxyConfig', ...proxy, resources: sent }, () => formatTable(['TYPE', 'NAME', 'VERSION', 'STATE'], sent.map(({ typeUrl, name: resource, version, state }) => [shortName(typeUrl), resource, version, state])));
        return;
      }
      const held = (await readConfigDump(options.envoyAdmin!)).filter(({ typeUrl }) => what === 'all' || typeUrl.endsWith(`.${kindsOfType[what]}`));
      const differences = compare(sent, held);
      print(context, options.output, { apiVersion: 'sallyport.dev/v1alpha1', kind: 'ProxyConfigDiff', ...proxy, differences }, () => (differences.length === 0 ? `${proxy.node} holds what it was sent` : formatTable(['TYPE', 'NAME', 'SENT', 'HELD'], differences.map(({ typeUrl, name: resource, sent: ours, held: theirs }) => [shortName(typeUrl), resource, ours ?? '-', theirs ?? '-']))));
      if (differences.length > 0) context.setExitStatus(1);
    });
}

interface Difference {
  readonly typeUrl: string;
  readonly name: string;
  /** Versions; null for nothing. */
  readonly sent: string | null;
  readonly held: string | null;
}

/** By version, which is a hash of the content; by content where Envoy has taken a change of a listener's chains and kept the version. */
function compare(sent: readonly ProxyResource[], held: readonly HeldResource[]): Difference[] {
  const keyOf = ({ typeUrl, name }: HeldResource | ProxyResource) => `${typeUrl} ${name}`;
  const heldByKey = new Map(held.map((resource) => [keyOf(resource), resource]));
  const sentKeys = new Set(sent.map(keyOf));
  return [
    ...sent.filter((resource) => !isHeld(resource, heldByKey.get(keyOf(resource)))).map((resource) => ({ typeUrl: resource.typeUrl, name: resource.name, sent: resource.version, held: heldByKey.get(keyOf(resource))?.version ?? null })),
    ...held.filter((resource) => !sentKeys.has(keyOf(resource))).map(({ typeUrl, name, version }) => ({ typeUrl, name, sent: null, held: version })),
  ];
}

function isHeld({ version, content }: ProxyResource, held: HeldResource | undefined): boolean {
  return held !== undefined && (held.version === version || isDeepStrictEqual(plain(content), plain(held.content)));
}

/** JSON of a message without what may be written in more than one way: `0.250s` and `0.25s`. */
function plain(value: unknown): unknown {
  if (typeof value === 'string') return /^[0-9]+(\.[0-9]+)?s$/.test(value) ? `${Number(value.slice(0, -1))}s` : value;
  if (Array.isArray(value)) return value.map(plain);
  return typeof value === 'object' && value !== null ? Object.fromEntries(Object.entries(value).map(([key, field]) => [key, plain(field)])) : value;
}

const shortName = (typeUrl: string): string => typeUrl.slice(typeUrl.lastIndexOf('.') + 1);
