/** An ExternalService that would answer to a target that nothing answers to yet, as far as the target's form tells. */
import { keyOf, type DesiredState } from '../desired-state.ts';
import { parseAddress, type IpAddress } from '../ip-address.ts';
import { dnsLabel, dnsSubdomain } from '../objects/common.ts';
import { apiVersion } from '../objects/index.ts';
import { byText } from '../order.ts';
import type { Plan } from './plan.ts';
import { isOpenTo, type RootNamespace } from '../tenancy.ts';

export interface ServiceProposal {
  readonly ok: true;
  readonly manifest: Readonly<Record<string, unknown>>;
  /** What in it is a guess. */
  readonly comment: string;
  readonly namespace: string;
  readonly name: string;
  readonly portName: string;
  /** Undefined where it has only a host name. */
  readonly address: IpAddress | undefined;
}

type Refusal = { readonly ok: false; readonly obstacle: string };

const portDefault = 443;
/** RFC 5737: for documentation, and nobody's. */
const exampleAddress = parseAddress('192.0.2.1')!;

export function proposeService(target: string, ownNamespace: string, plan: Plan, desired: DesiredState, rootNamespace: RootNamespace): ServiceProposal | Refusal {
  const read = readTarget(target.toLowerCase(), ownNamespace);
  if (read === undefined) return { ok: false, obstacle: 'this has no form that a service could have' };
  const { namespace, name, host, address, port, isRegistered } = read;
  const key = keyOf({ namespace, name });
  if (desired.ExternalService.has(key)) return { ok: false, obstacle: isRegistered ? `ExternalService ${key} has no such port: add it there` : `ExternalService ${key} has that name already: register this one under another` };
  const namesake = host === undefined ? undefined : plan.servicePorts.find(({ hosts }) => hosts.includes(host));
  if (namesake !== undefined) return { ok: false, obstacle: `ExternalService ${keyOf(namesake.service)} has this host: add the port there` };

  const [gateway, ...more] = [...desired.EgressGateway.values()].filter(({ spec }) => isOpenTo(spec.namespaces, namespace, rootNamespace, desired.Namespace)).map(({ metadata }) => metadata.name).sort(byText);
  if (gateway === undefined && desired.EgressGateway.size > 0) return { ok: false, obstacle: `no EgressGateway is for services of namespace "${namespace}"` };
  const agentAddress = freeAgentAddress(plan, port);
  const portName = read.portName ?? `tcp-${port}`;
  const whereabouts = host !== undefined && !isRegistered ? { hosts: [host] } : { addresses: [address ?? exampleAddress] };
  return {
    ok: true,
    manifest: {
      apiVersion,
      kind: 'ExternalService',
      metadata: { name, namespace },
      spec: {
        ...whereabouts,
        ports: [{ name: portName, port, protocol: 'TCP' }],
        ...(host !== undefined && isRegistered && { serverNames: [host] }),
        ...(more.length > 0 && { gateway }),
        ...(agentAddress !== '127.0.0.1' && { agentAddress }),
      },
    },
    comment: 'addresses' in whereabouts && address === undefined ? 'replace the address by that of the external service; protocol: TCP, FTP, HTTPConnect or UDP' : 'protocol: TCP, FTP, HTTPConnect or UDP',
    namespace,
    name,
    portName,
    address: 'hosts' in whereabouts ? undefined : (address ?? exampleAddress),
  };
}

interface ReadTarget {
  readonly namespace: string;
  readonly name: string;
  readonly port: number;
  readonly portName?: string;
  readonly host?: string;
  readonly address?: IpAddress;
  /** The target speaks of an ExternalService by its name, not of what stands behind it. */
  readonly isRegistered: boolean;
}

function readTarget(target: string, ownNamespace: string): ReadTarget | undefined {
  const bare = parseAddress(target);
  const [, sniPort, sniHost] = /^outbound_\.([0-9]{1,5})_\.(?:udp)?_\.(.+)$/.exec(target) ?? [];
  const [, writtenPlace = target, writtenPort] = bare === undefined ? (/^(.*?)(?::([a-z0-9-]{1,63}))?$/.exec(target) ?? []) : [];
  const place = sniHost ?? writtenPlace;
  const portText = sniPort ?? writtenPort ?? String(portDefault);
  const isNumber = /^[0-9]{1,5}$/.test(portText);
  const port = isNumber ? Number(portText) : portDefault;
  if (port < 1 || port > 65535) return undefined;
  const ports = { port, ...(!isNumber && { portName: portText }) };

  const address = bare ?? parseAddress(place.replace(/^\[(.*)\]$/, '$1'));
  const nameFromPlace = place.replace(/[^a-z0-9]+/g, '-').replace(/^-|-$/g, '');
  if (address !== undefined) return valid({ namespace: ownNamespace, name: nameFromPlace, address, isRegistered: false, ...ports });
  const [, namespace, name] = /^([^/]+)\/([^/]+)$/.exec(place) ?? [];
  if (namespace !== undefined && name !== undefined) return valid({ namespace, name, isRegistered: true, ...ports });
  if (!place.includes('.')) return valid({ namespace: ownNamespace, name: place, isRegistered: true, ...ports });
  const [, clusterName, clusterNamespace] = /^([^.]+)\.([^.]+)\.svc(?:\..+)?$/.exec(place) ?? [];
  if (clusterName !== undefined && clusterNamespace !== undefined) return valid({ namespace: clusterNamespace, name: clusterName, host: place, isRegistered: true, ...ports });
  return valid({ namespace: ownNamespace, name: nameFromPlace, host: place, isRegistered: false, ...ports });
}

function valid(read: ReadTarget): ReadTarget | undefined {
  const names = dnsLabel.safeParse(read.namespace).success && dnsSubdomain.safeParse(read.name).success;
  const host = read.host === undefined || (dnsSubdomain.safeParse(read.host).success && !/^[0-9.]+$/.test(read.host));
  return names && host && (read.portName === undefined || dnsLabel.safeParse(read.portName).success) ? read : undefined;
}

/** A loopback address on which no agent offers anything at this port. */
function freeAgentAddress(plan: Plan, port: number): string {
  const taken = new Set<string>(plan.servicePorts.filter(({ agentListen }) => agentListen.port === port).map(({ agentListen }) => agentListen.address));
  for (let index = 0; ; index += 1) {
    const candidate = `127.0.${Math.floor(index / 254)}.${(index % 254) + 1}`;
    if (!taken.has(candidate)) return candidate;
  }
}
