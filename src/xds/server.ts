import type { ServiceDefinition, UntypedServiceImplementation } from '@grpc/grpc-js';
import { status } from '@grpc/grpc-js';
import type { SnapshotCache } from './snapshot-cache.ts';
import { serveStream, xdsServerLimits } from './server-stream.ts';
import type { ServerStream, XdsCall, XdsLog, XdsStatus } from './server-stream.ts';
import { envoyFullStateTypes, envoyTypeOrder } from './type-order.ts';
import type { TypeOrder } from './type-order.ts';
import type { Variant } from './stream-state.ts';

/**
 * Whom a stream serves. `nodeKey` is the key of its snapshot, `nodeId` the id that the client must give itself (where it is
 * left out: the node key).
 */
export type XdsAuthentication = { readonly nodeKey: string; readonly nodeId?: string } | { readonly refuse: XdsStatus };

export interface XdsServerOptions {
  readonly cache: SnapshotCache;
  /** Asked once for each stream, before anything of it is read. The node that a client claims to be must be the one that this names. */
  readonly authenticate: (call: XdsCall) => XdsAuthentication;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly log: XdsLog;
  readonly limits?: Partial<typeof xdsServerLimits>;
  /** Make before break; Envoy's, where left out. */
  readonly typeOrder?: TypeOrder;
  /** Types of which a SotW response always lists everything; Envoy's, where left out. */
  readonly fullStateTypes?: readonly string[];
}

export interface XdsServer {
  /** With `handlers`, for `addService` of a grpc-js `Server`: both variants of the aggregated discovery service. */
  readonly service: ServiceDefinition;
  readonly handlers: UntypedServiceImplementation;
  /** Ends the streams of a node, for example when its certificate has been revoked. It may come again if `authenticate` lets it. */
  disconnect(nodeKey: string, reason: XdsStatus): void;
  /** Ends every stream with UNAVAILABLE, so that clients go elsewhere or come again. New ones are refused. */
  close(): void;
}

const SERVICE = 'envoy.service.discovery.v3.AggregatedDiscoveryService';

const METHODS: readonly { readonly name: string; readonly variant: Variant }[] = [
  { name: 'StreamAggregatedResources', variant: 'sotw' },
  { name: 'DeltaAggregatedResources', variant: 'delta' },
];

/**
 * Serves the snapshots of a cache to xDS clients: Envoy, gRPC, or the client of this library; any type of resource, in both
 * variants of the aggregated protocol.
 *
 * A response goes out as soon as a snapshot differs from what the client holds, one at a time; later changes merge into the
 * next. A rejected response leaves the client as it is and is not repeated until its content changes. Requests beyond the
 * limits, and malformed ones, end the stream that they came on and no other.
 *
 *     const cache = createSnapshotCache();
 *     const xds = createXdsServer({ cache, authenticate: nodeOfCertificate, now: Date.now, log });
 *     const server = new grpc.Server({ 'grpc.keepalive_time_ms': 30_000 });
 *     server.addService(xds.service, xds.handlers);
 *     server.bindAsync('0.0.0.0:18000', credentials, onBound);
 *     cache.setSnapshot('edge-1', createSnapshot('v1', [createResource({ name: 'web', typeUrl: envoyTypes.cluster, value })]));
 */
export function createXdsServer(options: XdsServerOptions): XdsServer {
  const limits = { ...xdsServerLimits, ...options.limits };
  const settings = {
    typeOrder: options.typeOrder ?? envoyTypeOrder,
    fullStateTypes: options.fullStateTypes ?? envoyFullStateTypes,
    orderWaitMs: limits.orderWaitMs,
    typesMax: limits.typesPerStreamMax,
    namesMax: limits.namesPerStreamMax,
    messageCharactersMax: limits.messageCharactersMax,
  };
  /** By node key, oldest first. */
  const streams = new Map<string, Set<ServerStream>>();
  let closed = false;

  function handle(call: XdsCall, variant: Variant): void {
    const who: XdsAuthentication = closed ? { refuse: { code: status.UNAVAILABLE, details: 'the server is closing' } } : options.authenticate(call);
    if ('refuse' in who) {
      options.log.warn({ peer: call.getPeer(), reason: who.refuse.details }, 'xds stream refused');
      call.emit('error', who.refuse);
      return;
    }
    const { nodeKey, nodeId = nodeKey } = who;
    const ofNode = streams.get(nodeKey) ?? new Set();
    streams.set(nodeKey, ofNode);
    const stream = serveStream({ call, variant, nodeKey, nodeId, settings, limits, cache: options.cache, now: options.now, log: options.log, onEnd: () => {
      ofNode.delete(stream);
      if (ofNode.size === 0 && streams.get(nodeKey) === ofNode) streams.delete(nodeKey);
    } });
    ofNode.add(stream);
    if (ofNode.size > limits.streamsPerNodeMax) {
      const [oldest] = ofNode;
      oldest?.end({ code: status.RESOURCE_EXHAUSTED, details: `more than ${limits.streamsPerNodeMax} streams of one node: the oldest is ended` });
    }
  }

  function disconnect(nodeKey: string, reason: XdsStatus): void {
    for (const stream of [...(streams.get(nodeKey) ?? [])]) stream.end(reason);
  }

  return {
    service: Object.fromEntries(METHODS.map(({ name }) => [name, methodDefinition(name)])),
    handlers: Object.fromEntries(METHODS.map(({ name, variant }) => [name, (call: XdsCall) => handle(call, variant)])),
    disconnect,
    close() {
      closed = true;
      for (const nodeKey of [...streams.keys()]) disconnect(nodeKey, { code: status.UNAVAILABLE, details: 'the server is closing' });
    },
  };
}

/** Bytes in, bytes out: responses are encoded before gRPC sees them, and a request that cannot be decoded is answered by us. */
function methodDefinition(name: string): ServiceDefinition[string] {
  const asItIs = (bytes: Buffer): Buffer => bytes;
  return {
    path: `/${SERVICE}/${name}`,
    requestStream: true,
    responseStream: true,
    requestSerialize: asItIs,
    requestDeserialize: asItIs,
    responseSerialize: asItIs,
    responseDeserialize: asItIs,
  };
}
