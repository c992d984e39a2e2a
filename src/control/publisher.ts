/**
 * Renders the plan for each proxy that speaks xDS to us: a gateway gets its service ports with their grants, an agent
 * gets where to go, an Envoy gets both in its own words, and everyone the trust bundle; a gateway of class `kernel` gets beside it who is
 * behind which address. What a proxy is sent follows from its certificate alone.
 */
import { encodeAgentUpstream, encodeGatewaySettings, encodeRevocationList, encodeServicePort, encodeTrustBundle, encodeWorkloadAddress } from '../api/table-codec.ts';
import { trustBundleName, typeUrls } from '../api/type-urls.ts';
import { encodeResource, renderEnvoyGateway, renderEnvoyGatewayInSteps, renderEnvoySidecar, renderSvidSecret, renderTrustBundleSecret, svidSecret, type EnvoyResource } from '../backends/envoy/index.ts';
import { inOneSentence } from '../core/fault-text.ts';
import type { IpAddress } from '../core/ip-address.ts';
import { agentView } from '../core/plan/agent-view.ts';
import type { Condition } from '../core/plan/condition.ts';
import type { Plan, PlannedGateway, Revision, ServicePort } from '../core/plan/plan.ts';
import type { WorkloadAddresses } from '../core/plan/workload-addresses.ts';
import type { RevokedCertificate } from '../core/revoked-certificate.ts';
import type { SpiffeId } from '../core/spiffe-id.ts';
import { forEachInSteps, type Steps } from '../core/steps.ts';
import { consistencyFaultsOf, createResource, createSnapshot, describeFaults, readReferences, type Reference, type Resource, type Snapshot, type SnapshotCache, type SnapshotFault } from '../xds/index.ts';
import { formOfClass, nodeKeyOf, proxyOf, type Proxy } from './proxy.ts';
import type { ProxySvids } from './proxy-svids.ts';

export interface Published {
  readonly plan: Plan;
  readonly trustBundlePem: string;
  readonly revoked: readonly RevokedCertificate[];
}

export interface Publisher {
  /** The plans that were published last, the newest last. */
  readonly revisions: readonly Revision[];
  /** What gateways cannot be given as the plan says it, and so refuse, and who is not given what the plan has for him: a sentence each, for people. */
  conditions(): readonly string[];
  /** By node key, what is wrong with what the plan has for a proxy: it keeps what it holds. */
  readonly withheld: ReadonlyMap<string, string>;
  /**
   * Replaces what every proxy is to hold: gateways at once, the others, of which there may be thousands, in the steps that it
   * gives. Proxies of which nothing changed are sent nothing. Publishing again makes earlier steps end.
   */
  publish(published: Published): Steps<void>;
  /**
   * Replaces who is behind which address, in steps of which the last reaches the gateways of class kernel. They are sent nothing before they can be
   * sent this, and it is forgotten with the last of them: an address that is not known to be somebody's is to be nobody's. Called again before it
   * is through, it goes on with the later one only.
   */
  publishAddresses(addresses: WorkloadAddresses['addresses']): Steps<void>;
  /** Makes sure that a proxy which has just connected has a snapshot. */
  admit(proxy: Proxy): void;
  /** Sends the SVID of an identity, as it has become, to the Envoys that have it. */
  publishSvid(identity: SpiffeId): void;
  /** Forgets the SVIDs of Envoys that are gone. */
  sweep(): void;
}

export interface PublisherOptions {
  readonly cache: SnapshotCache;
  /** Kept for every Envoy that is connected. */
  readonly svids: Pick<ProxySvids, 'get' | 'isPending' | 'keep' | 'drop'>;
  /** Looks over what is to be served in the place of what is, which it found nothing wrong with. */
  readonly check?: typeof envoyFaultsOf;
}

/** An Envoy's SVID comes when there is one; what refers to it waits. */
const isElsewhere = ({ typeUrl, name }: Reference): boolean => typeUrl === typeUrls.secret && name === svidSecret;

/** Why a snapshot would leave an Envoy with something that cannot work; of another form's there is nothing to find. */
export const envoyFaultsOf = (snapshot: Snapshot, since: Snapshot | undefined): readonly SnapshotFault[] => consistencyFaultsOf(snapshot, { isElsewhere, since });

const revisionsMax = 1_000;
const withheldShownMax = 10;
const addressesPerStep = 64;

