/**
 * Whether a change of a custom resource is stored. What the object itself gets wrong, and what it takes from others, is refused in the words of
 * `sallyport validate`. A name that leads nowhere is a warning: kubectl, Helm and the like bring objects one by one and in an order of their
 * own, and what is named may be the next one. Its status says so until then (docs/decisions/0741).
 */
import { isDeepStrictEqual } from 'node:util';
import type { Fault } from '../../core/errors.ts';
import { describeFault, describeFaultInLine } from '../../core/fault-text.ts';
import { isKind } from '../../core/manifest/object-reader.ts';
import { apiVersion, olderApiVersion } from '../../core/objects/index.ts';
import { readSource } from '../desired/collection.ts';
import { unresolvedCodes } from '../desired/status.ts';
import { nameOf, type ApiObject, type ObjectChange } from '../watch/reflection.ts';
import type { AdmissionAnswer, AdmissionRequest, Refusal } from './admission-review.ts';

/** What a change brings that was not so before it. */
export interface Findings {
  readonly faults: readonly Fault[];
  readonly warnings: readonly Fault[];
}

/** Of an object that can be read, or is to go. It changes nothing. Throws `unavailable` while it cannot be said. */
export type ValidateChange = (change: ObjectChange<ApiObject>) => Promise<Findings>;

const ourGroups: ReadonlySet<string> = new Set([apiVersion, olderApiVersion].map((version) => version.slice(0, version.indexOf('/'))));
/** Those of one answer: a pool that goes may leave thousands without an address. */
const toldMax = 20;

/** @param rootNamespace the one of Sallyport */
export async function reviewChange(request: AdmissionRequest, rootNamespace: string, validate: ValidateChange): Promise<AdmissionAnswer> {
  const change = changeOf(request);
  if (change === null) return { allowed: true, warnings: [] };
  const unreadable = change.after === null ? [] : readSource(change.after, rootNamespace).faults;
  if (unreadable.length > 0) return { allowed: false, status: refusalOf(request, unreadable), warnings: [] };
  const { faults, warnings } = await validate(change);
  const refused = faults.filter((fault) => isRefused(fault, request));
  const told = bounded([...faults.filter((fault) => !refused.includes(fault)), ...warnings]).map(describeFaultInLine);
  return refused.length === 0 ? { allowed: true, warnings: told } : { allowed: false, status: refusalOf(request, refused), warnings: told };
}

/**
 * Null for what desired state does not hear of: another kind, and an object that says what it said before, as when its status is written, or
 * a finalizer is taken from one that was never valid.
 */
function changeOf({ kind, operation, object, oldObject }: AdmissionRequest): ObjectChange<ApiObject> | null {
  if (!ourGroups.has(kind.group) || !isKind(kind.kind) || operation === 'CONNECT') return null;
  const before = (oldObject ?? null) as ApiObject | null;
  const after = (operation === 'DELETE' ? null : (object ?? null)) as ApiObject | null;
  const named = after ?? before;
  if (named === null) return null;
  if (before !== null && after !== null && (after.metadata.deletionTimestamp !== undefined || isDeepStrictEqual(specOf(before), specOf(after)))) return null;
  return { name: nameOf(named), before, after };
}

function specOf(object: ApiObject): unknown {
  return (object as ApiObject & { readonly spec?: unknown }).spec;
}

/**
 * A name that leads nowhere is its own object's lookout, or that of whoever named what was another's to take away: otherwise one namespace could
 * hold on to what is in another, and keep it from being deleted. Pools and gateways are the platform's, and not to be pulled away from under those who use them.
 */
function isRefused({ code, object }: Fault, { kind, namespace, name, operation }: AdmissionRequest): boolean {
  if (operation === 'DELETE') return namespace === '';
  const isOwn = object?.kind === kind.kind && object.name === name && object.namespace === namespace;
  return !unresolvedCodes.has(code) || (namespace === '' && !isOwn);
}

/** Not 409 for a clash of two objects: with that Kubernetes' clients try the very same again. Nothing else is said of a deletion that is refused. */
function refusalOf({ operation }: AdmissionRequest, faults: readonly Fault[]): Refusal {
  const count = faults.length === 1 ? [] : [`${faults.length} faults`];
  const message = [...count, ...bounded(faults).flatMap(describeFault)].join('\n');
  return operation === 'DELETE' ? { code: 409, reason: 'Conflict', message } : { code: 422, reason: 'Invalid', message };
}

function bounded(faults: readonly Fault[]): readonly Fault[] {
  const omitted = faults.length - toldMax;
  return omitted <= 0 ? faults : [...faults.slice(0, toldMax), { code: 'faults-omitted', message: `${omitted} more ${omitted === 1 ? 'fault is' : 'faults are'} not shown`, hint: 'mend those above first' }];
}
