/** Manifests built as if they were the whole desired state, for commands that ask no control plane. */
import { applyChange, emptyDesiredState } from '../core/desired-state.ts';
import { SallyportError } from '../core/errors.ts';
import { describeFault } from '../core/fault-text.ts';
import { parseManifests } from '../core/manifest/manifest.ts';
import type { DesiredObject } from '../core/objects/index.ts';
import { build } from '../core/plan/build.ts';
import type { Plan } from '../core/plan/plan.ts';
import { parseTrustDomain } from '../core/spiffe-id.ts';
import type { CliContext } from './context.ts';
import { readManifests } from './manifest-files.ts';

export interface OfflineOptions {
  readonly filename: readonly string[];
  readonly trustDomain: string;
  /** As in a cluster with tenants; by default one administrator speaks about everyone. */
  readonly rootNamespace?: string;
}

export interface OfflinePlan {
  readonly plan: Plan;
  /** In the order of the input. */
  readonly objects: readonly DesiredObject[];
}

/** Says warnings. Throws `manifest-invalid` with every fault. `change` may replace objects before they are built. */
export async function buildOffline(context: CliContext, { filename, trustDomain: trustDomainText, rootNamespace }: OfflineOptions, change = (objects: readonly DesiredObject[]) => objects): Promise<OfflinePlan> {
  const trustDomain = parseTrustDomain(trustDomainText);
  if (!trustDomain.ok) throw new SallyportError('usage', trustDomain.reason, { place: '--trust-domain', value: trustDomainText });
  const parsed = parseManifests(await readManifests(context, filename), rootNamespace);
  const objects = parsed.objects.map(({ object }) => object);
  const built = build(applyChange(emptyDesiredState, { put: change(objects), remove: [] }), [], { now: 0, trustDomain: trustDomain.trustDomain, rootNamespace });
  const faults = parsed.faults(built.ok ? [] : built.faults);
  if (!built.ok || faults.length > 0) throw new SallyportError('manifest-invalid', `${faults.length === 1 ? 'a fault' : `${faults.length} faults`} in the manifests`, { faults });
  for (const warning of built.warnings) for (const line of describeFault(parsed.locate(warning))) context.say(`warning: ${line}`);
  return { plan: built.plan, objects };
}
