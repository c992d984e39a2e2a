/** Desired state from Kubernetes: an API server has it, and is where it is changed. Here a change can only be tried. */
import type { ApplyResult } from '../api/admin.ts';
import { emptyDesiredState, type DesiredChange } from '../core/desired-state.ts';
import { invariant, SallyportError } from '../core/errors.ts';
import type { LedgerRecord } from '../core/ledger-record.ts';
import { compile } from '../core/plan/compile.ts';
import type { Plan } from '../core/plan/plan.ts';
import type { TrustDomain } from '../core/spiffe-id.ts';
import { startOperator, type Operator, type OperatorOptions } from '../kubernetes/index.ts';
import { createAssignmentEvidence, type AssignmentEvidenceOptions } from './assignment-evidence.ts';
import { createManifestReader, nothingWritten, type ReadManifests } from './manifest-reader.ts';
import { actionsFor, invalidManifests, publicationRecords, removalsOf, resultOf } from './plan-change.ts';
import type { Planner } from './planner.ts';
import { runInSlices } from './slices.ts';

export interface KubernetesPlanner extends Planner {
  readonly operator: Operator;
}

export interface KubernetesPlannerOptions extends Omit<OperatorOptions, 'publish' | 'evidence' | 'runSteps'> {
  readonly store: AssignmentEvidenceOptions['store'];
  readonly record: (records: readonly LedgerRecord[]) => Promise<void>;
  /** Called with each new plan, once the addresses that it stands on are at the API server. */
  readonly publish: (plan: Plan) => Promise<void>;
}

/** Who changed what is in the API server's audit log. */
const actor = 'kubernetes';

export function createKubernetesPlanner({ store, record, publish, ...options }: KubernetesPlannerOptions): KubernetesPlanner {
  const { trustDomain, clusterDomain, namespace, now, log } = options;
  const readManifests = createManifestReader({ rootNamespace: namespace });
  const nothing = planOfNothing(trustDomain, clusterDomain);
  const time = (): string => new Date(now()).toISOString();

  const operator = startOperator({
    ...options,
    runSteps: runInSlices,
    evidence: createAssignmentEvidence({ store, record, now, log }),
    publish: async ({ plan, previous, changed }) => {
      await record(publicationRecords(time(), previous?.revision ?? null, plan.revision, changed, actor));
      await publish(plan);
    },
  });

  async function tried(change: DesiredChange, changes: ApplyResult['changes'], written: ReadManifests, dryRun: boolean): Promise<ApplyResult> {
    if (!dryRun) throw new SallyportError('request-invalid', 'desired state is in Kubernetes, and is changed there', { hint: 'kubectl apply -f FILE, or the same command with --kubeconfig FILE; to try a change here: --dry-run' });
    const next = await operator.preview(change);
    const faults = await written.faults(next.ok ? [] : next.faults);
    if (!next.ok || faults.length > 0) throw invalidManifests(faults);
    return await resultOf({ written, changes, dryRun, current: { plan: operator.plan ?? nothing, warnings: operator.warnings }, next });
  }

  return {
    operator,
    get plan() {
      return operator.plan ?? nothing;
    },
    get warnings() {
      return operator.warnings;
    },
    get desired() {
      return operator.desired;
    },
    get assignments() {
      return operator.assignments;
    },
    get refused() {
      return operator.refused;
    },
    rootNamespace: namespace,
    apply: ({ sources, dryRun = false }) =>
      readManifests(sources, async (written) => await tried({ put: written.objects, remove: [] }, await runInSlices(actionsFor(written.objects, operator.desired)), written, dryRun)),
    remove: async ({ refs, dryRun = false }) => await tried({ put: [], remove: refs }, removalsOf(refs, operator.desired), nothingWritten, dryRun),
  };
}

/** Until the API server has been heard. It is published to nobody. */
function planOfNothing(trustDomain: TrustDomain, clusterDomain: string): Plan {
  const compiled = compile(emptyDesiredState, [], { trustDomain, clusterDomain });
  invariant(compiled.ok, 'nothing has no faults');
  return compiled.plan;
}
