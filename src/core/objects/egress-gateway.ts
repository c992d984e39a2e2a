import * as z from 'zod';
import { allowedNamespaces, apiVersion, clusterMetadata, clusterRules, dnsSubdomain, duration, ipAddress, portNumber, spiffeId } from './common.ts';

const endpoint = z.strictObject({ address: ipAddress, port: portNumber });

const portRange = z.strictObject({ first: portNumber, last: portNumber }).refine(({ first, last }) => first <= last, 'must not end before it begins').meta(clusterRules(['self.first <= self.last', 'must not end before it begins']));

const timeoutMsMax = 24 * 86_400_000; // timers of 2^31 ms and more fire at once, https://nodejs.org/api/timers.html
const timeout = duration.refine((milliseconds) => milliseconds >= 1 && milliseconds <= timeoutMsMax, 'must be from 1ms to 24d');

/** Data planes that enforce the plan. Others come with later versions and are refused until then. */
export const gatewayClasses = ['sallyport', 'envoy'] as const;
export type GatewayClass = (typeof gatewayClasses)[number];

/** `EgressGateway`: a data plane. */
export const egressGateway = z.strictObject({
  apiVersion: z.literal(apiVersion),
  kind: z.literal('EgressGateway'),
  metadata: clusterMetadata,
  spec: z.strictObject({
    class: z.enum(gatewayClasses).meta({ description: '`sallyport`: the embedded gateway, `sallyport gateway`. `envoy`: a stock Envoy, `sallyport bootstrap envoy`' }),
    listen: z.array(endpoint).min(1).max(16).meta({ description: 'Shared listeners: mTLS, the service chosen by SNI' }),
    advertise: z.array(endpoint).min(1).max(16).optional().meta({ description: 'Where agents find it; default: listen' }),
    identity: spiffeId.optional().meta({ description: 'Default: spiffe://TRUST-DOMAIN/ns/sallyport-system/sa/NAME' }),
    handOver: dnsSubdomain
      .optional()
      .meta({ description: 'Class `envoy`: the EgressGateway of class `sallyport` beside it that serves what Envoy cannot, such as FTP' }),
    localPorts: portRange
      .optional()
      .meta({ description: "Class `envoy`: the `net.ipv4.ip_local_port_range` of its host, in which blocks of source ports must lie; default: Linux's, 32768-60999" }),
    namespaces: allowedNamespaces.optional().meta({ description: 'In a cluster: whose ExternalServices may be placed at it, beside those of the root namespace; default: all' }),
    ftp: z.strictObject({ passivePorts: portRange.optional().meta({ description: 'Ports for data connections from workloads; default: any free port' }) }).optional(),
    limits: z
      .strictObject({
        connectionsPerIdentity: z.int().min(1).max(1_000_000).default(10_000),
        handshakeTimeout: timeout.prefault('10s'),
        connectTimeout: timeout.prefault('10s'),
        idleTimeout: timeout.prefault('1h').meta({ description: 'How long a connection lasts without a byte; that of an FTP session not while a transfer runs. Where TLS is passed through, nobody on the way sees a transfer: more than the longest, then' }),
        ftpDataTimeout: timeout.prefault('30s'),
        udpFlowsPerIdentity: z.int().min(1).max(60_000).default(1_024).meta({ description: 'UDP: client addresses and ports at a time, each with a source port of its own' }),
        udpIdleTimeout: timeout.prefault('2m').meta({ description: 'UDP: how long a flow lasts without a datagram (RFC 4787 section 4.3 wants two minutes at least)' }),
      })
      .prefault({}),
  }),
  status: z.unknown().optional(),
});
export type EgressGateway = z.output<typeof egressGateway>;
