import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import type { MessageInitShape } from '@bufbuild/protobuf';
import { Client, connectivityState, Metadata, status } from '@grpc/grpc-js';
import type { ChannelCredentials, ChannelOptions, ClientDuplexStream, StatusObject } from '@grpc/grpc-js';
import { DeltaDiscoveryRequestSchema, DeltaDiscoveryResponseSchema } from '../proto/envoy/service/discovery/v3/discovery_pb.ts';
import type { DeltaDiscoveryRequest, DeltaDiscoveryResponse } from '../proto/envoy/service/discovery/v3/discovery_pb.ts';
import { hold, holdType, openingRequest, readResponse } from './delta-client-state.ts';
import type { DeltaSubscription, DeltaUpdate } from './delta-client-state.ts';

/** Where to reach the server, and as whom. */
export interface DeltaEndpoint {
  /** `HOST:PORT`, `unix:PATH`, or whatever else gRPC names a target. */
  readonly address: string;
  readonly credentials: ChannelCredentials;
  /** Laid over the client's own channel options. */
  readonly options?: ChannelOptions;
}

/** Connected is a client whose stream the server has answered. */
export type DeltaClientState = 'connecting' | 'connected' | 'disconnected';

/** More about a change of state. */
export interface DeltaClientStateDetail {
  /** Why, in words; for a disconnect this is the server's own reason where it gave one. */
  readonly reason: string;
  /** The gRPC status that ended the stream. */
  readonly grpcStatus?: number;
  /** How long until the next attempt. */
  readonly retryInMs?: number;
}

/** What a client asks for, of whom, and what it does with the answers. */
export interface DeltaClientOptions {
  /**
   * Asked before every attempt, so credentials may change over time. A `Client` stays the caller's own, who closes it; of an
   * endpoint the connection is made, and closed, here. May throw: that is an attempt which failed.
   */
  readonly connect: () => DeltaEndpoint | Client;
  readonly node: { readonly id: string; readonly cluster?: string; readonly userAgentName?: string; readonly userAgentVersion?: string };
  /** Each type at most once. */
  readonly subscriptions: readonly DeltaSubscription[];
  /** What is held from an earlier run, by type URL and then by name. Asked once, at the start; later the client knows itself. */
  readonly initialVersions?: () => ReadonlyMap<string, ReadonlyMap<string, string>>;
  /**
   * Called with every response, also an empty one (the server has nothing for that type). To return is to accept; to throw is
   * to reject the whole of it: the server is told the error's message, and nothing counts as held. So is to resolve, and to reject,
   * a promise; nothing further is read meanwhile.
   */
  readonly onUpdate: (update: DeltaUpdate) => void | Promise<void>;
  readonly onState?: (state: DeltaClientState, detail: DeltaClientStateDetail) => void;
  /** Uniform in [0, 1), for the jitter of the back-off. */
  readonly random: () => number;
  /** Milliseconds, monotone enough to measure how long a stream lived. */
  readonly now: () => number;
  /** Aborting is closing. */
  readonly signal?: AbortSignal;
  readonly limits?: Partial<typeof deltaClientLimits>;
}

/** A running client. */
export interface DeltaClient {
  /** Whether a stream stands that the server has answered. */
  readonly connected: boolean;
  /** Ends the stream, if any, and connects anew at once with what `connect` then gives. What is held stays held. */
  reconnect(): void;
  /** Ends the stream and every attempt; nothing is called afterwards. */
  close(): void;
}

/** Bounds of the client, each to be replaced by name. */
export const deltaClientLimits = {
  /** The first pause after a failure; it doubles with every further one. */
  backoffBaseMs: 250,
  backoffMaxMs: 10_000,
  /** A stream that lived this long sets the back-off to its beginning. */
  stableAfterMs: 5_000,
  /** How long a connection may take to stand, TLS included. */
  connectTimeoutMs: 10_000,
  /** An idle connection is probed this often ... */
  keepaliveIntervalMs: 10_000,
  /** ... and given up when a probe is not answered in this time. */
  keepaliveTimeoutMs: 5_000,
  /** The largest response. A first push carries everything that is subscribed to. */
  responseBytesMax: 64 * 1024 * 1024,
  /** Of an error's message, as it is sent with a rejection. */
  rejectionCharactersMax: 1_024,
};

