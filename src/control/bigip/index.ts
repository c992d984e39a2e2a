/**
 * Drives gateways of class bigip over AS3 and iControl REST (docs/decisions/0810, 0811, 0812). Pure: what answers mean (`answer.ts`), what changes data groups
 * (`data-group-changes.ts`), what a declaration has (`tenant.ts`); shells: requests (`management-client.ts`, `box.ts`), the loop for one gateway
 * (`driver.ts`), one for each (`drivers.ts`), their certificates (`server-certificates.ts`).
 *
 * Invariants: what somebody may not do any more is taken away before anything else is done, and however the rest fares; nothing is taken for done
 * that was not read back; of other tenants nothing is said; no credential and no key is in any message.
 */
export { boxStatuses } from './box-status.ts';
export type { BigIpStatus, Timings } from './driver.ts';
export { startBigIpDrivers, type BigIpDrivers } from './drivers.ts';
export { describeTenantChanges } from './tenant-changes.ts';
export { createServerCertificates } from './server-certificates.ts';
