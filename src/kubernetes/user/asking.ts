/** Requests with somebody's own rights: what the API server refuses is told in our words, with what to do next. */
import { SallyportError, type ErrorCode } from '../../core/errors.ts';
import { ApiRefusal, type ApiClient, type ApiRequest } from '../client.ts';

export interface Asker {
  /** The answer's body. Throws a SallyportError. */
  readonly ask: <Answer>(request: ApiRequest) => Promise<Answer>;
  /** Undefined where what is asked for is not there. */
  readonly find: <Answer>(request: ApiRequest) => Promise<Answer | undefined>;
}

export function createAsker(client: ApiClient): Asker {
  const ask = async <Answer>(request: ApiRequest): Promise<Answer> => {
    try {
      return await client.request<Answer>(request);
    } catch (cause) {
      throw errorOf(cause, request);
    }
  };
  return {
    ask,
    find: async <Answer>(request: ApiRequest) =>
      await ask<Answer>(request).catch((error: unknown) => {
        if (error instanceof SallyportError && error.code === 'not-found') return undefined;
        throw error;
      }),
  };
}

function errorOf(cause: unknown, { method, path: place }: ApiRequest): SallyportError {
  if (!(cause instanceof ApiRefusal)) {
    return new SallyportError('unavailable', `the Kubernetes API server gives no answer (${cause instanceof Error ? cause.message : String(cause)})`, { cause, hint: 'see whether kubectl can reach it: kubectl version' });
  }
  const code = codeOf(cause.status, method);
  const hint = hintOf(code, cause.status);
  return new SallyportError(code, cause.message.replaceAll(/\s*\n\s*/g, '; '), { place, cause, ...(hint === undefined ? {} : { hint }) });
}

function codeOf(status: number, method: ApiRequest['method']): ErrorCode {
  switch (status) {
    case 400:
    case 422:
      return 'manifest-invalid';
    case 401:
    case 403:
      return 'cluster-forbidden';
    case 404:
      return 'not-found';
    case 409:
      // The validating webhook's word for what others stand on (decision 0741).
      return method === 'DELETE' ? 'manifest-invalid' : 'cluster-conflict';
    case 429:
      return 'rate-limited';
    default:
      return 'unavailable';
  }
}

function hintOf(code: ErrorCode, status: number): string | undefined {
  if (status === 401) return 'the API server does not know who asks: see the kubeconfig, and log in again';
  if (code === 'cluster-forbidden') return 'ask whoever administers the cluster for that right; those that there are: kubectl auth can-i --list -n NAMESPACE';
  if (code === 'cluster-conflict') return 'change it where it was set, or add --force-conflicts to take the fields over';
  return undefined;
}
