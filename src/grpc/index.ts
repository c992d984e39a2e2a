/**
 * A gRPC server over `node:http2`, for the service definitions and handlers of grpc-js. Knows nothing of what it serves.
 *
 * Invariants: a connection, a call and a message are bounded; a handler that does not take messages is not sent more than
 * one; a call ends once, by a status, a cancellation or its connection's end.
 *
 * Source: grpc.github.io, "gRPC over HTTP2"; RFC 9113.
 */
export { createGrpcServer, grpcServerLimits, type GrpcConnection, type GrpcServer, type GrpcServerLimits, type GrpcServerOptions } from './server.ts';
