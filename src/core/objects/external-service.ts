import { X509Certificate } from 'node:crypto';
import * as z from 'zod';
import { certificatesOfPem } from '../x509/pem.ts';
import { apiVersion, clusterRules, dnsLabel, dnsSubdomain, exactlyOneOf, hostName, ipAddress, namespacedMetadata, portNumber, spiffeId } from './common.ts';

/** What the gateway understands of the traffic. Protocols that a gateway class cannot serve are refused at compile time. */
export const protocols = ['TCP', 'HTTPConnect', 'FTP', 'FTPS', 'UDP'] as const;
export type Protocol = (typeof protocols)[number];

/** What carries a protocol. A TCP and a UDP port of one number are two ports. */
export type Transport = 'TCP' | 'UDP';

export function transportOf(protocol: string): Transport {
  return protocol === 'UDP' ? 'UDP' : 'TCP';
}

/** Who opens the data connections between gateway and FTP server (RFC 959 section 3.2): the gateway, or the server. */
export const ftpDataModes = ['Passive', 'Active'] as const;
export type FtpDataMode = (typeof ftpDataModes)[number];

/** Who speaks TLS with an FTPS server (RFC 4217), and from when on. */
export const ftpsModes = ['Originate', 'PassThrough'] as const;
export const ftpsHandshakes = ['Explicit', 'Implicit'] as const;
export type FtpsHandshake = (typeof ftpsHandshakes)[number];

/** The name of a port that has none: `tcp-8000`. */
export function defaultPortName(protocol: string, port: number): string {
  return `${protocol.toLowerCase()}-${port}`;
}

const ftpOptions = z.strictObject({
  dataMode: z.enum(ftpDataModes).default('Passive').meta({ description: 'Who opens data connections: the gateway (Passive), or the server, to the SNAT address that the control connection came from (Active)' }),
  recordDigest: z.boolean().default(false).meta({ description: 'Whether the record of each transfer has the SHA-256 of its content' }),
});

/** Ports of one pass-through FTPS service: each is a listener at every agent that may use it. */
const dataPortsMax = 128;

const tlsOptions = z
  .strictObject({
    mode: z.enum(ftpsModes).default('Originate').meta({ description: 'Who speaks TLS with the server: the gateway, for workloads that speak plain FTP (Originate), or the workload itself, through agent and gateway (PassThrough)' }),
    handshake: z.enum(ftpsHandshakes).default('Explicit').meta({ description: 'AUTH TLS on a plain connection (Explicit), or TLS from the first byte, as on port 990 (Implicit)' }),
    serverName: z.union([ipAddress, hostName]).optional().meta({ description: "Originate: the name in the server's certificate; default: the host or address that is connected to" }),
    caCertificates: z
      .string()
      .max(262_144)
      .refine((text) => isCertificates(text), 'must be certificates in PEM, as "-----BEGIN CERTIFICATE-----" begins them')
      .optional()
      .meta({ description: "Originate: whom to trust with the server's certificate, in PEM; default: the well-known authorities" }),
    dataPorts: z
      .strictObject({ first: portNumber, last: portNumber })
      .refine(({ first, last }) => first <= last && last - first < dataPortsMax, `must not end before it begins, nor hold more than ${dataPortsMax} ports`)
      .optional()
      .meta({
        ...clusterRules([`self.first <= self.last && self.last - self.first < ${dataPortsMax}`, `must not end before it begins, nor hold more than ${dataPortsMax} ports`]),
        description: 'PassThrough: the passive ports of the server, since nobody on the way can read which one it names; workloads find them at the agent under the same numbers',
      }),
  })
  .superRefine(({ mode, serverName, caCertificates, dataPorts }, context) => {
    const refuse = (path: string, message: string, fault: string): void => context.addIssue({ code: 'custom', path: [path], message, params: { fault } });
    if (mode === 'PassThrough' && dataPorts === undefined) refuse('dataPorts', 'must name the passive ports of the server, since nobody on the way can read which one it names', 'field-required');
    if (mode === 'Originate' && dataPorts !== undefined) refuse('dataPorts', 'goes with mode PassThrough', 'fields-exclusive');
    for (const [path, value] of Object.entries({ serverName, caCertificates })) if (mode === 'PassThrough' && value !== undefined) refuse(path, 'goes with mode Originate', 'fields-exclusive');
  })
  .meta(clusterRules(["self.mode == 'PassThrough' ? has(self.dataPorts) : !has(self.dataPorts)", '"dataPorts" goes with mode PassThrough, which needs it'], ["self.mode == 'Originate' || !(has(self.serverName) || has(self.caCertificates))", '"serverName" and "caCertificates" go with mode Originate']));

