import { Metadata, status, type MethodDefinition, type ServiceDefinition, type UntypedHandleCall, type UntypedServiceImplementation } from '@grpc/grpc-js';
import { constants, type IncomingHttpHeaders, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2';
import type { Socket } from 'node:net';
import { openCall } from './call.ts';
import { openConnection, peerOf, type ConnectionLimits, type Peer } from './connection.ts';
import { serveCall } from './surfaces.ts';

export interface GrpcServerLimits extends ConnectionLimits {
  /** Of one request message. */
  readonly messageBytesMax: number;
}

export const grpcServerLimits: GrpcServerLimits = {
  callsPerConnectionMax: 1_000,
  keepaliveMs: 30_000,
  keepaliveTimeoutMs: 10_000,
  messageBytesMax: 4 * 1024 * 1024,
};

export interface GrpcServerOptions {
  readonly limits?: Partial<GrpcServerLimits>;
  /** Sees what a handler throws, whole; the caller is told only that it failed. */
  readonly onError?: (error: unknown) => void;
}

export interface GrpcConnection {
  /** What the handlers of its calls see, the same object. */
  readonly authContext: Peer['authContext'];
  /** Takes no further calls and lets those under way end. The client makes its next call over another connection. */
  readonly close: () => void;
}

export interface GrpcServer {
  /** As grpc-js's: the definition and the handlers of a service. A method without a handler is answered with UNIMPLEMENTED. */
  addService(definition: ServiceDefinition, handlers: UntypedServiceImplementation): void;
  /** Serves a socket that was accepted and, where it is TLS, whose handshake is done. Who owns the listener bounds how many there are. Undefined where the server is closed. */
  injectConnection(socket: Socket): GrpcConnection | undefined;
  /** Takes no further calls, waits for those under way, and resets what is left after `graceMs`. */
  close(graceMs: number): Promise<void>;
}

interface Route {
  readonly method: MethodDefinition<unknown, unknown>;
  readonly handler: UntypedHandleCall;
}

/**
 * A gRPC server over `node:http2` that serves the service definitions and handlers of grpc-js, at about half its cost a call.
 * It does not compress, retry, balance or report load; its callers may use any client.
 *
 *     const grpc = createGrpcServer();
 *     grpc.addService(definition, handlers);
 *     tls.createServer({ key, cert, ALPNProtocols: ['h2'] }, (socket) => grpc.injectConnection(socket)).listen(port);
 */
export function createGrpcServer({ limits: givenLimits = {}, onError = () => undefined }: GrpcServerOptions = {}): GrpcServer {
  const limits = { ...grpcServerLimits, ...givenLimits };
  const routes = new Map<string, Route>();
  const sessions = new Set<ServerHttp2Session>();
  let isClosed = false;

  function takeStream(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, peer: Peer): void {
    const refused = refusalOf(headers);
    if (refused !== undefined) {
      stream.on('error', () => undefined);
      stream.respond({ ':status': refused }, { endStream: true });
      return;
    }
    const route = routes.get(String(headers[':path']));
    const encoding = headers['grpc-encoding'] ?? 'identity';
    const call = openCall({ stream, headers, peer, messageBytesMax: limits.messageBytesMax });
    if (route === undefined || encoding !== 'identity') {
      const details = route === undefined ? 'this server has no such method' : 'compressed messages are not taken';
      call.sendStatus({ code: status.UNIMPLEMENTED, details, metadata: new Metadata() });
    } else {
      serveCall(call, route.method, route.handler, onError);
    }
  }

  return {
    addService(definition, handlers) {
      for (const [name, method] of Object.entries(definition)) {
        const handler = handlers[name] ?? (method.originalName === undefined ? undefined : handlers[method.originalName]);
        if (handler !== undefined) routes.set(method.path, { method, handler });
      }
    },
    injectConnection(socket) {
      if (isClosed) {
        socket.destroy();
        return undefined;
      }
      const peer = peerOf(socket);
      const session = openConnection(socket, limits);
      sessions.add(session);
      session.on('close', () => sessions.delete(session));
      session.on('stream', (stream, headers) => takeStream(stream, headers, peer));
      return { authContext: peer.authContext, close: () => session.close() };
    },
    async close(graceMs) {
      isClosed = true;
      const closed = [...sessions].map((session) => new Promise((resolve) => session.once('close', resolve)));
      for (const session of sessions) session.close();
      const forced = setTimeout(() => {
        for (const session of sessions) session.destroy();
      }, graceMs);
      await Promise.all(closed);
      clearTimeout(forced);
    },
  };
}

/** The HTTP status for a request that is not gRPC (gRPC over HTTP2, "Requests"). */
function refusalOf(headers: IncomingHttpHeaders): number | undefined {
  if (headers[':method'] !== 'POST') return constants.HTTP_STATUS_METHOD_NOT_ALLOWED;
  if (!/^application\/grpc(?:[+;]|$)/.test(headers['content-type'] ?? '')) return constants.HTTP_STATUS_UNSUPPORTED_MEDIA_TYPE;
  return undefined;
}
