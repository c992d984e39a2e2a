import { Option, type Command } from 'commander';
import { analyze, hasLevel, sortFindings } from '../../core/analysis/catalogue.ts';
import { levels, type Finding, type Level } from '../../core/analysis/analysis.ts';
import { applyChange, emptyDesiredState } from '../../core/desired-state.ts';
import { SallyportError, type Fault } from '../../core/errors.ts';
import { describeFault } from '../../core/fault-text.ts';
import { parseManifests } from '../../core/manifest/manifest.ts';
import type { ParsedManifests } from '../../core/manifest/parsed-manifests.ts';
import { build } from '../../core/plan/build.ts';
import { parseTrustDomain, type TrustDomain } from '../../core/spiffe-id.ts';
import { addClusterOptions, clusterChoiceOf, type ClusterOptions } from '../cluster-options.ts';
import type { CliContext } from '../context.ts';
import { readManifests } from '../manifest-files.ts';
import { outputOption, print, type OutputFormat } from '../output.ts';

interface AnalyzeOptions extends ClusterOptions {
  readonly filename?: readonly string[];
  readonly live?: true;
  readonly rootNamespace?: string;
  readonly trustDomain: string;
  readonly clusterDomain: string;
  readonly failLevel: Level;
  readonly output?: OutputFormat;
}

/** Where Sallyport is installed by default. */
const installedNamespace = 'sallyport-system';

export function addAnalyze(program: Command, context: CliContext): void {
  addClusterOptions(program.command('analyze'))
    .summary('say what of manifests or a cluster does not do what it seems to')
    .description(
      'Looks at manifests as if they were the whole desired state, at a cluster, or, with -f and --live, at what would be if they were applied to it: what is not in force and why, warnings, and what works and still surprises (docs/reference/analyses.md). Changes nothing, and asks no control plane.',
    )
    .option('-f, --filename <path...>', 'file, folder or "-"; default: what the cluster holds')
    .option('--live', 'with -f: together with what the cluster holds')
    .option('--root-namespace <name>', `where objects may speak about everyone (default: ${installedNamespace} of a cluster; of files alone all may)`)
    .option('--trust-domain <name>', 'SPIFFE trust domain', 'cluster.local')
    .option('--cluster-domain <name>', 'suffix of the names of Services', 'cluster.local')
    .addOption(new Option('--fail-level <level>', 'findings as grave as this, or graver, set the exit status').choices(levels).default('warning'))
    .addOption(outputOption())
    .addHelpText('after', '\nEXAMPLES\n  sallyport analyze\n  sallyport analyze -f policies/\n  sallyport analyze -f policies/ --live --fail-level error\n\nEXIT CODES\n  0 nothing found of that level   1 findings   2 the manifests cannot be applied   4 not allowed to look   6 cluster away')
    .action(async (options: AnalyzeOptions) => {
      const findings = sortFindings(await findingsOf(context, options));
      if (findings.length === 0 && options.output === undefined) context.say('nothing found');
      else print(context, options.output, { findings }, () => findings.flatMap(linesOf).join('\n'));
      if (hasLevel(findings, options.failLevel)) context.setExitStatus(1);
    });
}

async function findingsOf(context: CliContext, options: AnalyzeOptions): Promise<readonly Finding[]> {
  const { filename, live, rootNamespace, clusterDomain } = options;
  const trustDomain = parseTrustDomain(options.trustDomain);
  if (!trustDomain.ok) throw new SallyportError('usage', trustDomain.reason, { place: '--trust-domain', value: options.trustDomain });
  const sources = filename === undefined ? [] : await readManifests(context, filename);
  const at = { trustDomain: trustDomain.trustDomain, clusterDomain, now: Date.now() };
  if (filename !== undefined && live !== true) return findingsOfFiles(parseManifests(sources, rootNamespace), { ...at, rootNamespace });
  const root = rootNamespace ?? installedNamespace;
  return await findingsOfCluster(parseManifests(sources, root), { ...at, rootNamespace: root }, options);
}

interface Place {
  readonly trustDomain: TrustDomain;
  readonly clusterDomain: string;
  readonly rootNamespace: string | undefined;
  readonly now: number;
}

function findingsOfFiles(parsed: ParsedManifests, place: Place): readonly Finding[] {
  const desired = applyChange(emptyDesiredState, { put: parsed.objects.map(({ object }) => object), remove: [] });
  const built = build(desired, [], place);
  refuse(parsed.faults(built.ok ? [] : built.faults));
  if (!built.ok) return [];
  const found = analyze({ desired, plan: built.plan, assignments: built.assignments, rootNamespace: place.rootNamespace, clusterDomain: place.clusterDomain, isWholeCluster: false, registered: new Set() });
  return [...withLevel('warning', built.warnings), ...found].map((finding) => ({ ...finding, ...parsed.locate(finding) }));
}

async function findingsOfCluster(parsed: ParsedManifests, place: Place & { readonly rootNamespace: string }, options: ClusterOptions): Promise<readonly Finding[]> {
  const { createApiClient, judge, openClusterAccess, readLiveState } = await import('../../kubernetes/index.ts');
  const live = await readLiveState(createApiClient(await openClusterAccess(clusterChoiceOf(options))), place.rootNamespace);
  const { accepted, faults, faultsOfPut, warnings } = judge(live, parsed.objects.map(({ object }) => object), place);
  refuse(parsed.faults([...faultsOfPut.values()].flatMap((refusal) => refusal.faults)));
  const found = analyze({ ...accepted, rootNamespace: place.rootNamespace, clusterDomain: place.clusterDomain, isWholeCluster: true, registered: live.registered });
  return [...withLevel('error', faults), ...withLevel('warning', warnings), ...found].map((finding) => ({ ...finding, ...parsed.locate(finding) }));
}

function refuse(faults: readonly Fault[]): void {
  if (faults.length > 0) throw new SallyportError('manifest-invalid', `${faults.length === 1 ? 'a fault' : `${faults.length} faults`} in the manifests`, { faults });
}

function withLevel(level: Level, faults: readonly Fault[]): readonly Finding[] {
  return faults.map((fault) => ({ ...fault, level }));
}

function linesOf(finding: Finding): readonly string[] {
  const [first, ...more] = describeFault(finding);
  return [`${finding.level}: ${first!}`, ...more];
}
