/** What a change of the plan changes at BIG-IPs, a tenant each, in words: data groups alone, which takes a moment, or objects too, which AS3 is told. Pure. */
import { fixedNames, renderAs3 } from '../../backends/bigip/index.ts';
import { invariant } from '../../core/errors.ts';
import { boundedList, sortedUnique } from '../../core/order.ts';
import type { Plan } from '../../core/plan/plan.ts';
import type { Steps } from '../../core/steps.ts';
import { recordChanges } from './data-group-changes.ts';
import { dataGroupsIn, objectsIn, sameStructure, tenantOf, type JsonObject } from './tenant.ts';

interface Tenant {
  readonly gateway: string;
  readonly partition: string;
  readonly content: JsonObject;
}

/** A sentence for each tenant that changes; `+`, `-` and `~` as in the difference of two plans. A step for each tenant, as long as its driver takes to render it. */
export function* describeTenantChanges(before: Plan, after: Plan): Steps<string[]> {
  if (before.revision === after.revision) return [];
  const [old, now] = [yield* tenantsOf(before), yield* tenantsOf(after)];
  return sortedUnique([...old.keys(), ...now.keys()]).flatMap((key) => describeTenantChange(old.get(key), now.get(key)));
}

/** By gateway and partition. */
function* tenantsOf(plan: Plan): Steps<ReadonlyMap<string, Tenant>> {
  const tenants = new Map<string, Tenant>();
  for (const gateway of plan.gateways) {
    if (gateway.bigip === null) continue;
    const { partition } = gateway.bigip;
    const content = tenantOf(renderAs3(plan, gateway).declaration, partition);
    invariant(content !== undefined, 'a declaration has the tenant that it is for');
    tenants.set(`${gateway.name} ${partition}`, { gateway: gateway.name, partition, content });
    yield;
  }
  return tenants;
}

function describeTenantChange(before: Tenant | undefined, after: Tenant | undefined): string[] {
  const { gateway, partition } = (after ?? before)!;
  const place = `BIG-IP ${gateway}, partition ${partition}`;
  if (before === undefined || after === undefined) return [`${after === undefined ? '-' : '+'} ${place}, by AS3`];
  const groups = describeRecords(before, after);
  if (sameStructure(before.content, after.content)) return groups.length === 0 ? [] : [`~ ${place}, by data groups alone: ${groups.join('; ')}`];
  return [`~ ${place}, by AS3: ${[boundedList(describeObjects(before, after)), ...groups].join('; ')}`];
}

function describeObjects(before: Tenant, after: Tenant): string[] {
  const [old, now] = [new Map(objectsIn(before.content, before.partition)), new Map(objectsIn(after.content, after.partition))];
  return sortedUnique([...old.keys(), ...now.keys()]).flatMap((path) => {
    const [was, is] = [old.get(path), now.get(path)];
    if (was !== undefined && is !== undefined) return sameStructure(was, is) ? [] : [`~${path}`];
    return [`${is === undefined ? '-' : '+'}${path}`];
  });
}

/** But for the settings, which have the revision. */
function describeRecords(before: Tenant, after: Tenant): string[] {
  const old = dataGroupsIn(before.content, before.partition);
  return [...dataGroupsIn(after.content, after.partition)].flatMap(([path, records]) => {
    const name = path.slice(path.lastIndexOf('/') + 1);
    const { added, modified, deleted } = recordChanges(old.get(path) ?? [], records);
    const counts = [...count(added, 'added'), ...count(modified, 'changed'), ...count(deleted, 'removed')];
    return name === fixedNames.settings || counts.length === 0 ? [] : [`${name} ${counts.join(', ')}`];
  });
}

const count = ({ length }: readonly unknown[], done: string): string[] => (length === 0 ? [] : [`${length} ${done}`]);
