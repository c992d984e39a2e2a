/** Finding service ports by whatever a person, a client or a certificate calls them. */
import { keyOf } from '../desired-state.ts';
import type { Plan, ServicePort } from './plan.ts';

const indexes = new WeakMap<Plan, ReadonlyMap<string, readonly ServicePort[]>>();

/**
 * Every service port that `target` may mean: an id (`NAMESPACE/NAME:PORTNAME`), `NAMESPACE/NAME`, NAME, a host name or an
 * address of the service, each also with `:PORT` or `:PORTNAME`, or a server name (SNI). Any case. Indexed once a plan.
 */
export function findServicePorts(plan: Plan, target: string): readonly ServicePort[] {
  let index = indexes.get(plan);
  if (index === undefined) indexes.set(plan, (index = indexOf(plan.servicePorts)));
  return index.get(target.toLowerCase()) ?? [];
}

/** The one service port that `target` means; undefined for none and for several. */
export function findServicePort(plan: Plan, target: string): ServicePort | undefined {
  const found = findServicePorts(plan, target);
  return found.length === 1 ? found[0] : undefined;
}

function indexOf(servicePorts: readonly ServicePort[]): ReadonlyMap<string, readonly ServicePort[]> {
  const index = new Map<string, ServicePort[]>();
  for (const servicePort of servicePorts) {
    for (const name of namesOf(servicePort)) {
      const known = index.get(name);
      if (known === undefined) index.set(name, [servicePort]);
      else known.push(servicePort);
    }
  }
  return index;
}

function namesOf({ service, portName, port, hosts, serverNames, targets }: ServicePort): Set<string> {
  const names = new Set(serverNames);
  for (const name of [keyOf(service), service.name, ...hosts]) names.add(name).add(`${name}:${port}`).add(`${name}:${portName}`);
  for (const target of targets) {
    if (target.kind === 'address') names.add(target.address).add(`${target.address.includes(':') ? `[${target.address}]` : target.address}:${target.port}`);
    else names.add(`${target.host}:${target.port}`);
  }
  return names;
}
