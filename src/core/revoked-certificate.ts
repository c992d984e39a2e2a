import type { SpiffeId } from './spiffe-id.ts';

/** A certificate that was revoked although it has not expired. */
export interface RevokedCertificate {
  /** Lower-case hexadecimal. */
  readonly serialNumber: string;
  readonly spiffeId: SpiffeId;
}
