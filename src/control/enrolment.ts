/** The gRPC services of identity: a join token, or the SVID that a caller has, buys the next SVID. */
import { unaryHandler, grpcServiceDefinition } from '../api/grpc-service.ts';
import type { Authority, SvidRequest } from '../ca/index.ts';
import { csrErrorCode, parseCsr } from '../core/x509/csr.ts';
import { SallyportError } from '../core/errors.ts';
import { leafPurposes, type LeafPurpose } from '../core/x509/x509-svid.ts';
import { CertificatePurpose, EnrolmentService, IdentityService } from '../proto/sallyport/v1alpha1/identity_pb.ts';
import type { StateStore } from '../store/index.ts';
import type { Logger } from 'pino';
import type { Issuance } from './issuance.ts';
import { publicKeyHash, purposeOf, redeem, tokenKey, type JoinToken } from './join-tokens.ts';
import { peerOf, type MeshAdmission, type MeshService } from './mesh-listener.ts';
import { createRateLimit } from './rate-limit.ts';
import type { ControlSections } from './sections.ts';

export interface EnrolmentOptions {
  readonly store: StateStore<ControlSections>;
  readonly authority: Authority;
  readonly issuance: Issuance;
  readonly admission: MeshAdmission;
  readonly now: () => number;
  readonly log: Logger;
}

/** Tokens that are refused: a few at once from one address, then one in ten seconds. At 256 bits this is for the log's sake, not the token's. */
const guesses = { burst: 10, perSecond: 0.1 } as const;

export function createEnrolment({ store, authority, issuance, admission, now, log }: EnrolmentOptions): readonly MeshService[] {
  const guessLimit = createRateLimit(guesses);

  /**
   * Spends the token for a key, or finds it spent by this key. Look-up and commit are in one turn, so that one key has it. A repeat
   * need not wait until the first is durable: what is issued for it is durable later.
   */
  async function spend(text: string, publicKeyDer: Buffer, purpose: LeafPurpose, address: string): Promise<JoinToken> {
    const key = tokenKey(text);
    const token = key === undefined ? undefined : store.get('tokens', key);
    const spent = redeem(token, publicKeyHash(publicKeyDer), now());
    if (key === undefined || spent === undefined) {
      if (!guessLimit.take(address, now())) throw new SallyportError('rate-limited', 'too many wrong join tokens from this address', { hint: 'wait ten seconds' });
      // One wording for all: a guesser learns nothing.
      throw new SallyportError('token-invalid', 'the join token is unknown, spent or expired', { hint: 'make a new one: sallyport token create SPIFFE-ID' });
    }
    if (purposeOf(spent) !== purpose) {
      throw new SallyportError('token-invalid', `the join token is for ${leafPurposes[purposeOf(spent)]}, not for ${leafPurposes[purpose]}`, { hint: `make one that is: sallyport token create --for ${purpose} ${spent.spiffeId}` });
    }
    if (spent !== token) await store.commit({ put: { tokens: { [key]: spent } } });
    return spent;
  }

  /** Issues, or records why not, and answers either way. */
  async function certify(request: SvidRequest, attestation: 'join-token' | 'certificate') {
    try {
      const issued = await issuance.issue(attestation, () => authority.issueSvid(request));
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
          async ({ joinToken, csr: csrBytes, purpose: purposeAsked }, call) => {
            // A request that cannot be granted does not cost the token.
            const csr = Buffer.from(csrBytes);
            const parsed = parseCsr(csr);
            if (!parsed.ok) throw new SallyportError(csrErrorCode(parsed.reason), parsed.detail);
            const purpose = purposeAsked === CertificatePurpose.PROXY ? 'proxy' : 'svid';
            let token: JoinToken;
            try {
              token = await spend(joinToken, parsed.request.publicKeyDer, purpose, call.getPeer().replace(/:[0-9]+$/, ''));
            } catch (error) {
              if (error instanceof SallyportError && error.code === 'token-invalid') await issuance.refuse(null, error);
              throw error;
            }
            const { spiffeId, proxyLifetimeMs } = token;
            return await certify({ spiffeId, csr, purpose, ...lifetimeOf(proxyLifetimeMs) }, 'join-token');
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
            const { spiffeId, serialNumber, purpose } = peerOf(call, admission);
            return await certify({ spiffeId, csr: Buffer.from(csr), purpose, ...lifetimeOf(issuance.proxyLifetimeMs(serialNumber)) }, 'certificate');
          },
          onError,
        ),
      },
    },
  ];
}

const lifetimeOf = (lifetimeMs: number | undefined): Pick<SvidRequest, 'lifetimeMs'> => (lifetimeMs === undefined ? {} : { lifetimeMs });
