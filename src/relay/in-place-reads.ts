/**
 * Bulk without a new buffer for each read: a connection reads into one buffer of its own and passes on what is there before it reads
 * again. Node's streams take a fresh 64 KiB for each read, which the collector must find and free; that costs more than encrypting it.
 */
import net from 'node:net';
import type { Duplex } from 'node:stream';

/** Takes `chunk`, which is overwritten once `goOn` has been called; nothing is read before that. */
export type TakeInPlace = (chunk: Buffer, goOn: () => void) => void;

/** Most connections never carry more than this at once, and thousands may be idle. */
const bufferFirstBytes = 4 << 10;
/** For those that have filled the first one. A read of this size is one write of eight TLS records. */
const bufferBulkBytes = 128 << 10;
/** Less is copied, which is cheaper than to stop and start reading. */
const bulkBytesMin = 16 << 10;

const takers = new WeakMap<Duplex, { take: TakeInPlace | undefined }>();

/** As `net.connect`. The socket is a stream as any other; `takeInPlace` makes a shorter way of it for what comes in bulk. */
export function connectInPlace(options: net.TcpNetConnectOpts): net.Socket {
  let buffer = Buffer.allocUnsafeSlow(bufferFirstBytes);
  const taker: { take: TakeInPlace | undefined } = { take: undefined };

  function read(bytes: number): boolean {
    const chunk = buffer.subarray(0, bytes);
    if (bytes === buffer.length && bytes < bufferBulkBytes) buffer = Buffer.allocUnsafeSlow(bufferBulkBytes);
    if (taker.take === undefined || bytes < bulkBytesMin || socket.readableLength > 0) return socket.push(Buffer.from(chunk)); // what the stream still holds goes first
    taker.take(chunk, () => socket.resume());
    return false;
  }

  const socket = net.connect({ ...options, onread: { buffer: () => buffer, callback: read } });
  takers.set(socket, taker);
  return socket;
}

/** From now on what `stream` reads in bulk goes to `take`, and only the rest to its `data` listeners, in order. Without effect on a stream of another kind. */
export function takeInPlace(stream: Duplex, take: TakeInPlace): void {
  const taker = takers.get(stream);
  if (taker !== undefined) taker.take = take;
}
