/**
 * The status of a custom resource: what became of it, in conditions that Kubernetes users know (Gateway API's words), so that `kubectl wait
 * --for=condition=Programmed` is an answer. It is written anew only where it says something else.
 *
 * https://github.com/kubernetes/community/blob/master/contributors/devel/sig-architecture/api-conventions.md#typical-status-properties
 */
import { isDeepStrictEqual } from 'node:util';
import type { Fault } from '../../core/errors.ts';
import { inOneSentence } from '../../core/fault-text.ts';

export interface Condition {
  readonly type: 'Accepted' | 'Conflicted' | 'Programmed' | 'ResolvedRefs' | 'Warned';
  readonly status: 'True' | 'False';
  readonly observedGeneration: number;
  /** RFC 3339. */
  readonly lastTransitionTime: string;
  /** One word; of a fault its code, as in `PoolUnknown`. */
  readonly reason: string;
  readonly message: string;
}

export interface ObjectStatus {
  readonly observedGeneration: number;
  readonly conditions: readonly Condition[];
  readonly revision?: string;
  readonly enforcedBy?: string;
  readonly gateways?: readonly { readonly name: string; readonly revision?: string }[];
  /** Of its kind. */
  readonly [field: string]: unknown;
}

/** What became of an object. */
export interface Verdict {
  readonly generation: number;
  /** Why it is not in force as it is; none where it is. */
  readonly faults: readonly Fault[];
  readonly warnings: readonly Fault[];
  /** What it said before stays in force. */
  readonly fellBack: boolean;
  /** Whether its address is not at the API server yet, so that no plan has it. */
  readonly awaitsAddress: boolean;
  /** Null for kinds that no gateway hears of. */
  readonly enforcement: Enforcement | null;
  /** Fields of the status that only its kind has. */
  readonly own: Readonly<Record<string, unknown>>;
}

export interface Enforcement {
  /** Of the plan, since which what the object says is as it is; null while it is in none. */
  readonly revision: string | null;
  /** Those that it concerns, each with the first revision of these that it has taken; null while it has not. */
  readonly gateways: readonly { readonly name: string; readonly revision: string | null }[];
}

/** Faults and warnings of a name that leads nowhere, or to what is not for whoever names it. */
export const unresolvedCodes: ReadonlySet<string> = new Set([
  'address-outside-pools', 'binding-port-unknown', 'binding-service-unknown', 'gateway-ambiguous', 'gateway-missing', 'gateway-not-allowed', 'gateway-unknown', 'hand-over-invalid', 'host-unresolved', 'namespace-missing', 'policy-port-unknown',
  'policy-service-unknown', 'pool-not-allowed', 'pool-unknown', 'reference-not-granted', 'subject-account-invalid', 'subject-selector-empty', 'subject-service-unknown', 'subject-service-without-accounts',
]);
/** Faults beside another object, either of which could be in force alone. */
const conflictCodes: ReadonlySet<string> = new Set([
  'address-held', 'address-in-quarantine', 'agent-listener-conflict', 'binding-conflict', 'gateway-identity-conflict', 'listener-conflict', 'object-duplicate', 'pools-overlap', 'reverse-name-taken', 'reverse-port-conflict',
  'server-name-conflict',
]);

/** Kubernetes takes no more in a condition's message. */
const messageCharactersMax = 32_768;

/** The status that an object is to have; the very one that it has where that says the same. `time` is now, in RFC 3339. */
export function statusOf(verdict: Verdict, before: ObjectStatus | undefined, time: string): ObjectStatus {
  const { generation, enforcement, own } = verdict;
  const conditions = [acceptedOf(verdict), resolvedOf(verdict), conflictedOf(verdict), warnedOf(verdict), ...(enforcement === null ? [] : [programmedOf(verdict, enforcement)])].map((condition) => dated({ ...condition, observedGeneration: generation }, before, time));
  const status: ObjectStatus = { observedGeneration: generation, conditions, ...(enforcement === null ? {} : shown(enforcement)), ...own };
  return isDeepStrictEqual(status, before) ? before! : status;
}

type Finding = Pick<Condition, 'type' | 'status' | 'reason' | 'message'>;

