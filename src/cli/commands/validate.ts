import type { Command } from 'commander';
import { describeRef, refOf } from '../../core/desired-state.ts';
import type { CliContext } from '../context.ts';
import { buildOffline } from '../offline.ts';

export function addValidate(program: Command, context: CliContext): void {
  program
    .command('validate')
    .summary('check manifests without a control plane')
    .description('Checks manifests offline, as if they were the whole desired state: every fault at once, with its file, line and column.')
    .requiredOption('-f, --filename <path...>', 'file, folder or "-"')
    .option('--trust-domain <name>', 'the trust domain to check for', 'cluster.local')
    .option('--root-namespace <name>', 'check as a cluster does: objects speak about their own namespace, and about others only in this one (sallyport-system, as installed)')
    .addHelpText('after', '\nEXAMPLES\n  sallyport validate -f manifests/examples\n  sallyport validate -f team-a/ -f platform/ --root-namespace sallyport-system\n\nEXIT CODES\n  0 valid   2 faults')
    .action(async (options: { filename: string[]; trustDomain: string; rootNamespace?: string }) => {
      const { objects } = await buildOffline(context, options);
      for (const object of objects) context.out(`${describeRef(refOf(object))} valid`);
    });
}
