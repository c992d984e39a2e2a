/** Who is at the other end of a TLS connection: the one place where a client's certificate is believed. */
import type { TLSSocket } from 'node:tls';
import type { ConnectionReason } from '../core/ledger-record.ts';
import type { SpiffeId } from '../core/spiffe-id.ts';
import { parseX509Svid } from '../core/x509/x509-svid.ts';

/** A peer whose certificate chain, form, validity and revocation have been checked. Made by `verifyPeer` only. */
export interface VerifiedPeer {
  readonly spiffeId: SpiffeId;
  /** Lower-case hexadecimal. */
  readonly serialNumber: string;
  readonly notAfterMs: number;
}

export type PeerVerification =
  | { readonly ok: true; readonly peer: VerifiedPeer }
  /** `spiffeId` is what the certificate claims, where it can be read: for the record, not to be believed. `detail` is safe to print. */
  | { readonly ok: false; readonly reason: ConnectionReason; readonly detail: string; readonly spiffeId: SpiffeId | null };

export interface PeerChecks {
  readonly nowMs: number;
  /** Whether a certificate of this serial number (lower-case hexadecimal) is no longer to be accepted. */
  readonly isRevoked: (serialNumber: string) => boolean;
}

/**
 * Checks the client certificate of a server's connection after its handshake. The chain was verified by OpenSSL, whose verdict is
 * taken from `socket.authorized`; the form is that of an X509-SVID. The trust domain is `decide`'s to check.
 */
export function verifyPeer(socket: TLSSocket, { nowMs, isRevoked }: PeerChecks): PeerVerification {
  const certificate = socket.getPeerX509Certificate();
  if (certificate === undefined) return { ok: false, reason: 'certificate-missing', detail: 'the client presented no certificate', spiffeId: null };
  const parsed = parseX509Svid(certificate.raw);
  const refuse = (reason: ConnectionReason, detail: string): PeerVerification => ({ ok: false, reason, detail, spiffeId: parsed.ok ? parsed.svid.spiffeId : null });

  if (!socket.authorized) {
    const code = String(socket.authorizationError);
    return refuse(chainRefusals.get(code) ?? 'certificate-invalid', `the client's certificate was refused by OpenSSL with ${code}`);
  }
  if (!parsed.ok) return refuse('certificate-invalid', parsed.detail);
  const { spiffeId, serialNumber, notBeforeMs, notAfterMs } = parsed.svid;
  if (nowMs < notBeforeMs) return refuse('certificate-not-yet-valid', `the certificate is valid from ${new Date(notBeforeMs).toISOString()}`);
  if (nowMs > notAfterMs) return refuse('certificate-expired', `the certificate was valid until ${new Date(notAfterMs).toISOString()}`);
  if (isRevoked(serialNumber)) return refuse('certificate-revoked', `the certificate with serial number ${serialNumber} is revoked`);
  return { ok: true, peer: { spiffeId, serialNumber, notAfterMs } };
}

/** OpenSSL's X509_V_ERR_* as Node names them; what is not here is a fault of the certificate's form. */
const chainRefusals: ReadonlyMap<string, ConnectionReason> = new Map([
  ['CERT_HAS_EXPIRED', 'certificate-expired'],
  ['CERT_NOT_YET_VALID', 'certificate-not-yet-valid'],
  ['CERT_REVOKED', 'certificate-revoked'],
  ['CERT_SIGNATURE_FAILURE', 'certificate-untrusted'],
  ['CERT_UNTRUSTED', 'certificate-untrusted'],
  ['DEPTH_ZERO_SELF_SIGNED_CERT', 'certificate-untrusted'],
  ['SELF_SIGNED_CERT_IN_CHAIN', 'certificate-untrusted'],
  ['UNABLE_TO_GET_ISSUER_CERT', 'certificate-untrusted'],
  ['UNABLE_TO_GET_ISSUER_CERT_LOCALLY', 'certificate-untrusted'],
  ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'certificate-untrusted'],
] satisfies [string, ConnectionReason][]);
