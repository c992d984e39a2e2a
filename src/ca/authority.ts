/**
 * The certificate authority: issues X509-SVIDs and server certificates with the active CA, and rotates it.
 *
 * Invariants: the SPIFFE ID is the one that the caller proved, given here by the control plane, never one out of a CSR; no
 * certificate outlives its issuer; no certificate ends later than its CA stays in the trust bundle, also across a crash.
 */
import { createPublicKey, type KeyObject } from 'node:crypto';
import { csrErrorCode, parseCsr, requestsOtherThan } from '../core/x509/csr.ts';
import { SallyportError, invariant } from '../core/errors.ts';
import type { IpAddress } from '../core/ip-address.ts';
import type { AttestedPod, CertificateIssued } from '../core/ledger-record.ts';
import { podSubject } from '../core/x509/pod-subject.ts';
import type { KeyKind } from '../core/x509/public-key.ts';
import { trustDomainOf, type SpiffeId, type TrustDomain } from '../core/spiffe-id.ts';
import { emptyName, encodeName } from './distinguished-name.ts';
import { generatePrivateKey, type CaKeyKind } from './import.ts';
import { presentedChain, type Issuer } from './issuer.ts';
import { createGate } from './gate.ts';
import { constrainsSubjects, nameConstraintFault } from './name-constraints.ts';
import { authorityKeyId, createSigner, keyIdOf, leafExtensions, leafGeneralNames, serialNumber, writeCertificate, type LeafNames, type Signer } from './profiles.ts';
import { rotate, trustBundle, type RotationEffect, type RotationEvent, type RotationState } from './rotation.ts';

export interface Lifetimes {
  /** Of an SVID whose caller names none, and the most that one gets: a longer wish is cut, not refused. */
  readonly svidMs: number;
  readonly svidMaxMs: number;
  /** Of a certificate that a proxy gets its configuration by. Nobody beside a stock Envoy renews it. */
  readonly proxyMs: number;
  readonly proxyMaxMs: number;
  readonly serverMs: number;
  readonly serverMaxMs: number;
  /** How far back a certificate begins, for peers whose clock is behind. */
  readonly backdateMs: number;
  /** An issuer with less to live than this, and than an SVID, is at its end: what it could sign is not worth issuing. */
  readonly minimumMs: number;
}

export const defaultLifetimes: Lifetimes = {
  svidMs: 3_600_000,
  svidMaxMs: 86_400_000,
  proxyMs: 30 * 86_400_000,
  proxyMaxMs: 397 * 86_400_000,
  serverMs: 90 * 86_400_000,
  serverMaxMs: 397 * 86_400_000, // what browsers and some scanners put up with
  backdateMs: 5 * 60_000,
  minimumMs: 60_000,
};

export interface AuthorityOptions {
  readonly trustDomain: TrustDomain;
  /** The slots as they were saved last. */
  readonly slots: RotationState;
  /**
   * Makes slots durable; they take effect when it has returned. Called one at a time. Gives the slots that another process has saved
   * meanwhile, where one has: then nothing was saved.
   */
  readonly save: (slots: RotationState) => Promise<RotationState | undefined>;
  readonly now: () => number;
  readonly randomBytes: (size: number) => Buffer;
  readonly lifetimes?: Partial<Lifetimes>;
  /** How long a prepared CA waits in the published bundle when nobody acknowledges it. */
  readonly propagationMs?: number;
}

export interface SvidRequest {
  /** Who the caller proved to be. */
  readonly spiffeId: SpiffeId;
  /** PKCS#10, DER. Its names give nothing; one that names another, or asks for CA rights, is refused. */
  readonly csr: Buffer;
  readonly lifetimeMs?: number;
  readonly purpose?: 'svid' | 'admin' | 'proxy';
  /** Whose token began the chain of renewals that leads to this, where that was a pod's. */
  readonly pod?: AttestedPod | undefined;
}

export interface ServerCertificateRequest {
  /** The identity that secure naming expects of the server. */
  readonly spiffeId: SpiffeId;
  readonly dnsNames?: readonly string[];
  readonly ipAddresses?: readonly IpAddress[];
  readonly lifetimeMs?: number;
  /** Either a CSR (PKCS#10, DER), or the kind of the key to make; `ec-p256` where neither is given. */
  readonly csr?: Buffer;
  readonly keyKind?: CaKeyKind;
}

/** A certificate, with everything that its ledger record needs. */
export interface IssuedCertificate extends Pick<CertificateIssued, 'serialNumber' | 'issuerFingerprint' | 'purpose'> {
  readonly spiffeId: SpiffeId;
  /** Leaf first, without the root. */
  readonly chainDer: readonly Buffer[];
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  /** What it was asked for, within bounds; it ends earlier where its issuer does. */
  readonly lifetimeMs: number;
}

export interface IssuedServerCertificate extends IssuedCertificate {
  /** Made here and kept nowhere; null when the caller came with a CSR. */
  readonly privateKey: KeyObject | null;
}

