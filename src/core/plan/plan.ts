/**
 * The plan: desired state compiled. Immutable, deterministic, the same for the same input in any order. Everything that
 * enforces is rendered from it, and every word about a decision comes from `decide` and `explain`.
 */
import type { FtpConstraints } from '../ftp/rules.ts';
import type { IpAddress } from '../ip-address.ts';
import type { DriftPolicy, FtpDataMode, FtpsHandshake, GatewayClass, Protocol } from '../objects/index.ts';
import type { SpiffeId, TrustDomain } from '../spiffe-id.ts';

/** SHA-256 of the plan's content, in hexadecimal. */
export type Revision = string & { readonly __brand: 'Revision' };
/** `NAMESPACE/NAME:PORTNAME`, unique in a plan. */
export type ServicePortId = string & { readonly __brand: 'ServicePortId' };

export interface Endpoint {
  readonly address: IpAddress;
  readonly port: number;
}

/** Inclusive. */
export interface PortRange {
  readonly first: number;
  readonly last: number;
}

/** Where connections leave from: one address per family at most, at least one in all, each with the source ports that belong to this holder. */
export interface SnatSource {
  readonly ipv4?: { readonly address: IpAddress; readonly ports: PortRange };
  readonly ipv6?: { readonly address: IpAddress; readonly ports: PortRange };
}

/** Who: one service account, or every one of a namespace that no grant of the same port names itself. */
export interface Subject {
  readonly namespace: string;
  /** Absent: the whole namespace. */
  readonly serviceAccount?: string;
}

/**
 * One compiled permission. `snat` is null where a policy allows but no binding gives an address: such a subject is
 * refused with that reason. A service account's grant holds everything that its namespace's policies grant it, so a
 * decision looks at one grant only: the exact one, else the namespace's.
 */
export interface Grant {
  readonly subject: Subject;
  /** `namespace/name` of every EgressPolicy that gives it, sorted. */
  readonly policies: readonly string[];
  readonly snat: SnatSource | null;
  /** `namespace/name` of the SnatBinding that decides the address; null with `snat`. */
  readonly binding: string | null;
  /** HTTPConnect: authority patterns (lower case, `host:port`, `*.domain:port`, `host:*`), or null for any. */
  readonly connectAuthorities: readonly string[] | null;
  /** FTP and FTPS: what its policies allow within a session, an alternative each, sorted; one that allows it is enough. Null for anything. */
  readonly ftp: readonly FtpConstraints[] | null;
}

export type Target = { readonly kind: 'address'; readonly address: IpAddress; readonly port: number } | { readonly kind: 'host'; readonly host: string; readonly port: number };

/** How the gateway speaks FTP with a service. */
export interface FtpOptions {
  /** Who opens data connections: the gateway (Passive), or the server (Active). */
  readonly dataMode: FtpDataMode;
  /** Whether the record of a transfer has the SHA-256 of its content. */
  readonly recordDigest: boolean;
  /** Who secures the connections to the server (FTPS); null: nobody. */
  readonly tls: FtpTls | null;
}

/** The gateway, towards the server; or the workload itself, whose `AUTH TLS` is passed on, and nothing can be read from then on. */
export type FtpTls =
  | {
      readonly mode: 'Originate';
      readonly handshake: FtpsHandshake;
      /** In the server's certificate; null: the host or address that is connected to. */
      readonly serverName: string | null;
      /** PEM; null: the well-known authorities. */
      readonly caCertificates: string | null;
    }
  | { readonly mode: 'PassThrough' };

/**
 * What a gateway does with the traffic: FTPS is FTP with options, or TCP where nobody on the way can read a byte of it. `Reverse` is the
 * way back: agents connect and wait, and `port` is the one at the SNAT address that the service connects to.
 */
export const servedProtocols = ['TCP', 'HTTPConnect', 'FTP', 'UDP', 'Reverse'] as const satisfies readonly (Protocol | 'Reverse')[];
export type ServedProtocol = (typeof servedProtocols)[number];

