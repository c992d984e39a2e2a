import * as z from 'zod';
import { allowedNamespaces, apiVersion, clusterMetadata, clusterRules, dnsSubdomain, duration, hostName, ipAddress, portNumber, spiffeId } from './common.ts';

const endpoint = z.strictObject({ address: ipAddress, port: portNumber });

const portRange = z.strictObject({ first: portNumber, last: portNumber }).refine(({ first, last }) => first <= last, 'must not end before it begins').meta(clusterRules(['self.first <= self.last', 'must not end before it begins']));

const timeoutMsMax = 24 * 86_400_000; // timers of 2^31 ms and more fire at once, https://nodejs.org/api/timers.html
const timeout = duration.refine((milliseconds) => milliseconds >= 1 && milliseconds <= timeoutMsMax, 'must be from 1ms to 24d');

/** Data planes that enforce the plan. */
export const gatewayClasses = ['sallyport', 'envoy', 'bigip', 'kernel'] as const;
export type GatewayClass = (typeof gatewayClasses)[number];

/** What to do where somebody has changed by hand what is ours. */
export const driftPolicies = ['Report', 'Repair'] as const;
export type DriftPolicy = (typeof driftPolicies)[number];

/** Risks that a gateway has only where whoever runs it names them. */
export const acceptedRisks = ['UnprovenFtpData'] as const;

const bigip = z.strictObject({
  management: z
    .array(z.strictObject({ host: z.union([ipAddress, hostName]), port: portNumber.default(443) }))
    .min(1)
    .max(2)
    .optional()
    .meta({ description: 'Its REST API, or those of both of a pair; default: it is not driven, only rendered for (`sallyport render bigip`)' }),
  credentials: dnsSubdomain.optional().meta({ description: 'Folder below `sallyport serve --credentials`, in a cluster a mounted Secret: files `username`, `password` and, to trust no other authority, `ca.pem`. It goes with "management"' }),
  partition: z
    .string()
    .regex(/^[A-Za-z][0-9A-Za-z_.-]{0,62}$/, 'must be a letter, then letters, digits, "_", "." and "-", at most 63')
    .refine((name) => name !== 'Common', 'must not be Common, which is not ours')
    .optional()
    .meta({ description: 'AS3 tenant, ours alone; default: sallyport_NAME', ...clusterRules(["self != 'Common'", 'must not be Common, which is not ours']) }),
  drift: z.enum(driftPolicies).default('Report').meta({ description: 'Where somebody has changed our partition by hand' }),
  logTo: z.array(endpoint).min(1).max(8).optional().meta({ description: 'Where it sends a line for each decision (syslog over TCP, RFC 5424), as at `sallyport serve --syslog`; default: nowhere' }),
  acceptRisks: z
    .array(z.enum(acceptedRisks))
    .min(1)
    .max(8)
    .optional()
    .meta({ description: '`UnprovenFtpData`: FTP is relayed although its data connections, in the clear, prove nothing: whoever reaches one of their ports first has the transfer. Default: it is refused' }),
});

/** IFNAMSIZ of Linux less the zero at the end. */
const interfaceName = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,14}$/, 'must be the name of an interface, at most 15 characters');

const kernel = z.strictObject({
  interface: interfaceName.meta({ description: 'Towards the external services: it gets the SNAT addresses' }),
  drift: z.enum(driftPolicies).default('Repair').meta({ description: 'Where somebody has changed our table' }),
});

const specFields = z.strictObject({
  class: z.enum(gatewayClasses).meta({ description: '`sallyport`: the embedded gateway, `sallyport gateway`. `envoy`: a stock Envoy, `sallyport bootstrap envoy`. `bigip`: an F5 BIG-IP, over AS3. `kernel`: a Linux router with nftables, which knows workloads by their address only' }),
  listen: z.array(endpoint).max(16).default([]).meta({ description: 'Shared listeners: mTLS, the service chosen by SNI. Each class but `kernel` needs one' }),
  advertise: z.array(endpoint).min(1).max(16).optional().meta({ description: 'Where agents find it; default: listen' }),
  identity: spiffeId.optional().meta({ description: 'Default: spiffe://TRUST-DOMAIN/ns/sallyport-system/sa/NAME' }),
  handOver: dnsSubdomain
    .optional()
    .meta({ description: 'Class `envoy`: the EgressGateway of class `sallyport` beside it that serves what Envoy cannot, such as FTP' }),
  localPorts: portRange
    .optional()
    .meta({ description: "Class `envoy`: the `net.ipv4.ip_local_port_range` of its host, in which blocks of source ports must lie; default: Linux's, 32768-60999" }),
  bigip: bigip.optional().meta({ description: 'Class `bigip`' }),
  kernel: kernel.optional().meta({ description: 'Class `kernel`, which needs it' }),
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
});

/** What a class does not know would have no effect. */
function fitsClass({ class: gatewayClass, listen, advertise, bigip, kernel }: z.output<typeof specFields>, context: z.RefinementCtx): void {
  const refuse = (path: string, message: string, fault: string): void => context.addIssue({ code: 'custom', path: [path], message, params: { fault } });
  const isKernel = gatewayClass === 'kernel';
  if (!isKernel && listen.length === 0) refuse('listen', 'must name an address and port at which workloads find it', 'field-required');
  if (isKernel && listen.length > 0) refuse('listen', 'a kernel has no listeners: workloads reach the external services by their own addresses', 'fields-exclusive');
  if (isKernel && advertise !== undefined) refuse('advertise', 'a kernel has no listeners, and agents do not connect to it', 'fields-exclusive');
  if (isKernel && kernel === undefined) refuse('kernel', 'must name the interface towards the external services', 'field-required');
  if (!isKernel && kernel !== undefined) refuse('kernel', `it goes with class kernel, not ${gatewayClass}`, 'fields-exclusive');
  if (gatewayClass !== 'bigip' && bigip !== undefined) refuse('bigip', `it goes with class bigip, not ${gatewayClass}`, 'fields-exclusive');
}

/** `EgressGateway`: a data plane. */
export const egressGateway = z.strictObject({
  apiVersion: z.literal(apiVersion),
  kind: z.literal('EgressGateway'),
  metadata: clusterMetadata,
  spec: specFields.superRefine(fitsClass).meta(
    clusterRules(
      ["self.class == 'kernel' ? has(self.kernel) : !has(self.kernel)", '"kernel" goes with class kernel, which needs it'],
      ["self.class == 'bigip' || !has(self.bigip)", '"bigip" goes with class bigip'],
      ["self.class == 'kernel' ? (!has(self.listen) || self.listen.size() == 0) && !has(self.advertise) : has(self.listen) && self.listen.size() > 0", 'each class but kernel needs "listen"; a kernel has no listeners'],
    ),
  ),
  status: z.unknown().optional(),
});
export type EgressGateway = z.output<typeof egressGateway>;
