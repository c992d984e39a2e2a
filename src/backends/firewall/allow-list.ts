/**
 * What a firewall behind the gateways has to let through for a plan, and why: each line a connection as it is seen there, from the SNAT
 * address of an identity to a service, or back where the service connects. Deterministic; a line that several grants need is one.
 */
import { familyOf as familyOfAddress, formatAddress, parseAddress } from '../../core/ip-address.ts';
import { byText, sortedUnique } from '../../core/order.ts';
import type { Plan, PortRange, Revision, ServicePort, SnatSource, Subject, Target } from '../../core/plan/plan.ts';

/** `out`: opened by the gateway. `in`: opened by the service, towards the SNAT address. */
export type Direction = 'out' | 'in';

/** An end of a connection. Ports are inclusive. */
export interface End {
  /** An address, or for a service a host name, whose addresses are whatever DNS says. */
  readonly host: string;
  readonly ports: PortRange;
}

/** Why a line is there. */
export interface Need {
  /** Of the service port. */
  readonly service: string;
  /** What the connection carries. */
  readonly use: 'service' | 'ftp-data' | 'reverse';
  /** `NAMESPACE` or `NAMESPACE/SERVICEACCOUNT`. */
  readonly subject: string;
  /** `namespace/name` of every EgressPolicy that gives it. */
  readonly policies: readonly string[];
  /** `namespace/name` of the SnatBinding that decides the address. */
  readonly binding: string;
}

export interface AllowedFlow {
  readonly direction: Direction;
  readonly transport: 'tcp' | 'udp';
  /** Who opens it, and to whom. */
  readonly source: End;
  readonly destination: End;
  /** Sorted, at least one. */
  readonly needs: readonly Need[];
}

export interface AllowList {
  /** Of the plan. */
  readonly revision: Revision;
  /** Sorted by `flowKey`. */
  readonly flows: readonly AllowedFlow[];
}

type Flow = Omit<AllowedFlow, 'needs'>;

const anyPort: PortRange = { first: 1, last: 65_535 };
/** What a server may name in answer to PASV; a firewall that reads FTP needs no such line. */
const passivePorts: PortRange = { first: 1_024, last: 65_535 };

export function allowList({ revision, servicePorts }: Pick<Plan, 'revision' | 'servicePorts'>): AllowList {
  const flows = new Map<string, { readonly flow: Flow; readonly needs: Map<string, Need> }>();
  for (const servicePort of servicePorts) {
    if (servicePort.gateway === '') continue; // everyone is refused
    for (const { subject, policies, snat, binding } of servicePort.grants) {
      if (snat === null || binding === null) continue; // refused for want of an address
      for (const [use, flow] of flowsOf(servicePort, snat)) {
        const key = flowKey(flow);
        const line = flows.get(key) ?? { flow, needs: new Map<string, Need>() };
        const need: Need = { service: servicePort.id, use, subject: nameOf(subject), policies, binding };
        line.needs.set(needKey(need), need);
        flows.set(key, line);
      }
    }
  }
  return {
    revision,
    flows: [...flows]
      .sort(([a], [b]) => byText(a, b))
      .map(([, { flow, needs }]) => ({ ...flow, needs: [...needs].sort(([a], [b]) => byText(a, b)).map(([, need]) => need) })),
  };
}

/** What makes a flow itself, whoever needs it: `out tcp 10.4.0.11:1024-65535 10.4.0.201:3128`. */
export function flowKey({ direction, transport, source, destination }: Flow): string {
  return [direction, transport, describeEnd(source), describeEnd(destination)].join(' ');
}

export function describeEnd({ host, ports }: End): string {
  return `${formatAddress(host)}:${describePorts(ports)}`;
}

/** Of its addresses; a name has those of the family of the other end. */
export function familyOf({ source, destination }: Flow): 4 | 6 {
  return source.host.includes(':') || destination.host.includes(':') ? 6 : 4;
}

