/** Policies resolved: every name in them looked up, so that the grants of a service are a matter of reading them off. */
import { keyOf, refOf, refOfKey, type DesiredState } from '../desired-state.ts';
import type { Fault } from '../errors.ts';
import type { EgressPolicy } from '../objects/index.ts';
import { sortedUnique } from '../order.ts';
import type { PlanFault } from '../plan-fault.ts';
import type { Subject } from './plan.ts';
import { resolveSubject } from './subjects.ts';
import { resolveTargets } from './targets.ts';

export interface ResolvedPolicy {
  /** `namespace/name`. */
  readonly key: string;
  readonly subjects: readonly Subject[];
  /** Of the subjects, each once. */
  readonly namespaces: readonly string[];
  /** By service key, the names of the ports; null for every port of the service. */
  readonly targets: ReadonlyMap<string, ReadonlySet<string> | null>;
  /** Keys of those that subjects name, known or not. */
  readonly kubernetesServices: readonly string[];
  /** Whether a subject selects namespaces by label. */
  readonly selects: boolean;
  /** Null: any. */
  readonly connectAuthorities: readonly string[] | null;
  readonly faults: readonly PlanFault[];
  readonly warnings: readonly Fault[];
}

type Lookups = Pick<DesiredState, 'ExternalService' | 'Namespace' | 'Service'>;

/** Adds to `found` what `resolvePolicy` looked up, as it is now. */
export function findForPolicy(found: unknown[], { targets, kubernetesServices, selects }: ResolvedPolicy, desired: Lookups): void {
  if (selects) found.push(desired.Namespace);
  for (const key of targets.keys()) found.push(desired.ExternalService.get(key));
  for (const key of kubernetesServices) found.push(desired.Service.get(key));
}

export function resolvePolicy(policy: EgressPolicy, desired: Lookups): ResolvedPolicy {
  const object = refOf(policy);
  const resolved = policy.spec.subjects.map((subject, index) => resolveSubject(subject, desired, { object, path: ['spec', 'subjects', index] }));
  const subjects = resolved.flatMap((each) => each.subjects);
  const { targets, faults } = resolveTargets(policy.spec.to, desired.ExternalService, { object, path: ['spec', 'to'], kind: 'policy' });

  const ports = new Map<string, ReadonlySet<string> | null>();
  for (const { serviceKey, portNames } of targets) {
    const others = ports.get(serviceKey);
    ports.set(serviceKey, portNames === null || others === null ? null : new Set([...(others ?? []), ...portNames]));
  }

  const connectAuthorities = policy.spec.constraints?.connectAuthorities ?? null;
  const constrains = [...ports].some(([serviceKey, names]) =>
    desired.ExternalService.get(serviceKey)?.spec.ports.some((port) => port.protocol === 'HTTPConnect' && (names === null || names.has(port.name))),
  );
  const misplaced: PlanFault = {
    code: 'policy-constraint-misplaced',
    message: '"connectAuthorities" constrains HTTPConnect, and no port that this policy names speaks it',
    hint: 'remove the constraint, or name a port whose protocol is HTTPConnect',
    object,
    path: ['spec', 'constraints', 'connectAuthorities'],
    restsOn: Array.from(ports.keys(), (serviceKey) => refOfKey('ExternalService', serviceKey)),
  };
  return {
    key: keyOf(object),
    subjects,
    namespaces: sortedUnique(subjects.map(({ namespace }) => namespace)),
    targets: ports,
    kubernetesServices: policy.spec.subjects.flatMap((subject) => ('service' in subject ? [keyOf({ namespace: subject.service.namespace ?? object.namespace, name: subject.service.name })] : [])),
    selects: policy.spec.subjects.some((subject) => 'namespaceSelector' in subject),
    connectAuthorities,
    faults: connectAuthorities !== null && !constrains && faults.length === 0 ? [misplaced] : faults,
    warnings: resolved.flatMap((each) => each.warnings),
  };
}
