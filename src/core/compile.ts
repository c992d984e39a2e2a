/**
 * compile(desired state, address assignments) -> plan. Pure and deterministic; the order of the input never shows.
 *
 * Stages, each with memory (see memo.ts), so that a change costs what it touches:
 *   gateways, policies, bindings   names looked up, object by object
 *   namespaces                     the bindings of a namespace put in order
 *   services                       each service's ports with their grants
 *   conflicts                      what only shows between service ports
 */
import type { Assignments } from './assignments.ts';
import { inputsOfBinding, orderBindings, resolveBinding, type NamespaceBindings, type ResolvedBinding } from './bindings.ts';
import { agentListenerConflicts, gatewayConflicts, listenerConflicts, serverNameConflicts, sortFaults } from './conflicts.ts';
import type { DesiredState } from './desired-state.ts';
import type { Fault } from './errors.ts';
import { gatewayFor, resolveGateway, type ResolvedGateway } from './gateways.ts';
import { runStage, type Stage } from './memo.ts';
import { byText } from './order.ts';
import type { Plan, ServicePort } from './plan.ts';
import { inputsOfPolicy, resolvePolicy, type ResolvedPolicy } from './policies.ts';
import { hashOfServicePort, revisionOf } from './revision.ts';
import { compileService, type CompiledService } from './service-ports.ts';
import type { TrustDomain } from './spiffe-id.ts';

export interface CompileContext {
  readonly trustDomain: TrustDomain;
  /** Of Kubernetes service names; default `cluster.local`. */
  readonly clusterDomain?: string;
  /** The state of an earlier compilation. It changes the cost, never the result. */
  readonly previous?: CompileState;
}

/** What a compilation remembers for the next. Immutable: any number of compilations may start from it. */
export interface CompileState {
  readonly trustDomain: TrustDomain;
  readonly clusterDomain: string;
  readonly plan: Plan;
  readonly gateways: Stage<ResolvedGateway>;
  readonly policies: Stage<ResolvedPolicy>;
  readonly bindings: Stage<ResolvedBinding>;
  readonly namespaces: Stage<NamespaceBindings>;
  readonly services: Stage<CompiledService>;
  readonly agentListeners: Stage<readonly Fault[]>;
}

export type Compilation =
  | { readonly ok: true; readonly plan: Plan; readonly warnings: readonly Fault[]; readonly state: CompileState }
  | { readonly ok: false; readonly faults: readonly Fault[] };

/**
 * Compiles, or gives every fault of the whole input. Warnings say what will not do what its author may expect.
 * Service ports whose content did not change are the very objects of `previous`, as is the plan where nothing changed.
 * A binding without an assignment gives no address.
 */
export function compile(desired: DesiredState, assignments: Assignments, { trustDomain, clusterDomain = 'cluster.local', previous }: CompileContext): Compilation {
  const last = previous?.trustDomain === trustDomain && previous.clusterDomain === clusterDomain ? previous : undefined;

  const gateways = runStage<ResolvedGateway>(last?.gateways, [desired.EgressGateway], (remember) => {
    for (const [name, gateway] of desired.EgressGateway) remember(name, [gateway], () => resolveGateway(gateway, trustDomain));
  });
  const policies = runStage<ResolvedPolicy>(last?.policies, [desired.EgressPolicy, desired.ExternalService, desired.Namespace, desired.Service], (remember) => {
    for (const [key, policy] of desired.EgressPolicy) remember(key, inputsOfPolicy(policy, desired), () => resolvePolicy(policy, desired));
  });
  const bindings = runStage<ResolvedBinding>(last?.bindings, [desired.SnatBinding, desired.ExternalService, desired.Service, assignments], (remember) => {
    const holdings = Map.groupBy(assignments.filter(({ releasedAt }) => releasedAt === null), ({ holder }) => holder);
    for (const [key, binding] of desired.SnatBinding) remember(key, inputsOfBinding(binding, desired, holdings), () => resolveBinding(binding, desired, holdings));
  });
  const namespaces = runStage<NamespaceBindings>(last?.namespaces, [bindings], (remember) => {
    for (const [namespace, mine] of Map.groupBy(valuesOf(bindings), ({ owner }) => owner.namespace)) remember(namespace, mine, () => orderBindings(mine));
  });
  const services = runStage<CompiledService>(last?.services, [desired.ExternalService, gateways, policies, namespaces], (remember) => {
    const bindingsOf = (namespace: string) => namespaces.memos.get(namespace)?.value;
    const naming = policiesByService(valuesOf(policies));
    for (const [key, service] of desired.ExternalService) {
      const gateway = gatewayFor(service.spec.gateway, desired.EgressGateway, (name) => gateways.memos.get(name)!.value.planned);
      const mine = naming.get(key) ?? [];
      const inputs = [service, gateway, ...mine, ...mine.flatMap((policy) => policy.namespaces.map(bindingsOf))];
      remember(key, inputs, () => keepServicePorts(compileService(service, { trustDomain, clusterDomain, gateway, gatewayNames: desired.EgressGateway.keys(), policies: mine, bindingsOf }), last?.services.memos.get(key)?.value));
    }
  });

  const planned = valuesOf(gateways).map((gateway) => gateway.planned).sort((a, b) => byText(a.name, b.name));
  const servicePorts = valuesOf(services).flatMap((service) => service.servicePorts).sort((a, b) => byText(a.id, b.id));
  const agentListeners = runStage<readonly Fault[]>(last?.agentListeners, [services], (remember) => {
    for (const [listener, sharing] of Map.groupBy(servicePorts, ({ agentListen: { address, port } }) => `${address} ${port}`)) remember(listener, sharing, () => agentListenerConflicts(sharing));
  });

  const faults = [
    ...[gateways, policies, bindings, namespaces, services].flatMap((stage) => valuesOf<{ readonly faults: readonly Fault[] }>(stage)).flatMap((value) => value.faults),
    ...valuesOf(agentListeners).flat(),
    ...gatewayConflicts(planned),
    ...serverNameConflicts(servicePorts, desired.ExternalService),
    ...listenerConflicts(servicePorts, planned, desired.ExternalService),
  ];
  if (faults.length > 0) return { ok: false, faults: sortFaults(faults) };

  const content = { trustDomain, gateways: planned, servicePorts };
  const revision = revisionOf(content);
  const plan = last?.plan.revision === revision ? last.plan : { revision, ...content };
  const warnings = [policies, bindings, services].flatMap((stage) => valuesOf<{ readonly warnings: readonly Fault[] }>(stage)).flatMap((value) => value.warnings);
  return { ok: true, plan, warnings: sortFaults(warnings), state: { trustDomain, clusterDomain, plan, gateways, policies, bindings, namespaces, services, agentListeners } };
}

function valuesOf<V>(stage: Stage<V>): V[] {
  return Array.from(stage.memos.values(), ({ value }) => value);
}

function policiesByService(policies: readonly ResolvedPolicy[]): ReadonlyMap<string, readonly ResolvedPolicy[]> {
  const services = new Map<string, ResolvedPolicy[]>();
  for (const policy of policies) {
    for (const key of policy.targets.keys()) {
      const known = services.get(key);
      if (known === undefined) services.set(key, [policy]);
      else known.push(policy);
    }
  }
  return services;
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
