/**
 * The plan as nftables enforces it on a Linux router, for workloads that reach it by address: pure renderers from the plan and from which
 * address is whose now, and back from what the kernel lists. One table of our own; what its chains are, says chains.ts.
 *
 * - Who has an address is who it is taken for: no certificate is seen. That is said with every rendering (`caveats`).
 * - Whatever the kernel cannot do as exactly as the plan says it is a condition on the service port, and refused.
 *
 * Source: docs/decisions/0830; nftables 1.0.6, Linux 6.1.
 */
export type { Caveat, CaveatCode } from './caveats.ts';
export { logGroup } from './chains.ts';
export { readConnection, readEvent, type ConnectionEvent, type TrackedConnection } from './connection-event.ts';
export { deniedMax } from './denial-sets.ts';
export { forgetDenials, listDenials, listUnrecorded, readDenials, readUnrecorded, type Denial } from './denials.ts';
export type { MarkedGrant } from './elements.ts';
export { renderFtpFarm, type FtpFarm } from './ftp-farm.ts';
export { renderKernelGateway, type KernelRendering } from './gateway.ts';
export { carriedBy, closedRecordOf, deniedRecordOf, endReasonOf, isOfStranger, openedRecordOf, type RecordContext } from './ledger-record.ts';
export { readListing, type Counter, type Listing } from './listing.ts';
export { renderConntrackd, renderKeepalived, renderRetelling, renderUnit, rulesetFile, type InterfaceAddress, type PairLink, type PairMember } from './pair.ts';
export { differenceOf, renderChange, setNames, tableName, type Elements, type Table } from './table.ts';
export type { AddressOwners } from './workloads.ts';
