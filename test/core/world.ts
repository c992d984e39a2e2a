/** Desired state in few words, for the tests of the heart. Every object goes through its schema. */
import type * as z from 'zod';
import { allocate } from '../../src/core/snat/allocate.ts';
import type { Assignments } from '../../src/core/snat/assignments.ts';
import { compile, type Compilation, type CompileState } from '../../src/core/plan/compile.ts';
import { applyChange, emptyDesiredState, type DesiredState } from '../../src/core/desired-state.ts';
import type { Fault } from '../../src/core/errors.ts';
import { apiVersion, schemas, type DesiredObject, type Kind } from '../../src/core/objects/index.ts';
import type { Plan } from '../../src/core/plan/plan.ts';
import { workloadSpiffeId, type SpiffeId, type TrustDomain } from '../../src/core/spiffe-id.ts';

export const trustDomain = 'cluster.local' as TrustDomain;

type Input<K extends Kind> = z.input<(typeof schemas)[K]>;

function metadataOf(name: string, more: Record<string, unknown> = {}) {
  const slash = name.indexOf('/');
  return slash === -1 ? { name, ...more } : { namespace: name.slice(0, slash), name: name.slice(slash + 1), ...more };
}

function make(kind: Kind, name: string, spec: unknown): DesiredObject {
  return schemas[kind].parse({ apiVersion, kind, metadata: metadataOf(name), spec });
}

export const externalService = (name: string, spec: Partial<Input<'ExternalService'>['spec']> = {}) =>
  make('ExternalService', name, { ...(spec.hosts === undefined && { addresses: ['198.51.100.7'] }), ports: [{ port: 443 }], ...spec });
export const policy = (name: string, spec: Input<'EgressPolicy'>['spec']) => make('EgressPolicy', name, spec);
export const pool = (name: string, addresses: string[], spec: Partial<Input<'SnatPool'>['spec']> = {}) => make('SnatPool', name, { addresses, ...spec });
export const binding = (name: string, spec: Input<'SnatBinding'>['spec']) => make('SnatBinding', name, spec);
export const gateway = (name: string, spec: Partial<Input<'EgressGateway'>['spec']> = {}) => make('EgressGateway', name, { class: 'sallyport', listen: [{ address: '127.0.0.1', port: 15443 }], ...spec });
/** From `KIND NAMESPACE` each, to services by name, or to all. */
export const referenceGrant = (name: string, from: readonly `${'EgressPolicy' | 'SnatBinding'} ${string}`[], to: readonly string[] = []) => {
  const group = 'sallyport.dev';
  return make('ReferenceGrant', name, {
    from: from.map((each) => ({ group, kind: each.split(' ')[0], namespace: each.split(' ')[1] })),
    to: to.length === 0 ? [{ group, kind: 'ExternalService' }] : to.map((service) => ({ group, kind: 'ExternalService', name: service })),
  });
};
/** `namespace/name`, and who is behind the addresses where that is not `default` of its namespace. */
export const workloadEntry = (name: string, addresses: readonly string[], spec: Partial<Input<'WorkloadEntry'>['spec']> = {}) => make('WorkloadEntry', name, { addresses, ...spec });
export const namespace = (name: string, labels: Record<string, string> = {}) => schemas.Namespace.parse({ apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } });
export const kubernetesService = (name: string, accounts?: string) =>
  schemas.Service.parse({ apiVersion: 'v1', kind: 'Service', metadata: metadataOf(name, accounts === undefined ? {} : { annotations: { 'alpha.istio.io/kubernetes-serviceaccounts': accounts } }) });

export function state(...objects: readonly DesiredObject[]): DesiredState {
  return applyChange(emptyDesiredState, { put: objects, remove: [] });
}

export function identity(account: string): SpiffeId {
  const [namespaceName, serviceAccount] = account.split('/') as [string, string];
  return workloadSpiffeId(trustDomain, { namespace: namespaceName, serviceAccount });
}

/** Allocates and compiles, as the control plane does for each change. */
export function build(desired: DesiredState, before: Assignments = [], { now = 0, previous, rootNamespace }: { now?: number; previous?: CompileState; rootNamespace?: string } = {}) {
  const { assignments, faults } = allocate(desired, before, now, rootNamespace);
  const compiled = compile(desired, assignments, { trustDomain, rootNamespace, ...(previous !== undefined && { previous }) });
  return { assignments, compiled, faults: [...faults, ...(compiled.ok ? [] : compiled.faults)] };
}

/** The plan of a desired state that has no faults. */
export function planOf(...objects: readonly DesiredObject[]): Plan {
  const { compiled, faults } = build(state(...objects));
  if (!compiled.ok || faults.length > 0) throw new Error(JSON.stringify(faults, null, 2));
  return compiled.plan;
}

export function warningsOf(compiled: Compilation): readonly Fault[] {
  return compiled.ok ? compiled.warnings : [];
}

/** `code object path`: what a fault says to a program. */
export function placesOf(faults: readonly Fault[]): string[] {
  return faults.map(({ code, object, path }) => `${code} ${object?.kind ?? ''} ${object?.namespace ?? ''}/${object?.name ?? ''} ${(path ?? []).join('.')}`).sort();
}
