/**
 * `SnatAssignment`: a promise to a firewall, as an object of its own, so that it outlives the binding that it was made for and every
 * replica. Written by the control plane only. Its name is its address and first port: the API server itself refuses to give a source to two.
 */
import * as z from 'zod';
import { apiVersion, clusterMetadata, dnsSubdomain, ipAddress, portNumber } from '../../core/objects/common.ts';

export const snatAssignment = z.strictObject({
  apiVersion: z.literal(apiVersion),
  kind: z.literal('SnatAssignment'),
  metadata: clusterMetadata,
  spec: z.strictObject({
    pool: dnsSubdomain.meta({ description: 'The SnatPool that it was taken from' }),
    holder: z
      .string()
      .regex(/^(ns\/[^/]+|(sa|svc)\/[^/]+\/[^/]+)$/, 'must be ns/NAMESPACE, sa/NAMESPACE/ACCOUNT or svc/NAMESPACE/SERVICE')
      .meta({ description: 'Whose it is: ns/NAMESPACE, sa/NAMESPACE/ACCOUNT or svc/NAMESPACE/SERVICE' }),
    address: ipAddress,
    ports: z.strictObject({ first: portNumber, last: portNumber }).meta({ description: 'The source ports of the address that are its own' }),
    releasedAt: z.iso.datetime().optional().meta({ description: 'When its last binding went: from then it is in quarantine, and nobody gets it; default: it is in use' }),
    fixed: z.boolean().optional().meta({ description: 'Only bindings that name the address use it' }),
  }),
  status: z.unknown().optional(),
});
export type SnatAssignmentObject = z.output<typeof snatAssignment>;
