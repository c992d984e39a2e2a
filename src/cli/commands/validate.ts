import type { Command } from 'commander';
import { allocate } from '../../core/snat/allocate.ts';
import { compile } from '../../core/plan/compile.ts';
import { applyChange, describeRef, emptyDesiredState, refOf } from '../../core/desired-state.ts';
import { SallyportError, type Fault } from '../../core/errors.ts';
import { locateFault } from '../../core/manifest/fault-location.ts';
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
      const parsed = parseManifests(await readManifests(context, options.filename));
      if (!parsed.ok) throw invalid(parsed.faults);
      const desired = applyChange(emptyDesiredState, { put: parsed.objects.map(({ object }) => object), remove: [] });
      const { assignments, faults } = allocate(desired, [], 0);
      const compiled = compile(desired, assignments, { trustDomain: trustDomain.trustDomain });
      const all = [...faults, ...(compiled.ok ? [] : compiled.faults)];
      if (all.length > 0) throw invalid(all.map((fault) => locateFault(fault, parsed.objects)));
      if (compiled.ok) for (const warning of compiled.warnings) for (const line of describeFault(locateFault(warning, parsed.objects))) context.say(`warning: ${line}`);
      for (const { object } of parsed.objects) context.out(`${describeRef(refOf(object))} valid`);
    });
}

function invalid(faults: readonly Fault[]): SallyportError {
  return new SallyportError('manifest-invalid', `${faults.length === 1 ? 'a fault' : `${faults.length} faults`} in the manifests`, { faults });
}
