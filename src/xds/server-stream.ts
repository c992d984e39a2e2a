import { fromBinary } from '@bufbuild/protobuf';
import { Metadata, status } from '@grpc/grpc-js';
import type { ServerDuplexStream, StatusObject } from '@grpc/grpc-js';
import { constants } from 'node:http2';
import type { Http2Stream } from 'node:http2';
import { DeltaDiscoveryRequestSchema, DiscoveryRequestSchema } from '../proto/envoy/service/discovery/v3/discovery_pb.ts';
import type { DeltaDiscoveryRequest, DiscoveryRequest } from '../proto/envoy/service/discovery/v3/discovery_pb.ts';
import type { SnapshotCache } from './snapshot-cache.ts';
import { openStream, statusOf, step } from './stream-state.ts';
import type { StreamEffect, StreamEvent, StreamSettings, TypeStatus, Variant } from './stream-state.ts';
import { encodeResponse } from './wire.ts';

/** A stream as it comes from gRPC; `getAuthContext().sslPeerCertificate` is whom the TLS handshake has proved. */
export type XdsCall = ServerDuplexStream<Buffer, Buffer>;

/** Why a stream is refused or ended, as the client is told it. */
export type XdsStatus = Pick<StatusObject, 'code' | 'details'>;

/** As much of a logger as is needed; a pino logger is one. */
export interface XdsLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

/** Bounds of the server, each to be replaced by name. */
export const xdsServerLimits = {
  /** Names asked for on one stream, over all its types. */
  namesPerStreamMax: 50_000,
  typesPerStreamMax: 64,
  /** gRPC's own limit for the whole server (4 MiB, `grpc.max_receive_message_length`) comes before it unless raised. */
  requestBytesMax: 16 * 1024 * 1024,
  /** One more ends the oldest: that is most likely the one whose client is gone. */
  streamsPerNodeMax: 8,
  /** How long a stream may stand before its first request. */
  firstRequestTimeoutMs: 15_000,
  /** How long a client may take to read a response. Until it has, it is sent no other, so one response is all that it can hold up. */
  readTimeoutMs: 20_000,
  /** How long a later stage of the type order waits for the acknowledgement of an earlier one. */
  orderWaitMs: 1_000,
  /** Of a rejection's message that is kept. */
  messageCharactersMax: 4_096,
};

export interface ServerStreamOptions {
  readonly call: XdsCall;
  readonly variant: Variant;
  readonly nodeKey: string;
  readonly nodeId: string;
  readonly settings: StreamSettings;
  readonly limits: typeof xdsServerLimits;
  readonly cache: SnapshotCache;
  readonly now: () => number;
  readonly log: XdsLog;
  readonly onEnd: () => void;
}

export interface ServerStream {
  /** Ends the stream and tells the client why. */
  end(reason: XdsStatus): void;
}

type Timer = NodeJS.Timeout | undefined;

/** Feeds the pure reducer with what comes of one gRPC stream, and does what it says. */
export function serveStream({ call, variant, nodeKey, nodeId, settings, limits, cache, now, log, onEnd }: ServerStreamOptions): ServerStream {
  const fields = { nodeKey, peer: call.getPeer(), variant };
  let state = openStream(variant, settings, cache.getSnapshot(nodeKey));
  let isIdentified = false;
  let isEnded = false;
  let readTimer: Timer;
  let wakeTimer: Timer;

  function dispatch(event: StreamEvent): void {
    if (isEnded) return;
    const { state: next, effects } = step(state, event);
    state = next;
    clearTimeout(wakeTimer);
    for (const effect of effects) perform(effect);
  }

  function perform(effect: StreamEffect): void {
    switch (effect.kind) {
      case 'respond':
        readTimer = setTimeout(() => end({ code: status.RESOURCE_EXHAUSTED, details: `a response was not read within ${limits.readTimeoutMs} ms` }), limits.readTimeoutMs);
        call.write(encodeResponse(variant, effect.response), () => {
          clearTimeout(readTimer);
          dispatch({ kind: 'written', atMs: now() });
        });
        return;
      case 'wake':
        wakeTimer = setTimeout(() => dispatch({ kind: 'tick', atMs: now() }), Math.max(0, effect.atMs - now()));
        return;
      case 'rejected': {
        const { typeUrl, version, message, names } = effect;
        log.warn({ ...fields, typeUrl, version, reason: message, resources: names.slice(0, 10), resourceCount: names.length }, 'xds response rejected');
        return;
      }
      case 'refuse':
        end({ code: effect.fault === 'malformed' ? status.INVALID_ARGUMENT : status.RESOURCE_EXHAUSTED, details: effect.reason });
        return;
      case 'accepted':
    }
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
    const claimed = request.node?.id ?? '';
    if (claimed === '' && !isIdentified) {
      end({ code: status.INVALID_ARGUMENT, details: 'the first request names no node id' });
    } else if (claimed !== '' && claimed !== nodeId) {
      end({ code: status.PERMISSION_DENIED, details: `node id "${claimed.slice(0, 256)}" is not the one of this identity, which is "${nodeId}"` });
    } else {
      identified();
      dispatch({ kind: 'request', request, atMs: now() });
    }
  }

  function identified(): void {
    if (isIdentified) return;
    isIdentified = true;
    clearTimeout(firstRequestTimer);
    log.info(fields, 'xds stream open');
  }

  /** Idempotent. A client that does not read cannot be sent a status either: its stream is reset, which frees the buffer. */
  function end(reason: XdsStatus): void {
    if (isEnded) return;
    const isStuck = state.writing;
    release();
    log.warn({ ...fields, reason: reason.details }, 'xds stream ended');
    if (isStuck) resetStream(call);
    else call.emit('error', reason);
  }

  function release(): void {
    isEnded = true;
    clearTimeout(firstRequestTimer);
    clearTimeout(readTimer);
    clearTimeout(wakeTimer);
    detach();
    onEnd();
  }

  function ownStatus(): readonly TypeStatus[] {
    return [...state.types.keys()].map((typeUrl) => statusOf(state, typeUrl)!);
  }

  const detach = cache.attach(nodeKey, { variant, connectedSinceMs: now(), onSnapshot: (snapshot) => dispatch({ kind: 'snapshot', snapshot, atMs: now() }), status: ownStatus });
  const firstRequestTimer = setTimeout(() => end({ code: status.INVALID_ARGUMENT, details: `no request within ${limits.firstRequestTimeoutMs} ms` }), limits.firstRequestTimeoutMs);

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
