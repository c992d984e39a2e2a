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

/** Sets as they are filled, and the mark of an identity or an admission (`admissionKey`), as text. */
interface Draft {
  readonly sets: Readonly<Record<SetName, Map<string, string>>>;
  readonly markOf: (key: string) => string;
}

/**
 * @param served by the gateway, sorted
 * @param access to them (`accessOf`)
 */
export function elementsOf(served: readonly ServicePort[], identities: readonly AddressedIdentity[], access: readonly Access[]): MarkedElements {
  const admissions = new Map(access.flatMap(({ destinations }) => destinations.flatMap(({ outcome }) => (typeof outcome === 'string' ? [] : [[admissionKey(outcome), outcome] as const]))));
  const marks = assignMarks([...identities.map(({ name }) => name), ...admissions.keys()]);
  const sets = Object.fromEntries(setNames.map((name) => [name, new Map<string, string>()])) as Draft['sets'];
  const draft: Draft = { sets, markOf: (key) => String(marks.get(key)!) };
  for (const identity of identities) addIdentity(draft, identity);
  for (const servicePort of served) addService(draft, servicePort);
  for (const each of access) {
    if (each.servicePort.protocol === 'Reverse') addReverse(draft, each);
    else addAccess(draft, each);
  }
  for (const admission of admissions.values()) addAdmission(draft, admission);
  const grants = new Map([...admissions].map(([key, { identity, servicePort, snat }]) => [marks.get(key)!, { servicePort: servicePort.id, identity: identity.name, snat }]));
  return { elements: sets, grants };
}

function addIdentity({ sets, markOf }: Draft, { name, addresses }: AddressedIdentity): void {
  for (const address of [...addresses.ipv4, ...addresses.ipv6]) sets[`identities${suffixOf(address)}`].set(address, markOf(name));
}

function addService({ sets }: Draft, servicePort: ServicePort): void {
  for (const { address } of servicePort.grants.flatMap(({ snat }) => sidesOf(snat))) sets[`addresses${suffixOf(address)}`].set(address, '');
  if (servicePort.protocol === 'Reverse') return;
  for (const destination of destinationsOf(servicePort)) sets[`services${suffix[destination.family]}`].set(destinationKey(destination), '');
}

/** Where two services are one address and port, the first that allows it is meant; else the first. */
function addAccess({ sets, markOf }: Draft, { identity, destinations }: Access): void {
  for (const { destination, outcome } of destinations) {
    const key = `${markOf(identity.name)} . ${destinationKey(destination)}`;
    const [allowed, refused] = [sets[`access${suffix[destination.family]}`], sets[`refusals${suffix[destination.family]}`]];
    if (allowed.has(key)) continue;
    if (typeof outcome === 'string') {
      if (!refused.has(key)) refused.set(key, refusalVerdict(outcome));
    } else {
      refused.delete(key);
      allowed.set(key, markOf(admissionKey(outcome)));
    }
  }
}

/** What the service opens at the SNAT address is for the workload with the first address: a map leads to one. */
function addReverse({ sets, markOf }: Draft, { identity, servicePort, destinations }: Access): void {
  for (const { destination: { address: service, family }, outcome } of destinations) {
    if (typeof outcome === 'string') continue;
    const own = sidesWithPort(outcome.snat, servicePort.port).find(({ address }) => familyOf(address) === family);
    const workload = identity.addresses[family][0];
    const key = `${service} . ${own?.address ?? ''} . ${servicePort.port}`;
    if (own === undefined || workload === undefined || sets[`reverse${suffix[family]}`].has(key)) continue;
    sets[`reverse${suffix[family]}`].set(key, `${workload} . ${servicePort.agentListen.port}`);
    sets[`reverse_grants${suffix[family]}`].set(key, markOf(admissionKey(outcome)));
  }
}

function addAdmission({ sets, markOf }: Draft, admission: Admission): void {
  const { identity, servicePort, snat } = admission;
  const mark = markOf(admissionKey(admission));
  const services = destinationsOf(servicePort);
  sets.grants.set(mark, `${servicePort.id} ${identity.name}`.slice(0, commentBytesMax - 1));
  if (servicePort.protocol === 'FTP') sets.ftp.set(mark, '');
  for (const { address, ports } of sidesOf(snat)) {
    sets[`sources${suffixOf(address)}`].set(mark, familyOf(address) === 'ipv4' ? `${address} . ${portsText(ports)}` : address);
    for (const workload of identity.addresses[familyOf(address)]) {
      for (const service of services) if (service.family === familyOf(address)) sets[`live${suffixOf(address)}`].set(`${workload} . ${mark} . ${service.address}`, '');
    }
  }
}

/** A connection from one source address is not one from another: a binding that changes ends those of before. */
function admissionKey({ identity, servicePort, snat }: Admission): string {
  return `${identity.name} ${servicePort.id} ${servicePort.protocol} ${sidesOf(snat).map(({ address, ports }) => `${address}:${portsText(ports)}`).join(' ')}`;
}

const suffixOf = (address: IpAddress) => suffix[familyOf(address)];

const portsText = ({ first, last }: PortRange): string => (first === last ? String(first) : `${first}-${last}`);
