import type { SpiffeId } from '../core/spiffe-id.ts';

/** What a process holds to prove who it is: an X509-SVID, its key, and the trust bundle it verifies peers with. */
export interface WorkloadIdentity {
  readonly spiffeId: SpiffeId;
  /** Leaf first, without the root. */
  readonly certificateChainPem: string;
  /** PKCS#8. Never leaves the process but by an export that its user asked for. */
  readonly privateKeyPem: string;
  /** Every trust anchor of the trust domain. */
  readonly trustBundlePem: string;
  /** Milliseconds since the epoch. */
  readonly expiresAtMs: number;
}

/** The current identity, which changes as it is renewed and as the bundle is rotated. */
export interface IdentitySource {
  /** Undefined until the first enrolment has succeeded. */
  readonly current: WorkloadIdentity | undefined;
  /** Calls `listener` on every change from now on; the returned function ends that. */
  subscribe(listener: (identity: WorkloadIdentity) => void): () => void;
}
