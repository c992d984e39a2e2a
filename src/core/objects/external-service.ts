import * as z from 'zod';
import { apiVersion, dnsLabel, dnsSubdomain, exactlyOneOf, hostName, ipAddress, namespacedMetadata, portNumber, spiffeId } from './common.ts';

/** What the gateway understands of the traffic. Protocols that a gateway class cannot serve are refused at compile time. */
export const protocols = ['TCP', 'HTTPConnect', 'FTP'] as const;
export type Protocol = (typeof protocols)[number];

/** Who opens the data connections between gateway and FTP server (RFC 959 section 3.2): the gateway, or the server. */
export const ftpDataModes = ['Passive', 'Active'] as const;
export type FtpDataMode = (typeof ftpDataModes)[number];

/** The name of a port that has none: `tcp-8000`. */
export function defaultPortName(protocol: string, port: number): string {
  return `${protocol.toLowerCase()}-${port}`;
}

const ftpOptions = z.strictObject({
  dataMode: z.enum(ftpDataModes).default('Passive').meta({ description: 'Who opens data connections: the gateway (Passive), or the server, to the SNAT address that the control connection came from (Active)' }),
});

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
  ftp: ftpOptions.optional().meta({ description: 'Protocol FTP: how the gateway speaks it with the service' }),
});

/** A port as the program sees it: always with a name. */
export type ExternalServicePort = z.output<typeof writtenPort> & { readonly name: string };

const servicePort = z.codec(writtenPort.superRefine(optionsFit), z.custom<ExternalServicePort>(), {
  decode: (port) => ({ ...port, name: port.name ?? defaultPortName(port.protocol, port.port) }),
  encode: (port) => port,
});

/** Options of a protocol that the port does not speak would have no effect. */
function optionsFit({ protocol, ftp }: z.output<typeof writtenPort>, context: z.RefinementCtx): void {
  if (ftp !== undefined && protocol !== 'FTP') context.addIssue({ code: 'custom', path: ['ftp'], message: `it goes with protocol FTP, not ${protocol}`, params: { fault: 'fields-exclusive' } });
}

/**
 * Lets no port of a list repeat the number or the name of one before it. The number that workloads use is the first there
 * is of `numberFields`. It looks at faulty ports too, as far as they go, so that all faults are named at once.
 */
export function portsDiffer<T extends z.ZodArray>(ports: T, numberFields: readonly string[]): T {
  return ports.superRefine(
    (entries, context) => {
      const numbers = new Map<number, number>();
      const names = new Map<string, number>();
      for (const [index, entry] of (entries as readonly unknown[]).entries()) {
        const { protocol = 'TCP', ...port } = { ...(entry as Readonly<Record<string, unknown>>) };
        const field = numberFields.find((candidate) => port[candidate] !== undefined) ?? 'port';
        const number = port[field];
        if (typeof number !== 'number') continue;
        const name = typeof port['name'] === 'string' ? port['name'] : defaultPortName(String(protocol), number);
        const refuse = (path: string, what: string, first: number, fault: string) =>
          context.addIssue({ code: 'custom', path: [index, path], message: `${what} is already taken by entry ${first + 1} of the list`, params: { fault } });
        const sameNumber = numbers.get(number);
        const sameName = names.get(name);
        if (sameNumber !== undefined) refuse(field, `port ${number}`, sameNumber, 'port-duplicate');
        else if (sameName !== undefined) refuse('name', `port name "${name}"`, sameName, 'port-name-duplicate');
        numbers.set(number, sameNumber ?? index);
        names.set(name, sameName ?? index);
      }
    },
    { when: ({ value }) => Array.isArray(value) },
  );
}

/** `ExternalService`: something outside the mesh that workloads reach through a gateway. */
export const externalService = z.strictObject({
  apiVersion: z.literal(apiVersion),
  kind: z.literal('ExternalService'),
  metadata: namespacedMetadata,
  spec: exactlyOneOf(
    z.strictObject({
      addresses: z.array(ipAddress).min(1).max(64).optional().meta({ description: 'Where the service is, tried in turn' }),
      hosts: z.array(hostName).min(1).max(16).optional().meta({ description: 'Host names, resolved by the gateway when it connects' }),
      ports: portsDiffer(z.array(servicePort).min(1).max(64), ['port']),
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
