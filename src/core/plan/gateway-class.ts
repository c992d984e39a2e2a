/** What gateways of a class cannot do. Whatever a class cannot do as exactly as the plan says it, another gateway serves, or nobody. */
import type { GatewayClass } from '../objects/index.ts';
import type { Grant, PlannedGateway, ServedProtocol } from './plan.ts';

interface Served {
  readonly protocol: ServedProtocol;
  readonly grants: readonly Grant[];
}

/** Why a gateway of this class cannot serve a port, as the end of a sentence; undefined where it can. */
export function inabilityOf(gatewayClass: GatewayClass, { protocol, grants }: Served): string | undefined {
  if (gatewayClass === 'sallyport') return undefined;
  if (protocol === 'FTP' || protocol === 'UDP') return `cannot relay ${protocol}`;
  if (protocol === 'Reverse') return 'cannot let a service connect to workloads';
  if (protocol === 'HTTPConnect' && grants.some(({ connectAuthorities }) => connectAuthorities !== null)) return 'cannot limit the authorities of CONNECT';
  return undefined;
}

/** Of a gateway and the one beside it, the one that serves a port; null where neither can. */
export function servingGateway(entrance: PlannedGateway, beside: PlannedGateway | null, served: Served): PlannedGateway | null {
  return [entrance, beside].find((gateway) => gateway !== null && inabilityOf(gateway.class, served) === undefined) ?? null;
}
