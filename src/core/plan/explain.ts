/** `explain`: why a workload may use a service port and from which address, or what is missing. The CLI, the dashboard and the ledger speak its words. */
import { decide, decideConnect } from './decide.ts';
import { describeDenial, quotePeerText } from './denial.ts';
import { describeFtpAlternative } from '../ftp/rules-text.ts';
import type { FtpConstraints } from '../ftp/rules.ts';
import { keyOf, type DesiredState } from '../desired-state.ts';
import { boundedList } from '../order.ts';
import type { DenyReason, Plan, Revision, ServicePortId, SnatSource } from './plan.ts';
import { describeNotInForce, type RefusedObject } from './not-in-force.ts';
import { remedyFor } from './remedy.ts';
import { findServicePorts } from './service-lookup.ts';
import { sidesOf } from '../snat/snat-source.ts';
import { workloadOf, workloadSpiffeId, type SpiffeId, type WorkloadName } from '../spiffe-id.ts';
import { suggest } from '../manifest/suggestion.ts';

export interface Explanation {
  readonly revision: Revision;
  readonly identity: SpiffeId;
  /** As it was asked for. */
  readonly target: string;
  /** What a CONNECT would name, where that was asked. */
  readonly authority: string | null;
  readonly allowed: boolean;
  /** Null where allowed. */
  readonly reason: DenyReason | null;
  /** Null where the target means none, or several: then `candidates` has them. */
  readonly service: ServicePortId | null;
  readonly gateway: string | null;
  /** `namespace/name` of every EgressPolicy that lets the identity use the service port, denied for another reason or not. */
  readonly policies: readonly string[];
  readonly connectAuthorities: readonly string[] | null;
  /** Null: anything, or no FTP. */
  readonly ftp: readonly FtpConstraints[] | null;
  readonly binding: string | null;
  readonly snat: SnatSource | null;
  /** What the target may have meant. */
  readonly candidates: readonly ServicePortId[];
  /** YAML that would allow it; null where it is allowed, where desired state was not given, or where `obstacle` says why. */
  readonly suggestion: string | null;
  readonly obstacle: string | null;
  /** What would have a say here, and is not in force; a sentence each, with what it lacks. */
  readonly notInForce: readonly string[];
}

export interface ExplainOptions {
  /** What the plan was compiled from; needed to suggest manifests. */
  readonly desired?: DesiredState;
  /** What a CONNECT would name, `host:port`. */
  readonly authority?: string;
  /** Of a cluster with tenants. */
  readonly rootNamespace?: string | undefined;
  /** What is not in force of what was written, as `accept` says it. */
  readonly refused?: Iterable<RefusedObject>;
}

const candidatesMax = 16;

/** Explains the decision on a subject and a target, which may be called anything that `findServicePorts` knows. Never fails: what is not there is the explanation. */
export function explain(plan: Plan, subject: SpiffeId | WorkloadName, target: string, { desired, authority, rootNamespace, refused = [] }: ExplainOptions = {}): Explanation {
  const identity = typeof subject === 'string' ? subject : workloadSpiffeId(plan.trustDomain, subject);
  const found = findServicePorts(plan, target);
  const servicePort = found.length === 1 ? found[0] : undefined;
  const plain = decide(servicePort, identity, plan.trustDomain);
  const decision = authority === undefined ? plain : decideConnect(plain, authority);
  const grant = decision.grant;
  const workload = workloadOf(identity);
  const remedy =
    decision.allowed || desired === undefined || workload === undefined || found.length > 1 || decision.reason === 'trust-domain-mismatch'
      ? undefined
      : remedyFor({ workload, servicePort: servicePort ?? null, target, authority: authority ?? null }, plan, desired, rootNamespace);
  return {
    revision: plan.revision,
    identity,
    target,
    authority: authority ?? null,
    allowed: decision.allowed,
    reason: decision.allowed ? null : decision.reason,
    service: servicePort?.id ?? null,
    gateway: servicePort === undefined || servicePort.gateway === '' ? null : servicePort.gateway,
    policies: grant?.policies ?? [],
    connectAuthorities: grant?.connectAuthorities ?? null,
    ftp: grant?.ftp ?? null,
    binding: grant?.binding ?? null,
    snat: grant?.snat ?? null,
    candidates: servicePort === undefined ? candidatesOf(plan, target, found.map(({ id }) => id)) : [],
    suggestion: remedy?.ok === true ? remedy.manifests : null,
    obstacle: remedy?.ok === false ? remedy.obstacle : null,
    notInForce: workload === undefined || desired === undefined ? [] : describeNotInForce(refused, workload, servicePort === undefined ? (target.split(':')[0] ?? '') : keyOf(servicePort.service), desired),
  };
}

function candidatesOf(plan: Plan, target: string, found: readonly ServicePortId[]): readonly ServicePortId[] {
  if (found.length > 0) return found.slice(0, candidatesMax);
  const [service = ''] = target.toLowerCase().split(':');
  const named = findServicePorts(plan, service);
  if (named.length > 0) return named.slice(0, candidatesMax).map(({ id }) => id);
  const nearest = suggest(service, plan.servicePorts.flatMap(({ service: { namespace, name } }) => (service.includes('/') ? [`${namespace}/${name}`] : [name])));
  return nearest === undefined ? [] : findServicePorts(plan, nearest).slice(0, candidatesMax).map(({ id }) => id);
}

/** The explanation in sentences, the answer first. */
export function describeExplanation(explanation: Explanation): string[] {
  const { identity, target, authority, allowed, reason, service, gateway, policies, connectAuthorities, ftp, binding, snat, candidates, obstacle, notInForce } = explanation;
  const lines: string[] = [];
  if (allowed || reason === null) {
    const through = authority === null ? '' : ` to CONNECT to ${quotePeerText(authority)}`;
    lines.push(`allowed: ${identity} may use "${service ?? target}"${through} through gateway "${gateway ?? ''}"`);
  } else if (service === null && candidates.length > 1 && reason === 'no-such-service') {
    lines.push(`denied (${reason}): ${quotePeerText(target)} may mean ${boundedList(candidates)}; say which`);
  } else {
    lines.push(`denied (${reason}): ${describeDenial(reason, { identity, target: service ?? target, authority })}`);
    if (candidates.length > 0) lines.push(`did you mean ${boundedList(candidates)}?`);
  }
  if (policies.length > 0) lines.push(`policy: ${policies.map((key) => `EgressPolicy ${key}`).join(', ')}`);
  if (connectAuthorities !== null) lines.push(`authorities: ${boundedList(connectAuthorities)}`);
  ftp?.forEach((alternative, index) => lines.push(`${index === 0 ? 'ftp' : '  or'}: ${describeFtpAlternative(alternative)}`));
  for (const { address, ports } of sidesOf(snat)) lines.push(`address: ${address}, source ports ${ports.first}-${ports.last} (SnatBinding ${binding ?? ''})`);
  if (obstacle !== null) lines.push(`no manifest alone would allow it: ${obstacle}`);
  lines.push(...notInForce);
  return lines;
}
