import { fromBinary } from '@bufbuild/protobuf';
import { Metadata, status } from '@grpc/grpc-js';
import type { ServerDuplexStream, StatusObject } from '@grpc/grpc-js';
import { constants } from 'node:http2';
import type { Http2Stream } from 'node:http2';
import { DeltaDiscoveryRequestSchema, DiscoveryRequestSchema } from '../proto/envoy/service/discovery/v3/discovery_pb.ts';
import type { Node } from '../proto/envoy/config/core/v3/base_pb.ts';
import type { DeltaDiscoveryRequest, DiscoveryRequest } from '../proto/envoy/service/discovery/v3/discovery_pb.ts';
import type { SnapshotCache } from './snapshot-cache.ts';
import type { DiscoveryMethod } from './discovery-services.ts';
import type { QuietLog } from './quiet-log.ts';
import type { Admission, Entrant } from './stream-gate.ts';
import { openStream, step } from './stream-state.ts';
import type { StreamEffect, StreamEvent, StreamSettings, StreamState, Variant } from './stream-state.ts';
import { namedIn, resourceStatusesOf, statusOf } from './stream-status.ts';
import { userAgentOf } from './user-agent.ts';
import { encodeResponse } from './wire.ts';
import type { MessageParts } from './wire.ts';

/** A stream as it comes from gRPC. */
export type XdsCall = ServerDuplexStream<Buffer, MessageParts>;

/** As much of a call as says who is calling; `getAuthContext().sslPeerCertificate` is whom the TLS handshake has proved. */
export type XdsCaller = Pick<XdsCall, 'getPeer' | 'getAuthContext' | 'metadata'>;

/** Why a stream is refused or ended, as the client is told it. */
export type XdsStatus = Pick<StatusObject, 'code' | 'details'>;

/** Whom a stream serves, as far as the peer has proved it. */
export interface XdsPeer {
  /** The key of its snapshot, or how that follows from the node's id. */
  readonly nodeKey: string | ((nodeId: string) => string);
  /** The id that the node must give itself, or whether it may give itself that one; where it is left out, the key. */
  readonly nodeId?: string | ((claimed: string) => boolean);
}

/** Names that a node asks for and its snapshot does not have. */
export interface XdsDemand {
  readonly nodeKey: string;
  readonly nodeId: string;
  readonly typeUrl: string;
  readonly names: readonly string[];
}

/**
 * Hears of a demand, and gives the node another snapshot if there is what it asks for, at once or later. Returns those of the
 * names that do not exist: the client is told so, and for the others it goes on waiting. Until a returned promise settles, no
 * name of the demand is reported as removed, also where the client holds it from an earlier stream.
 */
export type OnDemand = (demand: XdsDemand) => readonly string[] | Promise<readonly string[]>;

/** Bounds of the server, each to be replaced by name. */
export const xdsServerLimits = {
  /** Names asked for on one stream, over all its types. */
  namesPerStreamMax: 50_000,
  typesPerStreamMax: 64,
  /** gRPC's own limit for the whole server (4 MiB, `grpc.max_receive_message_length`) comes before it unless raised. */
  requestBytesMax: 16 * 1024 * 1024,
  /** Aggregated streams of one node id. One more ends the oldest: that is most likely the one whose client is gone. */
  streamsPerNodeMax: 8,
  /** Streams for one type, all together; Envoy opens one for each secret that it is to have by SDS alone. */
  perTypeStreamsPerNodeMax: 1_000,
  /** Streams of all nodes that share a snapshot. One more is refused. */
  streamsPerKeyMax: 10_000,
  /** In this time a node may open ten times the streams that it may hold; further ones are refused. */
  flapWindowMs: 10_000,
  /** How long a stream may stand before its first request. */
  firstRequestTimeoutMs: 15_000,
  /** How long a client may take to read a response. Until it has, it is sent no other, so one response is all that it can hold up. */
  readTimeoutMs: 20_000,
  /** How long a later stage of the type order waits for the acknowledgement of an earlier one. */
  orderWaitMs: 1_000,
  /** Changes of a snapshot go out once there has been none for this long; what a client asks for never waits. */
  quietMs: 0,
  /** ... but no later than this after the first of them. */
  quietWaitMaxMs: 1_000,
  /** Nodes that one question about the status of clients may match. */
  statusNodesMax: 100,
  /** Of a rejection's message that is kept. */
  messageCharactersMax: 4_096,
};

export interface ServerStreamOptions {
  readonly call: XdsCall;
  readonly method: DiscoveryMethod;
  readonly peer: XdsPeer;
  readonly settings: StreamSettings;
  readonly limits: typeof xdsServerLimits;
  readonly cache: SnapshotCache;
  readonly onDemand: OnDemand;
  readonly now: () => number;
  readonly log: QuietLog;
  /** Takes what many streams are to do at once, and spreads it over turns of the event loop. */
  readonly inTurn: (task: () => void) => void;
  /** Asked once, when the stream has said which node it is. */
  readonly enter: (entrant: Omit<Entrant<ServerStream>, 'stream'>) => Admission<ServerStream>;
  readonly onEnd: () => void;
}