/** 4 or 6 for an address, 0 for a name. */
export function ipVersion(host: string): 0 | 4 | 6 {
  const address = parseAddress(host);
  return address === undefined ? 0 : familyOfAddress(address) === 'ipv4' ? 4 : 6;
}

/** Whether an end is a name, so that its addresses are whatever DNS says. */
export function isByName({ source, destination }: Flow): boolean {
  return ipVersion(source.host) === 0 || ipVersion(destination.host) === 0;
}

/** Whether whatever the one lets through the other does too. */
function covers(wide: Flow, narrow: Flow): boolean {
  const holds = (outer: PortRange, inner: PortRange): boolean => outer.first <= inner.first && inner.last <= outer.last;
  return wide !== narrow && wide.direction === narrow.direction && wide.transport === narrow.transport && wide.source.host === narrow.source.host && wide.destination.host === narrow.destination.host && holds(wide.source.ports, narrow.source.ports) && holds(wide.destination.ports, narrow.destination.ports);
}

/** Without those that others let through anyway, as a list of passive ports does the service beside it: sets of intervals hold each point once. */
export function withoutCovered(flows: readonly AllowedFlow[]): readonly AllowedFlow[] {
  const between = Map.groupBy(flows, ({ source, destination }) => `${source.host} ${destination.host}`);
  return flows.filter((flow) => !between.get(`${flow.source.host} ${flow.destination.host}`)!.some((other) => covers(other, flow)));
}

export function describePorts({ first, last }: PortRange): string {
  return first === last ? String(first) : `${first}-${last}`;
}

function* flowsOf({ protocol, targets, ftp, port }: ServicePort, snat: SnatSource): Generator<readonly [Need['use'], Flow]> {
  for (const target of targets) {
    const remote = target.kind === 'address' ? target.address : target.host;
    for (const { address, ports } of sourcesFor(target, snat)) {
      const own: End = { host: address, ports };
      if (protocol === 'Reverse') {
        if (port < ports.first || port > ports.last) continue; // that of another, who shares the address
        yield ['reverse', { direction: 'in', transport: 'tcp', source: { host: remote, ports: anyPort }, destination: { host: address, ports: only(port) } }];
        continue;
      }
      yield ['service', { direction: 'out', transport: protocol === 'UDP' ? 'udp' : 'tcp', source: own, destination: { host: remote, ports: only(target.port) } }];
      if (ftp === null) continue;
      if (ftp.dataMode === 'Active') yield ['ftp-data', { direction: 'in', transport: 'tcp', source: { host: remote, ports: anyPort }, destination: own }];
      else yield ['ftp-data', { direction: 'out', transport: 'tcp', source: own, destination: { host: remote, ports: passivePorts } }];
    }
  }
}

/** A target by its address is reached from the address of its family; a host may have either. */
function sourcesFor(target: Target, { ipv4, ipv6 }: SnatSource): readonly NonNullable<SnatSource['ipv4']>[] {
  const sources = target.kind === 'host' ? [ipv4, ipv6] : [target.address.includes(':') ? ipv6 : ipv4];
  return sources.filter((source) => source !== undefined);
}

const only = (port: number): PortRange => ({ first: port, last: port });

const nameOf = ({ namespace, serviceAccount }: Subject): string => (serviceAccount === undefined ? namespace : `${namespace}/${serviceAccount}`);

const needKey = ({ service, use, subject, policies, binding }: Need): string => [service, use, subject, binding, ...policies].join(' ');

/** One line for people: which services, for whom, by which policies. */
export function describeNeeds(needs: readonly Need[]): string {
  const all = (values: readonly string[]): string => sortedUnique(values).join(', ');
  const uses = sortedUnique(needs.map(({ use }) => use)).filter((use) => use !== 'service');
  return [
    all(needs.map(({ service }) => service)) + (uses.length === 0 ? '' : ` (${uses.join(', ')})`),
    `for ${all(needs.map(({ subject }) => subject))}`,
    `by ${all(needs.flatMap(({ policies }) => policies))}`,
    `from ${all(needs.map(({ binding }) => binding))}`,
  ].join(' ');
}
