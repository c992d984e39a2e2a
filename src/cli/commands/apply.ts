import type { Command } from 'commander';
import { adminPaths, type ApplyResult } from '../../api/admin.ts';
import { describeRef } from '../../core/desired-state.ts';
import { describeFault } from '../../core/fault-text.ts';
import { adminClientOf, withServerOptions, type CliContext } from '../context.ts';
import { readManifests } from '../manifest-files.ts';
import { outputOption, print, type OutputFormat } from '../output.ts';

export function addApply(program: Command, context: CliContext): void {
  withServerOptions(program.command('apply'))
    .summary('make the control plane hold these objects')
    .description('Applies manifests: all of them, or none. What they do not name stays as it is.')
    .requiredOption('-f, --filename <path...>', 'file, folder or "-"')
    .option('--dry-run', 'say what would change, and change nothing')
    .addOption(outputOption())
    .addHelpText('after', '\nEXAMPLES\n  sallyport apply -f manifests/examples/bookinfo-forward-proxy.yaml\n  cat policy.yaml | sallyport apply -f - --dry-run\n\nEXIT CODES\n  0 applied   2 invalid manifests, nothing applied   6 control plane away')
    .action(async (options: { filename: string[]; dryRun?: true; output?: OutputFormat }, command: Command) => {
      const sources = await readManifests(context, options.filename);
      const result = await adminClientOf(context, command.opts()).post<ApplyResult>(adminPaths.apply, { sources, dryRun: options.dryRun === true });
      printChange(context, result, options.output);
    });
}

/** What every command that changes desired state prints. */
export function printChange(context: CliContext, result: ApplyResult, format?: OutputFormat): void {
  for (const warning of result.warnings) for (const line of describeFault(warning)) context.say(`warning: ${line}`);
  print(context, format, result, () =>
    [...result.changes.map(({ ref, action }) => `${describeRef(ref)} ${action}${result.dryRun ? ' (dry run)' : ''}`), ...result.effects.map((effect) => `  ${effect}`)].join('\n'),
  );
}
