/** What only shows when service ports stand side by side: names, listeners and identities that two of them claim. */
import { keyOf, type DesiredState } from '../desired-state.ts';
import type { ObjectRef } from '../errors.ts';
import { isUnspecified } from '../ip-address.ts';
import { transportOf, type Kind } from '../objects/index.ts';
import type { Ground, PlanFault } from '../plan-fault.ts';
import { groundsOfGrant } from './grants.ts';
import type { Endpoint, Grant, PlannedGateway, ServicePort } from './plan.ts';
import { sidesWithPort } from '../snat/snat-source.ts';
import { nameOfSubject } from './subjects.ts';

type Services = DesiredState['ExternalService'];

function refOfService({ service }: ServicePort): ObjectRef {
  return { kind: 'ExternalService', ...service };
}

function refOfGateway({ name }: PlannedGateway): ObjectRef {
  return { kind: 'EgressGateway', namespace: '', name };
}

/** What decides where a port is served: the gateways there are and, since not every class can limit CONNECT, who may name what there. */
function groundsOfPlace({ protocol }: ServicePort): readonly Ground[] {
  const kinds: readonly Kind[] = protocol === 'HTTPConnect' ? ['EgressGateway', 'EgressPolicy', 'Namespace', 'Service'] : ['EgressGateway'];
  return kinds.map((kind) => ({ kind }));
}

function describeEndpoint({ address, port }: Endpoint): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}

/** Connections are handed over to a gateway that can serve whatever comes, and by one that may meet what it cannot. */
export function handOverFaults(gateways: readonly PlannedGateway[]): PlanFault[] {
  const byName = new Map(gateways.map((gateway) => [gateway.name, gateway]));
  return gateways.flatMap((gateway): PlanFault[] => {
    if (gateway.handOver === null) return [];
    const place = { object: refOfGateway(gateway), path: ['spec', 'handOver'], restsOn: [{ kind: 'EgressGateway', name: gateway.handOver }] };
    if (gateway.class !== 'envoy') return [{ code: 'hand-over-invalid', message: `a gateway of class ${gateway.class} ${gateway.class === 'sallyport' ? 'serves everything itself' : 'hands nothing over'}`, hint: 'leave "handOver" out', ...place }];
    const beside = byName.get(gateway.handOver);
    if (beside?.class === 'sallyport') return [];
    const what = beside === undefined ? 'there is none' : `it is of class ${beside.class}`;
    return [{ code: 'hand-over-invalid', message: `connections are handed over to an EgressGateway of class sallyport, and of "${gateway.handOver}" ${what}`, hint: 'apply one, and name it', ...place }];
  });
}

/** Two gateways of one identity could not be told apart when they ask for their tables. */
export function gatewayConflicts(gateways: readonly PlannedGateway[]): PlanFault[] {
  const owners = new Map<string, PlannedGateway>();
  return gateways.flatMap((gateway): PlanFault[] => {
    const other = owners.get(gateway.identity);
    if (other === undefined) {
      owners.set(gateway.identity, gateway);
      return [];
    }
    return [{ code: 'gateway-identity-conflict', message: `identity "${gateway.identity}" is already that of EgressGateway ${other.name}`, hint: 'give each gateway an identity of its own', object: refOfGateway(gateway), path: ['spec', 'identity'], restsOn: [refOfGateway(other)] }];
  });
}

/** A server name chooses one service port at a gateway, and at the one that hands over to it. One fault a host, though each host stands for several server names. */
export function serverNameConflicts(servicePorts: readonly ServicePort[], services: Services): PlanFault[] {
  const gateways = new Map<string, Map<string, ServicePort>>();
  const faults = new Map<string, PlanFault>();
  for (const { servicePort, gateway } of servicePorts.flatMap((each) => placesOf(each).map((place) => ({ servicePort: each, gateway: place })))) {
    let owners = gateways.get(gateway);
    if (owners === undefined) gateways.set(gateway, (owners = new Map<string, ServicePort>()));
    for (const serverName of servicePort.serverNames) {
      const owner = owners.get(serverName);
      if (owner === undefined) {
        owners.set(serverName, servicePort);
        continue;
      }
      const host = serverName.replace(/^outbound_\.[0-9]+_\.(udp)?_\./, '');
      faults.set(`${owner.id} ${servicePort.id} ${host}`, {
        code: 'server-name-conflict',
        message: `host "${host}" already means ${owner.id} at the same gateway`,
        hint: 'make them ports of one ExternalService, or give each its own host',
        object: refOfService(servicePort),
        path: placeOfHost(services.get(keyOf(servicePort.service))?.spec, host),
        restsOn: [refOfService(owner), ...groundsOfPlace(owner), ...groundsOfPlace(servicePort)],
      });
    }
  }
  return [...faults.values()];
}

const placesOf = ({ gateway, entrance }: ServicePort): readonly string[] => (gateway === entrance ? [gateway] : [entrance, gateway]);

function placeOfHost(spec: { readonly hosts?: readonly string[] | undefined; readonly serverNames?: readonly string[] | undefined } | undefined, host: string): (string | number)[] {
  for (const field of ['serverNames', 'hosts'] as const) {
    const index = spec?.[field]?.indexOf(host) ?? -1;
    if (index !== -1) return ['spec', field, index];
  }
  return ['metadata', 'name'];
}

