/** Which gateway serves what. */
import { refOf, type DesiredState } from '../desired-state.ts';
import type { EgressGateway } from '../objects/index.ts';
import type { PlanFault } from '../plan-fault.ts';
import type { BigipSettings, PlannedGateway, PortRange } from './plan.ts';
import { trustDomainOf, workloadSpiffeId, type SpiffeId, type TrustDomain } from '../spiffe-id.ts';

/** The namespace of gateways that say nothing else. */
const gatewayNamespace = 'sallyport-system';

/** Documentation/networking/ip-sysctl.rst of Linux, ip_local_port_range. */
const linuxLocalPorts: PortRange = { first: 32_768, last: 60_999 };

/** As much as a partition may be named by hand. */
const partitionLengthMax = 63;

export interface ResolvedGateway {
  readonly planned: PlannedGateway;
  readonly faults: readonly PlanFault[];
}

/** Who a gateway is. */
export function gatewayIdentity({ metadata, spec }: Pick<EgressGateway, 'metadata' | 'spec'>, trustDomain: TrustDomain): SpiffeId {
  return spec.identity ?? workloadSpiffeId(trustDomain, { namespace: gatewayNamespace, serviceAccount: metadata.name });
}

export function resolveGateway(gateway: EgressGateway, trustDomain: TrustDomain): ResolvedGateway {
  const { metadata, spec } = gateway;
  const identity = gatewayIdentity(gateway, trustDomain);
  const { connectionsPerIdentity, handshakeTimeout, connectTimeout, idleTimeout, ftpDataTimeout, udpFlowsPerIdentity, udpIdleTimeout } = spec.limits;
  const planned: PlannedGateway = {
    name: metadata.name,
    class: spec.class,
    identity,
    listen: spec.listen,
    advertise: spec.advertise ?? spec.listen,
    ftpPassivePorts: spec.ftp?.passivePorts ?? null,
    localPorts: spec.localPorts ?? linuxLocalPorts,
    handOver: spec.handOver ?? null,
    limits: {
      connectionsPerIdentity,
      handshakeTimeoutMs: handshakeTimeout,
      connectTimeoutMs: connectTimeout,
      idleTimeoutMs: idleTimeout,
      ftpDataTimeoutMs: ftpDataTimeout,
      udpFlowsPerIdentity,
      udpIdleTimeoutMs: udpIdleTimeout,
    },
    bigip: spec.class === 'bigip' ? bigipSettings(gateway) : null,
    kernel: spec.kernel ?? null,
  };
  const foreign: PlanFault = {
    code: 'gateway-identity-foreign',
    message: `identity "${identity}" is not of the trust domain "${trustDomain}"`,
    hint: 'leave "identity" out, or name one of this trust domain: only those can be certified',
    object: refOf(gateway),
    path: ['spec', 'identity'],
    restsOn: [],
  };
  return { planned, faults: trustDomainOf(identity) === trustDomain ? [] : [foreign] };
}

function bigipSettings({ metadata: { name }, spec: { bigip } }: EgressGateway): BigipSettings {
  return {
    management: bigip?.management ?? [],
    credentials: bigip?.credentials ?? null,
    partition: bigip?.partition ?? `sallyport_${name}`.slice(0, partitionLengthMax),
    drift: bigip?.drift ?? 'Report',
    logTo: bigip?.logTo ?? [],
    relaysFtp: bigip?.acceptRisks?.includes('UnprovenFtpData') ?? false,
  };
}

/** The gateway of a service, or why there is none. */
export type GatewayChoice = PlannedGateway | 'closed' | 'none' | 'several' | 'unknown';

/** The gateway that the service names; where it names none, the only one that is not just there for another to hand over to. It has to be open to the service. */
export function gatewayFor(name: string | undefined, gateways: DesiredState['EgressGateway'], isOpen: (gateway: EgressGateway) => boolean, plannedOf: (name: string) => PlannedGateway): GatewayChoice {
  if (name !== undefined) {
    const gateway = gateways.get(name);
    if (gateway === undefined) return 'unknown';
    return isOpen(gateway) ? plannedOf(name) : 'closed';
  }
  const beside = new Set(Array.from(gateways.values(), ({ spec }) => spec.handOver));
  const entrances = Array.from(gateways.values()).filter(({ metadata }) => !beside.has(metadata.name));
  const [only, ...more] = entrances.filter(isOpen);
  if (only === undefined) return entrances.length === 0 ? 'none' : 'closed';
  return more.length === 0 ? plannedOf(only.metadata.name) : 'several';
}