function isCertificates(text: string): boolean {
  const certificates = certificatesOfPem(text);
  try {
    for (const certificate of certificates) new X509Certificate(certificate);
  } catch {
    return false;
  }
  return certificates.length > 0;
}

const writtenPort = z.strictObject({
  name: dnsLabel.optional().meta({ description: 'Default: the protocol and port, as in tcp-8000' }),
  port: portNumber.meta({ description: 'The port that workloads use' }),
  targetPort: portNumber.optional().meta({ description: 'The port at the external service; default: port' }),
  protocol: z.enum(protocols).default('TCP'),
  listen: z
    .strictObject({
      address: ipAddress.optional().meta({ description: "Default: the gateway's first listen address" }),
      port: portNumber,
    })
    .optional()
    .meta({ description: 'A listener of its own at the gateway, for clients that send no SNI' }),
  tls: tlsOptions.optional().meta({ description: 'Protocol FTPS: how the connections to the service are secured; default: by the gateway, with AUTH TLS' }),
  ftp: ftpOptions.optional().meta({ description: 'Protocols FTP and FTPS: how the gateway speaks it with the service' }),
});

/** A port as the program sees it: always with a name. */
export type ExternalServicePort = z.output<typeof writtenPort> & { readonly name: string };

const fittingPort = writtenPort.superRefine(optionsFit).meta(clusterRules(["!has(self.tls) || self.protocol == 'FTPS'", '"tls" goes with protocol FTPS'], ["!has(self.ftp) || self.protocol in ['FTP', 'FTPS']", '"ftp" goes with protocol FTP or FTPS']));

const servicePort = z.codec(fittingPort, z.custom<ExternalServicePort>(), {
  decode: (port) => ({ ...port, name: port.name ?? defaultPortName(port.protocol, port.port) }),
  encode: (port) => port,
});

/** Options of a protocol that the port does not speak would have no effect. */
function optionsFit({ protocol, ftp, tls }: z.output<typeof writtenPort>, context: z.RefinementCtx): void {
  const refuse = (path: string, fitting: string): void => context.addIssue({ code: 'custom', path: [path], message: `it goes with protocol ${fitting}, not ${protocol}`, params: { fault: 'fields-exclusive' } });
  if (ftp !== undefined && protocol !== 'FTP' && protocol !== 'FTPS') refuse('ftp', 'FTP or FTPS');
  if (tls !== undefined && protocol !== 'FTPS') refuse('tls', 'FTPS');
}

/** The name of the port that stands for a data port of a pass-through FTPS service. */
export const dataPortName = (control: string, dataPort: number): string => `${control}-${dataPort}`;

/** As far as they are numbers in order: the rest is told of where they stand. */
function dataPortsOf(tls: unknown): readonly number[] {
  const { first, last } = ((tls as { readonly dataPorts?: { readonly first?: unknown; readonly last?: unknown } } | undefined)?.dataPorts ?? {});
  if (typeof first !== 'number' || typeof last !== 'number' || !(last - first < dataPortsMax)) return [];
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, index) => first + index);
}

/**
 * Lets no port of a list repeat the number (of its transport) or the name of one before it. The number that workloads use is the
 * first there is of `numberFields`. It looks at faulty ports too, as far as they go, so that all faults are named at once.
 */
