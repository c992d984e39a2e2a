/** Policies resolved: every name in them looked up, so that the grants of a service are a matter of reading them off. */
import { keyOf, refOf, refOfKey, type DesiredState } from '../desired-state.ts';
import type { Fault } from '../errors.ts';
import type { FtpConstraints } from '../ftp/rules.ts';
import { keptList } from '../kept-list.ts';
import type { EgressPolicy, ExternalServicePort, FtpConstraintsSpec } from '../objects/index.ts';
import { sortedUnique } from '../order.ts';
import type { PlanFault } from '../plan-fault.ts';
import type { Subject } from './plan.ts';
import { foreignSubject, type Reach } from '../tenancy.ts';
import { namespaceOfSubject, resolveSubject } from './subjects.ts';
import { resolveTargets, servicePortId } from './targets.ts';

export interface ResolvedPolicy {
  /** `namespace/name`. */
  readonly key: string;
  readonly subjects: readonly Subject[];
  /** Of the subjects, each once. */
  readonly namespaces: readonly string[];
  /** By service key, the names of the ports; null for every port of the service. */
  readonly targets: ReadonlyMap<string, ReadonlySet<string> | null>;
  /** By which ReferenceGrants let it name services of other namespaces. */
  readonly referrals: readonly string[];
  /** Keys of those that subjects name, known or not. */
  readonly kubernetesServices: readonly string[];
  /** Whether a subject selects namespaces by label. */
  readonly selects: boolean;
  /** Null: any. */
  readonly connectAuthorities: readonly string[] | null;
  /** Null: anything. */
  readonly ftp: FtpConstraints | null;
  readonly faults: readonly PlanFault[];
  readonly warnings: readonly Fault[];
}

type Lookups = Pick<DesiredState, 'ExternalService' | 'Namespace' | 'Service'>;

/** Adds to `found` what `resolvePolicy` looked up, as it is now. */
export function findForPolicy(found: unknown[], { targets, referrals, kubernetesServices, selects }: ResolvedPolicy, desired: Lookups, { referenceGrants }: Reach): void {
  if (selects) found.push(desired.Namespace);
  for (const key of targets.keys()) found.push(desired.ExternalService.get(key));
  for (const referral of referrals) found.push(referenceGrants.get(referral));
  for (const key of kubernetesServices) found.push(desired.Service.get(key));
}

export function resolvePolicy(policy: EgressPolicy, desired: Lookups, reach: Reach): ResolvedPolicy {
  const object = refOf(policy);
  const resolved = policy.spec.subjects.map((subject, index) => resolveSubject(subject, desired, { object, path: ['spec', 'subjects', index] }));
  const subjects = resolved.flatMap((each) => each.subjects);
  const foreign = policy.spec.subjects.flatMap((subject, index) => foreignSubject(object, ['spec', 'subjects', index], namespaceOfSubject(subject, object.namespace), reach.rootNamespace));
  const { targets, referrals, faults } = resolveTargets(policy.spec.to, desired.ExternalService, reach, { object, path: ['spec', 'to'], kind: 'policy' });

  const ports = new Map<string, ReadonlySet<string> | null>();
  for (const { serviceKey, portNames } of targets) {
    const others = ports.get(serviceKey);
    ports.set(serviceKey, portNames === null || others === null ? null : new Set([...(others ?? []), ...portNames]));
  }

  const { connectAuthorities = null, ftp } = policy.spec.constraints ?? {};
  const namedPorts = [...ports].flatMap(([serviceKey, names]) =>
    (desired.ExternalService.get(serviceKey)?.spec.ports ?? []).filter(({ name }) => names === null || names.has(name)).map((port) => ({ id: servicePortId(serviceKey, port.name), port })),
  );
  const constraintFault = (field: ConstraintKind['field'], fault: Pick<PlanFault, 'code' | 'message' | 'hint'>): PlanFault => ({
    ...fault,
    object,
    path: ['spec', 'constraints', field],
    restsOn: Array.from(ports.keys(), (serviceKey) => refOfKey('ExternalService', serviceKey)),
  });
  const misplaced = constraintKinds
    .filter(({ field, speaks }) => policy.spec.constraints?.[field] !== undefined && !namedPorts.some(({ port }) => speaks(port)))
    .map(({ field, protocols }) =>
      constraintFault(field, { code: 'policy-constraint-misplaced', message: `"${field}" constrains ${protocols}, and no port that this policy names speaks it`, hint: `remove the constraint, or name a port whose protocol is ${protocols}` }),
    );
  const unreadable = namedPorts
    .filter(({ port }) => ftp !== undefined && passesTlsThrough(port))
    .map(({ id }) => constraintFault('ftp', { code: 'policy-constraint-unenforceable', message: `"ftp" constrains what the gateway cannot read: ${id} passes the workload's own TLS through`, hint: 'let the gateway speak TLS with the server (tls.mode Originate), or name that port in a policy without the constraint' }));
  return {
    key: keyOf(object),
    subjects: keptList(subjects),
    namespaces: keptList(sortedUnique(subjects.map(({ namespace }) => namespace))),
    targets: ports,
    referrals: keptList(referrals),
    kubernetesServices: keptList(policy.spec.subjects.flatMap((subject) => ('service' in subject ? [keyOf({ namespace: subject.service.namespace ?? object.namespace, name: subject.service.name })] : []))),
    selects: policy.spec.subjects.some((subject) => 'namespaceSelector' in subject),
    connectAuthorities,
    ftp: ftp === undefined ? null : ftpConstraintsOf(ftp),
    faults: keptList([...foreign, ...(faults.length === 0 ? [...misplaced, ...unreadable] : faults)]),
    warnings: keptList(resolved.flatMap((each) => each.warnings)),
  };
}

interface ConstraintKind {
  readonly field: keyof NonNullable<EgressPolicy['spec']['constraints']>;
  /** What it is about, in words. */
  readonly protocols: string;
  readonly speaks: (port: ExternalServicePort) => boolean;
}

const constraintKinds: readonly ConstraintKind[] = [
  { field: 'connectAuthorities', protocols: 'HTTPConnect', speaks: ({ protocol }) => protocol === 'HTTPConnect' },
  { field: 'ftp', protocols: 'FTP or FTPS', speaks: ({ protocol }) => protocol === 'FTP' || protocol === 'FTPS' },
];

function passesTlsThrough({ protocol, tls }: ExternalServicePort): boolean {
  return protocol === 'FTPS' && tls?.mode === 'PassThrough';
}

function ftpConstraintsOf({ readOnly, noDelete, paths, users, maxTransferBytes, maxBytesPerSecond, unknownCommands }: FtpConstraintsSpec): FtpConstraints {
  return {
    readOnly: readOnly ?? false,
    noDelete: noDelete ?? false,
    paths: paths === undefined ? null : sortedUnique(paths),
    users: users === undefined ? null : sortedUnique(users),
    maxTransferBytes: maxTransferBytes ?? null,
    maxBytesPerSecond: maxBytesPerSecond ?? null,
    unknownCommands: unknownCommands ?? 'Refuse',
  };
}
