/** The gRPC services of identity: a join token, a pod's token, or the SVID that a caller has, buys the next SVID. */
import { unaryHandler, grpcServiceDefinition } from '../api/grpc-service.ts';
import type { Authority, SvidRequest } from '../ca/index.ts';
import { csrErrorCode, parseCsr } from '../core/x509/csr.ts';
import { SallyportError } from '../core/errors.ts';
import { leafPurposes, type LeafPurpose } from '../core/x509/x509-svid.ts';
import type { AttestedPod, CertificateIssued } from '../core/ledger-record.ts';
import { workloadSpiffeId } from '../core/spiffe-id.ts';
import type { PodAttestor } from '../kubernetes/index.ts';
import { CertificatePurpose, EnrolmentService, IdentityService, type EnrolRequest } from '../proto/sallyport/v1alpha1/identity_pb.ts';
import type { Logger } from 'pino';
import type { Issuance } from './issuance.ts';
import { publicKeyHash, purposeOf, redeem, tokenKey, type JoinToken } from './join-tokens.ts';
import { certificateOf, type MeshAdmission, type MeshService } from './mesh-listener.ts';
import { createRateLimit } from './rate-limit.ts';
import type { SharedState, SharedView } from './shared-state.ts';

export interface EnrolmentOptions {
  readonly shared: SharedState;
  readonly authority: Authority;
  readonly issuance: Issuance;
  readonly admission: MeshAdmission;
  /** Says whose a pod's token is; absent where pods are not known. */
  readonly attestPod?: PodAttestor['attest'];
  readonly now: () => number;
  readonly log: Logger;
}

/**
 * Tokens that are refused: a few at once from one address, then one in ten seconds. This is for the log's sake, and the API server's, which
 * is asked about those of pods; guessing is of no use.
 */
const guesses = { burst: 10, perSecond: 0.1 } as const;

/** Who asks, as his token proves it. */
interface Enrolled extends Pick<SvidRequest, 'spiffeId' | 'lifetimeMs'> {
  readonly attestation: CertificateIssued['attestation'];
  readonly pod?: AttestedPod;
  /** Throws where that has been revoked since. */
  readonly assertGood: () => void;
}

interface Asked {
  readonly publicKeyDer: Buffer;
  readonly purpose: LeafPurpose;
  /** Whence, without the port. */
  readonly address: string;
}

