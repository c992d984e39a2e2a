import { SallyportError } from '../../core/errors.ts';
import { ApiRefusal, type ApiClient, type ApiRequest } from '../client.ts';
import { judgePod, judgeReview, type PodClaims, type PodFacts, type ReviewStatus, type Verdict } from './pod-token.ts';

export interface PodAttestor {
  /** Whose token this is. Throws `unavailable` where the API server cannot be asked: then nobody is let in. */
  attest(token: string): Promise<Verdict<PodClaims>>;
}

/** Longer is no token, and is not sent on. */
const tokenCharactersMax = 16_384;
/** Both answers together in less than the ten seconds that who enrols waits. */
const answerWithinMs = 4_000;

/** @param audience of the projected token, such as `sallyport` */
export function createPodAttestor(client: ApiClient, audience: string): PodAttestor {
  async function review(token: string): Promise<ReviewStatus> {
    const body = { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenReview', spec: { token, audiences: [audience] } };
    const { status = {} } = await ask<{ readonly status?: ReviewStatus }>({ method: 'POST', path: '/apis/authentication.k8s.io/v1/tokenreviews', body });
    return status;
  }

  async function podOf({ workload: { namespace }, pod: { name } }: PodClaims): Promise<PodFacts | undefined> {
    try {
      return await ask<PodFacts>({ method: 'GET', path: `/api/v1/namespaces/${namespace}/pods/${name}` });
    } catch (error) {
      if (error instanceof SallyportError && error.cause instanceof ApiRefusal && error.cause.status === 404) return undefined;
      throw error;
    }
  }

  async function ask<Answer>(request: ApiRequest): Promise<Answer> {
    try {
      return await client.request<Answer>({ ...request, withinMs: answerWithinMs });
    } catch (error) {
      throw new SallyportError('unavailable', 'the Kubernetes API server gives no answer', { hint: 'see "kubectl get --raw /readyz", and whether the service account of Sallyport may create tokenreviews and get pods', cause: error });
    }
  }

  return {
    async attest(token) {
      if (token.length > tokenCharactersMax || !/^[\w-]+\.[\w-]+\.[\w-]+$/.test(token)) return { ok: false, detail: 'it is no token of a service account' };
      const claims = judgeReview(await review(token), audience);
      if (!claims.ok) return claims;
      const verdict = judgePod(claims.value, await podOf(claims.value));
      return verdict.ok ? claims : verdict;
    },
  };
}
