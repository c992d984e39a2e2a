import type { ServiceDefinition, UntypedServiceImplementation } from '@grpc/grpc-js';
import { status } from '@grpc/grpc-js';
import { clientStatusMethods } from './client-status.ts';
import { discoveryMethods, envoyDiscoveryServices } from './discovery-services.ts';
import type { DiscoveryMethod, DiscoveryService } from './discovery-services.ts';
import { createQuietLog } from './quiet-log.ts';
import type { XdsLog } from './quiet-log.ts';
import type { SnapshotCache } from './snapshot-cache.ts';
import { hostOf, serveStream, xdsServerLimits } from './server-stream.ts';
import type { OnDemand, ServerStream, XdsCall, XdsCaller, XdsPeer, XdsStatus } from './server-stream.ts';
import { createStreamGate } from './stream-gate.ts';
import { createTurnQueue } from './turn-queue.ts';
import { envoyFullStateTypes, envoyTypeOrder } from './type-order.ts';
import type { TypeOrder } from './type-order.ts';
import type { MessageParts } from './wire.ts';

/** Streams that are told of a snapshot in one turn of the event loop: their responses take some 2 ms of it. */
const STREAMS_PER_TURN = 64;

/** Whom a stream serves, or why none. */
export type XdsAuthentication = XdsPeer | { readonly refuse: XdsStatus };

/** What a server serves, to whom, and within which bounds. */
export interface XdsServerOptions {
  readonly cache: SnapshotCache;
  /** Asked once for each stream, before anything of it is read. The node that a client claims to be must be one that this allows. */
  readonly authenticate: (caller: XdsCaller) => XdsAuthentication;
  /** Whether a caller may ask what all clients hold, by the client status discovery service. Where it is left out, nobody may. */
  readonly mayReadStatus?: (caller: XdsCaller) => boolean;
  /** Told of names that are asked for and that the snapshot does not have. */
  readonly onDemand?: OnDemand;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Written to at most once a minute for one kind of event and node. */
  readonly log: XdsLog;
  readonly limits?: Partial<typeof xdsServerLimits>;
  /** Make before break; Envoy's, where left out. */
  readonly typeOrder?: TypeOrder;
  /** Services for one type, beside the aggregated one; Envoy's, where left out. */
  readonly services?: readonly DiscoveryService[];
  /** Types of which a SotW response always lists everything; Envoy's, where left out. */
  readonly fullStateTypes?: readonly string[];
}

/** The handlers of a server, and the ways to end its streams. */
export interface XdsServer {
  /**
   * With `handlers`, for `addService` of a grpc-js `Server`, or of one of `sallyport/grpc`: the aggregated discovery service,
   * those for one type, and the client status discovery service, the methods of all in one definition.
   */
  readonly service: ServiceDefinition;
  readonly handlers: UntypedServiceImplementation;
  /**
   * Ends the streams of a node, for example when its certificate has been revoked. It may come again if `authenticate` lets it.
   * A stream whose key follows from its node id is found once it has named that.
   */
  disconnect(nodeKey: string, reason: XdsStatus): void;
  /** Ends every stream with UNAVAILABLE, so that clients go elsewhere or come again. New ones are refused. */
  close(): void;
}

/**
 * Serves the snapshots of a cache to xDS clients: Envoy, gRPC, or the client of this library; any type of resource, in both
 * variants of the protocol, over the aggregated service or over those for one type.
 *
 * A response goes out as soon as a snapshot differs from what the client holds, one at a time; later changes merge into the
 * next. A rejected response leaves the client as it is and is not repeated until its content changes. Requests beyond the
 * limits, and malformed ones, end the stream that they came on and no other.
 *
 *     const cache = createSnapshotCache();
 *     const xds = createXdsServer({ cache, authenticate: nodeOfCertificate, now: Date.now, log: console });
 *     const server = new grpc.Server({ 'grpc.keepalive_time_ms': 30_000 });
 *     server.addService(xds.service, xds.handlers);
 *     server.bindAsync('0.0.0.0:18000', credentials, onBound);
 *     cache.setSnapshot('edge-1', createSnapshot('v1', [createResource({ name: 'web', typeUrl: envoyTypes.cluster, value })]));
 */
