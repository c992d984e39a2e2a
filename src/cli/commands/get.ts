import type { Command } from 'commander';
import { SallyportError } from '../../core/errors.ts';
import type { CliContext } from '../context.ts';
import { formatTable, formatYaml, outputOption, print, type OutputFormat } from '../output.ts';
import { parseKind } from '../kinds.ts';
import { desiredObjectsOf, namespaceFlags, withServerOptions } from '../target.ts';

interface Item {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly spec?: Readonly<Record<string, unknown>>;
}

export function addGet(program: Command, context: CliContext): void {
  withServerOptions(program.command('get'))
    .summary('list objects')
    .argument('<kind>', 'externalservices (es), egresspolicies (ep), snatpools, snatbindings (sb), egressgateways (gw), referencegrants (refg), workloadentries (we), assignments')
    .argument('[name]', 'only this one')
    .option(...namespaceFlags)
    .option('-A, --all-namespaces', 'every namespace')
    .addOption(outputOption(['json', 'yaml', 'wide', 'name']))
    .addHelpText('after', '\nEXAMPLES\n  sallyport get externalservices -A\n  sallyport get assignments\n  sallyport get snatpool billing -o yaml\n\nEXIT CODES\n  0 ok   3 not found   4 not allowed')
    .action(async (kindText: string, name: string | undefined, options: { namespace?: string; allNamespaces?: true; output?: OutputFormat }, command: Command) => {
      const objects = await desiredObjectsOf(context, command);
      if (/^assignments?$/i.test(kindText)) {
        const items = await objects.assignments();
        print(context, options.output, { items }, () =>
          formatTable(
            ['ADDRESS', 'PORTS', 'HOLDER', 'POOL', 'RELEASED'],
            items.map(({ address, ports, holder, pool, releasedAt }) => [address, `${ports.first}-${ports.last}`, holder, pool, releasedAt === null ? '-' : new Date(releasedAt).toISOString()]),
          ),
        );
        return;
      }
      const kind = parseKind(kindText);
      const namespace = kind.namespaced && options.allNamespaces !== true ? (options.namespace ?? objects.defaultNamespace) : undefined;
      const items = await objects.list(kind.kind, { ...(namespace === undefined ? {} : { namespace }), ...(name === undefined ? {} : { name }) });
      if (name !== undefined && items.length === 0) throw new SallyportError('not-found', `there is no ${kind.kind} ${JSON.stringify(name)}${namespace === undefined ? '' : ` in namespace ${JSON.stringify(namespace)}`}`, { hint: `list them: sallyport get ${kindText}${kind.namespaced ? ' -A' : ''}` });
      const typed = items as unknown as readonly Item[];
      if (items.length === 0 && options.output === undefined) {
        context.say(namespace === undefined ? `there is no ${kind.kind}` : `there is no ${kind.kind} in namespace ${JSON.stringify(namespace)}; for every namespace: -A`);
        return;
      }
      if (options.output === 'name') for (const item of typed) context.out(`${item.kind}/${item.metadata.name}`);
      else if (options.output === 'yaml') context.out(items.map(formatYaml).join('---\n').trimEnd());
      else print(context, options.output, { apiVersion: 'v1', kind: 'List', items }, () => tableOf(typed, kind.namespaced));
    });
}

function tableOf(items: readonly Item[], namespaced: boolean): string {
  const headings = [...(namespaced ? ['NAMESPACE'] : []), 'NAME', 'SUMMARY'];
  return formatTable(headings, items.map((item) => [...(namespaced ? [item.metadata.namespace ?? ''] : []), item.metadata.name, summaryOf(item)]));
}

/** One line of what an object says, for people; programs ask for JSON. */
function summaryOf({ spec = {} }: Item): string {
  return Object.entries(spec)
    .map(([key, value]) => `${key}=${Array.isArray(value) ? value.map(brief).join(',') : brief(value)}`)
    .join(' ');
}

function brief(value: unknown): string {
  if (typeof value !== 'object' || value === null) return String(value);
  return `{${Object.entries(value).map(([key, inner]) => `${key}:${brief(inner)}`).join(' ')}}`;
}