export interface Authority {
  readonly slots: RotationState;
  /** Every trust anchor, DER. Changes only by `rotate`. */
  readonly trustBundle: readonly Buffer[];
  /** Throws `csr-invalid`, `csr-weak-key`, `spiffe-id-invalid`, `ca-not-initialized`, `ca-expiring`, or `unavailable` when too many wait. */
  readonly issueSvid: (request: SvidRequest) => Promise<IssuedCertificate>;
  /** Throws as `issueSvid`, and `request-invalid` for a name that no certificate can hold or that a CA's name constraints forbid. */
  readonly issueServerCertificate: (request: ServerCertificateRequest) => Promise<IssuedServerCertificate>;
  /** Takes the slots that `load` gives, which another process may have saved; between steps. */
  readonly refresh: (load: () => Promise<RotationState>) => Promise<void>;
  /** One step of rotation, saved before it takes effect. Throws `ca-rotation-refused` or `ca-already-initialized`. */
  readonly rotate: (event: RotationEvent) => Promise<readonly RotationEffect[]>;
}

const issuedPerTurn = 4; // of 0.2 ms each; a collection of garbage in the same turn takes up to 4 ms
const inProgressMax = 4096; // half a second of work

export function createAuthority(options: AuthorityOptions): Authority {
  const { trustDomain, save, now, randomBytes, propagationMs } = options;
  const lifetimes: Lifetimes = { ...defaultLifetimes, ...options.lifetimes };
  const gate = createGate({ perTurn: issuedPerTurn, inProgress: inProgressMax });
  let slots = options.slots;
  let bundle = trustBundle(slots);
  let active: PreparedIssuer | undefined;
  let rotations: Promise<unknown> = Promise.resolve();

  const applyRotation = async (event: RotationEvent): Promise<readonly RotationEffect[]> => {
    for (;;) {
      const step = rotate(slots, event, propagationMs === undefined ? {} : { waitMs: propagationMs });
      if (!step.ok) throw new SallyportError(step.reason === 'already-initialized' ? 'ca-already-initialized' : 'ca-rotation-refused', step.message, { value: step.reason, hint: step.hint });
      if (step.state === slots) return step.effects;
      const newer = await save(step.state);
      take(newer ?? step.state);
      if (newer === undefined) return step.effects;
    }
  };

  const take = (next: RotationState): void => {
    slots = next;
    bundle = trustBundle(slots);
  };

  /** Steps follow each other: the next one sees what the last one saved. */
  const inTurn = <Result>(step: () => Promise<Result>): Promise<Result> => {
    const turn = rotations.then(step);
    rotations = turn.catch(() => undefined); // the caller of that step has its error
    return turn;
  };
  const rotateInTurn = (event: RotationEvent): Promise<readonly RotationEffect[]> => inTurn(() => applyRotation(event));

  const activeIssuer = (): PreparedIssuer => {
    const issuer = slots.active?.issuer;
    if (issuer === undefined) throw new SallyportError('ca-not-initialized', 'the CA has no certificate to sign with', { hint: 'run "sallyport ca init" or "sallyport ca import"' });
    if (active?.issuer.chain.fingerprint !== issuer.chain.fingerprint) active = prepareIssuer(issuer);
    return active;
  };

  const issue = async (leaf: Leaf): Promise<IssuedCertificate> => {
    const { issuer, signer, keyId, chainDer } = activeIssuer();
    const { chain } = issuer;
    const nowMs = now();
    const notBeforeMs = toSecond(Math.max(nowMs - lifetimes.backdateMs, chain.notBeforeMs));
    const notAfterMs = toSecond(Math.min(nowMs + leaf.lifetimeMs, chain.notAfterMs));
    if (chain.notAfterMs < nowMs + Math.min(lifetimes.minimumMs, lifetimes.svidMs)) {
      throw new SallyportError('ca-expiring', `the CA "${chain.fingerprint}" ends at ${new Date(chain.notAfterMs).toISOString()}, too soon to sign with`, { hint: 'import a new CA certificate and activate it: "sallyport ca import", "sallyport ca rotate"' });
    }
    const names = leafGeneralNames(leaf.names, leaf.purpose);
    const constraint = nameConstraintFault(chain.certificates, names);
    if (constraint !== undefined) throw new SallyportError('request-invalid', `the certificate would be invalid: ${constraint}`);
    if (notAfterMs > (slots.active?.issuedUntilMs ?? 0)) await rotateInTurn({ type: 'reserve', fingerprint: chain.fingerprint, untilMs: notAfterMs });

    const subject = constrainsSubjects(chain.certificates) ? emptyName : leaf.subject;
    const serial = serialNumber(randomBytes);
    const certificate = await writeCertificate(signer, {
      serial,
      issuer: chain.certificates[0].subject,
      subject,
      notBeforeMs,
      notAfterMs,
      publicKeyDer: leaf.publicKeyDer,
      extensions: leafExtensions({ ...leaf, subject, names, authorityKeyId: keyId }),
    });
    return {
      spiffeId: leaf.names.spiffeId,
      purpose: leaf.purpose,
      chainDer: [certificate, ...chainDer],
      serialNumber: serial.toString('hex'),
      notBeforeMs,
      notAfterMs,
      lifetimeMs: leaf.lifetimeMs,
      issuerFingerprint: chain.fingerprint,
    };
  };

  const requireOwnId = (spiffeId: SpiffeId): void => {
    if (trustDomainOf(spiffeId) !== trustDomain) throw new SallyportError('spiffe-id-invalid', `"${spiffeId}" is not in the trust domain "${trustDomain}"`, { value: spiffeId });
    if (spiffeId === `spiffe://${trustDomain}`) throw new SallyportError('spiffe-id-invalid', `"${spiffeId}" names a trust domain, not a workload`, { value: spiffeId });
  };

  return {
    get slots() {
      return slots;
    },
    get trustBundle() {
      return bundle;
    },
    issueSvid: ({ spiffeId, csr, purpose = 'svid', pod, lifetimeMs = purpose === 'proxy' ? lifetimes.proxyMs : lifetimes.svidMs }) =>
      gate(async () => {
        requireOwnId(spiffeId);
        const maxMs = purpose === 'proxy' ? lifetimes.proxyMaxMs : lifetimes.svidMaxMs;
        return issue({ ...certifiedKey(csr, spiffeId), purpose, names: { spiffeId }, subject: pod === undefined ? emptyName : podSubject(pod), lifetimeMs: bounded(lifetimeMs, maxMs) });
      }),
    issueServerCertificate: ({ spiffeId, dnsNames = [], ipAddresses = [], lifetimeMs = lifetimes.serverMs, csr, keyKind = 'ec-p256' }) =>
      gate(async () => {
        requireOwnId(spiffeId);
        for (const name of dnsNames) if (!isDnsName(name)) throw new SallyportError('request-invalid', `${JSON.stringify(name.slice(0, 256))} is not a DNS name`, { hint: 'give a lower-case host name, or "*." and a domain' });
        const privateKey = csr === undefined ? await generatePrivateKey(keyKind) : null;
        const key = privateKey === null ? certifiedKey(csr!, spiffeId) : ownKey(privateKey);
        // BIG-IP's and the JVM's listings show the common name; verifiers look at the alternative names only.
        const commonName = dnsNames[0];
        const subject = commonName === undefined || commonName.length > 64 ? emptyName : encodeName({ commonName });
        const issued = await issue({ ...key, purpose: 'server', names: { spiffeId, dnsNames, ipAddresses }, subject, lifetimeMs: bounded(lifetimeMs, lifetimes.serverMaxMs) });
        return { ...issued, privateKey };
      }),
    refresh: (load) => inTurn(async () => take(await load())),
    rotate: rotateInTurn,
  };
}