export function createXdsServer(options: XdsServerOptions): XdsServer {
  const { cache, now, onDemand, mayReadStatus = () => false } = options;
  const limits = { ...xdsServerLimits, ...options.limits };
  const settings = {
    typeOrder: options.typeOrder ?? envoyTypeOrder,
    fullStateTypes: options.fullStateTypes ?? envoyFullStateTypes,
    orderWaitMs: limits.orderWaitMs,
    quietMs: limits.quietMs,
    quietWaitMaxMs: limits.quietWaitMaxMs,
    isOnDemand: onDemand !== undefined,
    typesMax: limits.typesPerStreamMax,
    namesMax: limits.namesPerStreamMax,
    messageCharactersMax: limits.messageCharactersMax,
  };
  const log = createQuietLog(options.log, now);
  const inTurn = createTurnQueue(STREAMS_PER_TURN);
  const gate = createStreamGate<ServerStream>(limits, now);
  /** By node key, as far as it is known. */
  const streams = new Map<string, Set<ServerStream>>();
  const unnamed = new Set<ServerStream>();
  let closed = false;

  function handle(call: XdsCall, method: DiscoveryMethod): void {
    const peer: XdsAuthentication = closed ? { refuse: { code: status.UNAVAILABLE, details: 'the server is closing' } } : options.authenticate(call);
    if ('refuse' in peer) {
      log('warn', { subject: hostOf(call), event: `refused ${peer.refuse.code}` }, { peer: call.getPeer(), reason: peer.refuse.details }, 'xds stream refused');
      call.emit('error', peer.refuse);
      return;
    }
    let leave = (): void => void unnamed.delete(stream);
    const stream: ServerStream = serveStream({
      call,
      method,
      peer,
      settings,
      limits,
      cache,
      onDemand: onDemand ?? (() => []),
      now,
      log,
      inTurn,
      enter(entrant) {
        const admission = gate.enter({ ...entrant, stream });
        if ('leave' in admission) join(entrant.nodeKey);
        return admission;
      },
      onEnd: () => leave(),
    });
    if (typeof peer.nodeKey === 'string') join(peer.nodeKey);
    else unnamed.add(stream);

    function join(nodeKey: string): void {
      unnamed.delete(stream);
      const ofNode = streams.get(nodeKey) ?? new Set();
      streams.set(nodeKey, ofNode.add(stream));
      leave = () => {
        ofNode.delete(stream);
        if (ofNode.size === 0 && streams.get(nodeKey) === ofNode) streams.delete(nodeKey);
      };
    }
  }

  function disconnect(nodeKey: string, reason: XdsStatus): void {
    for (const stream of [...(streams.get(nodeKey) ?? [])]) stream.end(reason);
  }

  const methods = discoveryMethods(options.services ?? envoyDiscoveryServices);
  const clientStatus = clientStatusMethods({ cache, mayReadStatus, nodesMax: limits.statusNodesMax });
  return {
    service: { ...Object.fromEntries(methods.map(({ name, path }) => [name, methodDefinition(path)])), ...clientStatus.service },
    handlers: { ...Object.fromEntries(methods.map((method) => [method.name, (call: XdsCall) => handle(call, method)])), ...clientStatus.handlers },
    disconnect,
    close() {
      closed = true;
      const reason = { code: status.UNAVAILABLE, details: 'the server is closing' };
      for (const nodeKey of [...streams.keys()]) disconnect(nodeKey, reason);
      for (const stream of [...unnamed]) stream.end(reason);
    },
  };
}

/** Bytes in, bytes out: responses are encoded before gRPC sees them, and a request that cannot be decoded is answered by us. */
function methodDefinition(path: string): ServiceDefinition[string] {
  const asItIs = (bytes: Buffer): Buffer => bytes;
  const definition = {
    path,
    requestStream: true,
    responseStream: true,
    requestSerialize: asItIs,
    requestDeserialize: asItIs,
    responseSerialize: (parts: MessageParts): Buffer => Buffer.concat(parts),
    responseDeserialize: (bytes: Buffer): MessageParts => [bytes],
    // For servers that take a message in pieces, as sallyport/grpc does; grpc-js copies.
    responseParts: (parts: MessageParts): MessageParts => parts,
  };
  return definition;
}
