/**
 * Envoy's access log as ledger records. Policies and revision are those of the plan that is passed in, since a filter chain does
 * not name them: it would change, and end its connections, with every policy that says the same once more.
 */
import { anyUnpack, durationMs, StringValueSchema, timestampMs } from '@bufbuild/protobuf/wkt';
import { formatEndpoint } from '../../core/ip-address.ts';
import type { ConnectionClosed, ConnectionDenied, ConnectionOpened, ConnectionReason } from '../../core/ledger-record.ts';
import { decide } from '../../core/plan/decide.ts';
import { describeDenial, quotePeerText } from '../../core/plan/denial.ts';
import type { Decision, DenyReason, Plan, ServicePort } from '../../core/plan/plan.ts';
import { parseSpiffeId, type SpiffeId } from '../../core/spiffe-id.ts';
import type { Address } from '../../proto/envoy/config/core/v3/address_pb.ts';
import { AccessLogType, type AccessLogCommon, type TCPAccessLogEntry } from '../../proto/envoy/data/accesslog/v3/accesslog_pb.ts';
import type { logTags } from './access-log.ts';
import { servicePortOfListener, stateKeys } from './names.ts';

export type EnvoyRecord = ConnectionOpened | ConnectionClosed | ConnectionDenied;

export interface EntryContext {
  /** The gateway's name. */
  readonly origin: string;
  /** What the gateway enforces. */
  readonly plan: Plan;
  /** Whether a certificate, by its serial number, is not to be accepted though it is valid. */
  readonly isRevoked: (serialNumber: string) => boolean;
  /** Names connections that ended before Envoy gave them a name. */
  readonly newId: () => string;
}

/** The record of one entry of a gateway's log. Text of a peer is quoted: every field is safe to print. */
export function ledgerRecordOf(entry: TCPAccessLogEntry, { origin, plan, isRevoked, newId }: EntryContext): EnvoyRecord | undefined {
  const common = entry.commonProperties;
  if (common === undefined) return undefined;
  const said = readCommon(common, origin, plan);
  const { proved, servicePort } = said;
  const decision = proved === undefined ? undefined : decide(servicePort, proved, plan.trustDomain);
  const facts = {
    origin,
    connectionId: said.connectionId ?? newId(),
    revision: plan.revision,
    client: said.client,
    spiffeId: proved ?? null,
    service: servicePort?.id ?? null,
    policies: decision?.grant?.policies ?? [],
  };
  const { startedAtMs, durationMs: lastedMs, ends } = said;
  if (ends === undefined) return { type: 'connection-denied', time: timeOf(startedAtMs + lastedMs), ...facts, ...(isRevoked(said.serialNumber) ? revocation(said) : denialOf(common, said, decision)) };
  if (common.accessLogType === AccessLogType.TcpUpstreamConnected) return { type: 'connection-opened', time: timeOf(startedAtMs), ...facts, ...ends, channel: 'stream' };
  const { receivedBytes = 0n, sentBytes = 0n } = entry.connectionProperties ?? {};
  return { type: 'connection-closed', time: timeOf(startedAtMs + lastedMs), ...facts, ...ends, reason: endOf(common) ?? takenAway(said, ends.target, decision, isRevoked), bytesSent: Number(receivedBytes), bytesReceived: Number(sentBytes), durationMs: Math.round(lastedMs) };
}

interface Said {
  readonly connectionId: string | undefined;
  readonly client: string;
  /** What the handshake proved, where it is one SPIFFE ID. */
  readonly proved: SpiffeId | undefined;
  /** The same of a handshake that failed: for the record, not to be believed. */
  readonly claimed: SpiffeId | undefined;
  /** What the handshake proved as it was logged; empty where it failed. */
  readonly names: string;
  /** Of the client's certificate; empty where there is none. */
  readonly serialNumber: string;
  readonly servicePort: ServicePort | undefined;
  /** What was asked for, where no service port answers to it. */
  readonly serverName: string;
  readonly startedAtMs: number;
  readonly durationMs: number;
  /** Of the connection onward; undefined where there was none. */
  readonly ends: Pick<ConnectionOpened, 'snatAddress' | 'snatPort' | 'target'> | undefined;
}

