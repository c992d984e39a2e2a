/** One external service compiled: a `ServicePort` for each of its ports. */
import { bindingOfSubject, type NamespaceBindings, type ResolvedBinding } from './bindings.ts';
import { describeRef, keyOf, refOf } from '../desired-state.ts';
import type { Fault } from '../errors.ts';
import { inabilityOf, isReadAsFtp, ownListenerAt, servingGateway, type Served } from './gateway-class.ts';
import type { GatewayChoice } from './gateways.ts';
import { grantsOf, groundsOfGrant } from './grants.ts';
import { familyOf, isLoopback, parseAddress } from '../ip-address.ts';
import { dataPortName, transportOf, type ExternalService, type ExternalServicePort, type ReversePort } from '../objects/index.ts';
import { boundedList, sortedUnique } from '../order.ts';
import type { Ground, PlanFault } from '../plan-fault.ts';
import type { Endpoint, FtpOptions, Grant, PlannedGateway, ServedProtocol, ServicePort, SnatSource, Target } from './plan.ts';
import type { ResolvedPolicy } from './policies.ts';
import { sidesOf, sidesWithPort } from '../snat/snat-source.ts';
import { trustDomainOf, type TrustDomain } from '../spiffe-id.ts';
import { speaksForAll, type RootNamespace } from '../tenancy.ts';
import { nameOfSubject } from './subjects.ts';
import { servicePortId } from './targets.ts';

const agentAddressDefault = parseAddress('127.0.0.1')!;

export interface ServiceContext {
  readonly trustDomain: TrustDomain;
  readonly clusterDomain: string;
  readonly rootNamespace: RootNamespace;
  readonly gateway: GatewayChoice;
  /** The one that `gateway` hands over to. */
  readonly handOver: PlannedGateway | null;
  /** For the wording of faults. */
  readonly gatewayNames: Iterable<string>;
  /** Undefined where no policy names the service. */
  readonly audience: Audience | undefined;
}

/** Everything that decides who may use a service, and as whom. */
export interface Audience {
  /** Every policy that names the service. */
  readonly policies: readonly ResolvedPolicy[];
  /** Of every namespace that these policies speak of. */
  readonly bindings: ReadonlyMap<string, NamespaceBindings | undefined>;
}

export interface CompiledService {
  readonly servicePorts: readonly ServicePort[];
  readonly faults: readonly PlanFault[];
  readonly warnings: readonly Fault[];
}

export function compileService(service: ExternalService, context: ServiceContext): CompiledService {
  const { audience } = context;
  const serviceKey = keyOf(service.metadata);
  const hosts = hostsOf(service, context.clusterDomain);
  const streamPorts = service.spec.ports.filter(({ protocol }) => transportOf(protocol) === 'TCP');
  const servicePorts = service.spec.ports.map((port): ServicePort => {
    const protocol = servedProtocol(port);
    const naming = audience?.policies.filter((policy) => policy.targets.get(serviceKey)?.has(port.name) ?? true) ?? [];
    const ftp = protocol === 'FTP' ? ftpOptionsOf(port) : null;
    const targets = targetsOf(service, port.targetPort ?? port.port);
    const served = servedPortOf(service, { portName: port.name, protocol, targets, ftp, listen: port.listen ?? null, policies: naming }, context);
    return {
      ...served.common,
      port: port.port,
      serverNames: serverNamesOf(hosts, port, streamPorts.length === 1),
      listen: served.by === null ? null : ownListenerAt(served.by, port.listen ?? null),
      agentListen: agentListenOf(service, port.port),
    };
  });
  const dataPorts = service.spec.ports.flatMap((port, index) => dataPortsOf(service, port, servicePorts[index]!));
  const reversePorts = (service.spec.reverse ?? []).map((port) => reversePortOf(service, port, context));
  return {
    servicePorts: [...servicePorts, ...dataPorts, ...reversePorts],
    faults: [...gatewayFaults(service, context), ...nameFaults(service, context), ...identityFaults(service, context.trustDomain), ...agentAddressFaults(service), ...familyFaults(service, servicePorts, audience), ...reverseFaults(service, reversePorts)],
    warnings: [...servedWarnings(service, context, servicePorts, reversePorts), ...reverseWarnings(service, reversePorts)],
  };
}

