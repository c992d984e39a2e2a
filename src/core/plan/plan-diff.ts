/** What a change does before it is made: who gains, who loses, and who leaves from another address. */
import { describeFtpRules } from '../ftp/rules-text.ts';
import { snatPorts } from '../snat/address-space.ts';
import { sidesOf } from '../snat/snat-source.ts';
import { boundedList, byText, sortedUnique } from '../order.ts';
import type { Grant, Plan, PlannedGateway, Revision, ServicePort, ServicePortId, SnatSource, Subject } from './plan.ts';
import { hashOfServicePort } from './revision.ts';
import { nameOfSubject } from './subjects.ts';
import { mapInSteps, runThrough, type Steps } from '../steps.ts';

export type ChangeKind = 'added' | 'removed' | 'changed';

/** What changes for a subject at a service port. A service account without a grant of its own has its namespace's, so losing the one may mean falling back to the other. */
export interface GrantChange {
  readonly change: ChangeKind;
  readonly subject: Subject;
  /** Null: none. */
  readonly before: Grant | null;
  readonly after: Grant | null;
}

export interface ServicePortChange {
  readonly change: ChangeKind;
  readonly id: ServicePortId;
  /** Fields other than grants that differ; empty unless `changed`. */
  readonly fields: readonly (keyof ServicePort)[];
  readonly grants: readonly GrantChange[];
}

export interface GatewayChange {
  readonly change: ChangeKind;
  readonly name: string;
  readonly fields: readonly (keyof PlannedGateway)[];
}

export interface PlanDiff {
  readonly before: Revision;
  readonly after: Revision;
  readonly gateways: readonly GatewayChange[];
  readonly servicePorts: readonly ServicePortChange[];
}

/**
 * Compares two plans by what they do: plans of different revisions that decide and serve the same have no difference, as
 * where a service account got a grant of its own that equals its namespace's. Costs what differs, and a look at each service port.
 */
export const diffPlans = (before: Plan, after: Plan): PlanDiff => runThrough(diffPlansInSteps(before, after));

/** As `diffPlans`, a step for each service port. */
export function* diffPlansInSteps(before: Plan, after: Plan): Steps<PlanDiff> {
  const servicePorts = yield* mapInSteps(pairs(before.servicePorts, after.servicePorts, ({ id }) => id), 1, ([, old, now]) => servicePortChange(old, now));
  return {
    before: before.revision,
    after: after.revision,
    gateways: pairs(before.gateways, after.gateways, ({ name }) => name).flatMap(([name, old, now]): GatewayChange[] => {
      const fields = old !== undefined && now !== undefined ? differingFields(old, now) : [];
      return old !== undefined && now !== undefined && fields.length === 0 ? [] : [{ change: changeOf(old, now), name, fields }];
    }),
    servicePorts: servicePorts.flat(),
  };
}

function servicePortChange(before: ServicePort | undefined, after: ServicePort | undefined): ServicePortChange[] {
  const present = (after ?? before)!;
  if (before !== undefined && after !== undefined && (before === after || hashOfServicePort(before) === hashOfServicePort(after))) return [];
  const fields = before !== undefined && after !== undefined ? differingFields(before, after).filter((field) => field !== 'grants') : [];
  const change = changeOf(before, after);
  const grants = grantChanges(before?.grants ?? [], after?.grants ?? []);
  return change === 'changed' && fields.length === 0 && grants.length === 0 ? [] : [{ change, id: present.id, fields, grants }];
}

function grantChanges(before: readonly Grant[], after: readonly Grant[]): GrantChange[] {
  const [old, now] = [effective(before), effective(after)];
  return [...new Map([...before, ...after].map(({ subject }) => [subjectKey(subject), subject]))]
    .sort(([a], [b]) => byText(a, b))
    .flatMap(([, subject]): GrantChange[] => {
      const [was, is] = [old(subject), now(subject)];
      const same = was === is || (was !== null && is !== null && contentOf(was) === contentOf(is));
      return same ? [] : [{ change: changeOf(was ?? undefined, is ?? undefined), subject, before: was, after: is }];
    });
}

/** The grant that counts for a subject among these. */
function effective(grants: readonly Grant[]): (subject: Subject) => Grant | null {
  const byKey = new Map(grants.map((grant) => [subjectKey(grant.subject), grant]));
  return (subject) => byKey.get(subjectKey(subject)) ?? byKey.get(subject.namespace) ?? null;
}

function subjectKey({ namespace, serviceAccount }: Subject): string {
  return serviceAccount === undefined ? namespace : `${namespace}/${serviceAccount}`;
}

