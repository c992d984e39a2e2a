/**
 * Renders the plan for each proxy that speaks xDS to us: a gateway gets its service ports with their grants, an agent
 * gets where to go, and everyone the trust bundle. A proxy's key in the cache is its SPIFFE ID, so that what it is sent
 * follows from its certificate alone.
 */
import { encodeAgentUpstream, encodeGatewaySettings, encodeRevocationList, encodeServicePort, encodeTrustBundle } from '../api/table-codec.ts';
import { trustBundleName, typeUrls } from '../api/type-urls.ts';
import { agentView } from '../core/plan/agent-view.ts';
import type { Plan, PlannedGateway, ServicePort } from '../core/plan/plan.ts';
import type { SpiffeId } from '../core/spiffe-id.ts';
import { createResource, createSnapshot, type Resource, type Snapshot, type SnapshotCache } from '../xds/index.ts';

export interface Published {
  readonly plan: Plan;
  readonly trustBundlePem: string;
  readonly revokedSerialNumbers: readonly string[];
}

export interface Publisher {
  /** Replaces what every proxy is to hold. Proxies of which nothing changed are sent nothing. */
  publish(published: Published): void;
  /** Makes sure that a proxy which has just connected has a snapshot. */
  admit(identity: SpiffeId): void;
}

/** A service port is encoded once, however many plans and gateways it is in. */
const encodedServicePorts = new WeakMap<ServicePort, Resource>();

export function createPublisher(cache: SnapshotCache): Publisher {
  let published: Published | undefined;
  let gateways: ReadonlyMap<SpiffeId, PlannedGateway> = new Map();
  let shared: readonly Resource[] = [];

  function refresh(identity: SpiffeId): void {
    if (published === undefined) return;
    const { plan } = published;
    const gateway = gateways.get(identity);
    const own = gateway === undefined ? agentResources(plan, identity) : gatewayResources(plan, gateway, published.revokedSerialNumbers);
    const before = cache.getSnapshot(identity);
    const next = createSnapshot(plan.revision, [...own, ...shared], before);
    if (before === undefined || before.version !== next.version || !sameTypes(before, next)) cache.setSnapshot(identity, next);
  }

  return {
    publish(next) {
      published = next;
      gateways = new Map(next.plan.gateways.map((gateway) => [gateway.identity, gateway]));
      shared = [createResource({ name: trustBundleName, typeUrl: typeUrls.secret, value: encodeTrustBundle(next.trustBundlePem) })];
      for (const { nodeKey, streams } of cache.status()) {
        const identity = nodeKey as SpiffeId;
        // Whoever is neither a gateway nor connected is rendered again when it comes back.
        if (streams.length > 0 || gateways.has(identity)) refresh(identity);
        else cache.clearSnapshot(nodeKey);
      }
      for (const identity of gateways.keys()) refresh(identity);
    },
    admit: refresh,
  };
}

function gatewayResources(plan: Plan, gateway: PlannedGateway, revokedSerialNumbers: readonly string[]): readonly Resource[] {
  return [
    createResource({ name: gateway.name, typeUrl: typeUrls.gatewaySettings, value: encodeGatewaySettings(gateway, plan.trustDomain) }),
    createResource({ name: 'revocations', typeUrl: typeUrls.revocationList, value: encodeRevocationList(revokedSerialNumbers) }),
    ...plan.servicePorts.filter((servicePort) => servicePort.gateway === gateway.name).map(encodedServicePort),
  ];
}

function agentResources(plan: Plan, identity: SpiffeId): readonly Resource[] {
  return agentView(plan, identity).map((upstream) => createResource({ name: upstream.id, typeUrl: typeUrls.agentUpstream, value: encodeAgentUpstream(upstream) }));
}

function encodedServicePort(servicePort: ServicePort): Resource {
  const known = encodedServicePorts.get(servicePort);
  if (known !== undefined) return known;
  const resource = createResource({ name: servicePort.id, typeUrl: typeUrls.servicePort, value: encodeServicePort(servicePort) });
  encodedServicePorts.set(servicePort, resource);
  return resource;
}

function sameTypes(a: Snapshot, b: Snapshot): boolean {
  return a.types.size === b.types.size && [...a.types].every(([typeUrl, resources]) => b.types.get(typeUrl) === resources);
}
