import * as z from 'zod';
import { apiVersion, dnsLabel, dnsSubdomain, hostName, ipAddress, namespacedMetadata, portNumber, spiffeId } from './common.ts';

/** What the gateway understands of the traffic. Protocols that a gateway class cannot serve are refused at compile time. */
export const protocols = ['TCP', 'HTTPConnect', 'FTP'] as const;

/** `ExternalService`: something outside the mesh that workloads reach through a gateway. */
export const externalService = z.strictObject({
  apiVersion: z.literal(apiVersion),
  kind: z.literal('ExternalService'),
  metadata: namespacedMetadata,
  spec: z
    .strictObject({
      addresses: z.array(ipAddress).min(1).max(64).optional().meta({ description: 'Where the service is, tried in turn' }),
      hosts: z.array(hostName).min(1).max(16).optional().meta({ description: 'Host names, resolved by the gateway when it connects' }),
      ports: z
        .array(
          z.strictObject({
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
          }),
        )
        .min(1)
        .max(64),
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
    })
    .refine((spec) => (spec.addresses === undefined) !== (spec.hosts === undefined), 'needs either "addresses" or "hosts"'),
  status: z.unknown().optional(),
});
export type ExternalService = z.output<typeof externalService>;
export type Protocol = (typeof protocols)[number];
