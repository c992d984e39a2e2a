import { Client, credentials, Metadata, Server, ServerCredentials } from '@grpc/grpc-js';
import type { ClientDuplexStream } from '@grpc/grpc-js';
import { create, toBinary } from '@bufbuild/protobuf';
import { once } from 'node:events';
import http2 from 'node:http2';
import { createServer, type AddressInfo } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import { setTimeout as pause } from 'node:timers/promises';
import { createGrpcServer } from '../../src/grpc/index.ts';
import { DeltaDiscoveryRequestSchema } from '../../src/proto/envoy/service/discovery/v3/discovery_pb.ts';
import { createDeltaClient, createSnapshotCache, createXdsServer } from '../../src/xds/index.ts';
import type { DeltaClient, DeltaClientOptions, DeltaClientState, DeltaClientStateDetail, DeltaUpdate, SnapshotCache, XdsServer, XdsServerOptions } from '../../src/xds/index.ts';
import { FRUIT } from './stream-play.ts';

export const NODE = 'node-1';

/** Waits for a condition, and says what it was where it does not come true. */
export async function until(condition: () => boolean, what: string, limitMs = 5_000): Promise<void> {
  const giveUpAtMs = Date.now() + limitMs;
  while (!condition()) {
    await pause(2);
    if (Date.now() > giveUpAtMs) throw new Error(`not within ${limitMs} ms: ${what}`);
  }
}

export interface Logged {
  readonly level: 'info' | 'warn';
  readonly message: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

export interface Listening {
  readonly address: string;
  readonly port: number;
  readonly xds: XdsServer;
  readonly cache: SnapshotCache;
  readonly logged: readonly Logged[];
  readonly warnings: () => readonly unknown[];
  readonly stop: () => void;
}

/** The server's key and certificate, and what its clients' certificates lead to. */
export interface LoopbackTls {
  readonly key: Buffer;
  readonly cert: Buffer;
  readonly ca: Buffer;
}

/** The gRPC servers that may stand beneath the library. */
export const grpcServers = ['ours', 'grpc-js'] as const;
export type GrpcServerName = (typeof grpcServers)[number];

interface Bound {
  readonly port: number;
  readonly stop: () => void;
}

/** Serves a library's handlers by one of the servers that a user of it may have. */
const bind: Readonly<Record<GrpcServerName, (xds: XdsServer, port: number, tls: LoopbackTls | undefined) => Promise<Bound>>> = {
  async ours(xds, port, tls) {
    const grpc = createGrpcServer();
    grpc.addService(xds.service, xds.handlers);
    const listener = tls === undefined ? createServer((socket) => grpc.injectConnection(socket)) : createTlsServer({ ...tls, requestCert: true, ALPNProtocols: ['h2'] }, (socket) => grpc.injectConnection(socket));
    await once(listener.listen(port, '127.0.0.1'), 'listening');
    return { port: (listener.address() as AddressInfo).port, stop: () => (listener.close(), void grpc.close(0)) };
  },
  async 'grpc-js'(xds, port, tls) {
    const server = new Server();
    server.addService(xds.service, xds.handlers);
    const serverCredentials = tls === undefined ? ServerCredentials.createInsecure() : ServerCredentials.createSsl(tls.ca, [{ private_key: tls.key, cert_chain: tls.cert }], true);
    const bound = await new Promise<number>((resolve, reject) => {
      server.bindAsync(`127.0.0.1:${port}`, serverCredentials, (error, boundPort) => (error === null ? resolve(boundPort) : reject(error)));
    });
    return { port: bound, stop: () => server.forceShutdown() };
  },
};

/** A test's servers and clients, ended together by `stopAll`. */
export function createLoopback(grpcServer: GrpcServerName = 'ours') {
  const stops: (() => void)[] = [];

  async function listen({ port = 0, cache = createSnapshotCache(), tls, ...options }: Partial<XdsServerOptions> & { readonly port?: number; readonly tls?: LoopbackTls } = {}): Promise<Listening> {
    const logged: Logged[] = [];
    const write = (level: Logged['level']) => (fields: object, message: string) => void logged.push({ level, message, fields: fields as Logged['fields'] });
    const xds = createXdsServer({ cache, authenticate: () => ({ nodeKey: NODE }), now: Date.now, log: { info: write('info'), warn: write('warn') }, ...options });
    const { port: bound, stop } = await bind[grpcServer](xds, port, tls);
    stops.push(stop);
    const warnings = (): readonly unknown[] => logged.filter(({ level }) => level === 'warn').map(({ fields }) => fields['reason']);
    return { address: `127.0.0.1:${bound}`, port: bound, xds, cache, logged, warnings, stop };
  }

  function connect(address: string, options: Partial<DeltaClientOptions> = {}): DeltaClient & { readonly updates: DeltaUpdate[]; readonly states: [DeltaClientState, DeltaClientStateDetail][] } {
    const updates: DeltaUpdate[] = [];
    const states: [DeltaClientState, DeltaClientStateDetail][] = [];
    const client = createDeltaClient({
      connect: () => ({ address, credentials: credentials.createInsecure() }),
      node: { id: NODE },
      subscriptions: [{ typeUrl: FRUIT, names: '*' }],
      onUpdate: (update) => void updates.push(update),
      onState: (state, detail) => void states.push([state, detail]),
      random: () => 0,
      now: Date.now,
      ...options,
      limits: { backoffBaseMs: 20, backoffMaxMs: 100, ...options.limits },
    });
    stops.push(() => client.close());
    return Object.defineProperties({ ...client, updates, states }, { connected: { get: () => client.connected } });
  }

  /** A stream of bytes, for what a well-behaved client would not send. */
  function openRaw(address: string, method = 'envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources'): ClientDuplexStream<Uint8Array, Buffer> & { readonly ended: { code?: number; details?: string } } {
    const client = new Client(address, credentials.createInsecure(), { 'grpc.max_receive_message_length': -1, 'grpc.use_local_subchannel_pool': 1 });
    stops.push(() => client.close());
    const ended: { code?: number; details?: string } = {};
    const stream = client.makeBidiStreamRequest<Uint8Array, Buffer>(`/${method}`, (bytes) => Buffer.from(bytes), (bytes) => bytes, new Metadata());
    stream.on('status', ({ code, details }: { code: number; details: string }) => Object.assign(ended, { code, details }));
    stream.on('error', () => undefined); // the status says the same
    return Object.assign(stream, { ended });
  }

  /** A client that sends one request and then never reads: HTTP/2 below gRPC, which reads a first message unasked. */
  function openUnread(address: string, request: Uint8Array): http2.ClientHttp2Stream {
    const session = http2.connect(`http://${address}`);
    stops.push(() => session.destroy());
    const stream = session.request({ ':method': 'POST', ':path': '/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources', 'content-type': 'application/grpc', 'te': 'trailers' });
    stream.pause();
    stream.on('error', () => undefined); // the reset code says the same
    const frame = Buffer.alloc(5);
    frame.writeUInt32BE(request.length, 1);
    stream.write(Buffer.concat([frame, request]));
    return stream;
  }

  return {
    listen,
    connect,
    openRaw,
    openUnread,
    stopAll(): void {
      for (const stop of stops.splice(0)) stop();
    },
  };
}

export function deltaRequest(request: Parameters<typeof create<typeof DeltaDiscoveryRequestSchema>>[1]): Uint8Array {
  return toBinary(DeltaDiscoveryRequestSchema, create(DeltaDiscoveryRequestSchema, request));
}
