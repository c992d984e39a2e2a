import { ApiException, AuthenticationV1Api, CoreV1Api, type KubeConfig } from '@kubernetes/client-node';
import { SallyportError } from '../../core/errors.ts';
import { judgePod, judgeReview, type PodClaims, type Verdict } from './pod-token.ts';

export interface PodAttestor {
  /** Whose token this is. Throws `unavailable` where the API server cannot be asked: then nobody is let in. */
  attest(token: string): Promise<Verdict<PodClaims>>;
}

/** Longer is no token, and is not sent on. */
const tokenCharactersMax = 16_384;

/** @param audience of the projected token, such as `sallyport` */
export function createPodAttestor(config: KubeConfig, audience: string): PodAttestor {
  const reviews = config.makeApiClient(AuthenticationV1Api);
  const core = config.makeApiClient(CoreV1Api);
  return {
    async attest(token) {
      if (token.length > tokenCharactersMax || !/^[\w-]+\.[\w-]+\.[\w-]+$/.test(token)) return { ok: false, detail: 'it is no token of a service account' };
      const { status } = await asked(() => reviews.createTokenReview({ body: { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenReview', spec: { token, audiences: [audience] } } }));
      const claims = judgeReview(status ?? {}, audience);
      if (!claims.ok) return claims;
      const { workload, pod } = claims.value;
      const found = await asked(() => core.readNamespacedPod({ namespace: workload.namespace, name: pod.name })).catch((error: unknown) => {
        if (error instanceof SallyportError && error.cause instanceof ApiException && error.cause.code === 404) return undefined;
        throw error;
      });
      const verdict = judgePod(claims.value, found);
      return verdict.ok ? claims : verdict;
    },
  };
}

async function asked<Answer>(ask: () => Promise<Answer>): Promise<Answer> {
  try {
    return await ask();
  } catch (error) {
    throw new SallyportError('unavailable', 'the Kubernetes API server gives no answer', { hint: 'see "kubectl get --raw /readyz", and whether the service account of Sallyport may create tokenreviews and get pods', cause: error });
  }
}