function acceptedOf({ faults, fellBack, awaitsAddress }: Verdict): Finding {
  if (faults.length === 0) return { type: 'Accepted', status: 'True', reason: 'Accepted', message: awaitsAddress ? 'it is in force as soon as its address is assigned' : 'it is in force' };
  return { type: 'Accepted', status: 'False', reason: reasonOf(faults), message: textOf(faults, fellBack ? 'what it said before stays in force' : undefined) };
}

function resolvedOf({ faults, warnings }: Verdict): Finding {
  const unresolved = [...faults, ...warnings].filter(({ code }) => unresolvedCodes.has(code));
  if (unresolved.length === 0) return { type: 'ResolvedRefs', status: 'True', reason: 'ResolvedRefs', message: 'every name in it leads somewhere' };
  return { type: 'ResolvedRefs', status: 'False', reason: reasonOf(unresolved), message: textOf(unresolved) };
}

function conflictedOf({ faults }: Verdict): Finding {
  const conflicts = faults.filter(({ code }) => conflictCodes.has(code));
  if (conflicts.length === 0) return { type: 'Conflicted', status: 'False', reason: 'NoConflicts', message: 'nothing else claims what it does' };
  return { type: 'Conflicted', status: 'True', reason: reasonOf(conflicts), message: textOf(conflicts) };
}

function warnedOf({ warnings }: Verdict): Finding {
  const others = warnings.filter(({ code }) => !unresolvedCodes.has(code));
  if (others.length === 0) return { type: 'Warned', status: 'False', reason: 'NoWarnings', message: 'nothing about it should surprise' };
  return { type: 'Warned', status: 'True', reason: reasonOf(others), message: textOf(others) };
}

function programmedOf({ faults, fellBack, awaitsAddress }: Verdict, enforcement: Enforcement): Finding {
  const { gateways } = enforcement;
  if (faults.length > 0 && !fellBack) return { type: 'Programmed', status: 'False', reason: 'NotAccepted', message: 'it is not in force' };
  if (awaitsAddress) return { type: 'Programmed', status: 'False', reason: 'Pending', message: 'its address is being assigned' };
  if (gateways.length === 0) return { type: 'Programmed', status: 'False', reason: 'NoGateway', message: 'no gateway is concerned' };
  const late = gateways.filter(({ revision }) => revision === null);
  if (late.length === 0) return { type: 'Programmed', status: 'True', reason: 'Programmed', message: `${countOf(enforcement)} gateways enforce it` };
  return { type: 'Programmed', status: 'False', reason: 'Pending', message: `${countOf(enforcement)} gateways enforce it; not yet ${late.map(({ name }) => name).join(', ')}` };
}

function shown(enforcement: Enforcement): Pick<ObjectStatus, 'revision' | 'enforcedBy' | 'gateways'> {
  const { revision, gateways } = enforcement;
  return { ...(revision === null ? {} : { revision }), enforcedBy: countOf(enforcement), gateways: gateways.map(({ name, revision: taken }) => ({ name, ...(taken === null ? {} : { revision: taken }) })) };
}

function countOf({ gateways }: Enforcement): string {
  return `${gateways.filter(({ revision }) => revision !== null).length}/${gateways.length}`;
}

/** `pool-unknown` as Kubernetes writes reasons: `PoolUnknown`. */
function reasonOf([first]: readonly Fault[]): string {
  return first!.code.replaceAll(/(^|-)([a-z])/g, (_all, _dash, letter: string) => letter.toUpperCase());
}

function textOf(faults: readonly Fault[], last?: string): string {
  const sentences = faults.map((fault) => `${fault.path === undefined || fault.path.length === 0 ? '' : `${fault.path.join('.')}: `}${inOneSentence(fault)}`);
  return [...new Set(sentences), ...(last === undefined ? [] : [last])].join('; ').slice(0, messageCharactersMax);
}

/** With the time since which it has its status. */
function dated(condition: Omit<Condition, 'lastTransitionTime'>, before: ObjectStatus | undefined, time: string): Condition {
  const known = before?.conditions.find(({ type }) => type === condition.type);
  const { type, status, observedGeneration, reason, message } = condition;
  return { type, status, observedGeneration, lastTransitionTime: known?.status === status ? known.lastTransitionTime : time, reason, message };
}
