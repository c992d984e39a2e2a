import * as z from 'zod';
import { apiGroup, apiVersion, dnsLabel, dnsSubdomain, namespacedMetadata } from './common.ts';

const group = z.literal(apiGroup);

/**
 * `ReferenceGrant`: lets objects of other namespaces refer to what is in its own. Fields, names and limits are those of Gateway API's
 * (https://gateway-api.sigs.k8s.io/api-types/referencegrant/): every entry of `from` may refer to every entry of `to`, and grants add up.
 */
export const referenceGrant = z.strictObject({
  apiVersion: z.literal(apiVersion),
  kind: z.literal('ReferenceGrant'),
  metadata: namespacedMetadata,
  spec: z.strictObject({
    from: z
      .array(z.strictObject({ group, kind: z.enum(['EgressPolicy', 'SnatBinding']), namespace: dnsLabel }))
      .min(1)
      .max(16)
      .meta({ description: 'Who may refer: objects of a kind in a namespace' }),
    to: z
      .array(z.strictObject({ group, kind: z.literal('ExternalService'), name: dnsSubdomain.optional().meta({ description: 'Default: every one of the namespace' }) }))
      .min(1)
      .max(16)
      .meta({ description: "To what, in the grant's own namespace" }),
  }),
});
export type ReferenceGrant = z.output<typeof referenceGrant>;
