/**
 * The list as access lists of a Cisco ASA, one for what gateways open and one for what services open, since those come in at different
 * interfaces. "Cisco ASA Series Firewall CLI Configuration Guide", Access Control Lists; unified for IPv4 and IPv6 since 9.0.
 */
import { sortedUnique } from '../../core/order.ts';
import { describeNeeds, familyOf, ipVersion, type AllowedFlow, type AllowList, type Direction, type End } from './allow-list.ts';
import { objectName } from './object-names.ts';

const remarkCharactersMax = 100;
const accessLists: Readonly<Record<Direction, string>> = { out: 'SALLYPORT-OUT', in: 'SALLYPORT-IN' };

export function renderCiscoAsa({ revision, flows }: AllowList): string {
  const names = sortedUnique(flows.flatMap((flow) => namedEnds(flow)));
  const objects = names.flatMap((text) => {
    const [version, host] = text.split(' ') as [string, string];
    return [`object network ${objectName(text.replace(' ', '-'))}`, ` fqdn ${version} ${host}`];
  });
  const entries = flows.flatMap((flow) => {
    const list = accessLists[flow.direction];
    return [`access-list ${list} remark ${describeNeeds(flow.needs).slice(0, remarkCharactersMax)}`, `access-list ${list} extended permit ${flow.transport} ${endOf(flow.source, flow)} ${endOf(flow.destination, flow)}`];
  });
  return [`! Sallyport, revision ${revision}`, ...objects, ...entries, ''].join('\n');
}

function endOf({ host, ports: { first, last } }: End, flow: AllowedFlow): string {
  const where = ipVersion(host) === 0 ? `object ${objectName(`${versionOf(flow)}-${host}`)}` : `host ${host}`;
  if (first === 1 && last === 65_535) return where;
  return `${where} ${first === last ? `eq ${first}` : `range ${first} ${last}`}`;
}

const versionOf = (flow: AllowedFlow): 'v4' | 'v6' => `v${familyOf(flow)}`;

function namedEnds(flow: AllowedFlow): readonly string[] {
  return [flow.source, flow.destination].flatMap(({ host }) => (ipVersion(host) === 0 ? [`${versionOf(flow)} ${host}`] : []));
}
