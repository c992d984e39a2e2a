/** A gateway of class `envoy`: everything that a stock Envoy needs to enforce its part of the plan. */
import { invariant } from '../../core/errors.ts';
import type { Plan, PlannedGateway, ServicePort } from '../../core/plan/plan.ts';
import type { RevokedCertificate } from '../../core/revoked-certificate.ts';
import type { TrustDomain } from '../../core/spiffe-id.ts';
import { mapInSteps, runThrough, type Steps } from '../../core/steps.ts';
import { handOverTo, nowhere, ownEntrance, sharedEntrance, type HandOver } from './entrances.ts';
import { nobody, sniCluster } from './names.ts';
import type { EnvoyResource } from './resource.ts';
import { renderServicePort, type GatewayContext, type Rendered } from './service-port.ts';

export interface EnvoyGatewayOptions {
  /** Certificates that are not to be accepted though they are valid. */
  readonly revoked?: readonly RevokedCertificate[];
}

/**
 * Renders a gateway. Pure and deterministic; resources of what has not changed since an earlier plan are the same objects.
 * Secrets are not part of it: they rotate apart from the plan (secrets.ts).
 */
export const renderEnvoyGateway = (plan: Plan, gateway: PlannedGateway, options?: EnvoyGatewayOptions): Rendered => runThrough(renderEnvoyGatewayInSteps(plan, gateway, options));

/** As `renderEnvoyGateway`, a step for each service port. */
export function* renderEnvoyGatewayInSteps(plan: Plan, gateway: PlannedGateway, { revoked = [] }: EnvoyGatewayOptions = {}): Steps<Rendered> {
  const context = contextOf(gateway, plan.trustDomain);
  const entering = plan.servicePorts.filter(({ entrance }) => entrance === gateway.name);
  const served = entering.filter((servicePort) => servicePort.gateway === gateway.name);
  const parts = yield* mapInSteps(served, 1, (servicePort) => renderServicePort(servicePort, context, revoked));
  const handOvers = handOversOf(plan, entering.filter((servicePort) => servicePort.gateway !== gateway.name));
  const resources = new Map<string, EnvoyResource>();
  for (const resource of [
    nowhere,
    ...gateway.listen.map((endpoint) => sharedEntrance(endpoint, gateway, handOvers)),
    ...handOvers.map((each) => handOverTo(each.gateway)),
    ...served.flatMap((servicePort, index) => ownEntrances(servicePort, gateway, parts[index]!)),
    ...parts.flatMap((part) => part.resources),
  ]) {
    const key = `${resource.typeUrl} ${resource.name}`;
    if (!resources.has(key)) resources.set(key, resource); // service ports whose grants leave from one source share its cluster
  }
  return { resources: [...resources.values()], conditions: parts.flatMap((part) => part.conditions) };
}

/** It listens also where nobody has a grant, to say who was refused. */
function ownEntrances({ listen, serverNames }: ServicePort, gateway: PlannedGateway, { resources }: Rendered): readonly EnvoyResource[] {
  return listen === null ? [] : [ownEntrance(listen, gateway, resources.length === 0 ? nobody : sniCluster(serverNames[0]!))];
}

const contexts = new WeakMap<PlannedGateway, GatewayContext>();

/** The same object for as long as it says the same, so that what was rendered in it is found again. */
function contextOf(gateway: PlannedGateway, trustDomain: TrustDomain): GatewayContext {
  const known = contexts.get(gateway);
  if (known?.trustDomain === trustDomain) return known;
  const context = { gateway, limits: gateway.limits, localPorts: gateway.localPorts, trustDomain };
  contexts.set(gateway, context);
  return context;
}

/** What enters here and is served by another gateway. */
function handOversOf(plan: Plan, servicePorts: readonly ServicePort[]): readonly HandOver[] {
  return Array.from(Map.groupBy(servicePorts, (servicePort) => servicePort.gateway), ([name, ports]) => {
    const gateway = plan.gateways.find((other) => other.name === name);
    invariant(gateway !== undefined, 'a plan has the gateways that serve its ports');
    return { gateway, serverNames: ports.flatMap(({ serverNames }) => serverNames) };
  });
}
