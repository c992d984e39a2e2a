/** What an agent is told: the service ports that its identity may use, and how to reach them. Nothing of anybody else. */
import { decide } from './decide.ts';
import { carriedAs } from './gateway-class.ts';
import type { Endpoint, Plan, PlannedGateway, ServedProtocol, ServicePort, ServicePortId } from './plan.ts';
import { workloadOf, type SpiffeId } from '../spiffe-id.ts';

export interface AgentUpstream {
  readonly id: ServicePortId;
  readonly service: { readonly namespace: string; readonly name: string };
  readonly portName: string;
  readonly protocol: ServedProtocol;
  /** Where the agent offers it to its workload. */
  readonly listen: Endpoint;
  /** Tried in turn. */
  readonly gateways: readonly Endpoint[];
  /** The SNI by which the gateway knows it. */
  readonly serverName: string;
  /** Who may answer (secure naming). */
  readonly serverIdentities: readonly SpiffeId[];
}

interface PlanIndex {
  readonly byNamespace: ReadonlyMap<string, readonly ServicePort[]>;
  readonly gateways: ReadonlyMap<string, PlannedGateway>;
}

const indexes = new WeakMap<Plan, PlanIndex>();
const upstreams = new WeakMap<ServicePort, { readonly gateway: PlannedGateway; readonly upstream: AgentUpstream }>();

/**
 * The upstreams of an identity, sorted by id: every service port that it would be let out through by a gateway that agents connect to, and no other. The same
 * objects for every identity and plan as long as service port and gateway stay the same. Costs what the identity's
 * namespace may use, after an index once a plan.
 */
export function agentView(plan: Plan, identity: SpiffeId): readonly AgentUpstream[] {
  const { byNamespace, gateways } = indexOf(plan);
  const candidates = byNamespace.get(workloadOf(identity)?.namespace ?? '') ?? [];
  return candidates.flatMap((servicePort) => {
    const gateway = gateways.get(servicePort.entrance);
    const protocol = gateway === undefined ? null : carriedAs(gateway, servicePort);
    if (gateway === undefined || protocol === null || gateway.advertise.length === 0) return [];
    return decide(servicePort, identity, plan.trustDomain).allowed ? [upstreamOf(servicePort, gateway, protocol)] : [];
  });
}

function indexOf(plan: Plan): PlanIndex {
  const known = indexes.get(plan);
  if (known !== undefined) return known;
  const byNamespace = new Map<string, ServicePort[]>();
  for (const servicePort of plan.servicePorts) {
    for (const namespace of new Set(servicePort.grants.map(({ subject }) => subject.namespace))) {
      const others = byNamespace.get(namespace);
      if (others === undefined) byNamespace.set(namespace, [servicePort]);
      else others.push(servicePort);
    }
  }
  const index = { byNamespace, gateways: new Map(plan.gateways.map((gateway) => [gateway.name, gateway])) };
  indexes.set(plan, index);
  return index;
}

function upstreamOf(servicePort: ServicePort, gateway: PlannedGateway, protocol: ServedProtocol): AgentUpstream {
  const known = upstreams.get(servicePort);
  if (known?.gateway === gateway) return known.upstream;
  const { id, service, portName, agentListen, serverNames, serverIdentities } = servicePort;
  const upstream = { id, service, portName, protocol, listen: agentListen, gateways: gateway.advertise, serverName: serverNames[0]!, serverIdentities };
  upstreams.set(servicePort, { gateway, upstream });
  return upstream;
}
