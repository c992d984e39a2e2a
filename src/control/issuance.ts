/** Issuing with evidence: no certificate leaves the process before its ledger record, and what to revoke it by, are durable. */
import type { Logger } from 'pino';
import { defaultLifetimes, type IssuedCertificate } from '../ca/index.ts';
import { backOffMs } from '../core/back-off.ts';
import { SallyportError } from '../core/errors.ts';
import type { AttestedPod, CertificateIssued, LedgerRecord } from '../core/ledger-record.ts';
import type { MeshCertificate, X509Svid } from '../core/x509/x509-svid.ts';
import type { Ledger, StateStore } from '../store/index.ts';
import { byText } from '../core/order.ts';
import type { RevokedCertificate } from '../core/revoked-certificate.ts';
import type { SpiffeId } from '../core/spiffe-id.ts';
import type { ControlSections, IssuedCertificate as KeptCertificate } from './sections.ts';
import { clockErrorMaxMs, type Revocation, type SharedPut } from './shared-sections.ts';
import type { SharedState, SharedView } from './shared-state.ts';

/** @param pod whose token the identity was first had by, if that was so */
export type IssuedToLedger = <Issued extends IssuedCertificate>(attestation: CertificateIssued['attestation'], issue: () => Promise<Issued>, pod?: AttestedPod) => Promise<Issued>;

export interface Issuance {
  readonly issue: IssuedToLedger;
  /** Records that somebody was refused. */
  refuse(spiffeId: string | null, why: Pick<SallyportError, 'code' | 'message'>): Promise<void>;
  isRevoked(serialNumber: string): boolean;
  /** Whether a certificate is revoked that somebody shows: also one of which that is ordered, and only whoever has issued it knows the number. */
  isRevokedAsShown(svid: X509Svid): boolean;
  /** Whether a certificate of this pod was ever revoked. */
  isPodRevoked(uid: string): boolean;
  /** What a renewal is granted again, whichever replica has issued the certificate that is renewed. */
  granted(certificate: MeshCertificate): Pick<KeptCertificate, 'proxyLifetimeMs' | 'pod'>;
  /** Certificates that are not to be accepted though they have not expired, by the clock of whoever looks at them, by serial number. */
  revoked(): readonly RevokedCertificate[];
  /**
   * Revokes one certificate, or all that an identity still holds, whichever replica has issued them. A spent join token of the identity is then
   * good for nothing more, nor is the token of a pod that held one. Gives the serial numbers that are known so far: replicas that are slow, or
   * away, add theirs. Throws `not-found` where there is none.
   */
  revoke(which: { readonly serialNumber?: string | undefined; readonly spiffeId?: string | undefined }): Promise<readonly string[]>;
  close(): void;
}

export interface IssuanceOptions {
  readonly store: StateStore<ControlSections>;
  readonly shared: SharedState;
  readonly ledger: Ledger;
  readonly now: () => number;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  /** Called with the identities of which certificates were revoked, here or elsewhere, once that is durable. */
  readonly onRevoked: (identities: ReadonlySet<string>) => void;
  readonly log: Pick<Logger, 'error' | 'warn'>;
}

/** How long other replicas have for answering that they have issued what is to be revoked. */
const othersAnswerWithinMs = 2_000;
const shareBackOff = { baseMs: 200, maxMs: 10_000 } as const;
/** After it nothing is valid that was issued before. */
const longestLifeMs = Math.max(defaultLifetimes.svidMaxMs, defaultLifetimes.proxyMaxMs, defaultLifetimes.serverMaxMs);