/** One port of one external service, with everything that a gateway needs to serve it. The unit of distribution. */
export interface ServicePort {
  readonly id: ServicePortId;
  readonly service: { readonly namespace: string; readonly name: string };
  readonly portName: string;
  /** The port that workloads use. */
  readonly port: number;
  readonly protocol: ServedProtocol;
  /** Name of the EgressGateway that serves it; empty where there is none, and then everyone is refused. */
  readonly gateway: string;
  /** Name of the EgressGateway that workloads connect to: `gateway`, or the one that hands its connections over to `gateway`, TLS untouched. */
  readonly entrance: string;
  /** Host names by which workloads ask (lower case); the first is the canonical NAME.NAMESPACE.svc.CLUSTER-DOMAIN. */
  readonly hosts: readonly string[];
  /** SNI values that choose this port: `outbound_.PORT_._.HOST` for each host, and plain HOST where the service has one port but those of UDP, whose names are `outbound_.PORT_.udp_.HOST`. Unique per gateway and entrance. */
  readonly serverNames: readonly string[];
  /** The listener of its own at the gateway, or null. */
  readonly listen: Endpoint | null;
  /** Tried in turn. */
  readonly targets: readonly Target[];
  /** Server identities that a workload accepts (secure naming). */
  readonly serverIdentities: readonly SpiffeId[];
  /** Where agents offer it to their workload; of protocol `Reverse`: where the workload listens. */
  readonly agentListen: Endpoint;
  /** Null where the protocol is not FTP. */
  readonly ftp: FtpOptions | null;
  /** Sorted by namespace, then service account, the whole namespace first. */
  readonly grants: readonly Grant[];
}

export interface GatewayLimits {
  readonly connectionsPerIdentity: number;
  readonly handshakeTimeoutMs: number;
  readonly connectTimeoutMs: number;
  readonly idleTimeoutMs: number;
  readonly ftpDataTimeoutMs: number;
  readonly udpFlowsPerIdentity: number;
  readonly udpIdleTimeoutMs: number;
}

export interface PlannedGateway {
  readonly name: string;
  readonly class: GatewayClass;
  readonly identity: SpiffeId;
  readonly listen: readonly Endpoint[];
  /** Where agents connect. */
  readonly advertise: readonly Endpoint[];
  readonly ftpPassivePorts: PortRange | null;
  /** From which its host takes source ports by itself; blocks of them matter to class envoy only within. */
  readonly localPorts: PortRange;
  /** The gateway beside it that serves what its class cannot; null for none. */
  readonly handOver: string | null;
  readonly limits: GatewayLimits;
  /** Null where the class is another. */
  readonly bigip: BigipSettings | null;
  /** Null where the class is another. */
  readonly kernel: KernelSettings | null;
}

export interface BigipSettings {
  /** Of one box, or of both of a pair; none where it is not driven. */
  readonly management: readonly { readonly host: string; readonly port: number }[];
  /** Name of a Secret or folder; null where it is not driven. */
  readonly credentials: string | null;
  /** AS3 tenant. */
  readonly partition: string;
  readonly drift: DriftPolicy;
  /** Syslog receivers, by TCP. */
  readonly logTo: readonly Endpoint[];
  /** Whether it may relay FTP, whose data connections prove nothing there. */
  readonly relaysFtp: boolean;
}

export interface KernelSettings {
  /** Towards the external services. */
  readonly interface: string;
  readonly drift: DriftPolicy;
}

export interface Plan {
  readonly revision: Revision;
  readonly trustDomain: TrustDomain;
  /** Sorted by name. */
  readonly gateways: readonly PlannedGateway[];
  /** Sorted by id. */
  readonly servicePorts: readonly ServicePort[];
}

/** Why something is refused. Stable; each is explained in docs/reference/decisions.md. */
export const denyReasons = [
  'authority-not-allowed',
  'no-gateway',
  'no-policy',
  'no-snat-binding',
  'no-such-service',
  'not-a-workload',
  'snat-family-mismatch',
  'trust-domain-mismatch',
] as const;
export type DenyReason = (typeof denyReasons)[number];

/** The one answer to "may this identity use this service port". A value, never an exception. */
export type Decision =
  | { readonly allowed: true; readonly servicePort: ServicePort; readonly grant: Grant & { readonly snat: SnatSource; readonly binding: string } }
  | { readonly allowed: false; readonly reason: DenyReason; readonly servicePort: ServicePort | null; readonly grant: Grant | null };
