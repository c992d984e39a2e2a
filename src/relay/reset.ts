import net from 'node:net';
import type { Duplex } from 'node:stream';
import tls from 'node:tls';

/** The TCP connection under a TLS one. Node can reset only the former. */
const carriers = new WeakMap<tls.TLSSocket, net.Socket>();

/** Remembers what carries `socket`, so that `reset` can reach it. */
export function setCarrier(socket: tls.TLSSocket, carrier: net.Socket): void {
  carriers.set(socket, carrier);
}

/** Ends a connection with a TCP reset, so that the peer sees failure and not an orderly end; without one where there is no TCP to reset. */
export function reset(stream: Duplex): void {
  if (stream.destroyed) return;
  const carrier = stream instanceof tls.TLSSocket ? carriers.get(stream) : stream;
  if (carrier instanceof net.Socket && !carrier.destroyed) carrier.resetAndDestroy();
  stream.destroy();
}