/** A service port is encoded once, however many plans and gateways it is in. */
const encodedServicePorts = new WeakMap<ServicePort, Resource>();
const encodedEnvoyResources = new WeakMap<EnvoyResource, Resource>();
const renderedAs = new WeakMap<Resource, EnvoyResource>();

/** What a resource that was published for an Envoy was rendered as; undefined for any other. */
export const envoyResourceOf = (resource: Resource): EnvoyResource | undefined => renderedAs.get(resource);

export function createPublisher({ cache, svids, check = envoyFaultsOf }: PublisherOptions): Publisher {
  let published: Published | undefined;
  let gateways: ReadonlyMap<SpiffeId, PlannedGateway> = new Map();
  /** Of gateways of class envoy, by name. */
  const conditions = new Map<string, readonly Condition[]>();
  const withheld = new Map<string, string>();
  /** Who is behind which address; undefined where nobody is to know, or it is not known yet. */
  let workloads: ReadonlyMap<IpAddress, Resource> | undefined;
  let newestAddresses: WorkloadAddresses['addresses'] | undefined;
  /** The trust bundle, for every form. */
  let shared: Readonly<Record<Proxy['form'], Resource>> | undefined;

  function refresh(proxy: Proxy): void {
    if (published === undefined || shared === undefined) return;
    const { plan } = published;
    const nodeKey = nodeKeyOf(proxy);
    if (workloads === undefined && gateways.get(proxy.identity)?.class === 'kernel') return;
    const own = proxy.form === 'envoy' ? envoyResources(plan, proxy.identity, published.revoked) : ownResources(plan, proxy.identity, published.revoked);
    // An Envoy that comes back holds an SVID, which a snapshot without one would take from it: it is left as it is until it has the next.
    if (proxy.form === 'envoy' && svids.isPending(proxy.identity)) {
      cache.clearSnapshot(nodeKey);
      return;
    }
    const before = cache.getSnapshot(nodeKey);
    const next = createSnapshot(plan.revision, [...own, shared[proxy.form]], before);
    if (before !== undefined && before.version === next.version && sameTypes(before, next)) return;
    const faults = check(next, before);
    if (faults.length === 0) cache.setSnapshot(nodeKey, next);
    else withheld.set(nodeKey, describeFaults(faults));
  }

  function ownResources(plan: Plan, identity: SpiffeId, revoked: readonly RevokedCertificate[]): readonly Resource[] {
    const gateway = gateways.get(identity);
    if (gateway === undefined) return agentResources(plan, identity);
    if (formOfClass[gateway.class] !== 'sallyport') return [];
    return [...gatewayResources(plan, gateway, revoked), ...(gateway.class === 'kernel' ? (workloads?.values() ?? []) : [])];
  }

  function envoyResources(plan: Plan, identity: SpiffeId, revoked: readonly RevokedCertificate[]): readonly Resource[] {
    const gateway = gateways.get(identity);
    if (gateway !== undefined && formOfClass[gateway.class] !== 'envoy') return [];
    const { resources, conditions: found } = gateway === undefined ? renderEnvoySidecar(plan, identity) : renderEnvoyGateway(plan, gateway, { revoked });
    if (gateway !== undefined) conditions.set(gateway.name, found);
    const svid = svids.get(identity);
    return [...resources, ...(svid === undefined ? [] : [renderSvidSecret(svid)])].map(encodedEnvoyResource);
  }

  const kernels = (): readonly PlannedGateway[] => [...gateways.values()].filter((gateway) => gateway.class === 'kernel');

  function* refreshEach(proxies: Iterable<Proxy>, of: Published): Steps<void> {
    for (const proxy of proxies) {
      if (published !== of) return;
      refresh(proxy);
      yield;
    }
  }

  const revisions: Revision[] = [];

  return {
    revisions,
    conditions: () => [
      ...[...conditions].flatMap(([gateway, found]) => found.map((condition) => `gateway ${gateway} refuses ${condition.object}: ${inOneSentence(condition)}`)),
      ...[...withheld].slice(0, withheldShownMax).map(([nodeKey, faults]) => `${proxyOf(nodeKey).identity} keeps what it holds, for what it is to hold does not hang together: ${faults}`),
      ...(withheld.size > withheldShownMax ? [`${withheld.size - withheldShownMax} more proxies keep what they hold: see sallyport proxy-status`] : []),
    ],
    withheld,
    publish(next) {
      published = next;
      if (revisions.at(-1) !== next.plan.revision) revisions.push(next.plan.revision);
      if (revisions.length > revisionsMax) revisions.shift();
      gateways = new Map(next.plan.gateways.map((gateway) => [gateway.identity, gateway]));
      if (kernels().length === 0) workloads = undefined;
      conditions.clear();
      withheld.clear();
      shared = {
        sallyport: createResource({ name: trustBundleName, typeUrl: typeUrls.secret, value: encodeTrustBundle(next.trustBundlePem) }),
        envoy: encodedEnvoyResource(renderTrustBundleSecret(next)),
      };
      for (const { identity, class: gatewayClass } of gateways.values()) {
        const form = formOfClass[gatewayClass];
        if (form !== null) refresh({ identity, form });
      }
      const connected: Proxy[] = [];
      for (const { nodeKey, streams } of cache.status()) {
        const proxy = proxyOf(nodeKey);
        const gateway = gateways.get(proxy.identity);
        if (gateway !== undefined && formOfClass[gateway.class] === proxy.form) continue;
        // Whoever is not connected is rendered again when it comes back.
        if (streams.length > 0) connected.push(proxy);
        else cache.clearSnapshot(nodeKey);
      }
      return refreshEach(connected, next);
    },
    *publishAddresses(addresses) {
      newestAddresses = addresses;
      if (published !== undefined && kernels().length === 0) return;
      const encoded = new Map<IpAddress, Resource>();
      yield* forEachInSteps(addresses, addressesPerStep, ([address, { namespace, serviceAccount }]) => {
        const version = `${namespace}/${serviceAccount}`;
        const known = workloads?.get(address);
        encoded.set(address, known?.version === version ? known : createResource({ name: address, version, typeUrl: typeUrls.workloadAddress, value: encodeWorkloadAddress(address, { namespace, serviceAccount }) }));
      });
      if (newestAddresses !== addresses) return;
      workloads = encoded;
      for (const { identity } of kernels()) refresh({ identity, form: 'sallyport' });
    },
    admit(proxy) {
      if (proxy.form === 'envoy') svids.keep(proxy.identity);
      refresh(proxy);
    },
    publishSvid: (identity) => refresh({ identity, form: 'envoy' }),
    sweep() {
      for (const { nodeKey, streams } of cache.status()) {
        const { identity, form } = proxyOf(nodeKey);
        if (form === 'envoy' && streams.length === 0) svids.drop(identity);
      }
    },
  };
}

