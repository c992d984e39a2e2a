import * as z from 'zod';
import { clusterMetadata, dnsLabel, dnsSubdomain, ipAddress, portNumber } from './common.ts';

export const olderApiVersion = 'externalservice.example.com/v1alpha1';
/** The older form's services answer as NAME.external-services.svc.cluster.local. */
export const olderNamespace = 'external-services';

/** The `ExternalService` of k8s-ext-connector, accepted as it stands. Mind its ports: `targetPort` is what workloads use, `port` is the external server's. */
export const olderExternalService = z.strictObject({
  apiVersion: z.literal(olderApiVersion),
  kind: z.literal('ExternalService'),
  metadata: clusterMetadata.extend({ namespace: dnsLabel.optional() }),
  spec: z.strictObject({
    targetIP: ipAddress,
    sources: z.array(z.strictObject({ service: z.strictObject({ namespace: dnsLabel, name: dnsSubdomain }), sourceIP: ipAddress })).min(1),
    ports: z.array(z.strictObject({ protocol: z.enum(['TCP']).default('TCP'), port: portNumber, targetPort: portNumber.optional(), name: dnsLabel.optional() })).min(1),
  }),
  status: z.unknown().optional(),
});
export type OlderExternalService = z.output<typeof olderExternalService>;
