/** What gateways of a class cannot do. Whatever a class cannot do as exactly as the plan says it, another gateway serves, or nobody. */
import type { Fault } from '../errors.ts';
import type { GatewayClass } from '../objects/index.ts';
import type { FtpOptions, Grant, PlannedGateway, ServedProtocol, Target } from './plan.ts';

/** What of a service port decides which class can serve it. */
export interface Served {
  readonly protocol: ServedProtocol;
  readonly grants: readonly Grant[];
  readonly targets: readonly Target[];
  readonly ftp: FtpOptions | null;
  /** Whether it asks for a listener of its own at the gateway. */
  readonly hasOwnListener: boolean;
}

/** Why a gateway of this class cannot serve a port, as the end of a sentence; undefined where it can. */
export function inabilityOf(gatewayClass: GatewayClass, served: Served): string | undefined {
  return inabilities[gatewayClass](served);
}

const inabilities: Readonly<Record<GatewayClass, (served: Served) => string | undefined>> = {
  sallyport: () => undefined,
  envoy({ protocol, grants }) {
    if (protocol === 'FTP' || protocol === 'UDP') return `cannot relay ${protocol}`;
    if (protocol === 'Reverse') return 'cannot let a service connect to workloads';
    return limitsAuthorities(protocol, grants) ? 'cannot limit the authorities of CONNECT' : undefined;
  },
  bigip({ protocol, grants, ftp, hasOwnListener }) {
    if (protocol === 'UDP') return 'cannot relay UDP';
    if (protocol === 'Reverse') return 'cannot let a service connect to workloads';
    if (limitsAuthorities(protocol, grants)) return 'cannot limit the authorities of CONNECT';
    if (ftp !== null && !hasOwnListener) return 'relays FTP at a listener of its own only ("listen" of the port)';
    return ftp === null ? undefined : ftpInability(ftp, grants);
  },
  kernel({ protocol, grants, targets, ftp }) {
    if (targets.some(({ kind }) => kind === 'host')) return 'knows services by their addresses only';
    if (limitsAuthorities(protocol, grants)) return 'cannot limit the authorities of CONNECT';
    return ftp === null ? undefined : ftpInability(ftp, grants);
  },
};

function limitsAuthorities(protocol: ServedProtocol, grants: readonly Grant[]): boolean {
  return protocol === 'HTTPConnect' && grants.some(({ connectAuthorities }) => connectAuthorities !== null);
}

/** Of whoever lets data connections through and translates their addresses, but does not take part in the session. */
function ftpInability({ dataMode, recordDigest, tls }: FtpOptions, grants: readonly Grant[]): string | undefined {
  if (tls?.mode === 'Originate') return 'cannot secure FTP towards the server';
  if (dataMode === 'Active') return 'cannot change who opens the data connections of FTP';
  if (recordDigest) return 'cannot record the digest of a transfer';
  return grants.some(({ ftp }) => ftp !== null) ? 'cannot limit what FTP sessions may do' : undefined;
}

/** Of a gateway and the one beside it, the one that serves a port; null where neither can. */
export function servingGateway(entrance: PlannedGateway, beside: PlannedGateway | null, served: Served): PlannedGateway | null {
  return [entrance, beside].find((gateway) => gateway !== null && inabilityOf(gateway.class, served) === undefined) ?? null;
}

/** What no gateway of a class proves, whatever it serves: something to know of each. */
export const unprovenBy = {
  kernel: {
    code: 'identity-by-address',
    message: 'a workload is known by its address alone: nothing proves that the pod behind it is who it is said to be, and nothing between it and the gateway is encrypted',
    hint: 'keep addresses from being forged where workloads are (the network plugin, rp_filter), or use a gateway of class sallyport, envoy or bigip, which see certificates',
  },
} as const satisfies Partial<Record<GatewayClass, Fault>>;
