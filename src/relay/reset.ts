import net from 'node:net';
import type { Duplex } from 'node:stream';
import tls from 'node:tls';

/** The TCP connection under a TLS one. Node can reset only the former. */
const carriers = new WeakMap<tls.TLSSocket, net.Socket>();

/** Remembers what carries `socket`, so that `reset` can reach it. */
export function setCarrier(socket: tls.TLSSocket, carrier: net.Socket): void {
  carriers.set(socket, carrier);
}

/**
 * Ends a connection with a TCP reset, so that the peer sees failure and not an orderly end; without one where there is no TCP to reset, or
 * where all that was to be said, the end included, has just gone out.
 */
export function reset(stream: Duplex): void {
  if (stream.destroyed) return;
  const carrier = stream instanceof tls.TLSSocket ? carriers.get(stream) : stream;
  if (carrier instanceof net.Socket && !carrier.destroyed && !isShuttingDown(stream)) carrier.resetAndDestroy();
  stream.destroy();
}

/** libuv refuses to reset then (EINVAL), and Node 24.21 forgets such a connection without closing it: no `close` ever comes. */
function isShuttingDown({ writableEnded, writableFinished, writableLength }: Duplex): boolean {
  return writableEnded && !writableFinished && writableLength === 0;
}
