/** Issuing with evidence: no certificate leaves the process before its ledger record, and what to revoke it by, are durable. */
import type { IssuedCertificate } from '../ca/index.ts';
import { SallyportError } from '../core/errors.ts';
import type { AttestedPod, CertificateIssued, LedgerRecord } from '../core/ledger-record.ts';
import type { Ledger, StateStore } from '../store/index.ts';
import { byText } from '../core/order.ts';
import type { SpiffeId } from '../core/spiffe-id.ts';
import type { RevokedCertificate } from '../backends/envoy/index.ts';
import type { ControlSections } from './sections.ts';

/** @param pod whose token the identity was first had by, if that was so */
export type IssuedToLedger = <Issued extends IssuedCertificate>(attestation: CertificateIssued['attestation'], issue: () => Promise<Issued>, pod?: AttestedPod) => Promise<Issued>;

export interface Issuance {
  readonly issue: IssuedToLedger;
  /** Records that somebody was refused. */
  refuse(spiffeId: string | null, why: Pick<SallyportError, 'code' | 'message'>): Promise<void>;
  isRevoked(serialNumber: string): boolean;
  /** Whether a certificate of this pod was ever revoked. */
  isPodRevoked(uid: string): boolean;
  /** What a renewal is granted again; empty for what is not known here. */
  granted(serialNumber: string): Pick<ControlSections['certificates'], 'proxyLifetimeMs' | 'pod'>;
  /** Certificates that are not to be accepted though they have not expired, by serial number. */
  revoked(): readonly RevokedCertificate[];
  /** Revokes one certificate, or all that an identity still holds. A spent join token of the identity is then good for nothing more, nor is the token of a pod that held one. Throws `not-found` where there is none. */
  revoke(which: { readonly serialNumber?: string | undefined; readonly spiffeId?: string | undefined }): Promise<readonly string[]>;
}

export interface IssuanceOptions {
  readonly store: StateStore<ControlSections>;
  readonly ledger: Ledger;
  readonly now: () => number;
  /** Called with the identities whose certificates were revoked, once that is durable. */
  readonly onRevoked: (identities: ReadonlySet<string>) => void;
}

export function createIssuance({ store, ledger, now, onRevoked }: IssuanceOptions): Issuance {
  const stamp = () => ({ time: new Date(now()).toISOString(), origin: 'control' }) as const;

  return {
    async issue(attestation, issueCertificate, pod) {
      const issued = await issueCertificate();
      const { spiffeId, serialNumber, notBeforeMs, notAfterMs, issuerFingerprint, purpose, lifetimeMs } = issued;
      const record: LedgerRecord = {
        ...stamp(),
        type: 'certificate-issued',
        spiffeId,
        serialNumber,
        notBefore: new Date(notBeforeMs).toISOString(),
        notAfter: new Date(notAfterMs).toISOString(),
        issuerFingerprint,
        purpose,
        attestation,
        ...(pod === undefined ? {} : { pod }),
      };
      const certificate = { spiffeId, notAfterMs, ...(purpose === 'proxy' ? { proxyLifetimeMs: lifetimeMs } : {}), ...(pod === undefined ? {} : { pod }) };
      await Promise.all([ledger.append(record), store.commit({ put: { certificates: { [serialNumber]: certificate } } })]);
      return issued;
    },
    async refuse(spiffeId, { code, message }) {
      await ledger.append({ ...stamp(), type: 'issuance-refused', spiffeId, code, detail: message });
    },
    isRevoked: (serialNumber) => store.get('revocations', serialNumber) !== undefined,
    isPodRevoked: (uid) => [...store.entries('revocations')].some(([, { pod }]) => pod?.uid === uid),
    granted: (serialNumber) => store.get('certificates', serialNumber) ?? {},
    revoked: () => [...store.entries('revocations')].filter(([, { notAfterMs }]) => notAfterMs > now()).map(([serialNumber, { spiffeId }]) => ({ serialNumber, spiffeId: spiffeId as SpiffeId })).sort((a, b) => byText(a.serialNumber, b.serialNumber)),
    async revoke({ serialNumber, spiffeId }) {
      const found = [...store.entries('certificates')].filter(
        ([serial, certificate]) => certificate.notAfterMs > now() && (serialNumber === undefined ? certificate.spiffeId === spiffeId : serial === serialNumber) && store.get('revocations', serial) === undefined,
      );
      if (found.length === 0) {
        throw new SallyportError('not-found', `no certificate that is still valid is known for ${JSON.stringify(serialNumber ?? spiffeId ?? '')}`, { hint: 'sallyport ledger tail --type certificate-issued shows what was issued' });
      }
      const identities = new Set(found.map(([, certificate]) => certificate.spiffeId));
      // The revoked key could have another certificate for them.
      const spentTokens = [...store.entries('tokens')].filter(([, token]) => token.spentBy !== undefined && identities.has(token.spiffeId));
      await store.commit({ put: { revocations: Object.fromEntries(found), tokens: Object.fromEntries(spentTokens.map(([key]) => [key, null])) } });
      await Promise.all(found.map(([serial, certificate]) => ledger.append({ ...stamp(), type: 'certificate-revoked', spiffeId: certificate.spiffeId, serialNumber: serial })));
      onRevoked(identities);
      return found.map(([serial]) => serial);
    },
  };
}