interface Leaf {
  readonly purpose: IssuedCertificate['purpose'];
  readonly names: LeafNames;
  readonly subject: Buffer;
  readonly publicKeyDer: Buffer;
  readonly keyType: KeyKind['type'];
  readonly lifetimeMs: number;
}

/** What is the same for every certificate of an issuer. */
interface PreparedIssuer {
  readonly issuer: Issuer;
  readonly signer: Signer;
  readonly keyId: Buffer;
  readonly chainDer: readonly Buffer[];
}

function prepareIssuer(issuer: Issuer): PreparedIssuer {
  const [certificate] = issuer.chain.certificates;
  return {
    issuer,
    signer: createSigner(issuer.privateKey),
    keyId: authorityKeyId(certificate.extensions.subjectKeyId ?? keyIdOf(certificate.publicKey)),
    chainDer: presentedChain(issuer.chain),
  };
}

function certifiedKey(csr: Buffer, spiffeId: SpiffeId): Pick<Leaf, 'publicKeyDer' | 'keyType'> {
  const parsed = parseCsr(csr);
  const refused = parsed.ok ? requestsOtherThan(parsed.request, spiffeId) : parsed;
  if (refused !== undefined) throw new SallyportError(csrErrorCode(refused.reason), refused.detail, { value: refused.reason, hint: 'make the CSR with a key on P-256 and without names' });
  invariant(parsed.ok, 'a request that was not refused was read');
  return { publicKeyDer: parsed.request.publicKeyDer, keyType: parsed.request.keyKind.type };
}

const ownKey = (privateKey: KeyObject): Pick<Leaf, 'publicKeyDer' | 'keyType'> => ({
  publicKeyDer: createPublicKey(privateKey).export({ type: 'spki', format: 'der' }),
  keyType: privateKey.asymmetricKeyType === 'rsa' ? 'rsa' : 'ec',
});

function bounded(lifetimeMs: number, maxMs: number): number {
  if (!(lifetimeMs > 0)) throw new SallyportError('request-invalid', `a lifetime of ${lifetimeMs} ms is not above zero`);
  return Math.min(lifetimeMs, maxMs);
}

const toSecond = (milliseconds: number): number => Math.floor(milliseconds / 1000) * 1000;

/** RFC 1123 2.1 in lower case, or a wildcard of one label (RFC 6125 6.4.3). */
const isDnsName = (name: string): boolean => name.length <= 253 && /^(\*\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$/.test(name);
