/** What an administrator does with the CA: begin, ask, import, rotate. Every step is in the ledger. */
import { randomBytes, X509Certificate } from 'node:crypto';
import type { CaImportRequest, CaSlot, CaStatus } from '../api/admin.ts';
import { createCaRequest, createDemoPki, importIssuer, trustAnchorOf, type Authority, type CaChain, type Issuer, type RotationEvent, type RotationState } from '../ca/index.ts';
import { fingerprintOf } from '../core/x509/certificate.ts';
import { SallyportError } from '../core/errors.ts';
import type { TrustDomain } from '../core/spiffe-id.ts';
import type { Ledger } from '../store/index.ts';

export interface CaKeeper {
  status(): CaStatus;
  /** A demo root and intermediate; the root's key is not kept. */
  initialize(): Promise<CaStatus>;
  /** A request for the organisation's root to sign; its key stays here until `import` brings the answer. */
  request(commonName: string): Promise<{ readonly csrPem: string }>;
  import(request: CaImportRequest): Promise<CaStatus>;
  activate(): Promise<CaStatus>;
  /** Takes back what was prepared. */
  discard(): Promise<CaStatus>;
  /** Drops old CAs whose last certificate has ended. */
  retire(): Promise<CaStatus>;
  /** The trust bundle that holds the prepared CA has gone out. */
  published(): Promise<void>;
}

export interface CaKeeperOptions {
  readonly authority: Authority;
  readonly trustDomain: TrustDomain;
  readonly keyStorage: CaSlot['keyStorage'];
  readonly ledger: Ledger;
  readonly now: () => number;
  /** Called after every step that has changed something: the bundle or the issuer may be another. */
  readonly onChange: () => Promise<void>;
}

export function createCaKeeper({ authority, trustDomain, keyStorage, ledger, now, onChange }: CaKeeperOptions): CaKeeper {
  async function step(event: RotationEvent): Promise<CaStatus> {
    const { slots } = authority;
    const effects = await authority.rotate(event);
    if (authority.slots === slots) return status();
    for (const { step: rotationStep, fingerprint } of effects) {
      await ledger.append({ time: new Date(now()).toISOString(), origin: 'control', type: 'ca-rotated', step: rotationStep, fingerprint });
    }
    await onChange();
    return status();
  }

  /** The first CA signs at once; a later one is prepared. */
  async function take(issuer: Issuer): Promise<CaStatus> {
    return await step(authority.slots.active === null ? { type: 'initialize', issuer, nowMs: now() } : { type: 'prepare', issuer });
  }

  function status(): CaStatus {
    const { prepared, active, old } = authority.slots;
    const slotOf = (slot: CaSlot['slot'], chain: CaChain): CaSlot => ({
      slot,
      subject: new X509Certificate(chain.certificates[0].der).subject.replaceAll('\n', ', '),
      fingerprint: chain.fingerprint,
      notAfter: new Date(chain.notAfterMs).toISOString(),
      rootFingerprint: fingerprintOf(trustAnchorOf(chain).der),
      keyStorage,
    });
    return {
      trustDomain,
      slots: [
        ...(prepared === null ? [] : [slotOf('prepared', prepared.issuer.chain)]),
        ...(active === null ? [] : [slotOf('active', active.issuer.chain)]),
        ...old.map(({ chain }) => slotOf('old', chain)),
      ],
    };
  }

  return {
    status,
    async initialize() {
      if (authority.slots.active !== null) throw new SallyportError('ca-already-initialized', 'the CA is initialized already', { hint: 'to change it: sallyport ca import, then sallyport ca rotate' });
      return await take((await createDemoPki({ trustDomain, nowMs: now(), randomBytes })).intermediate);
    },
    async request(commonName) {
      const request = await createCaRequest({ subject: { commonName }, trustDomain });
      await step({ type: 'requested', request });
      return { csrPem: request.csrPem };
    },
    async import({ certificatesPem, privateKeyPem, pkcs12, passphrase }) {
      const requestKey = authority.slots.requested?.privateKey;
      const checked = await importIssuer(
        {
          ...(pkcs12 === undefined ? { pem: `${certificatesPem ?? ''}\n${privateKeyPem ?? ''}` } : { pkcs12: Buffer.from(pkcs12, 'base64') }),
          ...(passphrase === undefined ? {} : { passphrase }),
          ...(requestKey === undefined ? {} : { requestKey }),
        },
        { trustDomain, nowMs: now() },
      );
      if (!checked.ok) throw new SallyportError('ca-certificate-invalid', 'the CA cannot be used, nothing was changed', { faults: checked.faults });
      return await take(checked.issuer);
    },
    activate: () => step({ type: 'activate', nowMs: now() }),
    discard: () => step({ type: 'discard' }),
    retire: () => step({ type: 'tick', nowMs: now() }),
    async published() {
      const { prepared } = authority.slots;
      if (prepared?.publishedAtMs === null) await authority.rotate({ type: 'published', fingerprint: prepared.issuer.chain.fingerprint, nowMs: now() });
    },
  };
}

/** Whether slots have the CAs of others: what is signed with, and what is trusted. */
export function sameCaAs(slots: RotationState): (others: RotationState) => boolean {
  const casOf = ({ prepared, active, old }: RotationState): string => JSON.stringify([prepared?.issuer.chain.fingerprint, active?.issuer.chain.fingerprint, old.map(({ chain }) => chain.fingerprint)]);
  const before = casOf(slots);
  return (others) => casOf(others) === before;
}