export function createIssuance({ store, shared, ledger, now, random, onRevoked, log }: IssuanceOptions): Issuance {
  const stamp = () => ({ time: new Date(now()).toISOString(), origin: 'control' }) as const;
  const listeners = new Set<() => void>();
  const revokedByOrder = new Set([...store.entries('certificates')].filter(([, certificate]) => certificate.isRevoked === true).map(([serialNumber]) => serialNumber));
  let isSharing = false;
  let sharing: NodeJS.Timeout | undefined;
  let isClosed = false;

  const isRevoked = (serialNumber: string): boolean => shared.get('revocations', serialNumber) !== undefined || store.get('certificates', serialNumber)?.isRevoked === true;

  /** Own certificates that are still accepted: that of this serial number, or all of this SPIFFE ID. */
  const standing = (key: string): Certificates =>
    [...store.entries('certificates')].filter(([serialNumber, { spiffeId, notAfterMs }]) => notAfterMs > now() && (spiffeId === key || serialNumber === key) && !isRevoked(serialNumber));

  /** Own certificates that another replica has had revoked, and that others do not know of yet. */
  const unshared = (): Certificates =>
    [...revokedByOrder].flatMap((serialNumber) => {
      const certificate = store.get('certificates', serialNumber);
      return certificate !== undefined && certificate.notAfterMs + clockErrorMaxMs > now() && shared.get('revocations', serialNumber) === undefined ? [[serialNumber, certificate] as const] : [];
    });

  /** All that is known to be revoked. */
  const revocations = (): Certificates => [...shared.entries('revocations'), ...unshared()];

  async function recordRevoked(certificates: Certificates): Promise<void> {
    await Promise.all(certificates.map(([serialNumber, { spiffeId }]) => ledger.append({ ...stamp(), type: 'certificate-revoked', spiffeId, serialNumber })));
  }

  /**
   * Own certificates are revoked that an order is about, and that are there now. No clock is asked: a join token that is spent here after the
   * order was given is spent by a text that has it, so what that token buys is issued after this.
   */
  function heed(orders: SharedPut['orders'] & object): void {
    for (const [key, order] of Object.entries(orders)) {
      if (order === null || store.get('heeded', key)?.orderedAtMs === order.orderedAtMs) continue;
      const marked = standing(key).map(([serialNumber, certificate]) => [serialNumber, { ...certificate, isRevoked: true }] as const);
      for (const [serialNumber] of marked) revokedByOrder.add(serialNumber);
      store.commit({ put: { heeded: { [key]: order }, certificates: Object.fromEntries<KeptCertificate>(marked) } }).catch((error: unknown) => log.error({ err: error }, 'an order to revoke is carried out, and not kept'));
    }
  }

  /** Tells the others which own certificates are revoked, until they know. */
  async function share(failures: number): Promise<void> {
    if (isSharing) return;
    isSharing = true;
    clearTimeout(sharing);
    try {
      for (let found = unshared(); found.length > 0 && !isClosed; found = unshared()) {
        await shared.change((view) => ({ put: revoking(found, view), result: undefined }));
        await recordRevoked(found);
      }
    } catch (error) {
      if (isClosed) return;
      log.warn({ err: error }, 'what was issued here and is revoked, other replicas do not know yet');
      sharing = setTimeout(() => void share(failures + 1), backOffMs(shareBackOff, failures, random()));
    } finally {
      isSharing = false;
    }
  }

  shared.onPut(({ revocations: put = {}, orders = {} }) => {
    heed(orders);
    const revoked = Object.values(put).filter((revocation) => revocation !== null);
    const ordered = Object.entries(orders).filter(([, order]) => order !== null).map(([key]) => key);
    const identities = new Set([...revoked.map(({ spiffeId }) => spiffeId), ...ordered.filter(isSpiffeId)]);
    if (identities.size > 0) onRevoked(identities);
    for (const listener of listeners) listener();
    if (ordered.length > 0) void share(0);
  });

  /** Resolves with what is revoked of it, as soon as that is anything; with nothing where nobody has answered in time. */
  async function revokedElsewhere(isMeant: (serialNumber: string, revocation: Revocation) => boolean): Promise<readonly string[]> {
    const { promise, resolve } = Promise.withResolvers<readonly string[]>();
    const look = (isLast: boolean): void => {
      const found = revocations().filter(([serialNumber, revocation]) => isMeant(serialNumber, revocation)).map(([serialNumber]) => serialNumber);
      if (found.length > 0 || isLast) resolve(found);
    };
    const listener = (): void => look(false);
    const timer = setTimeout(() => look(true), othersAnswerWithinMs);
    listeners.add(listener);
    look(false);
    return await promise.finally(() => {
      clearTimeout(timer);
      listeners.delete(listener);
    });
  }

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
    isRevoked,
    isRevokedAsShown({ serialNumber, spiffeId, notBeforeMs }) {
      if (isRevoked(serialNumber) || shared.get('orders', serialNumber) !== undefined) return true;
      const order = shared.get('orders', spiffeId);
      // What was issued here, the order has been carried out on. Of others the time of issue counts, to the second, which is all that a certificate says.
      return order !== undefined && store.get('certificates', serialNumber) === undefined && notBeforeMs + defaultLifetimes.backdateMs < order.orderedAtMs - (order.orderedAtMs % 1000);
    },
    isPodRevoked: (uid) => revocations().some(([, { pod }]) => pod?.uid === uid),
    granted: ({ svid: { serialNumber, notBeforeMs, notAfterMs, pod }, purpose }) =>
      store.get('certificates', serialNumber) ?? {
        // Less than it was, where its CA came to its end or had just begun: then by what is left of it.
        ...(purpose === 'proxy' ? { proxyLifetimeMs: Math.max(defaultLifetimes.minimumMs, notAfterMs - notBeforeMs - defaultLifetimes.backdateMs) } : {}),
        ...(pod === undefined ? {} : { pod }),
      },
    revoked: () => revocations().filter(([, { notAfterMs }]) => notAfterMs + clockErrorMaxMs > now()).map(([serialNumber, { spiffeId }]) => ({ serialNumber, spiffeId: spiffeId as SpiffeId })).sort((a, b) => byText(a.serialNumber, b.serialNumber)),
    async revoke({ serialNumber, spiffeId }) {
      const key = serialNumber ?? spiffeId ?? '';
      const found = standing(key);
      const known = new Set(revocations().map(([each]) => each));
      if (found.length > 0 || shared.isReplicated) {
        await shared.change((view) => {
          const orderedAtMs = Math.max(now(), (view.get('orders', key)?.orderedAtMs ?? 0) + 1);
          return { put: { ...revoking(found, view, spiffeId), ...(shared.isReplicated ? { orders: { [key]: { orderedAtMs, expiresAtMs: orderedAtMs + longestLifeMs } } } : {}) }, result: undefined };
        });
        await recordRevoked(found);
      }
      const revoked = shared.isReplicated ? await revokedElsewhere((serial, revocation) => !known.has(serial) && (serial === key || revocation.spiffeId === key)) : found.map(([serial]) => serial);
      if (revoked.length === 0) {
        throw new SallyportError('not-found', `no certificate that is still valid is known for ${JSON.stringify(key)}`, {
          hint: shared.isReplicated ? 'no replica that answers has issued one; one that is away revokes what it has when it is back' : 'sallyport ledger tail --type certificate-issued shows what was issued',
        });
      }
      return revoked;
    },
    close() {
      isClosed = true;
      clearTimeout(sharing);
    },
  };
}

type Certificates = readonly (readonly [serialNumber: string, certificate: Revocation])[];

const isSpiffeId = (key: string): boolean => key.startsWith('spiffe://');

/** With certificates go the spent join tokens of their identities: the revoked key could have another certificate for them. */
function revoking(certificates: Certificates, view: SharedView, identity?: string): SharedPut {
  const identities = new Set([...certificates.map(([, { spiffeId }]) => spiffeId), identity]);
  const spentTokens = [...view.entries('tokens')].filter(([, token]) => token.spentBy !== undefined && identities.has(token.spiffeId));
  return {
    revocations: Object.fromEntries(certificates.map(([serialNumber, { spiffeId, notAfterMs, pod }]) => [serialNumber, { spiffeId, notAfterMs, ...(pod === undefined ? {} : { pod }) }])),
    tokens: Object.fromEntries(spentTokens.map(([key]) => [key, null])),
  };
}
