import type { Command } from 'commander';
import { adminPaths, type AssignmentList, type ObjectList } from '../../api/admin.ts';
import { SallyportError } from '../../core/errors.ts';
import { adminClientOf, withServerOptions, type CliContext } from '../context.ts';
import { parseKind } from '../kinds.ts';
import { formatYaml } from '../output.ts';

export function addDescribe(program: Command, context: CliContext): void {
  withServerOptions(program.command('describe'))
    .summary('one object with what refers to it and the addresses that hang on it')
    .argument('<kind>')
    .argument('<name>')
    .option('-n, --namespace <namespace>', 'namespace', 'default')
    .addHelpText('after', '\nEXAMPLES\n  sallyport describe externalservice bigip-proxy-svc -n bookinfo\n\nEXIT CODES\n  0 ok   3 not found')
    .action(async (kindText: string, name: string, options: { namespace: string }, command: Command) => {
      const client = adminClientOf(context, command.opts());
      const { kind, namespaced } = parseKind(kindText);
      const { items } = await client.get<ObjectList>(adminPaths.objects, { kind, namespace: namespaced ? options.namespace : undefined, name });
      if (items[0] === undefined) throw new SallyportError('not-found', `there is no ${kind} ${JSON.stringify(name)}${namespaced ? ` in namespace ${JSON.stringify(options.namespace)}` : ''}`);
      context.out(formatYaml(items[0]).trimEnd());
      const { items: others } = await client.get<ObjectList>(adminPaths.objects, {});
      const referring = others.filter((other) => other !== items[0] && refersTo(other, name) && other['kind'] !== kind);
      if (referring.length > 0) context.out(['', 'Referred to by:', ...referring.map(nameOf)].join('\n'));
      const { items: assignments } = await client.get<AssignmentList>(adminPaths.assignments);
      const own = assignments.filter(({ pool, holder }) => (kind === 'SnatPool' && pool === name) || (kind === 'SnatBinding' && holder.split('/').includes(options.namespace)));
      if (own.length > 0) context.out(['', 'Addresses:', ...own.map(({ address, ports, holder }) => `  ${address} ports ${ports.first}-${ports.last} held by ${holder}`)].join('\n'));
    });
}

/** Whether some field of the spec names it; names are looked at, not understood, which is enough to point a reader at them. */
function refersTo(value: unknown, name: string): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return Object.entries(value).some(([field, inner]) => (['service', 'pool', 'gateway'].includes(field) && inner === name) || refersTo(inner, name));
}

function nameOf(item: Readonly<Record<string, unknown>>): string {
  const metadata = item['metadata'] as { readonly name: string; readonly namespace?: string };
  return `  ${String(item['kind'])} ${metadata.namespace === undefined ? '' : `${metadata.namespace}/`}${metadata.name}`;
}