export interface ServerStream {
  /** Ends the stream and tells the client why. */
  end(reason: XdsStatus): void;
}

/** What is there once a stream has said which node it is. */
interface Served {
  readonly nodeKey: string;
  readonly nodeId: string;
  readonly detach: () => void;
  state: StreamState;
}

type Timer = NodeJS.Timeout | undefined;

/** Feeds the pure reducer with what comes of one gRPC stream, and does what it says. */
export function serveStream({ call, method, peer, settings, limits, cache, onDemand, now, log, inTurn, enter, onEnd }: ServerStreamOptions): ServerStream {
  const { variant, onlyType } = method;
  let served: Served | undefined;
  /** Known from the peer, or once it has named a node that it may be: nobody is told off for what another claims. */
  let knownKey = typeof peer.nodeKey === 'string' ? peer.nodeKey : undefined;
  let isEnded = false;
  let firstRequestTimer: Timer;
  let readTimer: Timer;
  let wakeTimer: Timer;
  /** Of an event that comes of an effect of another, the other is finished first. */
  const events: StreamEvent[] = [];

  function dispatch(event: StreamEvent): void {
    if (events.push(event) > 1) return;
    for (let next = events[0]; next !== undefined && served !== undefined && !isEnded; events.shift(), next = events[0]) {
      const { state, effects } = step(served.state, next);
      served.state = state;
      clearTimeout(wakeTimer);
      for (const effect of effects) perform(effect, served);
    }
  }

  /** Of several snapshots the latest counts. What the stream does before its turn has come, it does by that too. */
  function catchUp(): void {
    if (served === undefined) return;
    const snapshot = cache.getSnapshot(served.nodeKey);
    if (snapshot !== served.state.snapshot) dispatch({ kind: 'snapshot', snapshot, atMs: now() });
  }

  function perform(effect: StreamEffect, { nodeKey, nodeId }: Served): void {
    switch (effect.kind) {
      case 'respond':
        readTimer = setTimeout(() => end({ code: status.RESOURCE_EXHAUSTED, details: `a response was not read within ${limits.readTimeoutMs} ms` }), limits.readTimeoutMs);
        call.write(encodeResponse(variant, effect.response), () => {
          clearTimeout(readTimer);
          readTimer = undefined; // a timer that is over would be kept until the next response
          dispatch({ kind: 'written', atMs: now() });
        });
        return;
      case 'wake':
        wakeTimer = setTimeout(() => dispatch({ kind: 'tick', atMs: now() }), Math.min(Math.max(0, effect.atMs - now()), TIMER_MS_MAX));
        return;
      case 'missing':
        void hear(effect, nodeKey, nodeId);
        return;
      case 'rejected': {
        const { typeUrl, version, message, names } = effect;
        write('warn', `rejected ${typeUrl}`, { typeUrl, version, reason: message, resources: namedIn(message, names), resourceCount: names.length }, 'xds response rejected');
        return;
      }
      case 'refuse':
        end({ code: effect.fault === 'malformed' ? status.INVALID_ARGUMENT : status.RESOURCE_EXHAUSTED, details: effect.reason });
        return;
      case 'accepted':
    }
  }

  async function hear({ typeUrl, names }: { readonly typeUrl: string; readonly names: readonly string[] }, nodeKey: string, nodeId: string): Promise<void> {
    let absent: readonly string[] = [];
    try {
      absent = await onDemand({ nodeKey, nodeId, typeUrl, names });
    } catch (error) {
      write('warn', 'on demand', { typeUrl, err: error }, 'xds resources could not be had on demand');
    }
    catchUp();
    dispatch({ kind: 'heard', typeUrl, names, absent, atMs: now() });
  }

  function receive(bytes: Buffer): void {
    if (isEnded) return;
    if (bytes.length > limits.requestBytesMax) {
      end({ code: status.RESOURCE_EXHAUSTED, details: `a request of ${bytes.length} bytes, more than ${limits.requestBytesMax}` });
      return;
    }
    const request = decode(variant, bytes);
    if (request === undefined) {
      end({ code: status.INVALID_ARGUMENT, details: 'a request cannot be decoded' });
      return;
    }
    const refusal = identify(request.node);
    if (refusal !== undefined) {
      end(refusal);
      return;
    }
    catchUp();
    dispatch({ kind: 'request', request, atMs: now() });
  }

  /** Holds the stream to one node, and that to its peer. The node need not be named again after the first request. */
  function identify(node: Node | undefined): XdsStatus | undefined {
    const claimed = node?.id ?? '';
    if (served !== undefined) {
      return claimed === '' || claimed === served.nodeId ? undefined : { code: status.PERMISSION_DENIED, details: `node id "${claimed.slice(0, 256)}" on a stream of "${served.nodeId}"` };
    }
    if (node === undefined || claimed === '') return { code: status.INVALID_ARGUMENT, details: 'the first request names no node id' };
    const nodeKey = typeof peer.nodeKey === 'string' ? peer.nodeKey : peer.nodeKey(claimed);
    const { nodeId = nodeKey } = peer;
    if (typeof nodeId === 'string' ? claimed !== nodeId : !nodeId(claimed)) {
      const allowed = typeof nodeId === 'string' ? `the one of this identity, which is "${nodeId}"` : 'one of this identity';
      return { code: status.PERMISSION_DENIED, details: `node id "${claimed.slice(0, 256)}" is not ${allowed}` };
    }
    knownKey = nodeKey;
    const admission = enter({ nodeKey, nodeId: claimed, isAggregated: onlyType === undefined });
    if ('refused' in admission) return { code: status.RESOURCE_EXHAUSTED, details: admission.refused };
    begin(nodeKey, node, admission.leave);
    admission.displaced?.end({ code: status.RESOURCE_EXHAUSTED, details: 'too many streams of one node: the oldest is ended' });
    return undefined;
  }

  function begin(nodeKey: string, node: Node, leave: () => void): void {
    const nodeId = node.id;
    clearTimeout(firstRequestTimer);
    firstRequestTimer = undefined;
    const state = openStream(variant, settings, cache.getSnapshot(nodeKey), onlyType);
    const own: Served = {
      nodeKey,
      nodeId,
      state,
      detach() {
        detach();
        leave();
      },
    };
    const detach = cache.attach(nodeKey, {
      nodeId,
      userAgent: userAgentOf(node),
      variant,
      connectedSinceMs: now(),
      onSnapshot: () => inTurn(catchUp),
      status: () => [...own.state.types.keys()].map((typeUrl) => statusOf(own.state, typeUrl)!),
      resources: () => resourceStatusesOf(own.state),
    });
    served = own;
    write('info', 'open', {}, 'xds stream open');
  }

  /** Idempotent. A client that does not read cannot be sent a status either: its stream is reset, which frees the buffer. */
  function end(reason: XdsStatus): void {
    if (isEnded) return;
    const isStuck = served?.state.writing === true;
    release();
    if (knownKey !== undefined) cache.noteTrouble(knownKey, reason.details, now());
    write('warn', `ended ${reason.code}`, { reason: reason.details }, 'xds stream ended');
    if (isStuck) resetStream(call);
    else call.emit('error', reason);
  }

  function release(): void {
    isEnded = true;
    clearTimeout(firstRequestTimer);
    clearTimeout(readTimer);
    clearTimeout(wakeTimer);
    served?.detach();
    onEnd();
  }

  function write(level: 'info' | 'warn', event: string, fields: object, message: string): void {
    const who = { nodeKey: knownKey, nodeId: served?.nodeId, peer: call.getPeer(), variant };
    log(level, { subject: knownKey ?? hostOf(call), event }, { ...who, ...fields }, message);
  }

  firstRequestTimer = setTimeout(() => end({ code: status.INVALID_ARGUMENT, details: `no request within ${limits.firstRequestTimeoutMs} ms` }), limits.firstRequestTimeoutMs);

  call.on('data', receive);
  call.on('end', () => {
    if (!isEnded) release();
    call.end();
  });
  call.on('cancelled', () => {
    if (!isEnded) release();
  });
  call.on('error', () => {
    if (!isEnded) release();
  });
  // Tells the client that it has been let in, also when there is nothing to send.
  call.sendMetadata(new Metadata());
  return { end };
}

