import type { Command } from 'commander';
import { build } from '../../core/plan/build.ts';
import { applyChange, describeRef, emptyDesiredState, refOf } from '../../core/desired-state.ts';
import { SallyportError } from '../../core/errors.ts';
import { parseManifests } from '../../core/manifest/manifest.ts';
import { parseTrustDomain } from '../../core/spiffe-id.ts';
import type { CliContext } from '../context.ts';
import { describeFault } from '../faults.ts';
import { readManifests } from '../manifest-files.ts';

export function addValidate(program: Command, context: CliContext): void {
  program
    .command('validate')
    .summary('check manifests without a control plane')
    .description('Checks manifests offline, as if they were the whole desired state: every fault at once, with its file, line and column.')
    .requiredOption('-f, --filename <path...>', 'file, folder or "-"')
    .option('--trust-domain <name>', 'the trust domain to check for', 'cluster.local')
    .addHelpText('after', '\nEXAMPLES\n  sallyport validate -f manifests/examples\n\nEXIT CODES\n  0 valid   2 faults')
    .action(async (options: { filename: string[]; trustDomain: string }) => {
      const trustDomain = parseTrustDomain(options.trustDomain);
      if (!trustDomain.ok) throw new SallyportError('usage', trustDomain.reason);
      const { objects, faults, locate } = parseManifests(await readManifests(context, options.filename));
      const desired = applyChange(emptyDesiredState, { put: objects.map(({ object }) => object), remove: [] });
      const built = build(desired, [], { now: 0, trustDomain: trustDomain.trustDomain });
      const all = faults(built.ok ? [] : built.faults);
      if (!built.ok || all.length > 0) throw new SallyportError('manifest-invalid', `${all.length === 1 ? 'a fault' : `${all.length} faults`} in the manifests`, { faults: all });
      for (const warning of built.warnings) for (const line of describeFault(locate(warning))) context.say(`warning: ${line}`);
      for (const { object } of objects) context.out(`${describeRef(refOf(object))} valid`);
    });
}