const METHOD_PATH = '/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources';

type DeltaDiscoveryRequestInit = MessageInitShape<typeof DeltaDiscoveryRequestSchema>;
type Stream = ClientDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>;

/**
 * Keeps the subscribed resources of an xDS server up to date over one aggregated Delta stream, for as long as it is not closed:
 * connects (the server may start later), connects again after every failure with exponential back-off and jitter, tells
 * on each new stream what it holds so that it is sent only what has changed since, and acknowledges or rejects every response.
 * A server that has vanished without a word is noticed within `keepaliveIntervalMs + keepaliveTimeoutMs`.
 *
 * Protocol: https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#incremental-xds
 */
export function createDeltaClient(options: DeltaClientOptions): DeltaClient {
  const limits = { ...deltaClientLimits, ...options.limits };
  const initial = options.initialVersions?.();
  const held = new Map(options.subscriptions.map((subscription) => [subscription.typeUrl, holdType(subscription, initial?.get(subscription.typeUrl))]));
  if (held.size !== options.subscriptions.length) throw new RangeError('a type stands twice in the subscriptions');

  /** Ends what is under way: an attempt, or the pause before the next one. */
  let endAttempt = (): void => undefined;
  /** Counts beginnings and ends of attempts, so that what belongs to an earlier one is known for it. */
  let generation = 0;
  let failures = 0;
  let connected = false;
  let closed = false;
  /** Settles when the application has taken what it has at hand, of an earlier stream too. */
  let taking: Promise<unknown> | undefined;

  function start(reason: string): void {
    endAttempt();
    const own = (generation += 1);
    const isCurrent = (): boolean => own === generation;
    tell('connecting', { reason });
    if (!isCurrent()) return; // the listener has closed the client, or connected anew
    let opened: { readonly client: Client; readonly release: () => void };
    try {
      opened = open(options.connect());
    } catch (error) {
      retry({ reason: messageOf(error) });
      return;
    }
    const { client, release } = opened;
    const startedAtMs = options.now();
    const stream: Stream = client.makeBidiStreamRequest(METHOD_PATH, encodeRequest, decodeResponse, new Metadata());
    const connectTimer = setTimeout(() => {
      if (client.getChannel().getConnectivityState(false) !== connectivityState.READY) {
        fail({ reason: `no connection within ${limits.connectTimeoutMs} ms`, grpcStatus: status.UNAVAILABLE });
      }
    }, limits.connectTimeoutMs);
    endAttempt = () => {
      clearTimeout(connectTimer);
      stream.cancel();
      release();
    };
    const fail = (detail: DeltaClientStateDetail): void => {
      if (!isCurrent()) return;
      generation += 1;
      endAttempt();
      if (connected && options.now() - startedAtMs >= limits.stableAfterMs) failures = 0;
      retry(detail);
    };
    const answered = (): void => {
      if (isCurrent() && !connected) tell('connected', { reason: 'the server has answered' });
    };
    stream.on('metadata', answered);
    const reply = (response: DeltaDiscoveryResponse, fault: string | undefined): void => {
      if (isCurrent()) stream.write(answer(response, fault?.slice(0, limits.rejectionCharactersMax)));
    };
    stream.on('data', (response: DeltaDiscoveryResponse) => {
      answered();
      if (!isCurrent()) return;
      const accepted = taking === undefined ? accept(response) : taking.then(() => (isCurrent() ? accept(response) : undefined));
      if (!(accepted instanceof Promise)) {
        reply(response, accepted);
        return;
      }
      stream.pause();
      const own = (taking = accepted.then((fault) => {
        if (taking === own) taking = undefined;
        reply(response, fault);
        stream.resume();
      }));
    });
    stream.on('error', (error: Partial<StatusObject> & Error) => fail(detailOf(error)));
    stream.on('status', (ended: StatusObject) => fail(detailOf(ended)));

    // An opening request without names would mean "everything", so a subscription to nothing sends none.
    const asking = [...held.values()].filter(({ names }) => names === '*' || names.size > 0);
    for (const [index, type] of asking.entries()) {
      stream.write(create(DeltaDiscoveryRequestSchema, { ...openingRequest(type), ...(index === 0 ? { node: nodeOf(options) } : {}) }));
    }
  }

  function open(endpoint: DeltaEndpoint | Client): { readonly client: Client; readonly release: () => void } {
    if (endpoint instanceof Client) return { client: endpoint, release: () => undefined };
    const client = new Client(endpoint.address, endpoint.credentials, { ...channelOptions(limits), ...endpoint.options });
    return { client, release: () => client.close() };
  }

  /** Hands a response to the application; the reason where it, or we, cannot take it. */
  function accept(response: DeltaDiscoveryResponse): string | undefined | Promise<string | undefined> {
    const type = held.get(response.typeUrl);
    if (type === undefined) return `type "${response.typeUrl}" was not subscribed to`;
    const read = readResponse(type, response);
    if ('fault' in read) return read.fault;
    const noteTaken = (): void => hold(type, read.update);
    try {
      const taken = options.onUpdate(read.update);
      if (taken instanceof Promise) return taken.then(noteTaken).then(() => undefined, messageOf);
    } catch (error) {
      return messageOf(error);
    }
    noteTaken();
    return undefined;
  }

  function retry(detail: DeltaClientStateDetail): void {
    const ceilingMs = Math.min(limits.backoffMaxMs, limits.backoffBaseMs * 2 ** failures);
    const retryInMs = Math.round(ceilingMs * (0.5 + options.random() / 2));
    failures = Math.min(failures + 1, 30);
    const timer = setTimeout(() => start('trying again'), retryInMs);
    endAttempt = () => clearTimeout(timer);
    tell('disconnected', { ...detail, retryInMs });
  }

  function tell(state: DeltaClientState, detail: DeltaClientStateDetail): void {
    connected = state === 'connected';
    options.onState?.(state, detail);
  }

  function close(): void {
    closed = true;
    generation += 1;
    connected = false;
    options.signal?.removeEventListener('abort', close);
    endAttempt();
  }

  options.signal?.addEventListener('abort', close, { once: true });
  if (options.signal?.aborted === true) closed = true;
  queueMicrotask(() => {
    if (!closed && generation === 0) start('starting');
  });

  return {
    get connected() {
      return connected;
    },
    reconnect() {
      if (!closed) start('asked to connect anew');
    },
    close,
  };
}