/** A peer's address without its port, which a client changes at will. */
export function hostOf(call: XdsCaller): string {
  return call.getPeer().replace(/:[0-9]+$/, '');
}

function decode(variant: Variant, bytes: Buffer): DeltaDiscoveryRequest | DiscoveryRequest | undefined {
  try {
    return variant === 'delta' ? fromBinary(DeltaDiscoveryRequestSchema, bytes) : fromBinary(DiscoveryRequestSchema, bytes);
  } catch {
    return undefined; // what protobuf-es has to say is about wire types and offsets, nothing that helps the client's owner
  }
}

/**
 * Resets the HTTP/2 stream below a call, since a status would wait until everything before it has been read. `destroy` is
 * enough for src/grpc; grpc-js has no way to say it, and a stream of it that cannot be found (another version) is left to the
 * end of its connection.
 */
function resetStream(call: XdsCall): void {
  let layer: unknown = Reflect.get(call, 'call');
  for (let depth = 0; depth < 8 && typeof layer === 'object' && layer !== null; depth += 1) {
    const stream = Reflect.get(layer, 'stream') as Http2Stream | undefined;
    if (stream !== undefined) {
      stream.close(constants.NGHTTP2_CANCEL);
      return;
    }
    layer = Reflect.get(layer, 'nextCall');
  }
  call.destroy();
}

const TIMER_MS_MAX = 2 ** 31 - 1; // setTimeout's own
