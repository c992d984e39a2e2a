/**
 * The list as objects of FortiOS: addresses and services. Policies are between interfaces, which only the firewall's owner knows: what each has to
 * say stands as a comment. FortiOS CLI reference, `firewall address`, `firewall address6`, `firewall service custom`.
 */
import { sortedUnique } from '../../core/order.ts';
import { describeNeeds, describePorts, familyOf, ipVersion, type AllowedFlow, type AllowList } from './allow-list.ts';
import { objectName, serviceName, servicesOf } from './object-names.ts';

export function renderFortiOs({ revision, flows }: AllowList): string {
  return [
    `# Sallyport, revision ${revision}`,
    ...configOf('firewall address', hostsOf(flows, 4).map((host) => [objectName(host), ipVersion(host) === 0 ? ['set type fqdn', `set fqdn "${host}"`] : [`set subnet ${host} 255.255.255.255`]])),
    ...configOf('firewall address6', hostsOf(flows, 6).map((host) => [objectName(host), ipVersion(host) === 0 ? ['set type fqdn', `set fqdn "${host}"`] : [`set ip6 ${host}/128`]])),
    ...configOf('firewall service custom', servicesOf(flows).map(([name, { transport, source, destination }]) => [name, [`set ${transport}-portrange ${describePorts(destination.ports)}:${describePorts(source.ports)}`]])),
    ...flows.map((flow) => `# policy: srcaddr "${objectName(flow.source.host)}" dstaddr "${objectName(flow.destination.host)}" service "${serviceName(flow)}" action accept: ${describeNeeds(flow.needs)}`),
    '',
  ].join('\n');
}

function configOf(path: string, objects: readonly (readonly [name: string, settings: readonly string[]])[]): readonly string[] {
  if (objects.length === 0) return [];
  return [`config ${path}`, ...objects.flatMap(([name, settings]) => [`    edit "${name}"`, ...settings.map((setting) => `        ${setting}`), '    next']), 'end'];
}

/** Addresses, and names in the family of the other end. */
function hostsOf(flows: readonly AllowedFlow[], family: 4 | 6): readonly string[] {
  return sortedUnique(flows.filter((flow) => familyOf(flow) === family).flatMap(({ source, destination }) => [source.host, destination.host]));
}