function nodeOf({ node: { userAgentVersion: value = '', ...node } }: DeltaClientOptions): DeltaDiscoveryRequestInit['node'] {
  return { ...node, userAgentVersionType: { case: 'userAgentVersion', value } };
}

function encodeRequest(request: DeltaDiscoveryRequest): Buffer {
  return Buffer.from(toBinary(DeltaDiscoveryRequestSchema, request));
}

function decodeResponse(bytes: Buffer): DeltaDiscoveryResponse {
  return fromBinary(DeltaDiscoveryResponseSchema, bytes);
}

/** An acknowledgement, or a rejection where there is a fault. */
function answer(response: DeltaDiscoveryResponse, fault: string | undefined): DeltaDiscoveryRequest {
  return create(DeltaDiscoveryRequestSchema, {
    typeUrl: response.typeUrl,
    responseNonce: response.nonce,
    ...(fault === undefined ? {} : { errorDetail: { code: status.INVALID_ARGUMENT, message: fault } }),
  });
}

function channelOptions(limits: typeof deltaClientLimits): ChannelOptions {
  return {
    'grpc.keepalive_time_ms': limits.keepaliveIntervalMs,
    'grpc.keepalive_timeout_ms': limits.keepaliveTimeoutMs,
    'grpc.max_receive_message_length': limits.responseBytesMax,
    'grpc.max_send_message_length': -1,
    'grpc.enable_retries': 0,
    // A pool of its own: otherwise a new attempt inherits the pause of a connection that failed before.
    'grpc.use_local_subchannel_pool': 1,
    // The control plane is not beyond the proxy that HTTPS_PROXY names.
    'grpc.enable_http_proxy': 0,
  };
}

function detailOf(ended: Partial<StatusObject>): DeltaClientStateDetail {
  const reason = ended.details === undefined || ended.details === '' ? 'the server has ended the stream' : ended.details;
  return { reason, ...(ended.code === undefined ? {} : { grpcStatus: ended.code }) };
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
