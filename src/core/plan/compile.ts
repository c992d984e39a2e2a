/**
 * compile(desired state, address assignments) -> plan. Pure and deterministic; the order of the input never shows.
 *
 * In stages, each with memory (see memo.ts), so that a change costs what it touches:
 *
 *   referrals                      ReferenceGrants by whom they let refer to which namespace
 *   gateways, policies, bindings   names looked up, object by object
 *   namespaces                     the bindings of a namespace, in order of precedence
 *   audiences                      the policies that name a service, with the bindings of whom they let in
 *   services                       the ports of a service with their grants
 *
 * Last comes what only shows between service ports (conflicts.ts).
 */
import type { Assignments } from '../snat/assignments.ts';
import { holdingsOf } from '../snat/holdings.ts';
import { findForBinding, orderBindings, resolveBinding, type NamespaceBindings, type ResolvedBinding } from './bindings.ts';
import { agentListenerConflicts, gatewayConflicts, handOverFaults, listenerConflicts, reverseConflicts, serverNameConflicts } from './conflicts.ts';
import type { DesiredState } from '../desired-state.ts';
import type { Fault } from '../errors.ts';
import { sortFaults } from '../fault-order.ts';
import { gatewayFor, resolveGateway, type ResolvedGateway } from './gateways.ts';
import { groupValues, runStage, type Groups, type Stage, type Values } from './memo.ts';
import type { EgressGateway, EgressPolicy, ExternalService, ReferenceGrant, SnatBinding } from '../objects/index.ts';
import { byText } from '../order.ts';
import type { PlanFault } from '../plan-fault.ts';
import type { Plan, ServicePort } from './plan.ts';
import { findForPolicy, resolvePolicy, type ResolvedPolicy } from './policies.ts';
import { hashOfServicePort, revisionOf } from './revision.ts';
import { compileService, type Audience, type CompiledService } from './service-ports.ts';
import type { TrustDomain } from '../spiffe-id.ts';
import { runThrough, type Steps } from '../steps.ts';
import { isOpenTo, labelsAskedFor, referralsIn, type Reach, type RootNamespace } from '../tenancy.ts';
import { foreignEntries } from './workload-addresses.ts';

export interface CompileContext {
  readonly trustDomain: TrustDomain;
  /** Of Kubernetes service names; default `cluster.local`. */
  readonly clusterDomain?: string;
  /** Of a cluster with tenants; see tenancy.ts. */
  readonly rootNamespace?: string | undefined;
  /** The state of an earlier compilation. It changes the cost, never the result. */
  readonly previous?: CompileState;
}

/** What a compilation remembers for the next. Immutable: any number of compilations may start from it. */
export interface CompileState {
  readonly trustDomain: TrustDomain;
  readonly clusterDomain: string;
  readonly rootNamespace: RootNamespace;
  readonly plan: Plan;
  readonly gateways: Stage<EgressGateway, ResolvedGateway>;
  readonly referenceGrants: Stage<ReferenceGrant, ReferenceGrant>;
  readonly referrals: Groups<ReferenceGrant>;
  readonly policies: Stage<EgressPolicy, ResolvedPolicy>;
  readonly bindings: Stage<SnatBinding, ResolvedBinding>;
  readonly bindingsByNamespace: Groups<ResolvedBinding>;
  readonly namespaces: Stage<readonly ResolvedBinding[], NamespaceBindings>;
  readonly policiesByService: Groups<ResolvedPolicy>;
  readonly audiences: Stage<readonly ResolvedPolicy[], Audience>;
  readonly services: Stage<ExternalService, CompiledService>;
}

export type Compilation =
  | { readonly ok: true; readonly plan: Plan; readonly warnings: readonly Fault[]; readonly state: CompileState }
  | { readonly ok: false; readonly faults: readonly PlanFault[] };

/**
 * Compiles, or gives every fault of the whole input. Warnings say what will not do what its author may expect.
 * Service ports whose content did not change are the very objects of `previous`, as is the plan where nothing changed.
 * A binding without an assignment gives no address.
 */
export const compile = (desired: DesiredState, assignments: Assignments, context: CompileContext): Compilation => runThrough(compileInSteps(desired, assignments, context));

