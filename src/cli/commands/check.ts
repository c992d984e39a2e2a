import type { Command } from 'commander';
import { Option } from 'commander';
import { addClusterOptions, clusterChoiceOf, type ClusterOptions } from '../cluster-options.ts';
import type { CliContext } from '../context.ts';
import { version } from './version.ts';

interface CheckOptions extends ClusterOptions {
  readonly namespace: string;
  readonly pre?: true;
  readonly output: 'text' | 'json';
}

export function addCheck(program: Command, context: CliContext): void {
  addClusterOptions(program.command('check'))
    .summary('say what is wrong with an installation in a cluster')
    .description('Looks at an installation from outside, with your own rights: definitions, control plane, trust, gateways, objects. Writes nothing. What you may not see is left out, and said. Every check is explained in docs/reference/checks.md.')
    .option('-n, --namespace <namespace>', 'namespace of the control plane', 'sallyport-system')
    .option('--pre', 'before an installation: whether it can be made')
    .addOption(new Option('-o, --output <format>', 'output format').choices(['text', 'json']).default('text'))
    .addHelpText('after', '\nEXAMPLES\n  sallyport check --pre\n  sallyport check\n  sallyport check -o json --context production\n\nEXIT CODES\n  0 nothing fails   1 something fails   4 the cluster does not know you   6 cluster away')
    .action(async ({ namespace, pre, output, ...choice }: CheckOptions) => {
      const { describeResults, gatherFacts, runChecks, summaryOf } = await import('../../diagnosis/index.ts');
      const { createApiClient, openClusterAccess } = await import('../../kubernetes/index.ts');
      const results = runChecks(await gatherFacts({ client: createApiClient(await openClusterAccess(clusterChoiceOf(choice))), namespace, version, before: pre === true, now: Date.now }));
      const isWell = results.every(({ verdict }) => verdict !== 'failed');
      if (output === 'json') context.out(JSON.stringify({ success: isWell, checks: results }, null, 2));
      else context.out([...describeResults(results), summaryOf(results)].join('\n'));
      if (!isWell) context.setExitStatus(1);
    });
}