/** What every port of a service has, and the gateway that serves it: the service's own, the one that it hands over to, or none. */
function servedPortOf(service: ExternalService, { portName, policies, ...asked }: Omit<Served, 'grants'> & { readonly portName: string; readonly policies: readonly ResolvedPolicy[] }, { gateway, handOver, audience, clusterDomain }: ServiceContext) {
  const { namespace, name } = service.metadata;
  const id = servicePortId(keyOf(service.metadata), portName);
  const { protocol, targets, ftp } = asked;
  const grants = grantsOf({ id, protocol }, policies, (each) => audience?.bindings.get(each));
  const entrance = typeof gateway === 'string' ? null : gateway;
  const by = entrance === null ? null : servingGateway(entrance, handOver, { ...asked, grants });
  const common = {
    id,
    service: { namespace, name },
    portName,
    protocol,
    targets,
    ftp,
    gateway: by?.name ?? '',
    entrance: by === null ? '' : entrance!.name,
    hosts: hostsOf(service, clusterDomain),
    serverIdentities: service.spec.subjectAltNames ?? (by === null ? [] : [by.identity]),
    grants,
  };
  return { by, common };
}

function agentListenOf({ spec }: ExternalService, port: number): Endpoint {
  return { address: spec.agentAddress ?? agentAddressDefault, port };
}

/** Where the workload speaks TLS with the server from the first byte, there is no FTP to be seen. */
function servedProtocol({ protocol, tls }: ExternalServicePort): ServedProtocol {
  if (protocol !== 'FTPS') return protocol;
  return tls?.mode === 'PassThrough' && tls.handshake === 'Implicit' ? 'TCP' : 'FTP';
}

function ftpOptionsOf({ protocol, ftp, tls }: ExternalServicePort): FtpOptions {
  const options = { dataMode: ftp?.dataMode ?? 'Passive', recordDigest: ftp?.recordDigest ?? false };
  if (protocol !== 'FTPS') return { ...options, tls: null };
  if (tls?.mode === 'PassThrough') return { ...options, tls: { mode: 'PassThrough' } };
  return { ...options, tls: { mode: 'Originate', handshake: tls?.handshake ?? 'Explicit', serverName: tls?.serverName ?? null, caCertificates: tls?.caCertificates ?? null } };
}

/** The way back, for whoever may use any port of the service. */
function reversePortOf(service: ExternalService, { name, port, workloadPort = port }: ReversePort, context: ServiceContext): ServicePort {
  const { common } = servedPortOf(service, { portName: name, protocol: 'Reverse', targets: targetsOf(service, port), ftp: null, listen: null, policies: context.audience?.policies ?? [] }, context);
  return {
    ...common,
    port,
    serverNames: common.hosts.map((host) => `reverse_.${port}_._.${host}`),
    listen: null,
    agentListen: agentListenOf(service, workloadPort),
  };
}

function reverseFaults(service: ExternalService, reversePorts: readonly ServicePort[]): PlanFault[] {
  const names = new Set(service.spec.ports.map(({ name }) => name));
  return reversePorts.flatMap(({ portName }, index) =>
    names.has(portName) ? [{ code: 'reverse-name-taken', message: `port name "${portName}" is already taken by one of "ports"`, hint: 'give it another name', object: refOf(service), path: ['spec', 'reverse', index, 'name'], restsOn: [] }] : [],
  );
}