/** As `compile`. The longest step is that of the service with the most grants, 5 us each. */
export function* compileInSteps(desired: DesiredState, assignments: Assignments, { trustDomain, clusterDomain = 'cluster.local', rootNamespace, previous }: CompileContext): Steps<Compilation> {
  const last = previous?.trustDomain === trustDomain && previous.clusterDomain === clusterDomain && previous.rootNamespace === rootNamespace ? previous : undefined;
  const { EgressGateway, EgressPolicy, ExternalService, Namespace, ReferenceGrant, Service, SnatBinding } = desired;
  const holdings = holdingsOf(assignments);

  const gateways = yield* runStage(last?.gateways, EgressGateway, [], {
    make: (gateway) => resolveGateway(gateway, trustDomain),
    find: () => undefined,
  });
  const referenceGrants = yield* runStage(last?.referenceGrants, ReferenceGrant, [], {
    make: (grant) => grant,
    find: () => undefined,
  });
  const referrals = yield* groupValues(last?.referrals, referenceGrants, referralsIn);
  const reach: Reach = { rootNamespace, referenceGrants: referrals.byKey };
  const policies = yield* runStage(last?.policies, EgressPolicy, [ExternalService, Namespace, Service, reach.referenceGrants], {
    make: (policy) => resolvePolicy(policy, desired, reach),
    find: (found, policy) => findForPolicy(found, policy, desired, reach),
  });
  const bindings = yield* runStage(last?.bindings, SnatBinding, [ExternalService, Service, holdings, reach.referenceGrants], {
    make: (binding) => resolveBinding(binding, desired, holdings, reach),
    find: (found, binding) => findForBinding(found, binding, desired, holdings, reach),
  });
  const bindingsByNamespace = yield* groupValues(last?.bindingsByNamespace, bindings, ({ owner }) => [owner.namespace]);
  const namespaces = yield* runStage(last?.namespaces, bindingsByNamespace.byKey, [], {
    make: orderBindings,
    find: () => undefined,
  });
  const policiesByService = yield* groupValues(last?.policiesByService, policies, ({ targets }) => targets.keys());
  const audiences = yield* runStage(last?.audiences, policiesByService.byKey, [namespaces.memos], {
    make: (naming): Audience => ({ policies: naming, bindings: new Map(naming.flatMap((policy) => policy.namespaces.map((namespace) => [namespace, namespaces.memos.get(namespace)?.value]))) }),
    find: (found, { bindings: known }) => {
      for (const namespace of known.keys()) found.push(namespaces.memos.get(namespace)?.value);
    },
  });
  const isOpen = (service: ExternalService) => (gateway: EgressGateway) => isOpenTo(gateway.spec.namespaces, service.metadata.namespace, rootNamespace, Namespace);
  const gatewayOf = (service: ExternalService) => gatewayFor(service.spec.gateway, EgressGateway, isOpen(service), (name) => gateways.memos.get(name)!.value.planned);
  const handOverOf = (service: ExternalService) => {
    const gateway = gatewayOf(service);
    return typeof gateway === 'string' || gateway.handOver === null ? null : (gateways.memos.get(gateway.handOver)?.value.planned ?? null);
  };
  const audienceOf = (key: string) => audiences.memos.get(key)?.value;
  const services = yield* runStage(last?.services, ExternalService, [EgressGateway, labelsAskedFor(EgressGateway.values(), rootNamespace, Namespace), audiences.memos], {
    make: (service, key, before) => keepServicePorts(compileService(service, { trustDomain, clusterDomain, rootNamespace, gateway: gatewayOf(service), handOver: handOverOf(service), gatewayNames: EgressGateway.keys(), audience: audienceOf(key) }), before),
    find: (found, _, service, key) => void found.push(gatewayOf(service), handOverOf(service), audienceOf(key)),
  });

  const plannedGateways = Array.from(gateways.memos.values(), ({ value }) => value.planned).sort((a, b) => byText(a.name, b.name));
  const servicePorts = Array.from(services.memos.values(), ({ value }) => value.servicePorts).flat().sort((a, b) => byText(a.id, b.id));

  const faults: PlanFault[] = [gateways.made, policies.made, bindings.made, namespaces.made, services.made].flatMap((made) => made.flatMap((value) => value.faults)); // what is not new had none
  if (gateways.memos !== last?.gateways.memos || services.memos !== last.services.memos) {
    yield;
    faults.push(...gatewayConflicts(plannedGateways), ...handOverFaults(plannedGateways), ...serverNameConflicts(servicePorts, ExternalService));
    yield;
    faults.push(...listenerConflicts(servicePorts, plannedGateways, ExternalService), ...agentListenerConflicts(servicePorts), ...reverseConflicts(servicePorts));
  }
  faults.push(...foreignEntries(desired.WorkloadEntry, rootNamespace)); // of entries the plan has nothing else
  if (faults.length > 0) return { ok: false, faults: yield* sortFaults(faults) };

  const content = { trustDomain, gateways: plannedGateways, servicePorts };
  const revision = yield* revisionOf(content);
  const plan = last?.plan.revision === revision ? last.plan : { revision, ...content };
  const warnings = yield* sortFaults([...warningsOf(policies), ...warningsOf(bindings), ...warningsOf(services)]);
  const state = { trustDomain, clusterDomain, rootNamespace, plan, gateways, referenceGrants, referrals, policies, bindings, bindingsByNamespace, namespaces, policiesByService, audiences, services };
  return { ok: true, plan, warnings, state };
}

const collected = new WeakMap<object, readonly Fault[]>();

/** Of all values of a stage; looked for once in values that stay the same. */
function warningsOf({ memos }: Values<{ readonly warnings: readonly Fault[] }>): readonly Fault[] {
  const known = collected.get(memos);
  if (known !== undefined) return known;
  const all: Fault[] = [];
  for (const { value } of memos.values()) if (value.warnings.length > 0) all.push(...value.warnings);
  collected.set(memos, all);
  return all;
}

/** Keeps the objects of last time where their content is the same, so that whoever watches sees that nothing changed. */
function keepServicePorts(compiled: CompiledService, last: CompiledService | undefined): CompiledService {
  const known = new Map(last?.servicePorts.map((servicePort) => [servicePort.id, servicePort]));
  const keep = (servicePort: ServicePort): ServicePort => {
    const before = known.get(servicePort.id);
    return before !== undefined && hashOfServicePort(before) === hashOfServicePort(servicePort) ? before : servicePort;
  };
  return { ...compiled, servicePorts: compiled.servicePorts.map(keep) };
}
