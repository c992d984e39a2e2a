import type { LedgerRecord } from '../core/ledger-record.ts';
import type { Assignment } from '../core/snat/assignments.ts';
import { sharedExpiry, type Revocation, type RevocationOrder, type SharedSections } from './shared-sections.ts';

/** A certificate that may still be shown to somebody. */
export interface IssuedCertificate extends Revocation {
  /** Of a proxy certificate: what its renewal gets again. */
  readonly proxyLifetimeMs?: number;
  /** Whether another replica has had it revoked. What is revoked here is among the revocations alone. */
  readonly isRevoked?: true;
}

/** An assignment that is about to be written at an API server. */
export interface Intent {
  readonly assignment: Assignment;
  readonly atMs: number;
}

/** What the control plane keeps in the store beside desired state and assignments. What replicas share is here where there are none. */
export interface ControlSections extends SharedSections {
  /** Issued here, by serial number; gone once expired. */
  readonly certificates: IssuedCertificate;
  /** Orders as they were carried out here, so that what is issued later is not revoked by them. */
  readonly heeded: RevocationOrder;
  /** Ledger records of changes that are made, and not known to be in the ledger. */
  readonly outbox: readonly LedgerRecord[];
  /** Gone once it is recorded what became of them. */
  readonly intents: Intent;
}

/** When an entry may be forgotten. */
export const sectionExpiry = {
  ...sharedExpiry,
  certificates: ({ notAfterMs }: IssuedCertificate) => notAfterMs,
  heeded: ({ expiresAtMs }: RevocationOrder) => expiresAtMs,
} as const;
