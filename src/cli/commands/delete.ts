import type { Command } from 'commander';
import { adminPaths, type ApplyResult } from '../../api/admin.ts';
import { refOf } from '../../core/desired-state.ts';
import { SallyportError, type ObjectRef } from '../../core/errors.ts';
import { parseManifests } from '../../core/manifest/manifest.ts';
import { adminClientOf, withServerOptions, type CliContext } from '../context.ts';
import { parseKind } from '../kinds.ts';
import { readManifests } from '../manifest-files.ts';
import { printChange } from './apply.ts';

export function addDelete(program: Command, context: CliContext): void {
  withServerOptions(program.command('delete'))
    .summary('delete objects; connections that they allowed end')
    .argument('[kind]', 'kind, with names after it; or use -f')
    .argument('[names...]')
    .option('-n, --namespace <namespace>', 'namespace', 'default')
    .option('-f, --filename <path...>', 'delete the objects that these manifests name')
    .option('--dry-run', 'say what would change, and change nothing')
    .addHelpText('after', '\nEXAMPLES\n  sallyport delete egresspolicy bookinfo-proxy -n bookinfo\n  sallyport delete -f manifests/examples/ftp-partner.yaml\n\nEXIT CODES\n  0 deleted   2 others depend on it, nothing deleted   3 not found, nothing deleted')
    .action(async (kindText: string | undefined, names: string[], options: { namespace: string; filename?: string[]; dryRun?: true }, command: Command) => {
      const refs = options.filename === undefined ? refsOf(kindText, names, options.namespace) : await refsIn(context, options.filename);
      const result = await adminClientOf(context, command.opts()).post<ApplyResult>(adminPaths.remove, { refs, dryRun: options.dryRun === true });
      printChange(context, result);
    });
}

function refsOf(kindText: string | undefined, names: readonly string[], namespace: string): readonly ObjectRef[] {
  if (kindText === undefined || names.length === 0) throw new SallyportError('usage', 'nothing to delete is named', { hint: 'sallyport delete KIND NAME, or -f FILE' });
  const { kind, namespaced } = parseKind(kindText);
  return names.map((name) => ({ kind, namespace: namespaced ? namespace : '', name }));
}

async function refsIn(context: CliContext, paths: readonly string[]): Promise<readonly ObjectRef[]> {
  const parsed = parseManifests(await readManifests(context, paths));
  const faults = parsed.faults();
  if (faults.length > 0) throw new SallyportError('manifest-invalid', 'the manifests have faults', { faults });
  return parsed.objects.map(({ object }) => refOf(object));
}
