import type { Command } from 'commander';
import { describeRef } from '../../core/desired-state.ts';
import { parseDuration } from '../../core/duration.ts';
import { SallyportError } from '../../core/errors.ts';
import { describeFault } from '../../core/fault-text.ts';
import type { CliContext } from '../context.ts';
import type { Change } from '../desired-objects.ts';
import { readManifests } from '../manifest-files.ts';
import { outputOption, print, type OutputFormat } from '../output.ts';
import { desiredObjectsOf, withServerOptions } from '../target.ts';

interface ApplyCommandOptions {
  readonly filename: string[];
  readonly dryRun?: true;
  readonly forceConflicts?: true;
  readonly wait?: true;
  readonly timeout: string;
  readonly output?: OutputFormat;
}

export const forceFlags = ['--force-conflicts', 'Kubernetes: take over fields that somebody else has set'] as const;

export function addApply(program: Command, context: CliContext): void {
  withServerOptions(program.command('apply'))
    .summary('make the control plane, or the API server of Kubernetes, hold these objects')
    .description('Applies manifests: all of them, or none. What they do not name stays as it is. On Kubernetes by server-side apply, after everything has been tried there.')
    .requiredOption('-f, --filename <path...>', 'file, folder or "-"')
    .option('--dry-run', 'say what would change, and change nothing')
    .option(...forceFlags)
    .option('--wait', 'Kubernetes: until gateways enforce it all')
    .option('--timeout <span>', 'of --wait', '1m')
    .addOption(outputOption())
    .addHelpText(
      'after',
      '\nEXAMPLES\n  sallyport apply -f manifests/examples/bookinfo-forward-proxy.yaml\n  cat policy.yaml | sallyport apply -f - --dry-run\n  kubectl sallyport apply -f policies/ --wait\n\nEXIT CODES\n  0 applied   2 invalid manifests, nothing applied   4 not allowed   5 others have set what is to be changed   6 control plane or cluster away, or not enforced in time',
    )
    .action(async (options: ApplyCommandOptions, command: Command) => {
      const waitMs = parseDuration(options.timeout);
      if (waitMs === undefined) throw new SallyportError('usage', `${JSON.stringify(options.timeout)} is not a time span`, { place: '--timeout', value: options.timeout, hint: 'write it like 1m' });
      const sources = await readManifests(context, options.filename);
      const objects = await desiredObjectsOf(context, command);
      const { dryRun = false, forceConflicts = false, wait = false } = options;
      if (wait && objects.waitFor === undefined) throw new SallyportError('usage', '--wait is for Kubernetes', { hint: 'how far gateways are says sallyport proxy-status' });
      printChange(context, await objects.apply(sources, { dryRun, takeOver: forceConflicts }), options.output);
      if (wait && !dryRun) await objects.waitFor?.(sources, waitMs);
    });
}

/** What every command that changes desired state prints. */
export function printChange(context: CliContext, result: Change, format?: OutputFormat): void {
  for (const warning of result.warnings) for (const line of describeFault(warning)) context.say(`warning: ${line}`);
  print(context, format, result, () =>
    [...result.changes.map(({ ref, action }) => `${describeRef(ref)} ${action}${result.dryRun ? ' (dry run)' : ''}`), ...result.effects.map((effect) => `  ${effect}`)].join('\n'),
  );
}
