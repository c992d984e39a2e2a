/** `decide`: the one answer to "may this identity use this service port". Gateways, agents' tables, the CLI and the ledger all ask here. */
import { coversAuthority, parseAuthority } from './authority.ts';
import type { Decision, Grant, ServicePort } from './plan.ts';
import { trustDomainOf, workloadOf, type SpiffeId, type TrustDomain, type WorkloadName } from '../spiffe-id.ts';

type Refusal = Extract<Decision, { allowed: false }>;

const indexes = new WeakMap<ServicePort, ReadonlyMap<string, Grant>>();

/** The grant that counts for a workload: its service account's own, else its namespace's. */
export function grantFor(servicePort: ServicePort, { namespace, serviceAccount }: WorkloadName): Grant | undefined {
  let index = indexes.get(servicePort);
  if (index === undefined) {
    const keyOf = ({ subject }: Grant) => (subject.serviceAccount === undefined ? subject.namespace : `${subject.namespace}/${subject.serviceAccount}`);
    indexes.set(servicePort, (index = new Map(servicePort.grants.map((grant) => [keyOf(grant), grant]))));
  }
  return index.get(`${namespace}/${serviceAccount}`) ?? index.get(namespace);
}

/**
 * Decides. Undefined stands for a target that no service port answers to. The identity must be authenticated already.
 * Constant cost: grants are indexed once a service port.
 */
export function decide(servicePort: ServicePort | undefined, identity: SpiffeId, trustDomain: TrustDomain): Decision {
  const refuse = (reason: Refusal['reason'], grant: Grant | null = null): Refusal => ({ allowed: false, reason, servicePort: servicePort ?? null, grant });
  if (trustDomainOf(identity) !== trustDomain) return refuse('trust-domain-mismatch');
  const workload = workloadOf(identity);
  if (workload === undefined) return refuse('not-a-workload');
  if (servicePort === undefined) return refuse('no-such-service');
  if (servicePort.gateway === '') return refuse('no-gateway');
  const grant = grantFor(servicePort, workload);
  if (grant === undefined) return refuse('no-policy');
  return hasSource(grant) ? { allowed: true, servicePort, grant } : refuse('no-snat-binding', grant);
}

function hasSource(grant: Grant): grant is Extract<Decision, { allowed: true }>['grant'] {
  return grant.snat !== null && grant.binding !== null;
}

/** Narrows a decision to what a CONNECT names, `host:port`. What is not an authority is refused even where any is allowed. */
export function decideConnect(decision: Decision, authority: string): Decision {
  if (!decision.allowed) return decision;
  const { servicePort, grant } = decision;
  const parsed = parseAuthority(authority);
  const allowed = parsed !== undefined && (grant.connectAuthorities === null || coversAuthority(grant.connectAuthorities, parsed));
  return allowed ? decision : { allowed: false, reason: 'authority-not-allowed', servicePort, grant };
}