export function createEnrolment({ shared, authority, issuance, admission, attestPod, now, log }: EnrolmentOptions): readonly MeshService[] {
  const guessLimit = createRateLimit(guesses);

  function countGuess(address: string): void {
    if (!guessLimit.take(address, now())) throw new SallyportError('rate-limited', 'too many wrong tokens from this address', { hint: 'wait ten seconds' });
  }

  /** A refusal whose reason is for our log and ledger: whoever asks hears the same words whatever it is, so that a guesser learns nothing. */
  async function refusal(error: SallyportError, detail: string = error.message): Promise<SallyportError> {
    await issuance.refuse(null, { code: error.code, message: detail });
    return error;
  }

  /**
   * Spends the token for a key, or finds it spent by this key. Look-up and change are one, so that one key has it, whichever replicas are
   * asked. What is not known to be good is counted as a guess until it has proved to be: another replica may have made it just now, and to
   * ask for that costs.
   */
  async function spend(text: string, { publicKeyDer, purpose, address }: Asked): Promise<Enrolled> {
    const key = tokenKey(text);
    const redeemIn = (view: SharedView): JoinToken | undefined => (key === undefined ? undefined : redeem(view.get('tokens', key), publicKeyHash(publicKeyDer), now()));
    const isKnown = redeemIn(shared) !== undefined;
    if (!isKnown) countGuess(address);
    const spent = key === undefined ? undefined : await shared.change((view) => {
      const redeemed = redeemIn(view);
      const isNew = redeemed !== undefined && redeemed !== view.get('tokens', key) && purposeOf(redeemed) === purpose;
      return { ...(isNew ? { put: { tokens: { [key]: redeemed } } } : {}), result: redeemed };
    }).catch((error: unknown) => {
      if (!isKnown) guessLimit.giveBack(address, now());
      throw error;
    });
    const unknown = (): SallyportError => new SallyportError('token-invalid', 'the join token is unknown, spent or expired', { hint: 'make a new one: sallyport token create SPIFFE-ID' });
    if (spent === undefined) throw await refusal(unknown());
    if (!isKnown) guessLimit.giveBack(address, now());
    const { spiffeId, proxyLifetimeMs } = spent;
    if (purposeOf(spent) !== purpose) {
      throw await refusal(new SallyportError('token-invalid', `the join token is for ${leafPurposes[purposeOf(spent)]}, not for ${leafPurposes[purpose]}`, { hint: `make one that is: sallyport token create --for ${purpose} ${spiffeId}` }));
    }
    return {
      spiffeId,
      ...lifetimeOf(proxyLifetimeMs),
      attestation: 'join-token',
      assertGood: () => {
        if (redeemIn(shared) === undefined) throw unknown();
      },
    };
  }

  /** A pod is whom the API server takes it for. Counted as a guess until that is known, so that a flood of wrong tokens does not become one of questions. */
  async function attest(token: string, { purpose, address }: Asked): Promise<Enrolled> {
    countGuess(address);
    const buysJoinToken = `sallyport token create${purpose === 'proxy' ? ' --for proxy' : ''} SPIFFE-ID`;
    if (purpose !== 'svid') throw await refusal(new SallyportError('token-invalid', `a pod token is for ${leafPurposes.svid}, not for ${leafPurposes[purpose]}`, { hint: `make a join token: ${buysJoinToken}` }));
    if (attestPod === undefined) throw await refusal(new SallyportError('token-invalid', 'this control plane knows no pods', { hint: `it runs without --kubernetes; make a join token: ${buysJoinToken}` }));
    const verdict = await attestPod(token).catch((error: unknown) => {
      guessLimit.giveBack(address, now());
      throw error;
    });
    if (!verdict.ok) throw await refusal(new SallyportError('token-invalid', 'the pod token is not good for this', { hint: 'the control plane has recorded why: sallyport ledger tail --type issuance-refused', cause: new Error(verdict.detail) }), verdict.detail);
    const { workload, pod, node } = verdict.value;
    const spiffeId = workloadSpiffeId(admission.trustDomain, workload);
    const assertGood = (): void => {
      if (issuance.isPodRevoked(pod.uid)) throw new SallyportError('identity-revoked', `a certificate of pod ${workload.namespace}/${pod.name} was revoked`, { hint: 'delete the pod: the one in its place is let in' });
    };
    try {
      assertGood();
    } catch (error) {
      await issuance.refuse(spiffeId, error as SallyportError);
      throw error;
    }
    guessLimit.giveBack(address, now());
    return { spiffeId, attestation: 'pod-token', pod: { ...pod, node }, assertGood };
  }

  async function admit(token: EnrolRequest['token'], asked: Asked): Promise<Enrolled> {
    switch (token.case) {
      case 'joinToken':
        return await spend(token.value, asked);
      case 'podToken':
        return await attest(token.value, asked);
      case undefined:
        throw new SallyportError('request-invalid', 'there is no token in the request');
    }
  }

  /**
   * Issues, or records why not, and answers either way. What it is issued for may be revoked while it is: a certificate of then is
   * not among those that are revoked, and is not handed out.
   */
  async function certify(request: SvidRequest, { attestation, pod, assertGood }: Pick<Enrolled, 'attestation' | 'pod' | 'assertGood'>) {
    try {
      const issued = await issuance.issue(attestation, () => authority.issueSvid({ ...request, pod }), pod);
      assertGood();
      return { spiffeId: issued.spiffeId, certificateChain: [...issued.chainDer], trustBundle: [...authority.trustBundle] };
    } catch (error) {
      if (error instanceof SallyportError && !error.meaning.retriable) await issuance.refuse(request.spiffeId, error);
      throw error;
    }
  }

  const onError = (error: unknown) => log.warn({ err: error }, 'issuance refused');
  return [
    {
      definition: grpcServiceDefinition(EnrolmentService),
      handlers: {
        enrol: unaryHandler(
          EnrolmentService.method.enrol,
          async ({ token, csr: csrBytes, purpose: purposeAsked }, call) => {
            // A request that cannot be granted does not cost the token.
            const csr = Buffer.from(csrBytes);
            const parsed = parseCsr(csr);
            if (!parsed.ok) throw new SallyportError(csrErrorCode(parsed.reason), parsed.detail);
            const purpose = purposeAsked === CertificatePurpose.PROXY ? 'proxy' : 'svid';
            const { spiffeId, lifetimeMs, ...enrolled } = await admit(token, { publicKeyDer: parsed.request.publicKeyDer, purpose, address: call.getPeer().replace(/:[0-9]+$/, '') });
            return await certify({ spiffeId, ...lifetimeOf(lifetimeMs), csr, purpose }, enrolled);
          },
          onError,
        ),
      },
    },
    {
      definition: grpcServiceDefinition(IdentityService),
      handlers: {
        renew: unaryHandler(
          IdentityService.method.renew,
          async ({ csr }, call) => {
            const certificate = certificateOf(call, admission);
            const { svid: { spiffeId }, purpose } = certificate;
            const { proxyLifetimeMs, pod } = issuance.granted(certificate);
            const assertGood = (): void => void certificateOf(call, admission);
            return await certify({ spiffeId, csr: Buffer.from(csr), purpose, ...lifetimeOf(proxyLifetimeMs) }, { attestation: 'certificate', ...(pod === undefined ? {} : { pod }), assertGood });
          },
          onError,
        ),
      },
    },
  ];
}

const lifetimeOf = (lifetimeMs: number | undefined): Pick<SvidRequest, 'lifetimeMs'> => (lifetimeMs === undefined ? {} : { lifetimeMs });
