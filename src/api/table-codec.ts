/**
 * The plan's parts as xDS resources, and back. Decoding checks everything that the types promise: what does not hold is a
 * `request-invalid` error, by which a proxy rejects the resource and keeps what it had.
 */
import { create, fromBinary, toBinary, type DescMessage, type MessageInitShape, type MessageShape } from '@bufbuild/protobuf';
import type { AgentUpstream } from '../core/plan/agent-view.ts';
import { SallyportError } from '../core/errors.ts';
import { parsePolicyPath } from '../core/ftp/path.ts';
import { unknownCommandRules, type FtpConstraints, type UnknownCommandRule } from '../core/ftp/rules.ts';
import { parseAddress, type IpAddress } from '../core/ip-address.ts';
import { driftPolicies, ftpDataModes, ftpsHandshakes, ftpsModes } from '../core/objects/index.ts';
import { servedProtocols, type Endpoint, type FtpOptions, type FtpTls, type GatewayLimits, type Grant, type KernelSettings, type PlannedGateway, type PortRange, type ServedProtocol, type ServicePort, type ServicePortId, type SnatSource, type Target } from '../core/plan/plan.ts';
import { parseSpiffeId, parseTrustDomain, type SpiffeId, type TrustDomain, type WorkloadName } from '../core/spiffe-id.ts';
import { SecretSchema } from '../proto/envoy/extensions/transport_sockets/tls/v3/secret_pb.ts';
import type { FtpConstraintsSchema, FtpTlsSchema, TargetSchema } from '../proto/sallyport/v1alpha1/table_pb.ts';
import {
  AgentUpstreamSchema,
  GatewaySettingsSchema,
  RevocationListSchema,
  ServicePortSchema,
  WorkloadAddressSchema,
  type Endpoint as WireEndpoint,
  type FtpOptions as WireFtpOptions,
  type FtpTls as WireFtpTls,
  type FtpConstraints as WireFtpConstraints,
  type Grant as WireGrant,
  type KernelSettings as WireKernelSettings,
  type PortRange as WirePortRange,
  type SnatAddress as WireSnatAddress,
  type Target as WireTarget,
} from '../proto/sallyport/v1alpha1/table_pb.ts';
import { trustBundleName } from './type-urls.ts';

/** What a gateway is told of itself. */
export interface GatewaySettings {
  readonly name: string;
  readonly trustDomain: TrustDomain;
  readonly identity: SpiffeId;
  readonly listen: readonly Endpoint[];
  readonly ftpPassivePorts: PortRange | null;
  readonly limits: GatewayLimits;
  /** Null where the class is another. */
  readonly kernel: KernelSettings | null;
}

export function encodeServicePort({ service, portName, port, protocol, gateway, entrance, hosts, serverNames, listen, targets, serverIdentities, agentListen, ftp, grants }: ServicePort): Uint8Array {
  return encode(ServicePortSchema, {
    ...service,
    portName,
    port,
    protocol,
    gateway,
    entrance,
    hosts: [...hosts],
    serverNames: [...serverNames],
    ...(listen === null ? {} : { listen }),
    targets: targets.map((each): MessageInitShape<typeof TargetSchema> => ({ port: each.port, place: each.kind === 'address' ? { case: 'address', value: each.address } : { case: 'host', value: each.host } })),
    serverIdentities: [...serverIdentities],
    agentListen,
    ...(ftp === null ? {} : { ftp: { dataMode: ftp.dataMode, recordDigest: ftp.recordDigest, ...(ftp.tls === null ? {} : { tls: wireTls(ftp.tls) }) } }),
    grants: grants.map(({ subject, policies, snat, binding, connectAuthorities, ftp: constraints }) => ({
      namespace: subject.namespace,
      serviceAccount: subject.serviceAccount ?? '',
      policies: [...policies],
      ...(snat?.ipv4 === undefined ? {} : { ipv4: snat.ipv4 }),
      ...(snat?.ipv6 === undefined ? {} : { ipv6: snat.ipv6 }),
      binding: binding ?? '',
      connectLimited: connectAuthorities !== null,
      connectAuthorities: [...(connectAuthorities ?? [])],
      ftpLimited: constraints !== null,
      ftp: (constraints ?? []).map(ftpConstraintsToWire),
    })),
  });
}

