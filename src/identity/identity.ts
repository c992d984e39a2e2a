import { generateKeyPair, type KeyObject } from 'node:crypto';
import { promisify } from 'node:util';
import type { Logger } from 'pino';
import { enrol, enrolPod, renew, type ControlPlane } from '../api/enrolment-client.ts';
import { defaultControlIdentity, meshChannelCredentials, meshChannelOptions } from '../api/mesh-credentials.ts';
import { createCsr } from '../core/x509/csr.ts';
import { SallyportError, type ErrorCode } from '../core/errors.ts';
import { podTokenAudience } from '../core/pod-identity.ts';
import { workloadSpiffeId, type SpiffeId, type TrustDomain } from '../core/spiffe-id.ts';
import type { SvidResponse } from '../proto/sallyport/v1alpha1/identity_pb.ts';
import type { DeltaEndpoint } from '../xds/index.ts';
import type { IdentitySource, WorkloadIdentity } from './identity-source.ts';
import { attemptIsDue, startEnrolling, stepRenewal, wakeAtMs, type Renewal, type RenewalEvent } from '../core/renewal.ts';
import { createIdentityStore, type IdentityStore } from './identity-store.ts';
import { subjectOf } from './pod-token.ts';
import { acceptSvid, acceptTrustBundle, type AcceptedSvid } from './svid.ts';

export interface IdentityOptions {
  readonly trustDomain: TrustDomain;
  /** The control plane's EnrolmentService, `host:port`. */
  readonly enrolmentAddress: string;
  /** The control plane's IdentityService, `host:port`. */
  readonly identityAddress: string;
  /**
   * Trust anchors to know the control plane by at an enrolment, PEM. Read for each, since whoever is without a valid certificate may have missed
   * the last rotation, while the file was replaced. Throws SallyportError.
   */
  readonly trustBundle: () => string;
  /** Default: service account `control` of namespace `sallyport-system`. */
  readonly controlIdentity?: SpiffeId;
  /** Asked whenever there is no valid certificate, so that a token may come later. */
  readonly joinToken?: () => Promise<string | undefined>;
  /** In its place: the service account token of the pod that this runs in. Asked in the same way, since the kubelet replaces it. */
  readonly podToken?: () => Promise<string | undefined>;
  /** Where the identity outlives the process. Without it every start needs a token, and a join token is for one start. */
  readonly stateDirectory?: string;
  readonly now: () => number;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  readonly log: Pick<Logger, 'info' | 'warn'>;
}

export interface IdentityStatus {
  readonly phase: Renewal['phase'];
  readonly spiffeId: SpiffeId | null;
  readonly expiresAtMs: number | null;
  /** When the next certificate will be asked for. */
  readonly attemptAtMs: number;
  /** Why the last attempt failed; null after one that succeeded. */
  readonly failure: { readonly code: string; readonly message: string; readonly hint: string | null } | null;
}

export interface Identity extends IdentitySource {
  /** Takes up what is on disk and keeps the identity valid from then on, in the background. Throws SallyportError `file-unreadable`. */
  start(): Promise<void>;
  /** Ends that. What is held stays held. */
  stop(): Promise<void>;
  /** Asks for a new certificate at once. */
  renewNow(): void;
  /** Takes new trust anchors, as they come by SDS; nothing happens before the first enrolment. Throws SallyportError `certificate-invalid`. */
  setTrustBundle(pem: string): void;
  /** A service of the control plane, reached as the identity of this moment. Throws SallyportError `unavailable` where there is none. */
  controlEndpoint(address: string): DeltaEndpoint;
  status(): IdentityStatus;
}

const callTimeoutMs = 10_000;
const newTokenHint = 'make a token for this identity: sallyport token create SPIFFE-ID';
const podTokenHint = `mount a service account token for the audience "${podTokenAudience}"`;
/** A join token that was refused stays bad; what is amiss with a pod's may be mended at the cluster. Each try is a record in the ledger. */
const podTokenPauseMs = 5 * 60_000;
const generateKey = promisify(generateKeyPair);