export function portsDiffer<T extends z.ZodArray>(ports: T, numberFields: readonly string[], defaultProtocol = 'TCP'): T {
  return ports.superRefine(
    (entries, context) => {
      const numbers = new Map<string, number>();
      const names = new Map<string, number>();
      for (const [index, entry] of (entries as readonly unknown[]).entries()) {
        const port = { ...(entry as Readonly<Record<string, unknown>>) };
        const protocol = typeof port['protocol'] === 'string' ? port['protocol'] : defaultProtocol;
        const field = numberFields.find((candidate) => port[candidate] !== undefined) ?? 'port';
        const number = port[field];
        if (typeof number !== 'number') continue;
        const name = typeof port['name'] === 'string' ? port['name'] : defaultPortName(protocol, number);
        const refuse = (path: readonly string[], what: string, first: number, fault: string) =>
          context.addIssue({ code: 'custom', path: [index, ...path], message: `${what} is already taken by entry ${first + 1} of the list`, params: { fault } });
        const claim = (claimed: number, transport: Transport, as: string, numberPath: readonly string[], namePath: readonly string[]): void => {
          const place = `${transport} port ${claimed}`;
          const sameNumber = numbers.get(place);
          const sameName = names.get(as);
          if (sameNumber !== undefined) refuse(numberPath, place, sameNumber, 'port-duplicate');
          else if (sameName !== undefined) refuse(namePath, `port name "${as}"`, sameName, 'port-name-duplicate');
          numbers.set(place, sameNumber ?? index);
          names.set(as, sameName ?? index);
        };
        claim(number, transportOf(protocol), name, [field], ['name']);
        for (const dataPort of dataPortsOf(port['tls'])) claim(dataPort, 'TCP', dataPortName(name, dataPort), ['tls', 'dataPorts'], ['tls', 'dataPorts']);
      }
    },
    { when: ({ value }) => Array.isArray(value) },
  );
}

const writtenReversePort = z.strictObject({
  name: dnsLabel.optional().meta({ description: 'Default: as in reverse-8443' }),
  port: portNumber.meta({ description: "The port that the service connects to, at the workload's SNAT address" }),
  workloadPort: portNumber.optional().meta({ description: 'The port that the workload listens on, at agentAddress beside its agent; default: port' }),
});

/** A port of the way back as the program sees it: always with a name. */
export type ReversePort = z.output<typeof writtenReversePort> & { readonly name: string };

const reversePort = z.codec(writtenReversePort, z.custom<ReversePort>(), {
  decode: (port) => ({ ...port, name: port.name ?? defaultPortName('reverse', port.port) }),
  encode: (port) => port,
});

/** `ExternalService`: something outside the mesh that workloads reach through a gateway. */
export const externalService = z.strictObject({
  apiVersion: z.literal(apiVersion),
  kind: z.literal('ExternalService'),
  metadata: namespacedMetadata,
  spec: exactlyOneOf(
    z.strictObject({
      addresses: z.array(ipAddress).min(1).max(64).optional().meta({ description: 'Where the service is, tried in turn' }),
      hosts: z.array(hostName).min(1).max(16).optional().meta({ description: 'Host names, resolved by the gateway when it connects' }),
      ports: portsDiffer(z.array(servicePort).min(1).max(64), ['port']).meta(clusterRules(["self.all(a, self.exists_one(b, a.port == b.port && (a.protocol == 'UDP') == (b.protocol == 'UDP')))", 'must not repeat a port'])),
      reverse: portsDiffer(z.array(reversePort).min(1).max(16), ['port'], 'reverse')
        .optional()
        .meta({ ...clusterRules(['self.all(a, self.exists_one(b, a.port == b.port))', 'must not repeat a port']), description: 'The way back: connections that the service may make, from its own addresses, to workloads that may use any port of it, over connections that their agents keep open; default: none' }),
      gateway: dnsSubdomain.optional().meta({ description: 'The EgressGateway that serves it; may be left out while there is exactly one' }),
      serverNames: z
        .array(hostName)
        .max(16)
        .optional()
        .meta({ description: 'Further host names by which workloads ask for it (SNI), beside NAME.NAMESPACE.svc.CLUSTER-DOMAIN' }),
      subjectAltNames: z
        .array(spiffeId)
        .min(1)
        .max(16)
        .optional()
        .meta({ description: "Secure naming: the server identities that a workload accepts; default: the gateway's own" }),
      agentAddress: ipAddress.optional().meta({ description: 'The loopback address on which agents offer the service; default 127.0.0.1' }),
    }),
    'addresses',
    'hosts',
  ),
  status: z.unknown().optional(),
});
export type ExternalService = z.output<typeof externalService>;