/** A port that is not among the holder's own is somebody else's to be awaited at. */
function reverseWarnings(service: ExternalService, reversePorts: readonly ServicePort[]): Fault[] {
  return reversePorts.flatMap(({ port, grants }, index) =>
    grants.flatMap(({ subject, snat }): Fault[] => {
      if (snat === null || sidesWithPort(snat, port).length > 0) return [];
      const [source] = sidesOf(snat);
      return [{ code: 'reverse-port-foreign', message: `${describeRef(refOf(service))} cannot reach ${nameOfSubject(subject)} at port ${port}: of "${source!.address}" it holds the ports ${source!.ports.first}-${source!.ports.last} only`, hint: 'choose a port among these, or give it an address of its own', object: refOf(service), path: ['spec', 'reverse', index, 'port'] }];
    }),
  );
}

/** The data connections of a session that nobody on the way can read come to ports of their own, for whoever may use its control connection. */
function dataPortsOf(service: ExternalService, { name, tls }: ExternalServicePort, control: ServicePort): ServicePort[] {
  if (tls?.dataPorts === undefined) return [];
  const { first, last } = tls.dataPorts;
  return Array.from({ length: last - first + 1 }, (_, index): ServicePort => {
    const port = first + index;
    const portName = dataPortName(name, port);
    return {
      ...control,
      id: servicePortId(keyOf(service.metadata), portName),
      portName,
      port,
      protocol: 'TCP',
      serverNames: serverNamesOf(control.hosts, { port, protocol: 'TCP' }, false),
      listen: null,
      targets: targetsOf(service, port),
      agentListen: { ...control.agentListen, port },
      ftp: null,
    };
  });
}

/** NAME.NAMESPACE.svc.CLUSTER-DOMAIN and its short forms, then what the service adds. A short form without the namespace would mean another service in each namespace; a name with a dot could be read as name and namespace. */
function hostsOf({ metadata: { name, namespace }, spec }: ExternalService, clusterDomain: string): string[] {
  const short = name.includes('.') ? [] : [`${name}.${namespace}.svc`, `${name}.${namespace}`];
  return [...new Set([`${name}.${namespace}.svc.${clusterDomain}`, ...short, ...(spec.serverNames ?? []), ...(spec.hosts ?? [])])];
}

/**
 * Istio's form first, which its sidecars send (pilot's `BuildSubsetKey`); the plain host where it can mean one port only. Datagrams have
 * the form's subset to be told by from a stream to the same number, and no plain host: whoever sends one has a stream to send.
 */
function serverNamesOf(hosts: readonly string[], { port, protocol }: Pick<ExternalServicePort, 'port' | 'protocol'>, onlyStream: boolean): string[] {
  if (transportOf(protocol) === 'UDP') return hosts.map((host) => `outbound_.${port}_.udp_.${host}`);
  return [...hosts.map((host) => `outbound_.${port}_._.${host}`), ...(onlyStream ? hosts : [])];
}

function targetsOf({ spec }: ExternalService, port: number): Target[] {
  return [...(spec.addresses ?? []).map((address) => ({ kind: 'address' as const, address, port })), ...(spec.hosts ?? []).map((host) => ({ kind: 'host' as const, host, port }))];
}

function gatewayFaults(service: ExternalService, { gateway, gatewayNames }: ServiceContext): PlanFault[] {
  const place = { object: refOf(service), path: ['spec', 'gateway'] };
  if (gateway === 'unknown') {
    const known = sortedUnique(gatewayNames);
    const name = service.spec.gateway!;
    return [{ code: 'gateway-unknown', message: `there is no EgressGateway "${name}"`, hint: known.length === 0 ? 'apply it first' : `the gateways are ${boundedList(known)}`, ...place, restsOn: [{ kind: 'EgressGateway', name }] }];
  }
  if (gateway === 'closed') return [closedGateway(service, gatewayNames)];
  if (gateway === 'several') return [{ code: 'gateway-ambiguous', message: 'there are several gateways and the service names none', hint: `set "gateway" to one of ${boundedList(sortedUnique(gatewayNames))}`, ...place, path: ['spec'], restsOn: [{ kind: 'EgressGateway' }] }];
  return [];
}