function readCommon(common: AccessLogCommon, gateway: string, plan: Plan): Said {
  const names = stateOf(common, stateKeys.identity) ?? '';
  const local = socketOf(common.upstreamLocalAddress);
  const target = tagOf(common, 'target');
  const remote = socketOf(common.downstreamRemoteAddress);
  return {
    connectionId: stateOf(common, stateKeys.connection) ?? (common.streamId === '' ? undefined : common.streamId),
    client: stateOf(common, stateKeys.client) ?? (remote === undefined ? '' : formatEndpoint(remote)),
    proved: spiffeIdIn(names),
    claimed: spiffeIdIn(tagOf(common, 'claimed') ?? ''),
    serialNumber: stateOf(common, stateKeys.serialNumber) ?? '',
    names,
    servicePort: servicePortOf(common, gateway, plan),
    serverName: common.tlsProperties?.tlsSniHostname ?? '',
    startedAtMs: common.startTime === undefined ? 0 : timestampMs(common.startTime),
    durationMs: common.duration === undefined ? 0 : durationMs(common.duration),
    ends: local === undefined || target === undefined ? undefined : { snatAddress: local.address, snatPort: local.port, target },
  };
}

/** By the inner listener that decided, by the listener that is the service port's own, or by the SNI. */
function servicePortOf({ downstreamLocalAddress, tlsProperties }: AccessLogCommon, gateway: string, plan: Plan): ServicePort | undefined {
  const index = indexOf(plan);
  const address = downstreamLocalAddress?.address;
  if (address?.case === 'envoyInternalAddress') return index.get(servicePortOfListener(address.value.addressNameSpecifier.value ?? '') ?? '');
  const listen = socketOf(downstreamLocalAddress);
  const byListener = listen === undefined ? undefined : index.get(placeAt(gateway, formatEndpoint(listen)));
  const serverName = tlsProperties?.tlsSniHostname ?? '';
  return byListener ?? index.get(placeAt(gateway, serverName)) ?? index.get(placeAt(unserved, serverName));
}

const indexes = new WeakMap<Plan, ReadonlyMap<string, ServicePort>>();

/** Service ports by id, and by what leads to them at their entrance. */
function indexOf(plan: Plan): ReadonlyMap<string, ServicePort> {
  let index = indexes.get(plan);
  if (index === undefined) {
    index = new Map(plan.servicePorts.flatMap((servicePort) => keysOf(servicePort).map((key) => [key, servicePort] as const)));
    indexes.set(plan, index);
  }
  return index;
}

/** The entrance of what no gateway can serve: whoever asks for it is told that, not that there is no such service. */
const unserved = '';
const placeAt = (gateway: string, place: string): string => `${gateway} ${place}`;

function keysOf({ id, entrance, serverNames, listen }: ServicePort): readonly string[] {
  const places = listen === null ? serverNames : [...serverNames, formatEndpoint(listen)];
  return [id, ...places.map((place) => placeAt(entrance, place))];
}

/** Why, and what of the connection's facts is otherwise then. */
type Denial = Pick<ConnectionDenied, 'reason' | 'detail'> & Partial<Pick<ConnectionDenied, 'spiffeId' | 'policies'>>;

/** No policy was asked. */
const revocation = ({ serialNumber }: Said): Denial => ({ reason: 'certificate-revoked', detail: `the certificate with serial number ${serialNumber} is revoked`, policies: [] });

function denialOf(common: AccessLogCommon, said: Said, decision: Decision | undefined): Denial {
  if (said.names === '') return handshakeFailure(common, said.claimed);
  if (said.proved === undefined || decision === undefined) return { reason: 'certificate-invalid', detail: `the client's certificate has not one SPIFFE ID but ${quotePeerText(said.names)}` };
  const isAtEntrance = common.downstreamLocalAddress?.address.case === 'socketAddress';
  return isAtEntrance || common.responseFlags?.noRouteFound === true ? refusal(said.proved, said, decision) : unreached(common);
}

function refusal(identity: SpiffeId, { servicePort, serverName }: Said, decision: Decision): Denial {
  const target = servicePort?.id ?? serverName;
  if (!decision.allowed) return { reason: decision.reason, detail: describeDenial(decision.reason, { identity, target }) };
  return { reason: 'no-gateway', detail: `the gateway has no way out for it: see the conditions on ${quotePeerText(target)}, and whether the gateway holds the latest revision` };
}

