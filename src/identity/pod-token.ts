import type { WorkloadName } from '../core/spiffe-id.ts';

/** Whose a service account token is by its own word, which is not verified here; undefined for what says nothing of the kind. */
export function subjectOf(token: string): WorkloadName | undefined {
  const [, claims = ''] = token.split('.');
  try {
    const { sub } = JSON.parse(Buffer.from(claims, 'base64url').toString()) as { readonly sub?: unknown };
    const [, namespace, serviceAccount] = /^system:serviceaccount:([^:]+):([^:]+)$/.exec(String(sub)) ?? [];
    return namespace === undefined || serviceAccount === undefined ? undefined : { namespace, serviceAccount };
  } catch {
    return undefined; // the control plane is to say what is wrong with it
  }
}
