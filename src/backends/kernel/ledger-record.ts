/** What the kernel tells of connections as ledger records. Whose they are is by the mark of their grant, and by the addresses of workloads. */
import { formatEndpoint, type IpAddress } from '../../core/ip-address.ts';
import type { ConnectionClosed, ConnectionDenied, ConnectionOpened, ConnectionReason } from '../../core/ledger-record.ts';
import { grantFor } from '../../core/plan/decide.ts';
import { describeDenial } from '../../core/plan/denial.ts';
import type { Endpoint, Revision, ServicePort } from '../../core/plan/plan.ts';
import { sidesOf } from '../../core/snat/snat-source.ts';
import { workloadSpiffeId, type TrustDomain, type WorkloadName } from '../../core/spiffe-id.ts';
import { destinationKey, destinationsOf } from './admissions.ts';
import type { TrackedConnection } from './connection-event.ts';
import type { Denial } from './denials.ts';
import type { MarkedGrant } from './elements.ts';
import type { AddressOwners } from './workloads.ts';

/** What is in force. */
export interface RecordContext {
  /** The gateway's name. */
  readonly origin: string;
  readonly revision: Revision;
  readonly trustDomain: TrustDomain;
  readonly servicePorts: readonly ServicePort[];
  readonly grants: ReadonlyMap<number, MarkedGrant>;
  readonly addresses: AddressOwners;
}

/** The ends of a connection, whoever has opened it. */
interface Ends {
  readonly workload: Endpoint;
  readonly snat: Endpoint;
  readonly service: Endpoint;
}

/** Undefined where the connection is not one of a grant in force. The control connection of one that carries FTP's data is for the caller to find. */
export function openedRecordOf(connection: TrackedConnection, context: RecordContext, { connectionId, atMs }: { readonly connectionId: string; readonly atMs: number }): ConnectionOpened | undefined {
  const grant = context.grants.get(connection.mark);
  const servicePort = grant === undefined ? undefined : servicePortsOf(context).get(grant.servicePort);
  if (grant === undefined || servicePort === undefined) return undefined;
  const isInward = sidesOf(grant.snat).some(({ address }) => address === connection.original.destination.address);
  const { workload, snat, service } = endsOf(connection, isInward);
  const identity = workloadIn(grant.identity);
  return {
    type: 'connection-opened',
    time: new Date(atMs).toISOString(),
    origin: context.origin,
    connectionId,
    revision: context.revision,
    client: formatEndpoint(workload),
    spiffeId: workloadSpiffeId(context.trustDomain, identity),
    service: servicePort.id,
    policies: grantFor(servicePort, identity)?.policies ?? [],
    snatAddress: snat.address,
    snatPort: snat.port,
    target: formatEndpoint(service),
    channel: channelOf(servicePort, isInward, service),
  };
}

/** How a connection ended. */
export interface End {
  readonly reason: ConnectionReason;
  readonly bytesSent: number;
  readonly bytesReceived: number;
  readonly atMs: number;
}

export function closedRecordOf({ channel: _, authority: __, ...opened }: ConnectionOpened, { atMs, ...end }: End): ConnectionClosed {
  const openedAtMs = Date.parse(opened.time);
  const closedAtMs = Math.max(openedAtMs, atMs);
  return { ...opened, ...end, type: 'connection-closed', time: new Date(closedAtMs).toISOString(), durationMs: closedAtMs - openedAtMs };
}

/** What a connection has carried, as seen from the workload. */
export function carriedBy({ original, reply }: TrackedConnection, { target }: Pick<ConnectionOpened, 'target'>): Pick<End, 'bytesSent' | 'bytesReceived'> {
  const [sent, received] = formatEndpoint(original.source) === target ? [reply, original] : [original, reply];
  return { bytesSent: sent.bytes, bytesReceived: received.bytes };
}

/** One side has said that it is done, or has reset it: the kernel does not tell which. */
const finishedStates: ReadonlySet<string> = new Set(['FIN_WAIT', 'CLOSE_WAIT', 'LAST_ACK', 'TIME_WAIT', 'CLOSE']);
const unansweredStates: ReadonlySet<string> = new Set(['SYN_SENT', 'SYN_SENT2', 'SYN_RECV']);