/** Without the subject: a service account that falls back to its namespace's equal grant has lost nothing. */
function contentOf({ policies, snat, binding, connectAuthorities, ftp }: Grant): string {
  return JSON.stringify([policies, snat, binding, connectAuthorities, ftp]);
}

function changeOf(before: unknown, after: unknown): ChangeKind {
  return before === undefined ? 'added' : after === undefined ? 'removed' : 'changed';
}

function differingFields<T extends object>(before: T, after: T): (keyof T)[] {
  return (Object.keys(after) as (keyof T)[]).filter((field) => before[field] !== after[field] && JSON.stringify(before[field]) !== JSON.stringify(after[field]));
}

function pairs<T>(before: readonly T[], after: readonly T[], nameOf: (item: T) => string): [string, T | undefined, T | undefined][] {
  const [old, now] = [new Map(before.map((item) => [nameOf(item), item])), new Map(after.map((item) => [nameOf(item), item]))];
  return sortedUnique([...old.keys(), ...now.keys()]).map((name) => [name, old.get(name), now.get(name)]);
}

/** The difference in sentences, one a change; `+`, `-` and `~` stand for added, removed and changed. Empty where nothing changes. */
export const describePlanDiff = (diff: PlanDiff): string[] => runThrough(describePlanDiffInSteps(diff));

/** As `describePlanDiff`, a step for each service port. */
export function* describePlanDiffInSteps(diff: PlanDiff): Steps<string[]> {
  const gateways = diff.gateways.map(({ change, name, fields }) => `${sign[change]} gateway ${name}${fields.length === 0 ? '' : `: ${fields.join(', ')}`}`);
  const servicePorts = yield* mapInSteps(diff.servicePorts, 1, describeServicePortChange);
  return [gateways, ...servicePorts].flat();
}

function describeServicePortChange({ change, id, fields, grants }: ServicePortChange): string[] {
  const lines: string[] = [];
  if (change !== 'changed') lines.push(`${sign[change]} service port ${id}`);
  else if (fields.length > 0) lines.push(`~ service port ${id}: ${fields.join(', ')}`);
  return [...lines, ...grants.map((grant) => describeGrantChange(grant, id))];
}

const sign: Readonly<Record<ChangeKind, string>> = { added: '+', removed: '-', changed: '~' };

function describeGrantChange({ change, subject, before, after }: GrantChange, id: ServicePortId): string {
  const who = nameOfSubject(subject);
  if (before === null || after === null) {
    const grant = (after ?? before)!;
    const consequence = grant.snat === null ? (change === 'added' ? ', but has no address to leave from' : '') : `${change === 'added' ? ', leaving' : ', which left'} from ${describeSource(grant.snat)}`;
    return `${sign[change]} ${who} ${change === 'added' ? 'may use' : 'may no longer use'} ${id}${consequence} (${describePolicies(grant)})`;
  }
  const parts: string[] = [];
  const [from, to] = [describeSource(before.snat), describeSource(after.snat)];
  if (from !== to) parts.push(`leaves from ${to} instead of ${from}`);
  if (before.binding !== after.binding && from === to) parts.push(`is bound by ${after.binding === null ? 'nothing' : `SnatBinding ${after.binding}`}`);
  if (before.policies.join() !== after.policies.join()) parts.push(`is let by ${describePolicies(after)} instead of ${describePolicies(before)}`);
  const [could, can] = [describeAuthorities(before), describeAuthorities(after)];
  if (could !== can) parts.push(`may CONNECT to ${can} instead of ${could}`);
  const [was, is] = [describeFtpRules(before.ftp), describeFtpRules(after.ftp)];
  if (was !== is) parts.push(`may, over FTP, ${is} instead of ${was}`);
  return `${sign[change]} ${who} at ${id} ${parts.join(', ')}`;
}

function describePolicies({ policies }: Grant): string {
  return boundedList(policies.map((key) => `EgressPolicy ${key}`));
}

function describeAuthorities({ connectAuthorities }: Grant): string {
  return connectAuthorities === null ? 'any authority' : boundedList(connectAuthorities);
}

/** Ports are named where they are a block of an address that others share. */
function describeSource(snat: SnatSource | null): string {
  const parts = sidesOf(snat).map(({ address, ports }) => (ports.first === snatPorts.first && ports.last === snatPorts.last ? address : `${address} (ports ${ports.first}-${ports.last})`));
  return parts.length === 0 ? 'no address' : parts.join(' and ');
}
