/** What gateways of a class cannot do. Whatever a class cannot do as exactly as the plan says it, another gateway serves, or nobody. */
import type { Fault } from '../errors.ts';
import { formatEndpoint, isUnspecified } from '../ip-address.ts';
import type { ExternalServicePort, GatewayClass } from '../objects/index.ts';
import type { Endpoint, FtpOptions, Grant, PlannedGateway, ServedProtocol, ServicePort, Target } from './plan.ts';

/** What of a service port decides which class can serve it. */
export interface Served {
  readonly protocol: ServedProtocol;
  readonly grants: readonly Grant[];
  readonly targets: readonly Target[];
  readonly ftp: FtpOptions | null;
  /** The listener of its own that it asks for at the gateway; null for none. */
  readonly listen: AskedListener | null;
}

type AskedListener = NonNullable<ExternalServicePort['listen']>;

type ServingGateway = Pick<PlannedGateway, 'class' | 'listen' | 'bigip'>;

export interface Inability {
  /** The end of a sentence. */
  readonly why: string;
  /** What there is to do but to choose another gateway. */
  readonly remedy?: string;
  /** Of the port, where it is not its protocol. */
  readonly field?: 'listen';
}

/** Why a gateway cannot serve a port; undefined where it can. */
export function inabilityOf(gateway: ServingGateway, served: Served): Inability | undefined {
  const inability = inabilities[gateway.class](served, gateway);
  return typeof inability === 'string' ? { why: inability } : inability;
}

/** The listener of its own that a port gets at a gateway; null for none. */
export function ownListenerAt({ listen: [first] }: Pick<PlannedGateway, 'listen'>, asked: AskedListener | null): Endpoint | null {
  const address = asked?.address ?? first?.address; // a gateway without listeners has no address for one of a service either
  return asked === null || address === undefined ? null : { address, port: asked.port };
}

const inabilities: Readonly<Record<GatewayClass, (served: Served, gateway: ServingGateway) => Inability | string | undefined>> = {
  sallyport: () => undefined,
  envoy({ protocol, grants }) {
    if (protocol === 'FTP' || protocol === 'UDP') return `cannot relay ${protocol}`;
    if (protocol === 'Reverse') return 'cannot let a service connect to workloads';
    return limitsAuthorities(protocol, grants) ? 'cannot limit the authorities of CONNECT' : undefined;
  },
  bigip({ protocol, grants, ftp, listen }, gateway) {
    if (protocol === 'UDP') return 'cannot relay UDP';
    if (protocol === 'Reverse') return 'cannot let a service connect to workloads';
    if (limitsAuthorities(protocol, grants)) return 'cannot limit the authorities of CONNECT';
    const own = ownListenerAt(gateway, listen);
    if (own !== null && isUnspecified(own.address)) return { why: `cannot tell connections to a listener at every address (${formatEndpoint(own)}) from those that only pass through it`, remedy: 'name an address of the BIG-IP in "listen" of the port', field: 'listen' };
    if (ftp === null) return undefined;
    return ftpInability(ftp, grants) ?? (isReadAsFtp(ftp) ? ftpRelayInability(gateway, own) : undefined);
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

/** By an FTP profile, which opens ports for data connections that show no certificate. */
function ftpRelayInability({ bigip }: ServingGateway, own: Endpoint | null): Inability | undefined {
  if (bigip?.relaysFtp !== true) return { why: 'relays FTP by data connections that prove nothing', remedy: 'accept that by "bigip.acceptRisks: [UnprovenFtpData]" of the EgressGateway' };
  return own === null ? { why: 'relays FTP at a listener of its own only', remedy: 'give the port a "listen"' } : undefined;
}

/** Whether whoever relays FTP reads what is said: not where the workload's own TLS is passed through, which is a stream like any other. */
export const isReadAsFtp = ({ tls }: FtpOptions): boolean => tls?.mode !== 'PassThrough';

/** As what an agent carries a port to a gateway; null where it cannot. It makes no connection without mutual TLS, and so no data connection to a BIG-IP's FTP profile. */
export function carriedAs({ class: gatewayClass }: Pick<PlannedGateway, 'class'>, { protocol, ftp }: Pick<ServicePort, 'protocol' | 'ftp'>): ServedProtocol | null {
  if (gatewayClass !== 'bigip' || ftp === null) return protocol;
  return isReadAsFtp(ftp) ? null : 'TCP';
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
  return [entrance, beside].find((gateway) => gateway !== null && inabilityOf(gateway, served) === undefined) ?? null;
}

/** What no gateway of a class proves, whatever it serves: something to know of each. */
export const unprovenBy = {
  kernel: {
    code: 'identity-by-address',
    message: 'a workload is known by its address alone: nothing proves that the pod behind it is who it is said to be, and nothing between it and the gateway is encrypted',
    hint: 'keep addresses from being forged where workloads are (the network plugin, rp_filter), or use a gateway of class sallyport, envoy or bigip, which see certificates',
  },
} as const satisfies Partial<Record<GatewayClass, Fault>>;