export function decodeServicePort(bytes: Uint8Array): ServicePort {
  const wire = decode(ServicePortSchema, bytes);
  const { namespace, name, portName, port, protocol, gateway, entrance, hosts, serverNames, listen, targets, serverIdentities, agentListen, ftp, grants } = wire;
  return {
    id: servicePortId(namespace, name, portName),
    service: { namespace, name },
    portName,
    port: portNumber(port),
    protocol: knownProtocol(protocol),
    gateway,
    entrance,
    hosts,
    serverNames,
    listen: listen === undefined ? null : endpoint(listen),
    targets: targets.map(target),
    serverIdentities: serverIdentities.map(spiffeId),
    agentListen: endpoint(required(agentListen, 'agent_listen')),
    ftp: ftp === undefined ? null : ftpOptions(ftp),
    grants: grants.map(grant),
  };
}

export function encodeGatewaySettings(gateway: PlannedGateway, trustDomain: TrustDomain): Uint8Array {
  const { name, identity, listen, ftpPassivePorts, limits, kernel } = gateway;
  return encode(GatewaySettingsSchema, {
    name,
    trustDomain,
    identity,
    listen: [...listen],
    ...(ftpPassivePorts === null ? {} : { ftpPassivePorts }),
    connectionsPerIdentity: limits.connectionsPerIdentity,
    handshakeTimeoutMs: BigInt(limits.handshakeTimeoutMs),
    connectTimeoutMs: BigInt(limits.connectTimeoutMs),
    idleTimeoutMs: BigInt(limits.idleTimeoutMs),
    ftpDataTimeoutMs: BigInt(limits.ftpDataTimeoutMs),
    udpFlowsPerIdentity: limits.udpFlowsPerIdentity,
    udpIdleTimeoutMs: BigInt(limits.udpIdleTimeoutMs),
    ...(kernel === null ? {} : { kernel }),
  });
}

export function decodeGatewaySettings(bytes: Uint8Array): GatewaySettings {
  const wire = decode(GatewaySettingsSchema, bytes);
  const trustDomain = parseTrustDomain(wire.trustDomain);
  if (!trustDomain.ok) throw malformed(trustDomain.reason);
  return {
    name: wire.name,
    trustDomain: trustDomain.trustDomain,
    identity: spiffeId(wire.identity),
    listen: wire.listen.map(endpoint),
    ftpPassivePorts: wire.ftpPassivePorts === undefined ? null : portRange(wire.ftpPassivePorts),
    limits: {
      connectionsPerIdentity: wire.connectionsPerIdentity,
      handshakeTimeoutMs: Number(wire.handshakeTimeoutMs),
      connectTimeoutMs: Number(wire.connectTimeoutMs),
      idleTimeoutMs: Number(wire.idleTimeoutMs),
      ftpDataTimeoutMs: Number(wire.ftpDataTimeoutMs),
      udpFlowsPerIdentity: wire.udpFlowsPerIdentity,
      udpIdleTimeoutMs: Number(wire.udpIdleTimeoutMs),
    },
    kernel: wire.kernel === undefined ? null : kernelSettings(wire.kernel),
  };
}

export function encodeWorkloadAddress(address: IpAddress, workload: WorkloadName): Uint8Array {
  return encode(WorkloadAddressSchema, { address, ...workload });
}

export function decodeWorkloadAddress(bytes: Uint8Array): { readonly address: IpAddress; readonly workload: WorkloadName } {
  const { address, namespace, serviceAccount } = decode(WorkloadAddressSchema, bytes);
  if (namespace === '' || serviceAccount === '') throw malformed(`nobody is named behind ${JSON.stringify(address.slice(0, 64))}`);
  return { ...endpointAddress(address), workload: { namespace, serviceAccount } };
}

export function encodeRevocationList(serialNumbers: readonly string[]): Uint8Array {
  return encode(RevocationListSchema, { serialNumbers: [...serialNumbers] });
}