/** Why the kernel has forgotten a connection. */
export function endReasonOf({ mark, state, original, reply }: TrackedConnection, { grants, addresses }: RecordContext): ConnectionReason {
  const grant = grants.get(mark);
  const isWorkloads = (address: IpAddress): boolean => {
    const owner = addresses.get(address);
    return owner !== undefined && `${owner.namespace}/${owner.serviceAccount}` === grant?.identity;
  };
  const isGranted = isWorkloads(original.source.address) || isWorkloads(reply.source.address);
  if (!isGranted && state !== 'TIME_WAIT') return 'policy-revoked'; // its end by then was the cut
  if (finishedStates.has(state)) return 'finished';
  return unansweredStates.has(state) ? 'connect-timeout' : 'idle-timeout';
}

/** Whether anybody can cause it who is no workload: then it is recorded at a bounded rate. */
export const isOfStranger = ({ reason }: Denial): boolean => reason === 'not-a-workload' || reason === 'reverse-source-refused';

export function deniedRecordOf(denial: Denial, context: RecordContext, connectionId: string): ConnectionDenied {
  const { reason, source, destination, transport, atMs } = denial;
  const workload = context.addresses.get(source.address);
  const spiffeId = workload === undefined ? null : workloadSpiffeId(context.trustDomain, workload);
  const servicePort = reason === 'reverse-source-refused' ? undefined : destinationsIn(context).get(destinationKey({ ...destination, transport }));
  return {
    type: 'connection-denied',
    time: new Date(atMs).toISOString(),
    origin: context.origin,
    connectionId,
    revision: context.revision,
    client: formatEndpoint(source),
    spiffeId,
    service: servicePort?.id ?? null,
    policies: (workload === undefined || servicePort === undefined ? undefined : grantFor(servicePort, workload)?.policies) ?? [],
    reason,
    detail: describe(denial, spiffeId, servicePort?.id ?? `${formatEndpoint(destination)} (${transport})`),
  };
}

function describe({ reason, source, destination, transport }: Denial, spiffeId: string | null, target: string): string {
  switch (reason) {
    case 'not-a-workload':
      return `no workload is known at ${source.address}, which asked for ${target}; addresses are those of pods, and of WorkloadEntries`;
    case 'reverse-source-refused':
      return `${formatEndpoint(source)} is of no service that may connect to ${formatEndpoint(destination)} (${transport})`;
    case 'limit-exceeded':
      return `"${spiffeId ?? source.address}" has as many ${transport === 'udp' ? 'flows' : 'connections'} as it may have`;
    default:
      return describeDenial(reason, { identity: spiffeId ?? source.address, target });
  }
}

function endsOf({ original, reply }: TrackedConnection, isInward: boolean): Ends {
  return isInward ? { workload: reply.source, snat: original.destination, service: original.source } : { workload: original.source, snat: reply.destination, service: original.destination };
}

/** A data connection of FTP has the mark of its control connection, and is told from it by what it goes to. */
function channelOf(servicePort: ServicePort, isInward: boolean, { address, port }: Endpoint): ConnectionOpened['channel'] {
  switch (servicePort.protocol) {
    case 'Reverse':
      return 'reverse';
    case 'UDP':
      return 'udp';
    case 'FTP':
      return !isInward && destinationsOf(servicePort).some((target) => target.address === address && target.port === port) ? 'ftp-control' : 'ftp-data';
    default:
      return 'stream';
  }
}

function workloadIn(identity: string): WorkloadName {
  const [namespace, serviceAccount] = identity.split('/') as [string, string];
  return { namespace, serviceAccount };
}

/** Of a plan, made when it is first asked for. */
function indexed<Value>(make: (servicePorts: readonly ServicePort[]) => ReadonlyMap<string, Value>): (context: RecordContext) => ReadonlyMap<string, Value> {
  const indexes = new WeakMap<readonly ServicePort[], ReadonlyMap<string, Value>>();
  return ({ servicePorts }) => {
    const index = indexes.get(servicePorts) ?? make(servicePorts);
    indexes.set(servicePorts, index);
    return index;
  };
}

const servicePortsOf = indexed((servicePorts) => new Map(servicePorts.map((servicePort) => [servicePort.id as string, servicePort])));

/** Where two services are one address and port, the first is meant. */
const destinationsIn = indexed((servicePorts) => new Map(servicePorts.toReversed().flatMap((servicePort) => destinationsOf(servicePort).map((destination) => [destinationKey(destination), servicePort] as const))));