function servedWarnings(service: ExternalService, { gateway, handOver }: ServiceContext, servicePorts: readonly ServicePort[], reversePorts: readonly ServicePort[]): Fault[] {
  const object = refOf(service);
  if (gateway === 'none') return [{ code: 'gateway-missing', message: `no gateway serves ${describeRef(object)}, so nobody can use it`, hint: 'apply an EgressGateway', object, path: ['spec'] }];
  if (typeof gateway === 'string') return [];
  const placed = [...servicePorts.map((servicePort, index) => ({ servicePort, listen: service.spec.ports[index]!.listen ?? null, path: ['spec', 'ports', index] })), ...reversePorts.map((servicePort, index) => ({ servicePort, listen: null, path: ['spec', 'reverse', index] }))];
  const unserved = placed.flatMap(({ servicePort, listen, path }): Fault[] => {
    if (servicePort.gateway !== '') return [];
    const { why, remedy, field = 'protocol' } = inabilityOf(gateway, { ...servicePort, listen })!;
    const another = `name a gateway of class sallyport ${gateway.class === 'envoy' ? `in its "handOver", or in` : 'in'} the service's "gateway"`;
    return [{ code: 'gateway-class-unable', message: `gateway "${gateway.name}" of class ${gateway.class} ${why}, so nobody can use ${servicePort.id}`, hint: remedy === undefined ? another : `${remedy}, or ${another}`, object, path: servicePort.protocol === 'Reverse' ? path : [...path, field] }];
  });
  const unproven = placed.flatMap(({ servicePort: { id, gateway: by, ftp }, path }): Fault[] => {
    if (by !== gateway.name || gateway.class !== 'bigip' || ftp === null || !isReadAsFtp(ftp)) return [];
    return [{ code: 'ftp-data-unproven', message: `at gateway "${by}" of class bigip whoever first reaches a port that a data connection of ${id} is awaited at has the transfer, in the clear; agents and sidecars do not offer it`, hint: `name a gateway of class sallyport in the service's "gateway"`, object, path: [...path, 'protocol'] }];
  });
  const accepted = service.spec.subjectAltNames;
  const serving = [gateway, handOver].filter((each) => each !== null && servicePorts.some((servicePort) => servicePort.gateway === each.name)) as PlannedGateway[];
  const unaccepted = serving
    .filter(({ identity }) => accepted?.includes(identity) === false)
    .map(({ name, identity }): Fault => ({ code: 'gateway-identity-unaccepted', message: `workloads will refuse gateway "${name}": its identity "${identity}" is not among the "subjectAltNames"`, hint: 'add it, or leave "subjectAltNames" out', object, path: ['spec', 'subjectAltNames'] }));
  return [...unserved, ...unproven, ...unaccepted];
}

/** What it could be placed at is not for its namespace: the gateway that it names, or every one. */
function closedGateway(service: ExternalService, gatewayNames: Iterable<string>): PlanFault {
  const { metadata: { namespace }, spec: { gateway: named } } = service;
  const gatewaysAsked: readonly Ground[] = named === undefined ? [{ kind: 'EgressGateway' }, ...sortedUnique(gatewayNames).map((name) => ({ kind: 'EgressGateway', name }))] : [{ kind: 'EgressGateway', name: named }];
  return {
    code: 'gateway-not-allowed',
    message: `${named === undefined ? 'no EgressGateway is' : `EgressGateway ${named} is not`} for services of namespace "${namespace}"`,
    hint: 'ask whoever runs it to let the namespace in by its "namespaces"; to close it, remove the service first',
    object: refOf(service),
    path: ['spec', 'gateway'],
    restsOn: [...gatewaysAsked, { kind: 'Namespace', name: namespace }],
  };
}

