/** The list as commands of PAN-OS in configuration mode: objects, and a rule a flow, which the firewall's owner moves to where it belongs and commits. */
import { sortedUnique } from '../../core/order.ts';
import { describeNeeds, describePorts, flowKey, ipVersion, type AllowList } from './allow-list.ts';
import { objectName, serviceName, servicesOf, shortHash } from './object-names.ts';

const descriptionCharactersMax = 1_023;

export function renderPanOs({ revision, flows }: AllowList): string {
  const hosts = sortedUnique(flows.flatMap(({ source, destination }) => [source.host, destination.host]));
  return [
    `# Sallyport, revision ${revision}`,
    ...hosts.map((host) => `set address ${objectName(host)} ${ipVersion(host) === 0 ? `fqdn ${host}` : `ip-netmask ${host}/${ipVersion(host) === 4 ? 32 : 128}`}`),
    ...servicesOf(flows).map(([name, { transport, source, destination }]) => `set service ${name} protocol ${transport} port ${describePorts(destination.ports)} source-port ${describePorts(source.ports)}`),
    ...flows.flatMap((flow) => {
      const rule = `set rulebase security rules sallyport-${shortHash(flowKey(flow))}`;
      return [
        `${rule} from any to any source ${objectName(flow.source.host)} destination ${objectName(flow.destination.host)} application any service ${serviceName(flow)} action allow`,
        `${rule} description "${describeNeeds(flow.needs).slice(0, descriptionCharactersMax)}"`,
      ];
    }),
    '',
  ].join('\n');
}
