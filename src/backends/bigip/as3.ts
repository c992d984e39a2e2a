/**
 * The plan as an AS3 declaration: one tenant, the gateway's partition, with one application that holds everything. What a change of
 * policy changes stands in its data groups (data-groups.ts), all else changes with services, addresses and limits.
 *
 * Source: docs/decisions/0800; the AS3 schema reference (clouddocs.f5.com, "Schema Reference"), version 3.49 of which is the first to
 * have every property here.
 */
import { invariant } from '../../core/errors.ts';
import type { Condition } from '../../core/plan/condition.ts';
import type { Plan, PlannedGateway } from '../../core/plan/plan.ts';
import type { RevokedCertificate } from '../../core/revoked-certificate.ts';
import type { As3Object, As3Objects, Json } from './as3-object.ts';
import { dataGroupsOf, servedPorts, type DataGroupRecord } from './data-groups.ts';
import { identityObjects, importedIdentity, type BoxIdentity } from './identity.ts';
import { iruleText } from './irule-text.ts';
import { application, fixedNames } from './names.ts';
import { logObjects, serverPools, snatPools } from './pools.ts';
import { hasFtpProfile, profileObjects } from './profiles.ts';
import { virtualServers } from './virtual-servers.ts';

/** Class ADC: what AS3 is sent. */
export interface As3Declaration {
  readonly class: 'ADC';
  readonly [property: string]: Json;
}

export interface RenderedDeclaration {
  readonly declaration: As3Declaration;
  /** What of the plan is refused, since a BIG-IP cannot do it exactly. */
  readonly conditions: readonly Condition[];
}

const schemaVersion = '3.49.0';

/** What is in no plan. */
export interface As3Options {
  /** Default: files on the box, `importedIdentity`. */
  readonly identity?: BoxIdentity;
  /** Certificates that are not to be accepted though they are valid. Default: none is known. */
  readonly revoked?: readonly RevokedCertificate[];
}

/**
 * Renders a gateway of class `bigip`. Pure, and the same for the same plan in whatever order; its revision is the declaration's remark and in the data group
 * `settings`.
 */
export function renderAs3(plan: Plan, gateway: PlannedGateway, { identity = importedIdentity(gateway), revoked: certificates = [] }: As3Options = {}): RenderedDeclaration {
  invariant(gateway.bigip !== null, 'a gateway of class bigip has its settings');
  const { partition, logTo } = gateway.bigip;
  const { served, conditions } = servedPorts(plan, gateway);
  const { services, grants, revoked, settings } = dataGroupsOf(plan, gateway, partition, served, certificates);
  const objects: As3Objects = {
    ...identityObjects(identity),
    ...profileObjects(gateway, served.some(({ servicePort }) => hasFtpProfile(servicePort))),
    [fixedNames.iRule]: { class: 'iRule', expand: false, iRule: iruleText({ partition, logs: logTo.length > 0 }) },
    ...logObjects(logTo),
    ...virtualServers(gateway, served),
    ...serverPools(served),
    ...snatPools(served, gateway.limits),
    [fixedNames.services]: dataGroup(services),
    [fixedNames.grants]: dataGroup(grants),
    [fixedNames.revoked]: dataGroup(revoked),
    [fixedNames.settings]: dataGroup(settings),
  };
  return {
    declaration: {
      class: 'ADC',
      schemaVersion,
      id: gateway.name,
      remark: plan.revision,
      updateMode: 'selective', // of other tenants it says nothing
      [partition]: { class: 'Tenant', [application]: { class: 'Application', template: 'generic', ...objects } },
    },
    conditions,
  };
}

const dataGroup = (records: readonly DataGroupRecord[]): As3Object => ({ class: 'Data_Group', keyDataType: 'string', records: records.map(({ key, value }) => ({ key, value })) });
