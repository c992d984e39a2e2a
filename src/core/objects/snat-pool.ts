import * as z from 'zod';
import { parseAddressRange, type AddressRange } from '../ip-address.ts';
import { allowedNamespaces, apiVersion, clusterMetadata, duration, ipAddress, textCodec } from './common.ts';

/** One address, `first-last`, or CIDR notation. Every address of a CIDR block counts, the first and last too: exclude what the network cannot use. */
const addressRange = textCodec<AddressRange>(
  'address-invalid',
  { description: 'One address, first-last, or CIDR notation' },
  (text) => {
    const parsed = parseAddressRange(text);
    return parsed.ok ? { ok: true, value: parsed.range } : parsed;
  },
  (range) => range.text,
);

/** `SnatPool`: a set of source addresses that gateways own. */
export const snatPool = z.strictObject({
  apiVersion: z.literal(apiVersion),
  kind: z.literal('SnatPool'),
  metadata: clusterMetadata,
  spec: z.strictObject({
    addresses: z.array(addressRange).min(1).max(256).meta({ description: 'Addresses, ranges (first-last) and CIDR blocks' }),
    exclude: z.array(ipAddress).max(4096).default([]).meta({ description: 'Addresses of the ranges that are never assigned' }),
    quarantine: duration.prefault('24h').meta({ description: 'How long a released address stays unassigned; default 24h' }),
    sharing: z
      .discriminatedUnion('mode', [
        z.strictObject({ mode: z.literal('Exclusive') }),
        z.strictObject({ mode: z.literal('PortBlocks'), blockSize: z.int().min(16).max(32_256).meta({ description: 'Source ports a block, out of 1024-65535' }) }),
      ])
      .default({ mode: 'Exclusive' }),
    namespaces: allowedNamespaces.optional().meta({ description: 'In a cluster: whose SnatBindings may draw from it, beside those of the root namespace; default: all' }),
  }),
  status: z.unknown().optional(),
});
export type SnatPool = z.output<typeof snatPool>;