/** An identity that enrols with a token and then renews itself for as long as it runs, whenever the control plane is there. */
export function createIdentity(options: IdentityOptions): Identity {
  const { trustDomain, podToken, now, random, log } = options;
  const controlIdentity = options.controlIdentity ?? defaultControlIdentity(trustDomain);
  const givenTrustBundle = (): string => acceptTrustBundle(options.trustBundle());
  givenTrustBundle(); // one that cannot be used is better told at the start
  const store = options.stateDirectory === undefined ? undefined : createIdentityStore(options.stateDirectory);
  const neededToken = podToken === undefined ? 'a new join token is needed' : 'the pod token is shown again';
  const listeners = new Set<(identity: WorkloadIdentity) => void>();
  const stopping = new AbortController();

  let current: WorkloadIdentity | undefined;
  let renewal = startEnrolling(now());
  let failure: SallyportError | undefined;
  /** Kept until it has brought an identity, over attempts and restarts: to the key that has spent a token, a lost answer is given again. */
  let enrolmentKey: KeyObject | undefined;
  /** A token that was spent or refused is not sent again until then, since that would look like guessing. With what to say instead. */
  let usedToken: { readonly token: string; readonly error: SallyportError; readonly untilMs: number } | undefined;
  let wake = (): void => undefined;
  let running: Promise<void> = Promise.resolve();
  let saving: Promise<void> = Promise.resolve();

  function advance(event: RenewalEvent): void {
    const before = renewal.phase;
    renewal = stepRenewal(renewal, event);
    if (renewal.phase === 'expired' && before !== 'expired') log.warn({ spiffeId: current?.spiffeId, phase: renewal.phase }, `identity has expired; ${neededToken}`);
  }

  function adopt({ identity, notBeforeMs }: AcceptedSvid, heldSinceMs: number): void {
    const { expiresAtMs } = identity;
    advance({ type: 'issued', heldSinceMs, expiresAtMs, lifetimeMs: expiresAtMs - notBeforeMs, random: random() });
    failure = undefined;
    publish(identity);
  }

  function publish(identity: WorkloadIdentity): void {
    current = identity;
    for (const listener of listeners) listener(identity);
  }

  /** Resolves when it is durable, or cannot be: a disk that is full costs the next restart, not this run. One after the other. */
  function keep(what: string, write: (into: IdentityStore) => Promise<void>): Promise<void> {
    if (store !== undefined) {
      saving = saving.then(() => write(store)).catch((error: unknown) => log.warn({ err: error, spiffeId: current?.spiffeId }, `${what} cannot be saved`));
    }
    return saving;
  }

  const save = (identity: WorkloadIdentity): Promise<void> => keep('identity', (into) => into.save(identity));

  /**
   * Saves a new identity before anybody uses it: once it is seen, a kill must not lose what a join token was spent for. Trust
   * anchors that came by SDS since `anchorsBefore` are kept, for the answer may be older.
   */
  async function saveFirst({ identity, notBeforeMs }: AcceptedSvid, anchorsBefore: string | undefined): Promise<AcceptedSvid> {
    for (;;) {
      const anchors = current?.trustBundlePem;
      const newest = anchors === undefined || anchors === anchorsBefore ? identity : { ...identity, trustBundlePem: anchors };
      await save(newest);
      if (current?.trustBundlePem === anchors) return { identity: newest, notBeforeMs };
    }
  }

  const limits = { timeoutMs: callTimeoutMs, signal: stopping.signal };

  /** Known by what was given, and by what the control plane has told since: either may be the newer. */
  const controlToEnrolAt = (): ControlPlane => ({ address: options.enrolmentAddress, identity: controlIdentity, trustBundlePem: givenTrustBundle() + (current?.trustBundlePem ?? '') });

  async function enrolWithToken(): Promise<AcceptedSvid> {
    const token = await (podToken ?? options.joinToken)?.();
    if (token === undefined || token === '') {
      throw podToken === undefined
        ? new SallyportError('token-invalid', 'there is no valid identity and no join token', { hint: newTokenHint })
        : new SallyportError('token-invalid', 'there is no valid identity and no pod token', { hint: podTokenHint });
    }
    if (usedToken !== undefined && token === usedToken.token && now() < usedToken.untilMs) throw usedToken.error;
    try {
      return await (podToken === undefined ? spendJoinToken(token) : showPodToken(token));
    } catch (error) {
      if (isError(error, 'token-invalid') || isError(error, 'identity-revoked')) usedToken = { token, error, untilMs: podToken === undefined ? Infinity : now() + podTokenPauseMs };
      throw error;
    }
  }

  async function spendJoinToken(token: string): Promise<AcceptedSvid> {
    const privateKey = (enrolmentKey ??= await newEnrolmentKey());
    const accepted = accept(await enrol(controlToEnrolAt(), token, createCsr(privateKey), limits), privateKey);
    enrolmentKey = undefined;
    usedToken = { token, error: new SallyportError('token-invalid', 'the join token has been used already', { hint: newTokenHint }), untilMs: Infinity };
    return accepted;
  }

  async function showPodToken(token: string): Promise<AcceptedSvid> {
    const { privateKey } = await generateKey('ec', { namedCurve: 'P-256' });
    return accept(await enrolPod(controlToEnrolAt(), token, createCsr(privateKey), limits), privateKey);
  }

  /** On disk before a token is spent on it. */
  async function newEnrolmentKey(): Promise<KeyObject> {
    const { privateKey } = await generateKey('ec', { namedCurve: 'P-256' });
    await keep('enrolment key', (into) => into.saveEnrolmentKey(privateKey));
    return privateKey;
  }

  async function renewWith(identity: WorkloadIdentity): Promise<AcceptedSvid> {
    const { privateKey } = await generateKey('ec', { namedCurve: 'P-256' });
    const control: ControlPlane = { address: options.identityAddress, identity: controlIdentity, trustBundlePem: identity.trustBundlePem };
    try {
      return accept(await renew(control, identity, createCsr(privateKey), limits), privateKey);
    } catch (error) {
      if (!isError(error, 'attestation-failed') && !isError(error, 'identity-revoked')) throw error;
      // A certificate that is refused is not renewed, but a token may let its holder in again.
      return await enrolWithToken().catch((reason: unknown) => {
        throw isError(reason, 'token-invalid') ? error : reason;
      });
    }
  }

  function accept(response: SvidResponse, privateKey: KeyObject): AcceptedSvid {
    const material = { chain: response.certificateChain, bundle: response.trustBundle, privateKey };
    return acceptSvid(material, { trustDomain, nowMs: now(), ...(current === undefined ? {} : { spiffeId: current.spiffeId }) });
  }

  async function attempt(): Promise<void> {
    const held = 'expiresAtMs' in renewal ? current : undefined;
    const anchorsBefore = current?.trustBundlePem;
    try {
      const accepted = await saveFirst(held === undefined ? await enrolWithToken() : await renewWith(held), anchorsBefore);
      adopt(accepted, now());
      log.info({ spiffeId: accepted.identity.spiffeId, expiresAt: new Date(accepted.identity.expiresAtMs).toISOString() }, held === undefined ? 'identity enrolled' : 'identity renewed');
    } catch (error) {
      if (stopping.signal.aborted) return;
      failure = error instanceof SallyportError ? error : new SallyportError('internal', 'asking for a certificate failed unexpectedly', { cause: error });
      advance({ type: 'failed', nowMs: now(), random: random() });
      log.warn({ err: failure, code: failure.code, hint: failure.hint, phase: renewal.phase, retryInMs: renewal.attemptAtMs - now() }, 'no certificate could be had');
    }
  }

  async function run(): Promise<void> {
    while (!stopping.signal.aborted) {
      advance({ type: 'woken', nowMs: now() });
      if (attemptIsDue(renewal, now())) await attempt();
      else await sleepUntil(wakeAtMs(renewal, now()));
    }
  }

  function sleepUntil(timeMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => wake(), Math.max(0, timeMs - now()));
      wake = () => {
        clearTimeout(timer);
        wake = () => undefined;
        resolve();
      };
    });
  }

  /** Without it a lost answer needs a new token, and nothing else does. */
  async function restoreEnrolmentKey(): Promise<void> {
    try {
      enrolmentKey = await store?.loadEnrolmentKey();
    } catch (error) {
      log.warn({ err: error, stateDirectory: options.stateDirectory }, 'enrolment key on disk cannot be used');
    }
  }

  /** A volume may outlive its pod, whose successor may run as somebody else: he is then whom his own token names. */
  async function expectedOnDisk(): Promise<{ readonly spiffeId?: SpiffeId }> {
    const workload = subjectOf((await podToken?.()) ?? '');
    return workload === undefined ? {} : { spiffeId: workloadSpiffeId(trustDomain, workload) };
  }

  async function restore(): Promise<void> {
    try {
      const material = await store?.load();
      if (material === undefined) return;
      if (enrolmentKey?.equals(material.privateKey) === true) enrolmentKey = undefined; // it was about to be forgotten
      const accepted = acceptSvid(material, { trustDomain, nowMs: now(), ...(await expectedOnDisk()) });
      adopt(accepted, Math.min(accepted.notBeforeMs, now())); // how long ago it came is not known: at the longest, its whole life
      log.info({ spiffeId: accepted.identity.spiffeId, expiresAt: new Date(accepted.identity.expiresAtMs).toISOString() }, 'identity restored from disk');
    } catch (error) {
      if (!isError(error, 'certificate-invalid')) throw error;
      log.warn({ err: error, stateDirectory: options.stateDirectory }, `identity on disk cannot be used; ${neededToken}`);
    }
  }

  return {
    get current() {
      return current;
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    async start() {
      await restoreEnrolmentKey();
      await restore();
      running = run();
    },
    async stop() {
      stopping.abort();
      wake();
      await running;
      await saving;
    },
    renewNow() {
      advance({ type: 'requested', nowMs: now() });
      wake();
    },
    setTrustBundle(pem) {
      const trustBundlePem = acceptTrustBundle(pem);
      if (current === undefined || current.trustBundlePem === trustBundlePem) return;
      publish({ ...current, trustBundlePem });
      void save(current);
      log.info({ spiffeId: current.spiffeId }, 'trust bundle replaced');
    },
    controlEndpoint(address) {
      if (current === undefined) throw new SallyportError('unavailable', 'there is no identity yet');
      return { address, credentials: meshChannelCredentials([controlIdentity], current.trustBundlePem, current), options: meshChannelOptions };
    },
    status() {
      return {
        phase: renewal.phase,
        spiffeId: current?.spiffeId ?? null,
        expiresAtMs: current?.expiresAtMs ?? null,
        attemptAtMs: renewal.attemptAtMs,
        failure: failure === undefined ? null : { code: failure.code, message: failure.message, hint: failure.hint ?? null },
      };
    },
  };
}

function isError(error: unknown, code: ErrorCode): error is SallyportError {
  return error instanceof SallyportError && error.code === code;
}
