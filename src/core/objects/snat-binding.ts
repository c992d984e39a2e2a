import * as z from 'zod';
import { familyOf } from '../ip-address.ts';
import { apiVersion, clusterRules, dnsLabel, dnsSubdomain, exactlyOneOf, ipAddress, namespacedMetadata, serviceTarget } from './common.ts';

const bindingSubject = z.union([
  z.strictObject({ namespace: dnsLabel, serviceAccount: dnsSubdomain.optional() }),
  z.strictObject({ service: z.strictObject({ namespace: dnsLabel.optional(), name: dnsSubdomain }) }),
]);

/**
 * `SnatBinding`: an identity leaves from an address of a pool, or from fixed ones. A namespace binding gives the whole
 * namespace one address per family. The most specific binding wins (service account, then Kubernetes Service, then
 * namespace; then: names a port, names a service, names no target); two equally specific ones are an error.
 */
export const snatBinding = z.strictObject({
  apiVersion: z.literal(apiVersion),
  kind: z.literal('SnatBinding'),
  metadata: namespacedMetadata,
  spec: exactlyOneOf(
    z.strictObject({
      subject: bindingSubject,
      pool: dnsSubdomain.optional().meta({ description: 'The SnatPool to take an address from' }),
      addresses: z
        .array(ipAddress)
        .min(1)
        .max(2)
        .refine(([first, second]) => second === undefined || first === undefined || familyOf(first) !== familyOf(second), 'must not hold two addresses of one family')
        .optional()
        .meta({ ...clusterRules(['self.size() < 2 || ip(self[0]).family() != ip(self[1]).family()', 'must not hold two addresses of one family']), description: 'Fixed addresses of some SnatPool, at most one per family' }),
      targets: z.array(serviceTarget).min(1).max(1024).optional().meta({ description: 'Only for these services; default: for all' }),
    }),
    'pool',
    'addresses',
  ),
  status: z.unknown().optional(),
});
export type SnatBinding = z.output<typeof snatBinding>;
export type BindingSubject = z.output<typeof bindingSubject>;
