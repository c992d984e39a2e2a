import type { KeyObject } from 'node:crypto';
import { fingerprintOf, type Certificate } from '../core/x509/certificate.ts';
import type { Fault } from '../core/errors.ts';

/** A CA certificate and those above it, as far as they are known. */
export interface CaChain {
  /** The issuing certificate first, each followed by its issuer. At least one; the last may be a root, or the top-most that was given. */
  readonly certificates: readonly [Certificate, ...Certificate[]];
  /** SHA-256 of the issuing certificate, lower-case hexadecimal. */
  readonly fingerprint: string;
  /** When the whole chain is valid: from the latest beginning to the earliest end. */
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

/** What certificates are signed with. */
export interface Issuer {
  readonly chain: CaChain;
  readonly privateKey: KeyObject;
}

export function caChain(certificates: readonly [Certificate, ...Certificate[]]): CaChain {
  return {
    certificates,
    fingerprint: fingerprintOf(certificates[0].der),
    notBeforeMs: Math.max(...certificates.map(({ notBeforeMs }) => notBeforeMs)),
    notAfterMs: Math.min(...certificates.map(({ notAfterMs }) => notAfterMs)),
  };
}

/** Names itself as its issuer, so it is a root once its signature verifies. */
export const isSelfIssued = (certificate: Certificate): boolean => certificate.issuer.equals(certificate.subject);

/** What relying parties put into their trust bundle for this chain: its root, or its top-most certificate where the root was not given. */
export const trustAnchorOf = (chain: CaChain): Certificate => chain.certificates.at(-1)!;

/** What a leaf's holder presents after the leaf: everything but a root, which verifiers hold themselves (RFC 8446 4.4.2). DER. */
export const presentedChain = (chain: CaChain): readonly Buffer[] => chain.certificates.filter((certificate) => !isSelfIssued(certificate)).map(({ der }) => der);

/** What was found in a container: its key if it has one, its certificates in their order, and what is wrong with it. */
export interface ReadMaterial {
  readonly privateKey: KeyObject | undefined;
  readonly certificatesDer: readonly Buffer[];
  readonly faults: readonly Fault[];
}
