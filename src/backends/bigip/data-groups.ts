/**
 * The data groups that the iRule decides by: all that a change of policy changes. Each is internal, its keys and values are text.
 *
 *     services   SNI | listener:ADDRESS:PORT           SERVICE-PORT-ID /PARTITION/shared/POOL
 *     grants     SERVICE-PORT-ID NAMESPACE[/ACCOUNT]   /PARTITION/shared/SNAT-POOL POLICY[,POLICY...]
 *                                                      - POLICY[,POLICY...] REASON
 *     revoked    serial number, lower-case hexadecimal - SPIFFE-ID
 *     settings   revision | trust-domain | gateway     text
 *
 * `-` stands where somebody is refused: in the place of a pool or SNAT pool that there is not, and before whose certificate is revoked.
 *
 * A service account's grant holds what its namespace is granted (`Grant`), so whoever looks up the account first and its namespace
 * second decides as `decide` does. A grant that cannot be served stays in `grants`, refused: were it missing, its namespace's would count.
 *
 * Source: docs/decisions/0800; "ltm data-group internal" of the tmsh reference, and `class` of the iRules reference.
 */
import { boundedList, byText } from '../../core/order.ts';
import type { Condition } from '../../core/plan/condition.ts';
import type { DenyReason, Grant, Plan, PlannedGateway, ServicePort, ServicePortId, Subject } from '../../core/plan/plan.ts';
import type { RevokedCertificate } from '../../core/revoked-certificate.ts';
import { departuresOf, type Departures } from './departure.ts';
import { listenerKey, namesakes, pathOf, poolName, snatPoolName } from './names.ts';
import { hasFtpProfile } from './profiles.ts';

/** As AS3 and the REST API have it. */
export interface DataGroupRecord {
  readonly key: string;
  readonly value: string;
}

/** Records are sorted by key. */
export interface DataGroups {
  readonly services: readonly DataGroupRecord[];
  readonly grants: readonly DataGroupRecord[];
  readonly revoked: readonly DataGroupRecord[];
  readonly settings: readonly DataGroupRecord[];
}

const refused = '-';
/** Whether a record with this value refuses somebody. */
export const isRefusal = (value: string): boolean => value.startsWith(`${refused} `) || value.endsWith(` ${refused}`);

/** A service port, and how it is left. */
export interface ServedPort {
  readonly servicePort: ServicePort;
  readonly departures: Departures;
  /** Name of its pool; null where another's would have the same, and both are refused. */
  readonly pool: string | null;
}

/** Of the service ports that a gateway serves (`servedPorts`), for the partition that it is told (`BigipSettings`). */
export function dataGroupsOf({ revision, trustDomain }: Pick<Plan, 'revision' | 'trustDomain'>, { name }: Pick<PlannedGateway, 'name'>, partition: string, served: readonly ServedPort[], revoked: readonly RevokedCertificate[]): DataGroups {
  const records = served.map((each) => recordsOf(each, partition));
  return {
    services: sorted(records.flatMap(({ services }) => services)),
    grants: records.flatMap(({ grants }) => grants), // sorted as the service ports are: an id has nothing that comes before a space
    revoked: sorted(revoked.map(({ serialNumber, spiffeId }) => ({ key: serialNumber, value: `${refused} ${spiffeId}` }))),
    settings: [
      { key: 'gateway', value: name },
      { key: 'revision', value: revision },
      { key: 'trust-domain', value: trustDomain },
    ],
  };
}

interface PortRecords extends Pick<DataGroups, 'services' | 'grants'> {
  readonly partition: string;
}

const remembered = new WeakMap<ServedPort, PortRecords>();

/** Costs next to nothing for a service port whose records were made before. */
function recordsOf(served: ServedPort, partition: string): PortRecords {
  const known = remembered.get(served);
  if (known?.partition === partition) return known;
  const { servicePort, departures } = served;
  const records = { partition, services: serviceRecords(served, partition), grants: sorted(servicePort.grants.map((grant) => grantRecord(servicePort, grant, departures, partition))) };
  remembered.set(served, records);
  return records;
}

/** At the gateway's listeners it is found by SNI; at its own it needs none. What has the FTP profile is at its own only: elsewhere its data connections would go past the gateway. */
function serviceRecords({ servicePort, pool }: ServedPort, partition: string): readonly DataGroupRecord[] {
  const { id, serverNames, listen } = servicePort;
  const keys = [...(hasFtpProfile(servicePort) ? [] : serverNames), ...(listen === null ? [] : [listenerKey(listen)])];
  return keys.map((key) => ({ key, value: `${id} ${pool === null ? refused : pathOf(partition, pool)}` }));
}

function grantRecord({ id }: ServicePort, grant: Grant, { sources, mismatched }: Departures, partition: string): DataGroupRecord {
  const source = sources.get(grant);
  const policies = grant.policies.join(',');
  const reason: DenyReason = mismatched.has(grant) ? 'snat-family-mismatch' : 'no-snat-binding';
  return { key: `${id} ${subjectKey(grant.subject)}`, value: source === undefined ? `${refused} ${policies} ${reason}` : `${pathOf(partition, snatPoolName(source))} ${policies}` };
}

const subjectKey = ({ namespace, serviceAccount }: Subject): string => (serviceAccount === undefined ? namespace : `${namespace}/${serviceAccount}`);

const sorted = (records: readonly DataGroupRecord[]): readonly DataGroupRecord[] => records.toSorted((a, b) => byText(a.key, b.key));

/** The service ports of a gateway by id, each with how it is left, and what of them is refused. */
export function servedPorts({ servicePorts }: Pick<Plan, 'servicePorts'>, { name }: Pick<PlannedGateway, 'name'>, nameOf: (servicePort: ServicePort) => string = poolName) {
  const own = servicePorts.filter(({ gateway }) => gateway === name).toSorted((a, b) => byText(a.id, b.id));
  const shared = namesakes(own, nameOf);
  const nameless = new Set(shared.flat());
  const served = own.map((servicePort) => servedPort(servicePort, nameless.has(servicePort.id) ? null : nameOf(servicePort)));
  const conditions: readonly Condition[] = [...served.flatMap(({ departures }) => departures.conditions), ...shared.flatMap(nameConditions)];
  return { served, conditions };
}

const servedBefore = new WeakMap<ServicePort, ServedPort>();

/** The same object for as long as the service port is the same, so that what was rendered of it is found again. */
function servedPort(servicePort: ServicePort, pool: string | null): ServedPort {
  const known = servedBefore.get(servicePort);
  if (known?.pool === pool) return known;
  const served = { servicePort, departures: departuresOf(servicePort), pool };
  servedBefore.set(servicePort, served);
  return served;
}

const nameConditions = (ids: readonly ServicePortId[]): readonly Condition[] => ids.map((object) => ({ code: 'name-taken', object, message: `on a BIG-IP it would have the same name as ${boundedList(ids.filter((id) => id !== object))}`, hint: 'give one of them another name' }));
