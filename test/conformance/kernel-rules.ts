/**
 * What becomes of the table at a gateway of class `kernel`, to which a workload is an address: rows of what it cannot see do not exist, and
 * those that have their like among addresses are played as that.
 */
import { parseSpiffeId, trustDomainOf, workloadOf, type WorkloadName } from '../../src/core/spiffe-id.ts';
import { trustDomain } from '../support/control.ts';
import type { Attempt, Credential, Divergence, End, Life } from './world.ts';

/** From which address somebody comes. */
export type Visitor =
  /** One that is this workload's, or was and has been withdrawn. */
  | { readonly kind: 'known' | 'withdrawn'; readonly workload: WorkloadName }
  /** One of which nobody has said anything. */
  | { readonly kind: 'stranger' };

/** Whoever shows this credential elsewhere; undefined for a fault that no address can have. */
export function visitorOf(credential: Credential): Visitor | undefined {
  switch (credential.kind) {
    case 'svid':
    case 'enrolled':
      return asWorkload('known', credential.spiffeId);
    case 'expired':
    case 'revoked':
      return asWorkload('withdrawn', credential.spiffeId);
    case 'none':
      return { kind: 'stranger' };
    default:
      return undefined;
  }
}

function asWorkload(kind: 'known' | 'withdrawn', spiffeId: string): Visitor {
  const parsed = parseSpiffeId(spiffeId);
  const workload = parsed.ok && trustDomainOf(parsed.id) === trustDomain ? workloadOf(parsed.id) : undefined;
  return workload === undefined ? { kind: 'stranger' } : { kind, workload };
}

const unlike = {
  withdrawn: 'its like is an address that was the workload\'s and has been withdrawn',
  stranger: 'its like is an address of which nobody has said whose it is',
} as const;

/** Undefined where it does as the table says. */
export function kernelDivergence({ as, to, expect }: Attempt): Divergence | undefined {
  const visitor = visitorOf(as);
  if (visitor === undefined) return { because: 'it is about a certificate or TLS, and a kernel sees neither', absent: true };
  if (to.listener === 'own') return { because: 'a kernel has no listeners: workloads connect to the service itself', absent: true };
  if (expect.kind === 'leaves') return undefined;
  if (visitor.kind !== 'known') return { because: unlike[visitor.kind], expect: { ...expect, reason: 'not-a-workload' }, words: true };
  if (expect.reason === 'no-such-service') return { because: 'nobody asks a kernel by name', words: true };
  if (expect.reason === 'connect-failed') return { because: 'a kernel lets the connection out, and the workload hears for itself that nobody is there', unrecorded: true };
  return to.manner === 'reverse' ? { because: 'a workload does not ask a kernel to be connected to', absent: true } : undefined;
}

/** Undefined where it ends as the table says. */
export function kernelEnd({ ends }: Life): End | undefined {
  return ends === 'certificate-revoked' ? { because: unlike.withdrawn, ends: 'policy-revoked' } : undefined;
}
