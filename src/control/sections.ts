import type { AttestedPod, LedgerRecord } from '../core/ledger-record.ts';
import type { JoinToken } from './join-tokens.ts';

/** A certificate that may still be shown to somebody. */
export interface IssuedCertificate {
  readonly spiffeId: string;
  readonly notAfterMs: number;
  /** Of a proxy certificate: what its renewal gets again. */
  readonly proxyLifetimeMs?: number;
  /** Whose token began the chain of renewals that led to it, where that was a pod's. */
  readonly pod?: AttestedPod;
}

/** What the control plane keeps in the store beside desired state and assignments. */
export interface ControlSections {
  /** By the hash of the token; gone once expired, and once spent where its identity is revoked. */
  readonly tokens: JoinToken;
  /** By serial number; gone once expired. */
  readonly certificates: IssuedCertificate;
  /** By serial number; gone once the certificate would have expired. A pod's stay: its token would let it in again for as long as it lives. */
  readonly revocations: IssuedCertificate;
  /** Ledger records of changes that are made, and not known to be in the ledger. */
  readonly outbox: readonly LedgerRecord[];
}

/** When an entry may be forgotten. */
export const sectionExpiry = {
  tokens: ({ expiresAtMs }: JoinToken) => expiresAtMs,
  certificates: ({ notAfterMs }: IssuedCertificate) => notAfterMs,
  revocations: ({ notAfterMs, pod }: IssuedCertificate) => (pod === undefined ? notAfterMs : Infinity),
} as const;