/** BoringSSL's words, as far as they tell what a person would mend. */
const handshakeFaults: readonly (readonly [RegExp, ConnectionReason])[] = [
  [/PEER_DID_NOT_RETURN_A_CERTIFICATE/, 'certificate-missing'],
  [/certificate has expired/, 'certificate-expired'],
  [/certificate is not yet valid/, 'certificate-not-yet-valid'],
  [/certificate revoked/, 'certificate-revoked'],
  [/unable to get (local )?issuer|self.signed certificate|signature failure/, 'certificate-untrusted'],
  [/CERTIFICATE_VERIFY_FAILED/, 'certificate-invalid'],
];

/** What a certificate claims stands in the record where it had the form of an SVID, as far as Envoy tells. */
function handshakeFailure(common: AccessLogCommon, claimed: SpiffeId | undefined): Denial {
  if (tagOf(common, 'closed') === 'transport_socket_timeout') return { reason: 'handshake-timeout', detail: 'the TLS handshake was not done in time' };
  const said = common.downstreamTransportFailureReason;
  if (said === '') return { reason: 'handshake-failed', detail: 'the connection ended before the TLS handshake was done' };
  const reason = handshakeFaults.find(([words]) => words.test(said))?.[1] ?? 'handshake-failed';
  return { reason, detail: `the TLS handshake failed with ${quotePeerText(said)}`, spiffeId: reason === 'certificate-invalid' ? null : (claimed ?? null) };
}

function unreached({ responseFlags, upstreamTransportFailureReason: said }: AccessLogCommon): Denial {
  if (responseFlags?.upstreamOverflow === true) return { reason: 'limit-exceeded', detail: 'what leaves from its source address has as many connections as one identity may have' };
  if (responseFlags === undefined) return { reason: 'client-closed', detail: 'the client closed the connection before the target was reached' };
  return { reason: connectFaultOf(said), detail: said === '' ? 'no target could be reached' : `no target could be reached: ${quotePeerText(said)}` };
}

function connectFaultOf(said: string): Extract<DenyReason | ConnectionReason, 'connect-timeout' | 'snat-ports-exhausted' | 'connect-failed'> {
  if (/timeout|timed out/i.test(said)) return 'connect-timeout';
  // bind(2) says the same of an address that is not the host's, connect(2) of a range of ports that is used up.
  return said.includes('Cannot assign requested address') && !said.includes('failed to bind') ? 'snat-ports-exhausted' : 'connect-failed';
}

/** Of filter chains that have gone, and of whole listeners. */
const takenAwayWords = /removed|drain|Listener_destructor/;

/** Envoy does not say which side closed first. Undefined where it ended the connection itself, for want of its filter chain. */
function endOf(common: AccessLogCommon): ConnectionReason | undefined {
  const closed = tagOf(common, 'closed') ?? '';
  if (closed.includes('idle_timeout')) return 'idle-timeout';
  if (takenAwayWords.test(closed)) return undefined;
  return common.responseFlags?.upstreamRemoteReset === true ? 'target-reset' : 'finished';
}

/** By what has changed since: chains go for what the plan says now, and with a certificate that is revoked. */
function takenAway({ serialNumber }: Said, reached: string, decision: Decision | undefined, isRevoked: EntryContext['isRevoked']): ConnectionReason {
  if (isRevoked(serialNumber)) return 'certificate-revoked';
  const isTargetGone = decision?.allowed === true && decision.servicePort.targets.every((target) => target.kind === 'address' && formatEndpoint(target) !== reached);
  return isTargetGone ? 'target-removed' : 'policy-revoked';
}

function stateOf({ filterStateObjects }: AccessLogCommon, key: string): string | undefined {
  const packed = filterStateObjects[key];
  return packed === undefined ? undefined : anyUnpack(packed, StringValueSchema)?.value;
}

function spiffeIdIn(text: string): SpiffeId | undefined {
  const parsed = parseSpiffeId(text);
  return parsed.ok ? parsed.id : undefined;
}

function tagOf({ customTags }: AccessLogCommon, tag: keyof typeof logTags): string | undefined {
  return customTags[tag];
}

function socketOf(address: Address | undefined): { readonly address: string; readonly port: number } | undefined {
  if (address?.address.case !== 'socketAddress') return undefined;
  const { address: text, portSpecifier } = address.address.value;
  return { address: text, port: portSpecifier.value ?? 0 };
}

const timeOf = (ms: number): string => new Date(ms).toISOString();
