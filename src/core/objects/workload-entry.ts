import * as z from 'zod';
import { apiVersion, dnsLabel, dnsSubdomain, ipAddress, namespacedMetadata } from './common.ts';

/**
 * `WorkloadEntry`: a workload that runs without Kubernetes, by the addresses that it sends from. Gateways of class `kernel` know whom they
 * have before them by that alone; pods need none. The word is Istio's (https://istio.io/latest/docs/reference/config/networking/workload-entry/).
 */
export const workloadEntry = z.strictObject({
  apiVersion: z.literal(apiVersion),
  kind: z.literal('WorkloadEntry'),
  metadata: namespacedMetadata,
  spec: z.strictObject({
    addresses: z.array(ipAddress).min(1).max(64).meta({ description: 'Where it sends from, as the gateway sees it. An address that somebody else claims too, an entry or a pod, is nobody\'s' }),
    namespace: dnsLabel.optional().meta({ description: "The workload's namespace; default: the entry's own" }),
    serviceAccount: dnsSubdomain.default('default').meta({ description: 'The service account that it is taken for' }),
  }),
  status: z.unknown().optional(),
});
export type WorkloadEntry = z.output<typeof workloadEntry>;