export function decodeRevocationList(bytes: Uint8Array): readonly string[] {
  return decode(RevocationListSchema, bytes).serialNumbers;
}

export function encodeAgentUpstream({ service, portName, protocol, listen, gateways, serverName, serverIdentities }: AgentUpstream): Uint8Array {
  return encode(AgentUpstreamSchema, { ...service, portName, protocol, listen, gateways: [...gateways], serverName, serverIdentities: [...serverIdentities] });
}

export function decodeAgentUpstream(bytes: Uint8Array): AgentUpstream {
  const { namespace, name, portName, protocol, listen, gateways, serverName, serverIdentities } = decode(AgentUpstreamSchema, bytes);
  return {
    id: servicePortId(namespace, name, portName),
    service: { namespace, name },
    portName,
    protocol: knownProtocol(protocol),
    listen: endpoint(required(listen, 'listen')),
    gateways: gateways.map(endpoint),
    serverName,
    serverIdentities: serverIdentities.map(spiffeId),
  };
}

/** The trust bundle as Envoy's SDS carries it. */
export function encodeTrustBundle(trustBundlePem: string): Uint8Array {
  return encode(SecretSchema, { name: trustBundleName, type: { case: 'validationContext', value: { trustedCa: { specifier: { case: 'inlineBytes', value: Buffer.from(trustBundlePem) } } } } });
}

/** PEM. */
export function decodeTrustBundle(bytes: Uint8Array): string {
  const { type } = decode(SecretSchema, bytes);
  const specifier = type.case === 'validationContext' ? type.value.trustedCa?.specifier : undefined;
  if (specifier?.case !== 'inlineBytes' && specifier?.case !== 'inlineString') throw malformed('the secret holds no trust bundle');
  return specifier.case === 'inlineString' ? specifier.value : Buffer.from(specifier.value).toString('utf8');
}

function encode<Schema extends DescMessage>(schema: Schema, message: MessageInitShape<Schema>): Uint8Array {
  return toBinary(schema, create(schema, message));
}

function decode<Schema extends DescMessage>(schema: Schema, bytes: Uint8Array): MessageShape<Schema> {
  try {
    return fromBinary(schema, bytes);
  } catch (cause) {
    throw new SallyportError('request-invalid', `not an encoded ${schema.typeName}`, { cause });
  }
}

function grant({ namespace, serviceAccount, policies, ipv4, ipv6, binding, connectLimited, connectAuthorities, ftpLimited, ftp }: WireGrant): Grant {
  const snat: SnatSource = { ...(ipv4 === undefined ? {} : { ipv4: snatAddress(ipv4) }), ...(ipv6 === undefined ? {} : { ipv6: snatAddress(ipv6) }) };
  const hasAddress = snat.ipv4 !== undefined || snat.ipv6 !== undefined;
  if (hasAddress !== (binding !== '')) throw malformed(`the grant of namespace ${JSON.stringify(namespace)} has an address without a binding, or a binding without an address`);
  return {
    subject: serviceAccount === '' ? { namespace } : { namespace, serviceAccount },
    policies,
    snat: hasAddress ? snat : null,
    binding: binding === '' ? null : binding,
    connectAuthorities: connectLimited ? connectAuthorities : null,
    ftp: ftpLimited ? ftp.map(ftpConstraints) : null,
  };
}

function ftpConstraintsToWire({ paths, users, maxTransferBytes, maxBytesPerSecond, ...rest }: FtpConstraints): MessageInitShape<typeof FtpConstraintsSchema> {
  return { ...rest, paths: [...(paths ?? [])], users: [...(users ?? [])], maxTransferBytes: BigInt(maxTransferBytes ?? 0), maxBytesPerSecond: BigInt(maxBytesPerSecond ?? 0) };
}

function ftpConstraints({ readOnly, noDelete, paths, users, maxTransferBytes, maxBytesPerSecond, unknownCommands }: WireFtpConstraints): FtpConstraints {
  const fault = paths.map(parsePolicyPath).find(({ ok }) => !ok);
  if (fault?.ok === false) throw malformed(`an ftp path ${fault.fault}`);
  return {
    readOnly,
    noDelete,
    paths: paths.length === 0 ? null : paths,
    users: users.length === 0 ? null : users,
    maxTransferBytes: maxTransferBytes === 0n ? null : Number(maxTransferBytes),
    maxBytesPerSecond: maxBytesPerSecond === 0n ? null : Number(maxBytesPerSecond),
    unknownCommands: knownUnknownCommandRule(unknownCommands),
  };
}

