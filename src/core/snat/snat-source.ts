/** The sides of a SnatSource: one address per family at most, each with the source ports that are its holder's. */
import type { IpAddress } from '../ip-address.ts';
import type { PortRange, SnatSource } from '../plan/plan.ts';

export interface SnatAddress {
  readonly address: IpAddress;
  readonly ports: PortRange;
}

/** IPv4 first; none where nobody has an address. */
export function sidesOf(source: SnatSource | null): readonly SnatAddress[] {
  return [source?.ipv4, source?.ipv6].filter((side) => side !== undefined);
}

/** Those of whose ports this is one: at the others it is somebody else's. */
export function sidesWithPort(source: SnatSource | null, port: number): readonly SnatAddress[] {
  return sidesOf(source).filter(({ ports }) => ports.first <= port && port <= ports.last);
}
