/** The elements of the table's sets: whom and what its chains ask. */
import { familyOf, type IpAddress } from '../../core/ip-address.ts';
import type { PortRange, ServicePort, SnatSource } from '../../core/plan/plan.ts';
import { sidesOf, sidesWithPort } from '../../core/snat/snat-source.ts';
import { destinationKey, destinationsOf, type Access, type Admission } from './admissions.ts';
import { refusalVerdict } from './chains.ts';
import { assignMarks } from './marks.ts';
import { setNames, suffix, type Elements, type SetName } from './table.ts';
import type { AddressedIdentity } from './workloads.ts';

export interface MarkedGrant {
  readonly servicePort: ServicePort['id'];
  /** `NAMESPACE/SERVICEACCOUNT`. */
  readonly identity: string;
  readonly snat: SnatSource;
}

export interface MarkedElements {
  readonly elements: Elements;
  /** Whose connections have a mark. */
  readonly grants: ReadonlyMap<number, MarkedGrant>;
}

/** Of a comment in nftables, with the zero at its end. */
const commentBytesMax = 128;

/**
 * @param served by the gateway, sorted
 * @param access to them (`accessOf`)
 */
export function elementsOf(served: readonly ServicePort[], identities: readonly AddressedIdentity[], access: readonly Access[]): MarkedElements {
  const admissions = new Map(access.flatMap(({ destinations }) => destinations.flatMap(({ outcome }) => (typeof outcome === 'string' ? [] : [[admissionKey(outcome), outcome] as const]))));
  const marks = assignMarks([...identities.map(({ name }) => name), ...admissions.keys()]);
  const sets = Object.fromEntries(setNames.map((name) => [name, new Map<string, string>()])) as Record<SetName, Map<string, string>>;
  const markOf = (key: string): string => String(marks.get(key)!);

  for (const { name, addresses } of identities) {
    for (const address of [...addresses.ipv4, ...addresses.ipv6]) sets[`identities${suffixOf(address)}`].set(address, markOf(name));
  }
  for (const servicePort of served) {
    for (const { snat } of servicePort.grants) for (const { address } of sidesOf(snat)) sets[`addresses${suffixOf(address)}`].set(address, '');
    if (servicePort.protocol === 'Reverse') continue;
    for (const destination of destinationsOf(servicePort)) sets[`services${suffix[destination.family]}`].set(destinationKey(destination), '');
  }
  for (const { identity, servicePort, destinations } of access) {
    for (const { destination, outcome } of destinations) {
      if (servicePort.protocol === 'Reverse') {
        if (typeof outcome !== 'string') addReverse(sets, destination.address, outcome, markOf(admissionKey(outcome)));
        continue;
      }
      const key = `${markOf(identity.name)} . ${destinationKey(destination)}`;
      const [allowed, refused] = [sets[`access${suffix[destination.family]}`], sets[`refusals${suffix[destination.family]}`]];
      if (allowed.has(key)) continue; // by a service before this one, at the same address and port
      if (typeof outcome === 'string') {
        if (!refused.has(key)) refused.set(key, refusalVerdict(outcome));
      } else {
        refused.delete(key);
        allowed.set(key, markOf(admissionKey(outcome)));
      }
    }
  }
  for (const [key, { identity, servicePort, snat }] of admissions) {
    const mark = markOf(key);
    sets.grants.set(mark, `${servicePort.id} ${identity.name}`.slice(0, commentBytesMax - 1));
    if (servicePort.protocol === 'FTP') sets.ftp.set(mark, '');
    for (const { address, ports } of sidesOf(snat)) {
      sets[`sources${suffixOf(address)}`].set(mark, familyOf(address) === 'ipv4' ? `${address} . ${portsText(ports)}` : address);
      for (const workload of identity.addresses[familyOf(address)]) sets[`live${suffixOf(address)}`].set(`${workload} . ${mark}`, '');
    }
  }
  const grants = new Map([...admissions].map(([key, { identity, servicePort, snat }]) => [marks.get(key)!, { servicePort: servicePort.id, identity: identity.name, snat }]));
  return { elements: sets, grants };
}

/** A connection from one source address is not one from another: a binding that changes ends those of before. */
function admissionKey({ identity, servicePort, snat }: Admission): string {
  return `${identity.name} ${servicePort.id} ${servicePort.protocol} ${sidesOf(snat).map(({ address, ports }) => `${address}:${portsText(ports)}`).join(' ')}`;
}

/** What the service opens at the SNAT address is for the workload with the first address: a map leads to one. */
function addReverse(sets: Record<SetName, Map<string, string>>, service: IpAddress, { identity, servicePort, snat }: Admission, mark: string): void {
  for (const { address } of sidesWithPort(snat, servicePort.port)) {
    const workload = identity.addresses[familyOf(address)][0];
    const key = `${service} . ${address} . ${servicePort.port}`;
    if (familyOf(service) !== familyOf(address) || workload === undefined || sets[`reverse${suffixOf(address)}`].has(key)) continue;
    sets[`reverse${suffixOf(address)}`].set(key, `${workload} . ${servicePort.agentListen.port}`);
    sets[`reverse_grants${suffixOf(address)}`].set(key, mark);
  }
}

const suffixOf = (address: IpAddress) => suffix[familyOf(address)];

const portsText = ({ first, last }: PortRange): string => (first === last ? String(first) : `${first}-${last}`);
