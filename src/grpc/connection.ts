/** One HTTP/2 connection of gRPC calls, over a socket that was accepted and, where it is TLS, whose handshake is done. */
import type { ServerUnaryCall } from '@grpc/grpc-js';
import { performServerHandshake, type ServerHttp2Session } from 'node:http2';
import { isIPv6, type Socket } from 'node:net';
import { TLSSocket } from 'node:tls';

type AuthContext = ReturnType<ServerUnaryCall<unknown, unknown>['getAuthContext']>;

/** Who is at the other end of a connection; read once, since in TLS 1.3, and in HTTP/2 over any TLS, it never changes. */
export interface Peer {
  /** Address and port, or `unix` for a socket that has none. */
  readonly address: string;
  /** `sslPeerCertificate` is there only where TLS verified it. */
  readonly authContext: () => AuthContext;
}

/** What bounds a connection. */
export interface ConnectionLimits {
  /** Calls under way at once; further ones wait at the client. */
  readonly callsPerConnectionMax: number;
  /** How often a connection is asked whether it is still there, and how long it may take to answer. */
  readonly keepaliveMs: number;
  readonly keepaliveTimeoutMs: number;
}

// A stream is read only as fast as its handler takes messages, and written only as fast as its handler waits for, so what
// Node counts here is bounded by the number of calls; its default of 10 would refuse calls beside one large response.
const sessionMemoryMegabytes = 1024;

export function openConnection(socket: Socket, { callsPerConnectionMax, keepaliveMs, keepaliveTimeoutMs }: ConnectionLimits): ServerHttp2Session {
  socket.setNoDelay(true);
  const session = performServerHandshake(socket, { settings: { maxConcurrentStreams: callsPerConnectionMax }, maxSessionMemory: sessionMemoryMegabytes });
  let answerTimer: NodeJS.Timeout | undefined;
  const keepalive = setInterval(() => {
    answerTimer ??= setTimeout(() => session.destroy(), keepaliveTimeoutMs);
    session.ping(() => {
      clearTimeout(answerTimer);
      answerTimer = undefined;
    });
  }, keepaliveMs);
  session.on('close', () => {
    clearInterval(keepalive);
    clearTimeout(answerTimer);
  });
  session.on('error', () => session.destroy()); // a connection that broke, or that spoke something else: it had its GOAWAY
  return session;
}

export function peerOf(socket: Socket): Peer {
  const { remoteAddress, remotePort } = socket;
  const address = remoteAddress === undefined ? 'unix' : `${isIPv6(remoteAddress) ? `[${remoteAddress}]` : remoteAddress}:${remotePort}`;
  let authContext: AuthContext | undefined;
  return { address, authContext: () => (authContext ??= authContextOf(socket)) };
}

function authContextOf(socket: Socket): AuthContext {
  if (!(socket instanceof TLSSocket)) return {};
  return { transportSecurityType: 'ssl', ...(socket.authorized ? { sslPeerCertificate: socket.getPeerCertificate() } : {}) };
}