/** Encodes what gateways are to be sent of a plan, and reads what it refers to, in steps, so that publishing it does not hold up the event loop. */
export function* encodeAhead(plan: Plan, revoked: readonly RevokedCertificate[]): Steps<void> {
  for (const gateway of plan.gateways) {
    if (gateway.class === 'envoy') {
      const { resources } = yield* renderEnvoyGatewayInSteps(plan, gateway, { revoked });
      yield* forEachInSteps(resources, 2, (resource) => readReferences(encodedEnvoyResource(resource)));
    } else if (formOfClass[gateway.class] === 'sallyport') {
      yield* forEachInSteps(plan.servicePorts.filter((servicePort) => servicePort.gateway === gateway.name), 1, encodedServicePort);
    }
  }
}

function gatewayResources(plan: Plan, gateway: PlannedGateway, revoked: readonly RevokedCertificate[]): readonly Resource[] {
  return [
    createResource({ name: gateway.name, typeUrl: typeUrls.gatewaySettings, value: encodeGatewaySettings(gateway, plan.trustDomain) }),
    createResource({ name: 'revocations', typeUrl: typeUrls.revocationList, value: encodeRevocationList(revoked.map(({ serialNumber }) => serialNumber)) }),
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

function encodedEnvoyResource(rendered: EnvoyResource): Resource {
  const known = encodedEnvoyResources.get(rendered);
  if (known !== undefined) return known;
  const resource = createResource({ name: rendered.name, typeUrl: rendered.typeUrl, value: encodeResource(rendered) });
  encodedEnvoyResources.set(rendered, resource);
  renderedAs.set(resource, rendered);
  return resource;
}

function sameTypes(a: Snapshot, b: Snapshot): boolean {
  return a.types.size === b.types.size && [...a.types].every(([typeUrl, resources]) => b.types.get(typeUrl) === resources);
}
