import type { Command } from 'commander';
import { SallyportError } from '../../core/errors.ts';
import type { CliContext } from '../context.ts';
import { parseKind } from '../kinds.ts';
import { formatYaml } from '../output.ts';
import { desiredObjectsOf, namespaceFlags, withServerOptions } from '../target.ts';

export function addDescribe(program: Command, context: CliContext): void {
  withServerOptions(program.command('describe'))
    .summary('one object with what refers to it and the addresses that hang on it')
    .argument('<kind>')
    .argument('<name>')
    .option(...namespaceFlags)
    .addHelpText('after', '\nEXAMPLES\n  sallyport describe externalservice bigip-proxy-svc -n bookinfo\n\nEXIT CODES\n  0 ok   3 not found   4 not allowed')
    .action(async (kindText: string, name: string, options: { namespace?: string }, command: Command) => {
      const objects = await desiredObjectsOf(context, command);
      const { kind, namespaced } = parseKind(kindText);
      const { namespace = objects.defaultNamespace } = options;
      const [item] = await objects.list(kind, { name, ...(namespaced ? { namespace } : {}) });
      if (item === undefined) throw new SallyportError('not-found', `there is no ${kind} ${JSON.stringify(name)}${namespaced ? ` in namespace ${JSON.stringify(namespace)}` : ''}`);
      context.out(formatYaml(item).trimEnd());
      const unseen: string[] = [];
      const others = await Promise.all((['EgressPolicy', 'ExternalService', 'SnatBinding'] as const).filter((other) => other !== kind).map((other) => seen(objects.list(other, {}), unseen, other)));
      const referring = others.flat().filter((other) => refersTo(other, name));
      if (referring.length > 0) context.out(['', 'Referred to by:', ...referring.map(nameOf)].join('\n'));
      const assignments = await seen(objects.assignments(), unseen, 'assignment');
      const own = assignments.filter(({ pool, holder }) => (kind === 'SnatPool' && pool === name) || (kind === 'SnatBinding' && holder.split('/').includes(namespace)));
      if (own.length > 0) context.out(['', 'Addresses:', ...own.map(({ address, ports, holder }) => `  ${address} ports ${ports.first}-${ports.last} held by ${holder}`)].join('\n'));
      if (unseen.length > 0) context.say(`what you may not list in all namespaces is not looked at: ${unseen.join(', ')}`);
    });
}

/** None where the caller may not list them all, which is noted. */
async function seen<Item>(listing: Promise<readonly Item[]>, unseen: string[], what: string): Promise<readonly Item[]> {
  return await listing.catch((error: unknown) => {
    if (!(error instanceof SallyportError && error.code === 'cluster-forbidden')) throw error;
    unseen.push(what);
    return [];
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
