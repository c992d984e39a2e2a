import type { Command } from 'commander';
import { SallyportError, type ObjectRef } from '../../core/errors.ts';
import type { CliContext } from '../context.ts';
import { parseKind } from '../kinds.ts';
import { readManifests } from '../manifest-files.ts';
import { desiredObjectsOf, namespaceFlags, withServerOptions } from '../target.ts';
import { printChange } from './apply.ts';

export function addDelete(program: Command, context: CliContext): void {
  withServerOptions(program.command('delete'))
    .summary('delete objects; connections that they allowed end')
    .argument('[kind]', 'kind, with names after it; or use -f')
    .argument('[names...]')
    .option(...namespaceFlags)
    .option('-f, --filename <path...>', 'delete the objects that these manifests name')
    .option('--dry-run', 'say what would change, and change nothing')
    .addHelpText('after', '\nEXAMPLES\n  sallyport delete egresspolicy bookinfo-proxy -n bookinfo\n  sallyport delete -f manifests/examples/ftp-partner.yaml\n\nEXIT CODES\n  0 deleted   2 others depend on it, nothing deleted   3 not found, nothing deleted   4 not allowed')
    .action(async (kindText: string | undefined, names: string[], options: { namespace?: string; filename?: string[]; dryRun?: true }, command: Command) => {
      const { filename, namespace, dryRun = false } = options;
      const objects = await desiredObjectsOf(context, command);
      printChange(context, filename === undefined ? await objects.remove(refsOf(kindText, names, namespace ?? objects.defaultNamespace), { dryRun }) : await objects.removeNamedIn(await readManifests(context, filename), { dryRun }));
    });
}

function refsOf(kindText: string | undefined, names: readonly string[], namespace: string): readonly ObjectRef[] {
  if (kindText === undefined || names.length === 0) throw new SallyportError('usage', 'nothing to delete is named', { hint: 'sallyport delete KIND NAME, or -f FILE' });
  const { kind, namespaced } = parseKind(kindText);
  return names.map((name) => ({ kind, namespace: namespaced ? namespace : '', name }));
}