/** A listener of its own is one service port's, and no shared one. A wildcard address is every address. */
export function listenerConflicts(servicePorts: readonly ServicePort[], gateways: readonly PlannedGateway[], services: Services): PlanFault[] {
  const byPort = new Map<string, { readonly endpoint: Endpoint; readonly owner: string; readonly restsOn: readonly Ground[] }[]>();
  for (const gateway of gateways) {
    for (const endpoint of gateway.listen) {
      const key = `${gateway.name} ${endpoint.port}`;
      byPort.set(key, [...(byPort.get(key) ?? []), { endpoint, owner: `a shared listener of EgressGateway ${gateway.name}`, restsOn: [refOfGateway(gateway)] }]);
    }
  }
  const faults: PlanFault[] = [];
  for (const servicePort of servicePorts) {
    const { listen } = servicePort;
    if (listen === null) continue;
    const key = `${servicePort.gateway} ${listen.port}`;
    const others = byPort.get(key) ?? [];
    const rival = others.find(({ endpoint }) => sameListener(endpoint, listen));
    if (rival === undefined) {
      byPort.set(key, [...others, { endpoint: listen, owner: `the listener of ${servicePort.id}`, restsOn: [refOfService(servicePort), ...groundsOfPlace(servicePort)] }]);
      continue;
    }
    const index = services.get(keyOf(servicePort.service))?.spec.ports.findIndex(({ name }) => name === servicePort.portName) ?? -1;
    faults.push({ code: 'listener-conflict', message: `listener "${describeEndpoint(listen)}" is already ${rival.owner}`, hint: 'choose another port or address', object: refOfService(servicePort), path: ['spec', 'ports', index, 'listen'], restsOn: [...rival.restsOn, ...groundsOfPlace(servicePort)] });
  }
  return faults;
}

function sameListener(a: Endpoint, b: Endpoint): boolean {
  return a.address === b.address || isUnspecified(a.address) || isUnspecified(b.address);
}

/** Two service ports for which connections from outside would be awaited at one address and port: nobody could tell whose they are. */
export function reverseConflicts(servicePorts: readonly ServicePort[]): PlanFault[] {
  const holders = new Map<string, { readonly servicePort: ServicePort; readonly grant: Grant }>();
  const faults = new Map<string, PlanFault>();
  for (const servicePort of servicePorts) {
    if (servicePort.protocol !== 'Reverse') continue;
    for (const grant of servicePort.grants) {
      for (const { address } of sidesWithPort(grant.snat, servicePort.port)) {
        const place = describeEndpoint({ address, port: servicePort.port });
        const holder = holders.get(place);
        if (holder === undefined) holders.set(place, { servicePort, grant });
        else if (holder.servicePort !== servicePort) {
          faults.set(`${holder.servicePort.id} ${servicePort.id}`, {
            code: 'reverse-port-conflict',
            message: `connections to "${place}" would be for both ${holder.servicePort.id} and ${servicePort.id}`,
            hint: 'choose another port for one of them',
            object: refOfService(servicePort),
            path: ['spec', 'reverse'],
            restsOn: [refOfService(holder.servicePort), ...groundsOfGrant(holder.grant), ...groundsOfGrant(grant)],
          });
        }
      }
    }
  }
  return [...faults.values()];
}

/** Two services that an agent would offer on one address and port of one transport, to somebody who may use both. */
export function agentListenerConflicts(servicePorts: readonly ServicePort[]): PlanFault[] {
  const offered = servicePorts.filter(({ protocol }) => protocol !== 'Reverse'); // there the workload listens itself
  const listeners = Map.groupBy(offered, ({ agentListen: { address, port }, protocol }) => `${address} ${port} ${transportOf(protocol)}`);
  return [...listeners.values()].filter(({ length }) => length > 1).flatMap(rivalsAtAgents);
}

/** What an agent offers, and to whom it may. */
interface Offer {
  readonly servicePort: ServicePort;
  readonly grant: Grant;
}

/** The service ports share one agent listener. One fault a port is enough, and as many as there are pairs would be more than anybody reads. */
function rivalsAtAgents(servicePorts: readonly ServicePort[]): PlanFault[] {
  const faults: PlanFault[] = [];
  const offered = new Map<string, { readonly wide: Offer[]; readonly accounts: Map<string, Offer[]> }>();
  for (const servicePort of servicePorts) {
    let isTold = false;
    for (const grant of servicePort.grants) {
      const { subject, snat } = grant;
      if (snat === null) continue;
      let entry = offered.get(subject.namespace);
      if (entry === undefined) offered.set(subject.namespace, (entry = { wide: [], accounts: new Map() }));
      const { wide, accounts } = entry;
      const own = subject.serviceAccount === undefined ? wide : (accounts.get(subject.serviceAccount) ?? []);
      const rivals = subject.serviceAccount === undefined ? [wide, ...accounts.values()] : [wide, own];
      const rival = isTold ? undefined : firstOther(rivals, servicePort);
      if (rival !== undefined) {
        isTold = true;
        faults.push({
          code: 'agent-listener-conflict',
          message: `agents of ${nameOfSubject(subject)} would offer both ${rival.servicePort.id} and ${servicePort.id} on "${describeEndpoint(servicePort.agentListen)}"`,
          hint: 'set "agentAddress" of one of them to another loopback address, such as 127.0.0.2',
          object: refOfService(servicePort),
          path: ['spec', 'agentAddress'],
          restsOn: [refOfService(rival.servicePort), ...groundsOfGrant(rival.grant), ...groundsOfGrant(grant)],
        });
      }
      own.push({ servicePort, grant });
      if (subject.serviceAccount !== undefined) accounts.set(subject.serviceAccount, own);
    }
  }
  return faults;
}

function firstOther(offers: Iterable<readonly Offer[]>, than: ServicePort): Offer | undefined {
  for (const each of offers) {
    const other = each.find(({ servicePort }) => servicePort !== than);
    if (other !== undefined) return other;
  }
  return undefined;
}
