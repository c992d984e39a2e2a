/**
 * Who a pod is, by the service account token that the kubelet projects into it for our audience. The API server says whether the token is
 * good (TokenReview); whether its pod is still there is looked at here, since the API server remembers good tokens for some seconds.
 *
 * https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#bound-service-account-tokens
 */
import type { WorkloadName } from '../../core/spiffe-id.ts';

/** The part of a `TokenReview`'s status that is looked at. */
export interface ReviewStatus {
  readonly authenticated?: boolean;
  readonly error?: string;
  readonly audiences?: readonly string[];
  readonly user?: { readonly username?: string; readonly extra?: Readonly<Record<string, readonly string[]>> };
}

/** The part of a `Pod` that is looked at. */
export interface PodFacts {
  readonly metadata?: { readonly uid?: string; readonly deletionTimestamp?: unknown };
  readonly spec?: { readonly serviceAccountName?: string; readonly nodeName?: string };
  readonly status?: { readonly phase?: string };
}

export interface PodClaims {
  readonly workload: WorkloadName;
  readonly pod: { readonly name: string; readonly uid: string };
  /** Null where the API server does not bind tokens to nodes yet (before Kubernetes 1.32). */
  readonly node: string | null;
}

/** `detail` is for our log and the ledger; whoever asks hears no more than that his token is not good. */
export type Verdict<Value> = { readonly ok: true; readonly value: Value } | { readonly ok: false; readonly detail: string };

const prefix = 'authentication.kubernetes.io/';

/** What a good token for `audience` says; or why it is not good. */
export function judgeReview({ authenticated, error, audiences = [], user }: ReviewStatus, audience: string): Verdict<PodClaims> {
  const refuse = (detail: string): Verdict<never> => ({ ok: false, detail });
  if (authenticated !== true) return refuse(`the API server does not know the token${error === undefined || error === '' ? '' : `: ${error}`}`);
  // Of a server that knows no audiences the answer speaks of its own only (`spec.audiences` of TokenReview).
  if (!audiences.includes(audience)) return refuse(`the token is not for the audience ${audience}`);
  const [, namespace, serviceAccount] = /^system:serviceaccount:([^:]+):([^:]+)$/.exec(user?.username ?? '') ?? [];
  if (namespace === undefined || serviceAccount === undefined) return refuse(`${user?.username ?? 'nobody'} is no service account`);
  const extra = (name: string): string | undefined => user?.extra?.[`${prefix}${name}`]?.[0];
  const [name, uid] = [extra('pod-name'), extra('pod-uid')];
  if (name === undefined || uid === undefined) return refuse(`the token of ${namespace}/${serviceAccount} is bound to no pod`);
  return { ok: true, value: { workload: { namespace, serviceAccount }, pod: { name, uid }, node: extra('node-name') ?? null } };
}

/** Whether the pod that a token is bound to is there, alive, and where the token says. Undefined: there is none of its name. */
export function judgePod({ workload: { namespace, serviceAccount }, pod: { name, uid }, node }: PodClaims, found: PodFacts | undefined): Verdict<null> {
  const refuse = (detail: string): Verdict<never> => ({ ok: false, detail: `pod ${namespace}/${name} ${detail}` });
  if (found === undefined) return refuse('is not there any more');
  if (found.metadata?.uid !== uid) return refuse('is another one of the same name');
  if (found.metadata.deletionTimestamp !== undefined) return refuse('is being deleted');
  if (found.spec?.serviceAccountName !== serviceAccount) return refuse(`runs as ${found.spec?.serviceAccountName ?? 'nobody'}, not as ${serviceAccount}`);
  if (node !== null && found.spec.nodeName !== node) return refuse(`is on node ${found.spec.nodeName ?? 'none'}, and its token on ${node}`);
  if (found.status?.phase === 'Succeeded' || found.status?.phase === 'Failed') return refuse('has ended');
  return { ok: true, value: null };
}
