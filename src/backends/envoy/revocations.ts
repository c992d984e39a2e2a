/**
 * Certificates that were revoked although they have not expired. Envoy knows them by their serial numbers: a matcher in front of
 * the grants', instead of a list signed by the CA, which an organisation's intermediate need not be allowed to sign, and which would
 * have to be signed anew for as long as nothing changes.
 */
import { hash } from 'node:crypto';
import type { ServicePort, Subject } from '../../core/plan/plan.ts';
import type { RevokedCertificate } from '../../core/revoked-certificate.ts';
import { workloadOf } from '../../core/spiffe-id.ts';

const covers = ({ namespace, serviceAccount }: Subject, { spiffeId }: RevokedCertificate): boolean => {
  const workload = workloadOf(spiffeId);
  return workload?.namespace === namespace && (serviceAccount === undefined || serviceAccount === workload.serviceAccount);
};

/** Those that could use the service port, sorted by serial number: only its resources change with them. */
export function revokedAt({ grants }: ServicePort, revoked: readonly RevokedCertificate[]): readonly RevokedCertificate[] {
  if (revoked.length === 0) return revoked;
  return revoked.filter((certificate) => grants.some(({ subject }) => covers(subject, certificate))).sort((a, b) => (a.serialNumber < b.serialNumber ? -1 : 1));
}

/**
 * What tells the chain of a subject from the one that it had before a certificate of it was revoked. A chain of another name ends
 * the connections of the old one, the revoked certificate's among them; whoever has a good one comes again.
 */
export function revocationMark(subject: Subject, revoked: readonly RevokedCertificate[]): string {
  const serials = revoked.filter((certificate) => covers(subject, certificate)).map(({ serialNumber }) => serialNumber);
  return serials.length === 0 ? '' : `|without ${hash('sha256', serials.join(), 'hex').slice(0, 12)}`;
}