function snatAddress({ address, ports }: WireSnatAddress) {
  return { ...endpointAddress(address), ports: portRange(required(ports, 'ports')) };
}

function target({ place, port }: WireTarget): Target {
  if (place.case === 'address') return { kind: 'address', ...endpointAddress(place.value), port: portNumber(port) };
  if (place.case === 'host' && place.value !== '') return { kind: 'host', host: place.value, port: portNumber(port) };
  throw malformed('a target has neither address nor host');
}

function endpoint({ address, port }: WireEndpoint): Endpoint {
  return { ...endpointAddress(address), port: portNumber(port) };
}

function endpointAddress(text: string): Pick<Endpoint, 'address'> {
  const address = parseAddress(text);
  if (address === undefined) throw malformed(`${JSON.stringify(text.slice(0, 64))} is not an address`);
  return { address };
}

function portRange({ first, last }: WirePortRange): PortRange {
  if (first < 1 || last > 65535 || first > last) throw malformed(`${first}-${last} is not a range of ports`);
  return { first, last };
}

function portNumber(port: number): number {
  if (port < 1 || port > 65535) throw malformed(`${port} is not a port`);
  return port;
}

function spiffeId(text: string): SpiffeId {
  const parsed = parseSpiffeId(text);
  if (!parsed.ok) throw malformed(parsed.reason);
  return parsed.id;
}

function servicePortId(namespace: string, name: string, portName: string): ServicePortId {
  if (namespace === '' || name === '' || portName === '') throw malformed('a service port has no name');
  return `${namespace}/${name}:${portName}` as ServicePortId;
}

function kernelSettings({ interface: outside, drift }: WireKernelSettings): KernelSettings {
  if (outside === '') throw malformed('an interface has no name');
  return { interface: outside, drift: oneOf(driftPolicies, drift, 'a drift policy') };
}

function ftpOptions({ dataMode, recordDigest, tls }: WireFtpOptions): FtpOptions {
  return { dataMode: oneOf(ftpDataModes, dataMode, 'a data mode'), recordDigest, tls: tls === undefined ? null : ftpTls(tls) };
}

function ftpTls({ mode, handshake, serverName, caCertificates }: WireFtpTls): FtpTls {
  if (oneOf(ftpsModes, mode, 'a mode of FTPS') === 'PassThrough') return { mode: 'PassThrough' };
  return { mode: 'Originate', handshake: oneOf(ftpsHandshakes, handshake, 'a handshake of FTPS'), serverName: serverName || null, caCertificates: caCertificates || null };
}

function wireTls(tls: FtpTls): MessageInitShape<typeof FtpTlsSchema> {
  return tls.mode === 'PassThrough' ? tls : { mode: tls.mode, handshake: tls.handshake, serverName: tls.serverName ?? '', caCertificates: tls.caCertificates ?? '' };
}

function knownProtocol(text: string): ServedProtocol {
  return oneOf(servedProtocols, text, 'a protocol');
}

function oneOf<Value extends string>(values: readonly Value[], text: string, what: string): Value {
  const value = values.find((known) => known === text);
  if (value === undefined) throw malformed(`${JSON.stringify(text.slice(0, 64))} is not ${what} that this version knows`);
  return value;
}

function knownUnknownCommandRule(text: string): UnknownCommandRule {
  const rule = unknownCommandRules.find((known) => known === text);
  if (rule === undefined) throw malformed(`${JSON.stringify(text.slice(0, 64))} is no rule for unknown ftp commands that this version knows`);
  return rule;
}

function required<Value>(value: Value | undefined, field: string): Value {
  if (value === undefined) throw malformed(`${field} is missing`);
  return value;
}

function malformed(message: string): SallyportError {
  return new SallyportError('request-invalid', message, { hint: 'control plane and proxy may be of different versions' });
}
