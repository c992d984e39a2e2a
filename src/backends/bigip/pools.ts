/** Where connections go, and what they leave from. */
import { familyOf, type IpFamily } from '../../core/ip-address.ts';
import { byText } from '../../core/order.ts';
import type { Endpoint, GatewayLimits, SnatSource, Target } from '../../core/plan/plan.ts';
import { sidesOf } from '../../core/snat/snat-source.ts';
import type { As3Object, As3Objects, Json } from './as3-object.ts';
import type { ServedPort } from './data-groups.ts';
import { fixedNames, snatPoolName, snatTranslationName } from './names.ts';

/** How many more addresses of a name are tried: how many it has is known to the BIG-IP only. */
const furtherAddressesMax = 2;

/** The pool of each service port, and what watches those that have a choice. */
export function serverPools(served: readonly ServedPort[]): As3Objects {
  const pools = served.flatMap(({ servicePort, departures, pool }) => (pool === null ? [] : [[pool, serverPool(servicePort.targets, departures.families)] as const]));
  return pools.some(([, { monitors }]) => monitors !== undefined) ? { [fixedNames.monitor]: monitor, ...Object.fromEntries(pools) } : Object.fromEntries(pools);
}

/**
 * Servers are tried in turn: each has a priority of its own, and one to which no connection can be made is passed over. Where there is but one, nothing
 * watches it: each connection finds out for itself, as at the other gateways.
 */
function serverPool(targets: readonly Target[], families: readonly IpFamily[]): As3Object {
  const reachable = targets.flatMap((target) => membersOf(target, families));
  const hosts = targets.filter(({ kind }) => kind === 'host').length;
  const members = reachable.map((member, index): Json => ({ ...member, priorityGroup: reachable.length - index }));
  const tries = reachable.length - 1 + hosts * furtherAddressesMax;
  return { class: 'Pool', members, ...(tries > 0 ? { reselectTries: tries, monitors: [{ use: fixedNames.monitor }] } : {}) };
}

type Member = { readonly servicePort: number; readonly [property: string]: Json };

/** A node belongs to the partition, and has the name of its host: two families of one are two nodes. */
function membersOf(target: Target, families: readonly IpFamily[]): readonly Member[] {
  if (target.kind === 'address') return families.includes(familyOf(target.address)) ? [{ servicePort: target.port, serverAddresses: [target.address] }] : [];
  const common = { servicePort: target.port, addressDiscovery: 'fqdn', hostname: target.host, autoPopulate: true };
  return families.map((family) => (family === 'ipv4' ? { ...common, addressFamily: 'IPv4' } : { ...common, addressFamily: 'IPv6', fqdnPrefix: 'ipv6.' }));
}

/**
 * It watches the connections of workloads: a probe would come from an address of the box itself, which no firewall outside expects. Silence is no fault
 * of a server.
 */
const monitor: As3Object = { class: 'Monitor', monitorType: 'inband', failures: 3, failureInterval: 30, responseTime: 0, retryTime: 30 };

/** A SNAT pool each distinct source. The limit of connections is the address's, which is what an identity, or a namespace that shares one, has to itself. */
export function snatPools(served: readonly ServedPort[], { connectionsPerIdentity }: GatewayLimits): As3Objects {
  const sources = new Set(served.flatMap(({ departures }) => [...departures.sources.values()])); // grants of one holder have one object
  const objects = Array.from(sources, (source: SnatSource) => {
    const addresses = sidesOf(source).map(({ address }) => address);
    const pool: As3Object = { class: 'SNAT_Pool', snatAddresses: addresses };
    return [[snatPoolName(source), pool] as const, ...addresses.map((address) => [snatTranslationName(address), { class: 'SNAT_Translation', address, maxConnections: connectionsPerIdentity }] as const)];
  });
  return Object.fromEntries(objects.flat().sort(([a], [b]) => byText(a, b)));
}

/** What the iRule writes goes out as it stands: it frames and formats its lines itself. */
export function logObjects(receivers: readonly Endpoint[]): As3Objects {
  if (receivers.length === 0) return {};
  return {
    [fixedNames.logPool]: { class: 'Pool', members: receivers.map(({ address, port }) => ({ servicePort: port, serverAddresses: [address] })), monitors: ['tcp'] },
    [fixedNames.logDestination]: { class: 'Log_Destination', type: 'remote-high-speed-log', protocol: 'tcp', pool: { use: fixedNames.logPool } },
    [fixedNames.logPublisher]: { class: 'Log_Publisher', destinations: [{ use: fixedNames.logDestination }] },
  };
}
