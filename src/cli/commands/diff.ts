import type { Command } from 'commander';
import type { CliContext } from '../context.ts';
import { readManifests } from '../manifest-files.ts';
import { outputOption, type OutputFormat } from '../output.ts';
import { desiredObjectsOf, withServerOptions } from '../target.ts';
import { printChange } from './apply.ts';

export function addDiff(program: Command, context: CliContext): void {
  withServerOptions(program.command('diff'))
    .summary('say what applying these objects would change')
    .description('Compares manifests with what the control plane holds: objects, decisions and addresses; on Kubernetes objects only. Changes nothing.')
    .requiredOption('-f, --filename <path...>', 'file, folder or "-"')
    .addOption(outputOption())
    .addHelpText('after', '\nEXAMPLES\n  sallyport diff -f policies/\n\nEXIT CODES\n  0 no differences   1 differences   2 invalid manifests')
    .action(async (options: { filename: string[]; output?: OutputFormat }, command: Command) => {
      const sources = await readManifests(context, options.filename);
      const result = await (await desiredObjectsOf(context, command)).apply(sources, { dryRun: true });
      const changes = result.changes.filter(({ action }) => action !== 'unchanged');
      if (changes.length === 0 && options.output === undefined) {
        context.say('no differences');
        return;
      }
      printChange(context, { ...result, changes }, options.output);
      if (changes.length > 0) context.setExitStatus(1);
    });
}
