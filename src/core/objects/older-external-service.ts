import * as z from 'zod';
import { familyOf, type IpAddress } from '../ip-address.ts';
import { clusterMetadata, dnsLabel, ipAddress, portNumber } from './common.ts';
import { portsDiffer } from './external-service.ts';

export const olderApiVersion = 'externalservice.example.com/v1alpha1';
/** The older form's services answer as NAME.external-services.svc.cluster.local. */
export const olderNamespace = 'external-services';

const source = z.strictObject({ service: z.strictObject({ namespace: dnsLabel, name: dnsLabel }), sourceIP: ipAddress });
const reversePort = z.strictObject({ name: dnsLabel.optional(), port: portNumber, workloadPort: portNumber.optional() });
const port = z.strictObject({ protocol: z.enum(['TCP']).default('TCP'), port: portNumber, targetPort: portNumber.optional(), name: dnsLabel.optional() });

/** A Service can leave from one address per family: a further one would contradict the first. */
function checkOneAddressPerFamily(sources: readonly z.output<typeof source>[], context: z.RefinementCtx): void {
  const addresses = new Map<string, IpAddress>();
  for (const [index, { service, sourceIP }] of sources.entries()) {
    const key = `${service.namespace}/${service.name} ${familyOf(sourceIP)}`;
    const first = addresses.get(key) ?? sourceIP;
    addresses.set(key, first);
    if (first !== sourceIP) {
      const message = `Service ${service.namespace}/${service.name} cannot leave from ${sourceIP}: it already leaves from ${first}`;
      context.addIssue({ code: 'custom', path: [index, 'sourceIP'], message, params: { fault: 'source-ambiguous' } });
    }
  }
}

/** The `ExternalService` of k8s-ext-connector, accepted as it stands. Mind its ports: `targetPort` is what workloads use, `port` is the external server's. */
export const olderExternalService = z.strictObject({
  apiVersion: z.literal(olderApiVersion),
  kind: z.literal('ExternalService'),
  metadata: clusterMetadata.extend({ name: dnsLabel, namespace: dnsLabel.default(olderNamespace) }),
  spec: z.strictObject({
    targetIP: ipAddress,
    sources: z.array(source).min(1).max(1024).superRefine(checkOneAddressPerFamily),
    ports: portsDiffer(z.array(port).min(1).max(64), ['targetPort', 'port']),
    bidirectional: portsDiffer(z.array(reversePort).min(1).max(16), ['port'], 'reverse')
      .optional()
      .meta({ description: 'Ours: the ports of each sourceIP at which targetIP may connect to the Service behind it; default: none, unlike in k8s-ext-connector, which opens every port of the Service' }),
  }),
  status: z.unknown().optional(),
});
export type OlderExternalService = z.output<typeof olderExternalService>;