/** Names of the cluster are their namespace's: whoever took another's could keep a service of that name from coming to be, or lead the gateway to what is behind it. */
function nameFaults(service: ExternalService, { clusterDomain, rootNamespace }: ServiceContext): PlanFault[] {
  const { metadata, spec } = service;
  if (speaksForAll(metadata.namespace, rootNamespace)) return [];
  const ownerOf = (host: string) => (host.endsWith(`.svc.${clusterDomain}`) ? host.slice(0, -clusterDomain.length - 1) : host).match(/^.+\.([^.]+)\.svc$/)?.[1];
  return (['hosts', 'serverNames'] as const).flatMap((field) =>
    (spec[field] ?? []).flatMap((host, index): PlanFault[] => {
      const owner = ownerOf(host);
      if (owner === undefined || owner === metadata.namespace) return [];
      return [{ code: 'service-name-foreign', message: `host "${host}" is a name of namespace "${owner}"`, hint: 'name hosts outside of the cluster, or of its own namespace', object: refOf(service), path: ['spec', field, index], restsOn: [] }];
    }),
  );
}

/** Workloads verify a server against the bundle of their own trust domain; there is no federation. */
function identityFaults(service: ExternalService, trustDomain: TrustDomain): PlanFault[] {
  return (service.spec.subjectAltNames ?? []).flatMap((identity, index) =>
    trustDomainOf(identity) === trustDomain
      ? []
      : [{ code: 'service-identity-foreign', message: `identity "${identity}" is not of the trust domain "${trustDomain}", so no workload could verify it`, hint: 'name identities of this trust domain', object: refOf(service), path: ['spec', 'subjectAltNames', index], restsOn: [] }],
  );
}

/** Whoever reaches an agent's listener is taken for its workload. */
function agentAddressFaults(service: ExternalService): PlanFault[] {
  const address = service.spec.agentAddress ?? agentAddressDefault;
  if (isLoopback(address)) return [];
  return [{ code: 'agent-address-exposed', message: `agent address "${address}" is not a loopback address`, hint: 'choose one of 127.0.0.0/8, or ::1: anyone who reaches it would leave as the workload', object: refOf(service), path: ['spec', 'agentAddress'], restsOn: [] }];
}

/** Where every address of the service is of a family that the deciding binding has no source for. Names are looked up when the gateway connects, so theirs are not known here. */
function familyFaults(service: ExternalService, servicePorts: readonly ServicePort[], audience: Audience | undefined): PlanFault[] {
  if (service.spec.addresses === undefined) return [];
  const families = new Set(service.spec.addresses.map(familyOf));
  const reaches = ({ ipv4, ipv6 }: SnatSource) => (ipv4 !== undefined && families.has('ipv4')) || (ipv6 !== undefined && families.has('ipv6'));
  const stranded = new Map<ResolvedBinding, Grant>();
  for (const { id, grants } of servicePorts) {
    for (const grant of grants) {
      if (grant.snat !== null && !reaches(grant.snat)) stranded.set(bindingOfSubject(audience?.bindings.get(grant.subject.namespace), grant.subject, id)!, grant);
    }
  }
  return [...stranded].map(([binding, grant]) => {
    const { subject, policies, snat } = grant;
    const wanted = families.has('ipv4') ? 'IPv4' : 'IPv6';
    return {
      code: 'snat-family-mismatch',
      message: `${nameOfSubject(subject)} leaves from "${sidesOf(snat)[0]!.address}", but ${describeRef(refOf(service))}, which EgressPolicy ${policies[0]!} opens to it, has only ${wanted} addresses`,
      hint: `give it a binding with an ${wanted} address for this service`,
      object: binding.object,
      path: ['spec'],
      restsOn: [refOf(service), ...groundsOfGrant(grant), ...binding.pools.map((name) => ({ kind: 'SnatPool', name })), { kind: 'SnatBinding', subject: subject.namespace }],
    };
  });
}
